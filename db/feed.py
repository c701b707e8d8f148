"""The feed of blocks: up to which block a network was followed, and which wallets its blocks touched. Plain SQL.

One step is one transaction: the touched wallets are noted and the cursor moves, or neither. Whoever moves it has it
locked and has compared it with what he began from, so two who follow the same network at once do no harm: the second
finds another cursor, and does nothing. A lease only saves the second one's requests.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from config.networks import NetworkName
from db.feed_cursor import LEASE, Cursor
from db.networks import BEGIN

RING = 128
"""Blocks that are remembered: a reorganisation deeper than this has all wallets read again."""

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
#           That holds only where no other block can come in the place of the row's (`settled`), and not for some blocks
#           after a reorganisation: the row may be of one that is gone, which the feed has perhaps never seen.
#           A wallet that is being deleted is waited for: a touch of it would have nothing to refer to.
# due       Where reads are merged, wallets wait for the last block of some (`merge`). A wallet that has just been read
#           waits a little (`floor`): one that each block touches costs a place in every second batch, and misses none
#           by a hair. One that fails waits for as long as its failure says.
# together  With the last block of some, those are due that have waited for it.
_ADVANCE = """
WITH changed AS (
    SELECT * FROM unnest(%(accounts)s::bytea[], %(changes)s::numeric[]) AS a (account, change)
), hit AS MATERIALIZED (
    SELECT w.wallet_id, a.change FROM changed AS a JOIN watched AS w ON w.account = a.account
     WHERE w.network = %(network)s
), together AS (
    UPDATE touches AS t SET due_at = now()
     WHERE t.network = %(network)s AND t.due_at > now() AND t.due_at <= now() + %(gathered)s
       AND t.block_number >= %(number)s - %(gathers)s AND t.block_number < %(number)s
 RETURNING 1
), touched AS (
    SELECT h.wallet_id, greatest(%(number)s, ahead.block_number) AS block_number,
           CASE WHEN ahead.block_number IS NULL THEN h.change END AS change,
           CASE WHEN s.failures > 0 THEN greatest(s.next_sync_at, now())
                WHEN due.at <= now() + %(floor)s / 4 THEN now() ELSE due.at END AS due_at
      FROM hit AS h JOIN sync_schedule AS s ON s.wallet_id = h.wallet_id
     CROSS JOIN LATERAL (SELECT greatest(now() + %(merge)s, least(s.claimed_at, now()) + %(floor)s) AS at) AS due
      LEFT JOIN LATERAL (SELECT b.block_number FROM balance_cache AS b JOIN networks AS n ON n.name = %(network)s
                          WHERE b.wallet_id = h.wallet_id AND b.block_number >= %(number)s
                            AND coalesce(b.source, n.first_source) IS NOT DISTINCT FROM n.source
                          LIMIT 1) AS ahead ON true
     WHERE s.network = %(network)s
       AND NOT (ahead.block_number IS NOT NULL AND h.change = 0
                AND %(settled)s AND %(number)s > coalesce(%(orphaned_to)s, 0))
       FOR KEY SHARE OF s
), noted AS (
    INSERT INTO touches AS t (wallet_id, block_number, network, usdt_change, due_at)
    SELECT wallet_id, block_number, %(network)s, change, due_at FROM touched ORDER BY wallet_id
        ON CONFLICT (wallet_id, block_number) DO UPDATE SET usdt_change = NULL
 RETURNING due_at
), moved AS (
    UPDATE feed_cursor
       SET block_number = %(number)s, block_hash = %(hash)s, block_time = to_timestamp(%(time)s),
           source = %(source)s::smallint, finality = %(finality)s,
           sees_native = CASE WHEN %(sees_native)s AND native_unseen_at > now() - interval '10 minutes' THEN sees_native
                              ELSE coalesce(%(sees_native)s, sees_native) END,
           native_unseen_at = CASE WHEN NOT %(sees_native)s THEN now() ELSE native_unseen_at END,
           deprecated = deprecated OR %(deprecated)s,
           arrival_delay = %(delay)s, block_seconds = %(block_seconds)s, misses = 0, blind = NULL,
           followed_at = now(), good_until = now() + %(good_for)s,
           next_at = to_timestamp(%(next_at)s),
           lease_until = CASE WHEN lease_token IS NOT NULL THEN now() + %(lease)s END
     WHERE network = %(network)s
), kept AS (
    INSERT INTO feed_blocks AS f (network, number, hash, parent, wallet_ids)
    SELECT %(network)s, %(number)s, %(hash)s, %(parent)s, (SELECT coalesce(array_agg(wallet_id), '{}') FROM hit)
        ON CONFLICT (network, number) DO UPDATE
       SET hash = EXCLUDED.hash, parent = EXCLUDED.parent, wallet_ids = EXCLUDED.wallet_ids
), trimmed AS (
    DELETE FROM feed_blocks WHERE network = %(network)s AND number <= %(number)s - %(ring)s
)
SELECT (SELECT count(*) FROM hit), (SELECT count(*) FROM noted),
       (SELECT count(*) FROM noted WHERE due_at <= now()) + (SELECT count(*) FROM together)
