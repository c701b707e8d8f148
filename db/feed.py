"""The feed of blocks: up to which block a network was followed, and which wallets its blocks touched. Plain SQL.

One step is one transaction: the touched wallets are noted and the cursor moves, or neither. Whoever moves it has it
locked and has compared it with what he began from, so two who follow the same network at once do no harm: the second
finds another cursor, and does nothing. A lease only saves the second one's requests.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection

from config.networks import NetworkName
from db.networks import BEGIN

RING = 128
"""Blocks that are remembered: a reorganisation deeper than this has all wallets read again."""

# Both sides of a comparison with what may have changed are the database's: a step begins from the cursor that is there.
_ADD = "INSERT INTO feed_cursor (network) VALUES (%(network)s) ON CONFLICT DO NOTHING"

_CURSOR = """
SELECT block_number, block_hash, date_part('epoch', block_time), since, policy, sees_native, deprecated, source,
       finality, orphaned_to, arrival_delay, misses, wallets, date_part('epoch', next_at),
       date_part('epoch', good_until), date_part('epoch', decided_at), date_part('epoch', counted_at),
       date_part('epoch', clock_timestamp())
  FROM feed_cursor WHERE network = %(network)s
"""

_TAKE = """
UPDATE feed_cursor SET lease_token = %(token)s, lease_until = now() + %(lease)s
 WHERE network = %(network)s AND coalesce(lease_until <= now(), true)
"""
_GIVE_BACK = """
UPDATE feed_cursor SET lease_token = NULL, lease_until = NULL
 WHERE network = %(network)s AND lease_token = %(token)s
"""

_LOCK = """
SELECT 1 FROM feed_cursor
 WHERE network = %(network)s AND block_number IS NOT DISTINCT FROM %(before)s
   AND block_hash IS NOT DISTINCT FROM %(before_hash)s
   FOR UPDATE
"""

# What the parts make sure of:
# hit       Whose accounts the block names: one look into a hash index for each account, whatever the wallets are.
# touched   A row of a later block has been read ahead of the feed. Where the block moved none of the token in it, that
#           read serves the touch. Where it did, nobody can say any more whether what was read shows it: the wallet is
#           read once more, and the sum is not known. So it is for what was read from another source, too.
#           After a reorganisation that is no reason, for some blocks: the row may be of one that is gone.
# due_at    A wallet that has just been read waits a little (`floor`): one that each block touches costs a place in
#           every second batch. One that fails waits for as long as its failure says.
_ADVANCE = """
WITH changed AS (
    SELECT * FROM unnest(%(accounts)s::bytea[], %(changes)s::numeric[]) AS a (account, change)
), hit AS MATERIALIZED (
    SELECT w.wallet_id, a.change FROM changed AS a JOIN watched AS w ON w.account = a.account
     WHERE w.network = %(network)s
), touched AS (
    SELECT h.wallet_id, greatest(%(number)s, ahead.block_number) AS block_number,
           CASE WHEN ahead.block_number IS NULL THEN h.change END AS change,
           CASE WHEN s.failures > 0 THEN greatest(s.next_sync_at, now())
                ELSE greatest(now() + %(merge)s, least(s.claimed_at, now()) + %(floor)s) END AS due_at
      FROM hit AS h JOIN sync_schedule AS s ON s.wallet_id = h.wallet_id
      LEFT JOIN LATERAL (SELECT b.block_number FROM balance_cache AS b JOIN networks AS n ON n.name = %(network)s
                          WHERE b.wallet_id = h.wallet_id AND b.block_number >= %(number)s
                            AND coalesce(b.source, n.first_source) IS NOT DISTINCT FROM n.source
                          LIMIT 1) AS ahead ON true
     WHERE s.network = %(network)s
       AND NOT (ahead.block_number IS NOT NULL AND h.change = 0 AND %(number)s > coalesce(%(orphaned_to)s, 0))
), noted AS (
    INSERT INTO touches AS t (wallet_id, block_number, network, usdt_change, due_at)
    SELECT wallet_id, block_number, %(network)s, change, due_at FROM touched ORDER BY wallet_id
        ON CONFLICT (wallet_id, block_number) DO UPDATE SET usdt_change = NULL
 RETURNING due_at
), moved AS (
    UPDATE feed_cursor
       SET block_number = %(number)s, block_hash = %(hash)s, block_time = to_timestamp(%(time)s),
           source = %(source)s::smallint, finality = %(finality)s,
           sees_native = coalesce(%(sees_native)s, sees_native), deprecated = deprecated OR %(deprecated)s,
           arrival_delay = %(delay)s, misses = 0, followed_at = now(), good_until = now() + %(good_for)s,
           next_at = to_timestamp(%(next_at)s)
     WHERE network = %(network)s
), kept AS (
    INSERT INTO feed_blocks AS f (network, number, hash, parent, wallet_ids)
    SELECT %(network)s, %(number)s, %(hash)s, %(parent)s, (SELECT coalesce(array_agg(wallet_id), '{}') FROM hit)
        ON CONFLICT (network, number) DO UPDATE
       SET hash = EXCLUDED.hash, parent = EXCLUDED.parent, wallet_ids = EXCLUDED.wallet_ids
), trimmed AS (
    DELETE FROM feed_blocks WHERE network = %(network)s AND number <= %(number)s - %(ring)s
)
SELECT (SELECT count(*) FROM hit), (SELECT count(*) FROM noted), (SELECT count(*) FROM noted WHERE due_at <= now())
"""

_NOTE_MISS = """
UPDATE feed_cursor SET misses = misses + 1, arrival_delay = %(delay)s, next_at = now() + %(pause)s,
       followed_at = now(), good_until = greatest(good_until, now() + %(good_for)s)
 WHERE network = %(network)s
