"""Touches: reads that are owed, for a block has changed a wallet's balances, or may have. Plain SQL.

A touch is served by a read at its block or a later one, and by nothing else: only what a read came to takes it away
(``db.outcomes``). So none can be lost, whatever dies in between. The feed adds them (``db.feed``), and a batch whose
wallets come to be watched, or were read ahead of the feed. Where a wallet's network has changed, or what a network is
read from, they are of blocks that say nothing any more, and go.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from config.networks import NetworkName
from db.claimed_wallets import WALLETS
from db.networks import PIECE
from db.windows import NAMED

# A wallet whose network was changed is another wallet: its touches go before long (db.freshness_policy).
DUE_TOUCHES = """touches AS t JOIN sync_schedule AS of_wallet ON of_wallet.wallet_id = t.wallet_id
                     WHERE t.network = %(network)s AND of_wallet.network = t.network AND t.due_at <= now()
                       AND t.wallet_id NOT IN (SELECT unnest(wallet_ids) FROM leases WHERE network = %(network)s)"""

# Whoever holds a wallet is reading it, and its touch is served or stays: so it is passed over, whatever its window is.
# Two touches of one wallet are one read.
TOUCHED = f"""
WITH free AS MATERIALIZED (
    SELECT s.wallet_id, account, failures, last_changed_at, requested_at, forgotten_at, next_sync_at
      FROM (SELECT DISTINCT wallet_id
              FROM (SELECT t.wallet_id FROM {DUE_TOUCHES}
                     ORDER BY t.due_at LIMIT %(limit)s) AS longest_owed) AS owed
      JOIN sync_schedule AS s USING (wallet_id)
), leased AS (
    INSERT INTO leases (token, lane, network, claimed_at, lease_until, wallet_ids)
    SELECT %(token)s, {NAMED}, %(network)s, statement_timestamp(), now() + %(lease)s, array_agg(wallet_id)
      FROM free HAVING count(*) > 0
)
{WALLETS}
"""

_COUNT_TOUCHED = f"SELECT count(*) FROM (SELECT FROM {DUE_TOUCHES} LIMIT %(bound)s) AS owed"


# For a statement with CTEs `at`, of the cursor, and `new`, of wallets that come to be watched.
_IN_RING = """
    UPDATE feed_blocks AS f SET wallet_ids = f.wallet_ids || (SELECT array_agg(wallet_id) FROM new)
      FROM at WHERE f.network = %(network)s AND f.number = at.block_number AND EXISTS (SELECT FROM new)"""

# Under a lock on the cursor. Either the feed's next step sees these wallets, or it was before, and then the cursor is
# at its block already: so from the cursor's block on nothing is missed. A read at that block is owed: until then nobody
# knows what the blocks have done between the wallet's row and the cursor. Should that block be orphaned, nobody knows
# what it and those before it had done to the wallet, so it counts as one that the block names (`_IN_RING`).
_WATCH = f"""
WITH at AS MATERIALIZED (
    SELECT block_number FROM feed_cursor WHERE network = %(network)s FOR SHARE
), new AS (
    SELECT s.wallet_id, n.account FROM unnest(%(ids)s::uuid[], %(accounts)s::bytea[]) AS n (wallet_id, account)
      JOIN sync_schedule AS s USING (wallet_id) ORDER BY s.wallet_id FOR KEY SHARE OF s
), watching AS (
    INSERT INTO watched AS w (wallet_id, network, account) SELECT wallet_id, %(network)s, account FROM new
        ON CONFLICT (wallet_id) DO UPDATE SET network = EXCLUDED.network, account = EXCLUDED.account
), in_ring AS ({_IN_RING}
)
INSERT INTO touches AS t (wallet_id, block_number, network, usdt_change, due_at)
SELECT wallet_id, block_number, %(network)s, NULL, now() + %(lease)s FROM new, at WHERE block_number IS NOT NULL
    ON CONFLICT (wallet_id, block_number) DO UPDATE SET usdt_change = NULL
"""

# The wallets of before there was a feed, along their ids. What was read of one after the feed began may lack a change
# of the blocks between that read and the cursor. Rows that somebody keeps locked are watched when they are claimed.
_WATCH_MORE = f"""
WITH at AS MATERIALIZED (
    SELECT block_number, since, watched_up_to FROM feed_cursor
     WHERE network = %(network)s AND watched_up_to IS NOT NULL FOR SHARE
), piece AS MATERIALIZED (
    SELECT wallet_id FROM sync_schedule WHERE wallet_id > (SELECT watched_up_to FROM at)
     ORDER BY wallet_id LIMIT {PIECE}
), known AS (
    SELECT s.wallet_id, s.account FROM piece JOIN sync_schedule AS s USING (wallet_id)
     WHERE s.network = %(network)s AND s.account IS NOT NULL
       AND NOT EXISTS (SELECT FROM watched AS w WHERE w.wallet_id = s.wallet_id)
       FOR KEY SHARE OF s SKIP LOCKED
), new AS (
    INSERT INTO watched (wallet_id, network, account) SELECT wallet_id, %(network)s, account FROM known
        ON CONFLICT DO NOTHING
 RETURNING wallet_id
), owed AS (
    INSERT INTO touches AS t (wallet_id, block_number, network, usdt_change, due_at)
    SELECT b.wallet_id, at.block_number, %(network)s, NULL, now()
      FROM new JOIN balance_cache AS b USING (wallet_id), at WHERE b.block_number >= at.since ORDER BY b.wallet_id
        ON CONFLICT (wallet_id, block_number) DO UPDATE SET usdt_change = NULL
), in_ring AS ({_IN_RING}
)
UPDATE feed_cursor SET watched_up_to = (SELECT wallet_id FROM piece ORDER BY wallet_id DESC LIMIT 1)
 WHERE network = %(network)s AND watched_up_to IS NOT NULL
