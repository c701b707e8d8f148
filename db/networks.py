"""Networks as rows: which there are, and what each is read from. Plain SQL in the driver's own form.

``alembic upgrade head`` adds the names that are known, and workers register what they read: they are the ones that
write, so their settings count. A network's first source is registered with its first balances, and another one at the
start of a worker that was told of it, once a node has proved it. Then the balances that there are are of another chain
or token: nobody may write any more what he reads of the old one, and all wallets are made due, thousands at a time.
"""

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from config.families import Network
from config.network_settings import Chain, Source, source
from config.networks import NetworkName
from db.leases import release_all
from db.network_state import lock
from db.sources import OF_SOURCE
from db.windows import HOLDER, MASSES

PIECE = 20_000
"""Wallets that one transaction looks at and makes due: a second's work."""

_ADD = "INSERT INTO networks (name, family) VALUES (%(name)s, %(family)s) ON CONFLICT DO NOTHING"

_SOURCE = (
    "SELECT s.chain_id, s.token FROM networks AS n JOIN sources AS s ON s.id = n.source WHERE n.name = %(network)s"
)

# An identity counts on with each attempt to insert, and it is a small one: so only what is missing is inserted.
_ADD_SOURCE = """
INSERT INTO sources (network, chain_id, token) SELECT %(network)s, %(chain_id)s, %(token)s
 WHERE NOT EXISTS (SELECT FROM sources
                    WHERE network = %(network)s AND chain_id = %(chain_id)s AND token = %(token)s)
"""

_WITH_WALLETS = """
SELECT name FROM networks AS n WHERE EXISTS (SELECT FROM sync_schedule WHERE network = n.name) ORDER BY name
"""

_REGISTER = """
UPDATE networks AS n
   SET family = %(family)s, native_symbol = %(native_symbol)s, native_decimals = %(native_decimals)s,
       registered_at = now(), source = s.id,
       first_source = coalesce(n.first_source, s.id), due_up_to = CASE WHEN %(changed)s THEN %(begin)s
                                                                       ELSE n.due_up_to END
  FROM sources AS s
 WHERE n.name = %(network)s AND s.network = %(network)s AND s.chain_id = %(chain_id)s AND s.token = %(token)s
RETURNING n.source
"""

# What usually changes on one chain says nothing of another, and its blocks may never be reached there.
_FORGET_TOUCHES = "DELETE FROM touches WHERE network = %(network)s"
_FORGET_RATES = "UPDATE change_rates SET wallets = 0, changed = 0, fallen = 0 WHERE network = %(network)s"

_NOTE_DECIMALS = """
UPDATE sources SET decimals = %(decimals)s WHERE id = %(source)s AND (decimals IS NULL OR %(by_settings)s)
"""

_NEXT_PIECE = """
SELECT due_up_to FROM networks WHERE name = %(network)s AND due_up_to IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED
"""

# The pieces go along the wallets' ids, which nobody changes, so each wallet is looked at once. Two kinds are passed
# over, and are read from the new source all the same: a wallet that somebody holds, since all leases of before the
# change have been ended; and one whose row is locked, which comes with the due time that it has.
# The feed's are those of whose last block it has not told everything since: after a gap all of them at once, and where
# it is left, those that would come later than by the cadence, within the time that one takes (`due_spread`).
_MAKE_DUE = f"""
WITH piece AS MATERIALIZED (
    SELECT wallet_id FROM sync_schedule WHERE wallet_id > %(up_to)s ORDER BY wallet_id LIMIT {PIECE}
), other AS (
    SELECT s.wallet_id, CASE WHEN kept.block_number IS NULL THEN 0 ELSE f.due_spread END AS spread
      FROM sync_schedule AS s JOIN networks AS n ON n.name = s.network
      LEFT JOIN feed_cursor AS f ON f.network = s.network
      LEFT JOIN LATERAL (SELECT b.block_number FROM balance_cache AS b WHERE b.wallet_id = s.wallet_id AND {OF_SOURCE}
                          LIMIT 1) AS kept ON true
     WHERE s.wallet_id IN (SELECT wallet_id FROM piece) AND s.network = %(network)s AND s.next_sync_at > now()
       AND (kept.block_number IS NULL
            OR (kept.block_number < coalesce(f.due_below, {2**63 - 1})
                AND s.next_sync_at > now() + f.due_spread * interval '1 second'))
       AND NOT EXISTS (SELECT FROM {HOLDER} AS h)
       FOR NO KEY UPDATE OF s SKIP LOCKED
), due AS (
    UPDATE sync_schedule AS s SET next_sync_at = now() + random() * other.spread * interval '1 second', lane = {MASSES}
      FROM other WHERE other.wallet_id = s.wallet_id
 RETURNING s.wallet_id
), noted AS (
    UPDATE networks SET due_up_to = (SELECT wallet_id FROM piece ORDER BY wallet_id DESC LIMIT 1)
     WHERE name = %(network)s
)
SELECT count(*) FROM due
"""