"""

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
     ORDER BY s.wallet_id FOR KEY SHARE OF s
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

_KNOWN = "SELECT number, hash FROM feed_blocks WHERE network = %(network)s"
_NAMED_AFTER = """
SELECT coalesce(sum(cardinality(wallet_ids)), 0) FROM feed_blocks WHERE network = %(network)s AND number > %(number)s
"""

# From here on nothing is missing; what was before may be. So whoever has a row of before is read again, by pieces
# (db.networks.make_due). The first time, or where all wallets come by the cadence anyway, nobody has to be.
_JUMP = """
UPDATE feed_cursor
   SET block_number = %(number)s, block_hash = %(hash)s, block_time = to_timestamp(%(time)s),
       source = %(source)s::smallint, finality = %(finality)s, since = %(since)s,
       watched_up_to = %(begin)s,
       orphaned_to = CASE WHEN %(is_orphaned)s THEN %(since)s - 1
                          WHEN source IS NOT DISTINCT FROM %(source)s::smallint THEN orphaned_to END,
       sees_native = coalesce(%(sees_native)s, CASE WHEN source IS NOT DISTINCT FROM %(source)s::smallint
                                                    THEN sees_native ELSE false END),
       deprecated = %(deprecated)s OR (deprecated AND source IS NOT DISTINCT FROM %(source)s::smallint),
       arrival_delay = %(delay)s, block_seconds = %(block_seconds)s, misses = 0, blind = NULL,
       followed_at = now(), good_until = now() + %(good_for)s,
       next_at = to_timestamp(%(next_at)s),
       due_below = CASE WHEN %(is_gap)s THEN %(since)s ELSE due_below END,
       due_spread = CASE WHEN %(is_gap)s THEN 0 ELSE due_spread END, jumps = jumps + %(is_gap)s::int
 WHERE network = %(network)s
"""
_NEW_RING = """
WITH gone AS (
    DELETE FROM feed_blocks WHERE network = %(network)s AND number <> %(number)s
)
INSERT INTO feed_blocks AS f (network, number, hash, parent, wallet_ids)
SELECT %(network)s, %(number)s, %(hash)s, %(parent)s, '{}'
    ON CONFLICT (network, number) DO UPDATE
   SET hash = EXCLUDED.hash, parent = EXCLUDED.parent, wallet_ids = EXCLUDED.wallet_ids
"""
_FORGET_TOUCHES = "DELETE FROM touches WHERE network = %(network)s"
MAKE_ALL_DUE = "UPDATE networks SET due_up_to = %(begin)s WHERE name = %(network)s"


class Followed(NamedTuple):
    """What one block came to: wallets that it names, reads that are owed for it, and reads that are due now."""

    wallets: int
    touches: int
    due: int


class Step(NamedTuple):
    """What a step notes beside its block: values of `feed_cursor`. Seconds, and unix seconds for `next_at`.

    `floor`: from a wallet's last read to its next one for a touch. `merge`: for how long touches wait for a later
    block. `gathers`: those of so many blocks before this one have waited for it, and no longer than `gathered` more.
    `settled`: no other block can come in this one's place.
    """

    source: int | None
    finality: str
    delay: float
    block_seconds: float
    next_at: float
    good_for: timedelta
    floor: timedelta = timedelta(0)
    merge: timedelta = timedelta(0)
    gathered: timedelta = timedelta(0)
    gathers: int = 0
    settled: bool = False


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
        "lease": LEASE,
        "orphaned_to": before.orphaned_to,
        **step._asdict(),
    }
    return Followed(*connection.exec_driver_sql(_ADVANCE, parameters).one())


def known_blocks(connection: Connection, network: NetworkName) -> dict[int, bytes]:
    """The hashes that the last blocks had when they were followed, by number."""
    rows = connection.exec_driver_sql(_KNOWN, {"network": network})
    return {number: bytes(block_hash) for number, block_hash in rows}


def named_after(connection: Connection, network: NetworkName, number: int) -> int:
    """How many wallets the blocks after this one name. A wallet counts once for each block that names it."""
    return int(connection.exec_driver_sql(_NAMED_AFTER, {"network": network, "number": number}).scalar_one())


def rewind(connection: Connection, network: NetworkName, before: Cursor, fork: int) -> bool:
    """Go back to the last block that the chain still has, and have those wallets read again that the others touched.

    False: the cursor is not where it was.
    """
    if not _locked(connection, network, before):
        return False
    undone = {"network": network, "before": before.number, "fork": fork, "ring": RING}
    return bool(connection.exec_driver_sql(_REWIND, undone).rowcount)


def jump(
    connection: Connection,
    network: NetworkName,
    before: Cursor,
    block: Seen,
    step: Step,
    *,
    all_due: bool,
    gone: int | None = None,
) -> bool:
    """Go on at this block, and leave out those before it. `all_due`: whoever was last read before it is read again.

    `gone`: rows may be of blocks that are gone, up to this number and those that were read ahead of it, also of numbers
    that the chain has not come to again. Those are all read again, and nothing is covered before the chain is beyond
    them. What was owed to another source is owed no more:
    all wallets are read anew from the new one. False: the cursor is not where it was.
    """
    if not _locked(connection, network, before):
        return False
    to = {
        "network": network,
        "number": block.number,
        "hash": block.hash,
        "parent": block.parent,
        "time": block.time,
        "since": block.number if gone is None else max(block.number, gone + RING + 1),
        "is_orphaned": gone is not None,
        "sees_native": block.sees_native,
        "deprecated": block.deprecated,
        "is_gap": all_due,
        "begin": BEGIN,
        **step._asdict(),
    }
    connection.exec_driver_sql(_JUMP, to)
    connection.exec_driver_sql(_NEW_RING, to)
    if before.source not in {None, step.source}:  # also what new wallets were owed since the change (db.touches.watch)
        connection.exec_driver_sql(_FORGET_TOUCHES, {"network": network})
    if all_due:
        connection.exec_driver_sql(MAKE_ALL_DUE, {"network": network, "begin": BEGIN})
    return True


def _locked(connection: Connection, network: NetworkName, before: Cursor) -> bool:
    where = {"network": network, "before": before.number, "before_hash": before.hash}
    return connection.exec_driver_sql(_LOCK, where).one_or_none() is not None
