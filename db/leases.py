"""Leases: which wallets somebody reads, and until when. One row for a batch, or two: one for each lane it took from.

A row names its wallets and, but for wallets that were claimed by name, the window of due times that they were the free
wallets of. Claims pass over whole windows, whatever they hold, so that a claim costs the same however many wallets
others hold; whoever asks for one wallet looks for its id.

A worker that comes back deletes its rows. One that does not leaves them: when a lease is over, its wallets were *lost*.
They stay in the row, apart from all others, and are tried again: all at once at first, for a worker may end for any
reason, then in halves. So should one of them be what kills workers, it is alone after a dozen leases, and the others
were read meanwhile (docs/decisions/0020-a-batch-is-a-lease-over-a-window.md).
"""

from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import Connection

from config.networks import NetworkName
from db.windows import HOLDS, ITS_TURN, WAITS

# What was lost before stays apart.
_RELEASE = """
WITH lost AS (
    UPDATE leases SET lease_until = NULL, token = gen_random_uuid() WHERE {which} AND deaths > 0
 RETURNING wallet_ids
), free AS (
    DELETE FROM leases WHERE {which} AND deaths = 0 RETURNING wallet_ids
)
SELECT cardinality(wallet_ids) FROM lost UNION ALL SELECT cardinality(wallet_ids) FROM free
"""
_RELEASE_ONE = _RELEASE.format(which="token = %(token)s")
_RELEASE_ALL = _RELEASE.format(which="network = %(network)s AND lease_until IS NOT NULL")
_END_EMPTY = "DELETE FROM leases WHERE token = %(token)s"

# Under the lock of the network's row, as claims are. The second death in a row halves a batch, and each one after it:
# then it has no window any more, for its wallets are some of those that were in it. One that is alone for the first
# time is tried at once, whatever its batch has behind it: of the last two only one is what kills. What has left the
# window meanwhile is free, and somebody else's perhaps.
_END = f"""
WITH ran_out AS (
    DELETE FROM leases WHERE network = %(network)s AND lease_until <= now() RETURNING *
), ended AS (
    SELECT l.token, l.lane, l.network, first_due, first_id, last_due, last_id, l.claimed_at, deaths,
           ARRAY(SELECT s.wallet_id FROM unnest(l.wallet_ids) WITH ORDINALITY AS u (id, place)
                   JOIN sync_schedule s ON s.wallet_id = u.id WHERE {HOLDS} ORDER BY place) AS wallet_ids
      FROM ran_out l
), halves AS (
    SELECT e.*, gen_random_uuid() AS half, deaths > 0 AS split, piece
      FROM ended e, LATERAL (SELECT (cardinality(wallet_ids) + 1) / 2 AS middle) AS m,
           LATERAL (SELECT wallet_ids AS piece WHERE deaths = 0
                    UNION ALL SELECT wallet_ids[:middle] WHERE deaths > 0
                    UNION ALL SELECT wallet_ids[middle + 1:] WHERE deaths > 0) AS p
     WHERE cardinality(piece) > 0
)
INSERT INTO leases (token, lane, network, first_due, first_id, last_due, last_id, claimed_at, deaths, wallet_ids)
SELECT half, CASE WHEN split THEN 2 ELSE lane END, network,
       CASE WHEN NOT split THEN first_due END, CASE WHEN NOT split THEN first_id END,
       CASE WHEN NOT split THEN last_due END, CASE WHEN NOT split THEN last_id END, claimed_at,
       CASE WHEN cardinality(piece) = 1 AND cardinality(wallet_ids) > 1 THEN 2 ELSE least(deaths, 1000) + 1 END, piece
  FROM halves
"""

_TRY = """
UPDATE leases SET token = %(token)s, claimed_at = statement_timestamp(), lease_until = now() + %(lease)s
 WHERE (token, lane) = (
       SELECT token, lane FROM leases
        WHERE network = %(network)s AND lease_until IS NULL AND {wanted}
        ORDER BY claimed_at, deaths LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING wallet_ids, deaths
"""
_TRY_ANY = _TRY.format(wanted=ITS_TURN)
_TRY_THESE = _TRY.format(wanted="wallet_ids && %(wallet_ids)s::uuid[]")

_COUNT_LOST = f"SELECT count(*) FROM leases WHERE network = %(network)s AND {WAITS}"


def release(connection: Connection, token: UUID) -> int:
    """Hand a claim back, as if it had never been made. Says how many wallets it still had. One statement."""
    return sum(connection.exec_driver_sql(_RELEASE_ONE, {"token": token}).scalars())


def release_all(connection: Connection, network: NetworkName) -> int:
    """The same for every claim of a network: whoever has one writes nothing any more."""
    return sum(connection.exec_driver_sql(_RELEASE_ALL, {"network": network}).scalars())


def end_empty(connection: Connection, token: UUID) -> None:
    """End a lease of which no wallet is left."""
    connection.exec_driver_sql(_END_EMPTY, {"token": token})


def end_leases(connection: Connection, network: NetworkName) -> None:
    """Put aside what was lost: the wallets of leases that are over. For whoever has the network's row locked."""
    connection.exec_driver_sql(_END, {"network": network})


def count_lost(connection: Connection, network: NetworkName) -> int:
    """How many lost batches wait to be tried now."""
    return int(connection.exec_driver_sql(_COUNT_LOST, {"network": network}).scalar_one())


def take_lost(
    connection: Connection, network: NetworkName, lease: timedelta, wallet_ids: list[UUID] | None = None
) -> tuple[UUID, list[UUID], int] | None:
    """A lost batch that nobody tries: the token of the new lease, its wallets, and the deaths it has behind it.

    With `wallet_ids`, one that has some of these, whether it is its turn or not.
    """
    token = uuid4()
    row = connection.exec_driver_sql(
        _TRY_ANY if wallet_ids is None else _TRY_THESE,
        {"network": network, "token": token, "lease": lease, "wallet_ids": wallet_ids},
    ).one_or_none()
    return row and (token, row.wallet_ids, row.deaths)