"""
_NOTE_FAILURE = "UPDATE feed_cursor SET next_at = now() + %(pause)s WHERE network = %(network)s"

# The wallets of orphaned blocks are read again, at a block that nothing can be from that was orphaned: the highest that
# was followed, or their own row's. What the orphaned blocks' events said is not known any more.
_REWIND = """
WITH orphaned AS MATERIALIZED (
    SELECT DISTINCT unnest(wallet_ids) AS wallet_id FROM feed_blocks WHERE network = %(network)s AND number > %(fork)s
), unknown AS (
    UPDATE touches AS t SET usdt_change = NULL FROM orphaned AS o WHERE t.wallet_id = o.wallet_id
), owed AS (
    INSERT INTO touches AS t (wallet_id, block_number, network, usdt_change, due_at)
    SELECT s.wallet_id, greatest(%(before)s, b.block_number) AS block_number, %(network)s, NULL, now()
      FROM orphaned AS o JOIN sync_schedule AS s USING (wallet_id) LEFT JOIN balance_cache AS b USING (wallet_id)
     WHERE s.network = %(network)s
       AND NOT EXISTS (SELECT FROM touches AS t WHERE t.wallet_id = o.wallet_id
                          AND t.block_number = greatest(%(before)s, b.block_number))
     ORDER BY s.wallet_id
        ON CONFLICT (wallet_id, block_number) DO NOTHING
), dropped AS (
    DELETE FROM feed_blocks WHERE network = %(network)s AND number > %(fork)s
)
UPDATE feed_cursor AS c
   SET block_number = f.number, block_hash = f.hash, reorganisations = reorganisations + 1, next_at = now(),
       orphaned_to = %(before)s + %(ring)s
  FROM feed_blocks AS f
 WHERE c.network = %(network)s AND f.network = c.network AND f.number = %(fork)s
"""

_KNOWN = "SELECT hash FROM feed_blocks WHERE network = %(network)s AND number = %(number)s"

# From here on nothing is missing; what was before may be. So whoever has a row of before is read again, by pieces
# (db.networks.make_due). The first time, or where all wallets come by the cadence anyway, nobody has to be.
_JUMP = """
UPDATE feed_cursor
   SET block_number = %(number)s, block_hash = %(hash)s, block_time = to_timestamp(%(time)s),
       source = %(source)s::smallint, finality = %(finality)s, since = %(number)s,
       sees_native = coalesce(%(sees_native)s, CASE WHEN source IS NOT DISTINCT FROM %(source)s::smallint
                                                    THEN sees_native ELSE false END),
       deprecated = %(deprecated)s, arrival_delay = %(delay)s, misses = 0, followed_at = now(),
       good_until = now() + %(good_for)s, next_at = to_timestamp(%(next_at)s), due_spread = 0,
       jumps = jumps + %(is_gap)s::int
 WHERE network = %(network)s
