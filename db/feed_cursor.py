"""The cursor of a network's feed: where it stands, who is at it, and when the next block is asked for. Plain SQL."""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection

from config.network_settings import Source
from config.networks import NetworkName

LEASE = timedelta(seconds=10)
"""Renewed with each block. Short, for nothing hangs on it: two who follow at once only ask for a block twice."""

LONGEST_PAUSE = timedelta(minutes=1)
"""Or two blocks' time. No asking is put off for longer: where one seems to be, a clock was wrong when it was noted."""

_ADD = "INSERT INTO feed_cursor (network) VALUES (%(network)s) ON CONFLICT DO NOTHING"

_NEXT_AT = """CASE WHEN next_at > now() + greatest(%(longest_pause)s, 2 * interval '1 second' * c.block_seconds)
                    THEN now() ELSE next_at END"""
_CURSOR = f"""
SELECT block_number, block_hash, date_part('epoch', block_time), since, policy, reason, read_every, stretch,
       coalesce(requests_a_day, 0), sees_native, deprecated, blind, c.source, finality, orphaned_to,
       watched_up_to IS NULL, arrival_delay,
       c.block_seconds, misses, wallets, date_part('epoch', {_NEXT_AT}), date_part('epoch', followed_at),
       date_part('epoch', decided_at), date_part('epoch', counted_at), date_part('epoch', clock_timestamp()),
       n.source, o.chain_id, o.token
  FROM feed_cursor AS c LEFT JOIN networks AS n ON n.name = c.network LEFT JOIN sources AS o ON o.id = n.source
 WHERE c.network = %(network)s
"""

# A lease that seems to be longer than any is one of a wrong clock, and nobody's.
_TAKE = """
UPDATE feed_cursor SET lease_token = %(token)s, lease_until = now() + %(lease)s
 WHERE network = (SELECT network FROM feed_cursor WHERE network = %(network)s
                       AND coalesce(lease_until NOT BETWEEN now() AND clock_timestamp() + %(lease)s, true)
                     FOR UPDATE SKIP LOCKED)
"""
_LOCK_SINCE = "SELECT since FROM feed_cursor WHERE network = %(network)s FOR SHARE"

_GIVE_BACK = """
UPDATE feed_cursor SET lease_token = NULL, lease_until = NULL
 WHERE network = %(network)s AND lease_token = %(token)s
"""

_NOTE_MISS = """
UPDATE feed_cursor
   SET misses = misses + 1, blind = NULL, next_at = now() + %(pause)s,
       followed_at = CASE WHEN %(is_good)s THEN now() ELSE followed_at END,
       good_until = CASE WHEN %(is_good)s THEN now() + %(good_for)s
                         ELSE least(coalesce(good_until, now()), now() + %(good_for)s) END
 WHERE network = %(network)s
"""
_NOTE_FAILURE = """
UPDATE feed_cursor
   SET misses = misses + %(in_vain)s::int, next_at = now() + %(pause)s, blind = %(blind)s,
       good_until = least(coalesce(good_until, now()), now() + %(good_for)s)
 WHERE network = %(network)s
"""


class Cursor(NamedTuple):
    """Where a network's feed stands. Times in unix seconds by the database's clock, of which `now` is the latest.

    `number` is None before the first block, `since` where nothing is covered: no block is missing from there on.
    `policy` to `a_day` are what was decided last. `blind` is the code of the failure for which no node can be followed.
    `orphaned_to`: a reorganisation happened; a balance stored at a block up to this number may come from a block that
    was replaced. `watches_all`: no wallet of before the feed is left to be watched. `delay`: seconds from a block's
    time to when nodes have it; `block_seconds`: from the block before to this one. `misses`: how often in a row it
    was asked for in vain. `source` and `finality` are those of the block, `registered` is what the network is read
    from.
    """

    number: int | None
    hash: bytes | None
    time: float | None
    since: int | None
    policy: str
    reason: str | None
    read_every: float
    stretch: float
    a_day: float
    sees_native: bool
    deprecated: bool
    blind: str | None
    source: int | None
    finality: str | None
    orphaned_to: int | None
    watches_all: bool
    delay: float
    block_seconds: float
    misses: int
    wallets: int | None
    next_at: float
    followed_at: float | None
    decided_at: float | None
    counted_at: float | None
    now: float
    registered_id: int | None
    chain_id: int | None
    token: str | None

    @property
    def registered(self) -> Source | None:
        """What the network is read from; None: nothing was read yet."""
        return None if self.chain_id is None or self.token is None else Source(self.chain_id, self.token)


def cursor(connection: Connection, network: NetworkName) -> Cursor:
    """Where the feed of a network stands. A network that has none yet gets one."""
    of = {"network": network, "longest_pause": LONGEST_PAUSE}
    row = connection.exec_driver_sql(_CURSOR, of).one_or_none()
    if row is None:
        connection.exec_driver_sql(_ADD, of)
        row = connection.exec_driver_sql(_CURSOR, of).one()
    number, block_hash, *more = row
    return Cursor(number, None if block_hash is None else bytes(block_hash), *more)


def take(connection: Connection, network: NetworkName) -> UUID | None:
    """The lease by which one process at a time asks for blocks: its token. None: another one has it."""
    token = uuid4()
    taken = connection.exec_driver_sql(_TAKE, {"network": network, "token": token, "lease": LEASE}).rowcount
    return token if taken else None


def give_back(connection: Connection, network: NetworkName, token: UUID) -> None:
    """Let another process ask for blocks."""
    connection.exec_driver_sql(_GIVE_BACK, {"network": network, "token": token})


def note_not_there(
    connection: Connection, network: NetworkName, *, pause: timedelta, good_for: timedelta, is_good: bool
) -> None:
    """The next block is not there yet: it is asked for again after a pause.

    `good_for`: for so long a feed counts as up to date after an answer. `is_good`: this one counts; that of a node that
    has stopped does not.
    """
    noted = {"network": network, "pause": pause, "good_for": good_for, "is_good": is_good}
    connection.exec_driver_sql(_NOTE_MISS, noted)


def note_failure(
    connection: Connection,
    network: NetworkName,
    *,
    pause: timedelta,
    good_for: timedelta,
    blind: str | None,
    in_vain: bool,
) -> None:
    """No node gave the next block: they are asked again after a pause. `blind`: by this code none of them can.

    `in_vain`: nodes answer, and do not give this block. A feed that has never followed a block is behind from its first
    failure on, so that somebody hears of it.
    """
    noted = {"network": network, "pause": pause, "good_for": good_for, "blind": blind, "in_vain": in_vain}
    connection.exec_driver_sql(_NOTE_FAILURE, noted)


def lock_since(connection: Connection, network: NetworkName) -> int | None:
    """From which block on the feed has told everything, until the transaction ends: no jump comes in between."""
    found: int | None = connection.exec_driver_sql(_LOCK_SINCE, {"network": network}).scalar_one_or_none()
    return found