BEGIN = UUID(int=0)


class Registered(NamedTuple):
    """What a network was read from until now, and is read from now on. `before` is None at the first time."""

    before: Source | None
    now: Source
    source_id: int
    """A row of `sources`."""

    @property
    def changed(self) -> bool:
        """The balances that there are are of something else."""
        return self.before is not None and self.before != self.now


def add_missing(connection: Connection, known: Mapping[NetworkName, Network]) -> None:
    """Add the networks that the table has not. What it says of others stays: here is nobody who reads them."""
    for network in known.values():
        connection.exec_driver_sql(_ADD, {"name": network.name, "family": network.family})


def with_wallets(connection: Connection) -> list[NetworkName]:
    """The networks that have wallets, whether a worker reads them or not. A look into an index for each network."""
    return list(connection.exec_driver_sql(_WITH_WALLETS).scalars())


def register(connection: Connection, chain: Chain) -> Registered:
    """Note what is read of a network from now on."""
    network, of = chain.network, source(chain)
    lock(connection, network.name)  # it may wait for another start, whose source is then the one before
    was = registered_source(connection, network.name)
    changed = was not in {None, of}
    add_missing(connection, {network.name: network})
    its_source = {"network": network.name, "chain_id": of.chain_id, "token": of.contract}
    connection.exec_driver_sql(_ADD_SOURCE, its_source)
    facts = {
        "family": network.family,
        "native_symbol": network.native_symbol,
        "native_decimals": network.native_decimals,
        "changed": changed,
        "begin": BEGIN,
    }
    source_id = connection.exec_driver_sql(_REGISTER, its_source | facts).scalar_one()
    if changed:
        release_all(connection, network.name)
        connection.exec_driver_sql(_FORGET_RATES, {"network": network.name})
        connection.exec_driver_sql(_FORGET_TOUCHES, {"network": network.name})
    return Registered(was, of, source_id)


def registered_source(connection: Connection, network: NetworkName) -> Source | None:
    """What a network is read from; None: nothing was read of it since there are sources."""
    found = connection.exec_driver_sql(_SOURCE, {"network": network}).one_or_none()
    return None if found is None else Source(*found)


def source_of_first_balances(connection: Connection, chain: Chain) -> int | None:
    """Register what a network's first balances are of, a row of `sources`. None: it is read from another source."""
    its = lock(connection, chain.network.name)
    if its.source is None:
        return register(connection, chain).source_id
    return its.source_id if its.source == source(chain) else None


def note_decimals(connection: Connection, source_id: int, decimals: int, *, by_settings: bool) -> None:
    """Note the decimals that a token has on its chain, before its first balances: the endpoint shows amounts by them.

    Not at a worker's start: what the settings say has not been verified then. What is noted of a source stays true of
    it when the network is read from another one. Where only a node says so, and not the settings too, the first one
    counts: nodes are held against it.
    """
    noted = {"decimals": decimals, "source": source_id, "by_settings": by_settings}
    connection.exec_driver_sql(_NOTE_DECIMALS, noted)


def make_due(connection: Connection, network: NetworkName) -> int | None:
    """After a change of source, or a gap of the feed: make the next wallets due that it is about, and say how many.

    None: there are no more, or another transaction does it.
    """
    up_to = connection.exec_driver_sql(_NEXT_PIECE, {"network": network}).scalar_one_or_none()
    if up_to is None:
        return None
    return int(connection.exec_driver_sql(_MAKE_DUE, {"network": network, "up_to": up_to}).scalar_one())