"""
_EMPTY_RING = "DELETE FROM feed_blocks WHERE network = %(network)s"
_MAKE_ALL_DUE = "UPDATE networks SET due_up_to = %(begin)s WHERE name = %(network)s"

_DECIDE = """
UPDATE feed_cursor
   SET policy = %(policy)s, reason = %(reason)s, read_every = %(read_every)s, stretch = %(stretch)s,
       requests_a_day = %(requests_a_day)s, decided_at = now(), wallets = %(wallets)s,
       counted_at = CASE WHEN %(counted)s THEN now() ELSE counted_at END
 WHERE network = %(network)s
"""
_LEAVE = """
UPDATE feed_cursor SET since = NULL, due_spread = %(spread)s WHERE network = %(network)s AND since IS NOT NULL
RETURNING 1
"""
_FALL_BACK = """
UPDATE feed_cursor SET policy = 'cadence', reason = 'behind', since = NULL, due_spread = %(spread)s, decided_at = NULL
 WHERE network = %(network)s AND policy = 'feed' AND coalesce(good_until <= now(), true)
RETURNING 1
"""

_COUNT_WALLETS = "SELECT count(*) FROM sync_schedule WHERE network = %(network)s"

_COUNT_MISSED = """
UPDATE feed_cursor SET missed_usdt = missed_usdt + %(usdt)s, missed_native = missed_native + %(native)s
 WHERE network = %(network)s