"""

# Whoever was read ahead of the feed at a block that may be undone is read once more.
_OWE = """
INSERT INTO touches AS t (wallet_id, block_number, network, usdt_change, due_at)
SELECT s.wallet_id, o.block_number, %(network)s, NULL, now() + interval '2 seconds'
  FROM unnest(%(ids)s::uuid[], %(blocks)s::bigint[]) AS o (wallet_id, block_number)
  JOIN sync_schedule AS s USING (wallet_id) WHERE s.network = %(network)s ORDER BY s.wallet_id FOR KEY SHARE OF s
    ON CONFLICT (wallet_id, block_number) DO UPDATE SET usdt_change = NULL
"""

_AT = "SELECT block_number, since FROM feed_cursor WHERE network = %(network)s"

# By their wallets, one by one, whatever the planner knows of a table that grows from nothing to a million rows: so the
# network is compared in a way that no index serves.
_TOLD = """
SELECT a.wallet_id, its.owed, coalesce(its.usdt, 0)::text, its.unknown
  FROM unnest(%(ids)s::uuid[], %(row_blocks)s::bigint[], %(read_blocks)s::bigint[]) AS a (wallet_id, before, read)
 CROSS JOIN LATERAL (
       SELECT max(t.block_number) AS owed, bool_or(n.change IS NULL) AS unknown,
              sum(n.change) FILTER (WHERE t.block_number > a.before AND t.block_number <= a.read) AS usdt
         FROM touches AS t CROSS JOIN LATERAL (SELECT nullif(t.usdt_change, 'NaN') AS change) AS n
        WHERE t.wallet_id = a.wallet_id AND t.network IS NOT DISTINCT FROM %(network)s) AS its
 WHERE its.owed IS NOT NULL
"""


class Told(NamedTuple):
    """What the feed says of a wallet: up to which block a read is owed, and the net change of the token in base units
    between the block of its row and the block that was read. `unknown`: not all of it was told.
    """

    owed: int
    usdt: int
    unknown: bool


class Covered(NamedTuple):
    """The blocks that a feed has told of: from `since` to `number`, both included. None: of none."""

    number: int | None = None
    since: int | None = None


NOT_COVERED = Covered()


def count_touched(connection: Connection, network: NetworkName, *, bound: int) -> int:
    """How many reads are owed to touches and due now, up to `bound`."""
    return int(connection.exec_driver_sql(_COUNT_TOUCHED, {"network": network, "bound": bound}).scalar_one())


def watch(connection: Connection, network: NetworkName, accounts: Mapping[UUID, bytes], *, lease: timedelta) -> None:
    """Have the feed look for these wallets' accounts from now on. Before they are read. One statement."""
    new = {"ids": list(accounts), "accounts": list(accounts.values()), "network": network, "lease": lease}
    connection.exec_driver_sql(_WATCH, new)


def watch_more(connection: Connection, network: NetworkName) -> bool:
    """Have the next thousands of known wallets watched. False: all are."""
    return bool(connection.exec_driver_sql(_WATCH_MORE, {"network": network}).rowcount)


def owe(connection: Connection, network: NetworkName, blocks: Mapping[UUID, int]) -> None:
    """Have wallets read again, each at the block that it was read at or later: the feed has not told of it yet."""
    connection.exec_driver_sql(_OWE, {"network": network, "ids": list(blocks), "blocks": list(blocks.values())})


def covered(connection: Connection, network: NetworkName) -> Covered:
    """Which blocks of a network the feed has told of."""
    row = connection.exec_driver_sql(_AT, {"network": network}).one_or_none()
    return NOT_COVERED if row is None else Covered(*row)


def told(connection: Connection, network: NetworkName, reads: Sequence[tuple[UUID, int, int]]) -> dict[UUID, Told]:
    """What the feed of a network says of wallets, each with the block of its row and the block that was read.

    Of those that no block has touched since their last read it says nothing: they are not in it.
    """
    ids, row_blocks, read_blocks = map(list, zip(*reads, strict=True)) if reads else ([], [], [])
    asked = {"network": network, "ids": ids, "row_blocks": row_blocks, "read_blocks": read_blocks}
    rows = connection.exec_driver_sql(_TOLD, asked)
    return {wallet: Told(owed, int(usdt), unknown) for wallet, owed, usdt, unknown in rows}