"""


class Cursor(NamedTuple):
    """Where a network's feed stands. Times in unix seconds by the database's clock, of which `now` is the latest.

    `number` is None before the first block, `since` where nothing is covered: no block is missing from there on.
    `orphaned_to`: rows of blocks up to it may be of some that are gone. `delay`: seconds from a block's time to when
    nodes have it. `misses`: answers in a row that it is not there yet.
    """

    number: int | None
    hash: bytes | None
    time: float | None
    since: int | None
    policy: str
    sees_native: bool
    deprecated: bool
    source: int | None
    finality: str | None
    orphaned_to: int | None
    delay: float
    misses: int
    wallets: int | None
    next_at: float
    good_until: float | None
    decided_at: float | None
    counted_at: float | None
    now: float


class Followed(NamedTuple):
    """What one block came to: wallets that it names, reads that are owed for it, and those of them that are due now."""

    wallets: int
    touches: int
    due: int


class Step(NamedTuple):
    """What a step notes beside its block: values of `feed_cursor`. Seconds, and unix seconds for `next_at`.

    `floor`: from a wallet's last read to its next one for a touch. `merge`: for which touches wait for others.
    """

    source: int | None
    finality: str
    delay: float
    next_at: float
    good_for: timedelta
    floor: timedelta = timedelta(0)
    merge: timedelta = timedelta(0)


class Seen(NamedTuple):
    """A block as the tables know it: 32 bytes for each of the hashes, unix seconds, and whose balances it changed.

    `changes` has, for each of the `accounts`, the net change of the token in base units; None: by what is not known.
    """

    number: int
    hash: bytes
    parent: bytes
    time: int
    accounts: Sequence[bytes]
    changes: Sequence[int | None]
    sees_native: bool | None
    deprecated: bool


def cursor(connection: Connection, network: NetworkName) -> Cursor:
    """Where the feed of a network stands. A network that has none yet gets one."""
    row = connection.exec_driver_sql(_CURSOR, {"network": network}).one_or_none()
    if row is None:
        connection.exec_driver_sql(_ADD, {"network": network})
        row = connection.exec_driver_sql(_CURSOR, {"network": network}).one()
    number, block_hash, *more = row
    return Cursor(number, None if block_hash is None else bytes(block_hash), *more)


def take(connection: Connection, network: NetworkName, lease: timedelta) -> UUID | None:
    """The lease by which one process at a time asks for blocks: its token. None: another one has it."""
    token = uuid4()
    taken = connection.exec_driver_sql(_TAKE, {"network": network, "token": token, "lease": lease}).rowcount
    return token if taken else None


def give_back(connection: Connection, network: NetworkName, token: UUID) -> None:
    """Let another process ask for blocks."""
    connection.exec_driver_sql(_GIVE_BACK, {"network": network, "token": token})


def advance(connection: Connection, network: NetworkName, before: Cursor, block: Seen, step: Step) -> Followed | None:
    """Note whose balances a block may have changed, and move the cursor to it. None: it is not where it was.

    Two statements: new wallets come to be watched under a lock on the cursor (`db.touches.watch`), so what is looked up
    here has to be seen after it was had.
    """
    if not _locked(connection, network, before):
        return None
    parameters = {
        "network": network,
        "number": block.number,
        "hash": block.hash,
        "parent": block.parent,
        "time": block.time,
        "accounts": list(block.accounts),
        "changes": list(block.changes),
        "sees_native": block.sees_native,
        "deprecated": block.deprecated,
        "ring": RING,
        "orphaned_to": before.orphaned_to,
        **step._asdict(),
    }
    return Followed(*connection.exec_driver_sql(_ADVANCE, parameters).one())


def note_not_there(
    connection: Connection, network: NetworkName, *, delay: float, pause: timedelta, good_for: timedelta
) -> None:
    """The next block is not there yet: it is asked for again after a pause."""
    miss = {"network": network, "delay": delay, "pause": pause, "good_for": good_for}
    connection.exec_driver_sql(_NOTE_MISS, miss)


def note_failure(connection: Connection, network: NetworkName, pause: timedelta) -> None:
    """No node gave the next block: they are asked again after a pause. Nothing is known of the chain by that."""
    connection.exec_driver_sql(_NOTE_FAILURE, {"network": network, "pause": pause})


def known_hash(connection: Connection, network: NetworkName, number: int) -> bytes | None:
    """The hash that a block had when it was followed; None: it was not, or too long ago."""
    found: Any = connection.exec_driver_sql(_KNOWN, {"network": network, "number": number}).scalar_one_or_none()
    return None if found is None else bytes(found)


def rewind(connection: Connection, network: NetworkName, before: Cursor, fork: int) -> bool:
    """Go back to the last block that the chain still has, and have those wallets read again that the others touched.

    False: the cursor is not where it was.
    """
    if not _locked(connection, network, before):
        return False
    undone = {"network": network, "before": before.number, "fork": fork, "ring": RING}
    return bool(connection.exec_driver_sql(_REWIND, undone).rowcount)


def jump(
    connection: Connection, network: NetworkName, before: Cursor, block: Seen, step: Step, *, all_due: bool
) -> bool:
    """Go on at this block, and leave out those before it. `all_due`: whoever was last read before it is read again.

    False: the cursor is not where it was.
    """
    if not _locked(connection, network, before):
        return False
    to = {
        "network": network,
        "number": block.number,
        "hash": block.hash,
        "time": block.time,
        "sees_native": block.sees_native,
        "deprecated": block.deprecated,
        "is_gap": all_due,
        **step._asdict(),
    }
    connection.exec_driver_sql(_JUMP, to)
    connection.exec_driver_sql(_EMPTY_RING, {"network": network})
    if all_due:
        connection.exec_driver_sql(_MAKE_ALL_DUE, {"network": network, "begin": BEGIN})
    return True


class Decision(NamedTuple):
    """How a network is kept fresh from now on: columns of `feed_cursor`."""

    policy: str
    reason: str | None
    read_every: float
    stretch: float
    requests_a_day: int | None
    wallets: int
    counted: bool


def decide(connection: Connection, network: NetworkName, decision: Decision, *, spread: float) -> None:
    """Note it. Where the feed is left, the wallets that wait for a sweep come within `spread` seconds."""
    connection.exec_driver_sql(_DECIDE, {"network": network, **decision._asdict()})
    if decision.policy != "feed":
        left = connection.exec_driver_sql(_LEAVE, {"network": network, "spread": spread})
        if left.scalar_one_or_none():
            connection.exec_driver_sql(_MAKE_ALL_DUE, {"network": network, "begin": BEGIN})


def fall_back(connection: Connection, network: NetworkName, *, spread: float) -> bool:
    """Keep a network fresh by the cadence, if its feed has stood still for too long. Says whether that is news."""
    fell = connection.exec_driver_sql(_FALL_BACK, {"network": network, "spread": spread}).scalar_one_or_none()
    if fell:
        connection.exec_driver_sql(_MAKE_ALL_DUE, {"network": network, "begin": BEGIN})
    return bool(fell)


def count_wallets(connection: Connection, network: NetworkName) -> int:
    """All wallets of a network. It goes through an index: not for each block."""
    return int(connection.exec_driver_sql(_COUNT_WALLETS, {"network": network}).scalar_one())


def count_missed(connection: Connection, network: NetworkName, *, usdt: int, native: int) -> None:
    """Count changes that were believed and that the feed had not told of."""
    connection.exec_driver_sql(_COUNT_MISSED, {"network": network, "usdt": usdt, "native": native})


def _locked(connection: Connection, network: NetworkName, before: Cursor) -> bool:
    where = {"network": network, "before": before.number, "before_hash": before.hash}
    return connection.exec_driver_sql(_LOCK, where).one_or_none() is not None
