"""Writing what a batch found: balances and schedule, in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from db.requests import CHANNEL

# What each part of the statement makes sure of:
# ended      Everything is under the claim's own token: a worker that lost its lease finds no row, and writes nothing.
# claim      Nor does one write that read another source than its network is read from now.
# recorded   A wallet is passed over whose due time is no longer the one that it was claimed at: its address changed, or
#            it is gone. `asked_again`: requested after it was claimed and before this moment, so it is due again at
#            once; a request of a later moment is none. `awaited`: requested so shortly before that somebody may wait.
# forgotten  The wallets for which `resync --forget` was run: of these there are nearly always none.
# written    What is older never overwrites: by the block, and within one block by the time of the read. Two kinds of
#            balances any block overwrites: one of another source (db.sources), and one that was read before its wallet
#            was forgotten.
# served     A read serves the touches of its block and of those before it (db.touches). What a network is owed that its
#            wallet has left, nobody can serve: that goes as well, for its blocks say nothing of this one's.
# owed       Those of later blocks are due again in as many seconds as they are blocks away, or when its failure says.
#            One of a block that the feed has not come to, which perhaps no read ever reaches, is tried more rarely.
#            Both find touches by their wallets' keys, whatever the planner knows of a table that grows within a minute.
# told       Only those that may be awaited are told of (db.requests): commits that tell something go one after another.
_RECORD = """
WITH ended AS (
    DELETE FROM leases WHERE token = %(token)s RETURNING claimed_at, network
), claim AS (
    SELECT max(claimed_at) AS claimed_at, max(e.network) AS network, max(n.first_source) AS first_source
      FROM ended AS e JOIN networks AS n ON n.name = e.network WHERE n.source IS NOT DISTINCT FROM %(source)s::smallint
), outcome AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(was_due)s::float8[], %(due)s::float8[], %(failures)s::int[], %(errors)s::text[],
        %(changed)s::bool[], %(usdt)s::numeric[], %(native)s::numeric[], %(block_number)s::bigint[],
        %(block_time)s::bigint[], %(one_block)s::bool[], %(accounts)s::text[]
    ) AS o (wallet_id, was_due, due, failures, error, changed, usdt, native, block_number, block_time, one_block,
            account)
){locked}, recorded AS (
    UPDATE sync_schedule s
       SET lane = 0,
           claimed_at = c.claimed_at,
           account = coalesce(decode(o.account, 'hex'), s.account),
           next_sync_at = CASE WHEN s.requested_at > c.claimed_at AND s.requested_at <= clock_timestamp() THEN now()
                               ELSE to_timestamp(o.due) END,
           failures = o.failures,
           last_error = o.error,
           last_changed_at = CASE WHEN o.changed THEN c.claimed_at ELSE s.last_changed_at END
      FROM claim c, {outcome} o
     WHERE s.wallet_id = o.wallet_id AND c.claimed_at IS NOT NULL
       AND date_part('epoch', s.next_sync_at) = o.was_due
 RETURNING s.wallet_id, s.claimed_at, s.forgotten_at,
           s.requested_at > s.claimed_at AND s.requested_at <= clock_timestamp() AS asked_again,
           s.requested_at > s.claimed_at - interval '1 minute' AS awaited,
           o.usdt, o.native, o.block_number, o.block_time, o.one_block, o.due, c.network
), forgotten AS MATERIALIZED (
    SELECT wallet_id, forgotten_at FROM recorded WHERE forgotten_at IS NOT NULL
), written AS (
    INSERT INTO balance_cache AS b
           (wallet_id, usdt_balance, native_balance, block_number, block_time, finality, last_synced, one_block, source)
    SELECT wallet_id, usdt, native, block_number, to_timestamp(block_time), %(finality)s, claimed_at, one_block,
           %(source)s::smallint
      FROM recorded WHERE usdt IS NOT NULL
        ON CONFLICT (wallet_id) DO UPDATE
       SET usdt_balance = EXCLUDED.usdt_balance, native_balance = EXCLUDED.native_balance,
           block_number = EXCLUDED.block_number, block_time = EXCLUDED.block_time,
           finality = EXCLUDED.finality, last_synced = EXCLUDED.last_synced, one_block = EXCLUDED.one_block,
           source = EXCLUDED.source
     WHERE (b.block_number, b.last_synced) <= (EXCLUDED.block_number, EXCLUDED.last_synced)
        OR coalesce(b.source, (SELECT first_source FROM claim)) IS DISTINCT FROM EXCLUDED.source
        OR EXISTS (SELECT FROM forgotten f WHERE f.wallet_id = b.wallet_id AND f.forgotten_at > b.last_synced)
 RETURNING wallet_id
){touches}
SELECT (SELECT count(*) FROM recorded) AS recorded,
       (SELECT count(*) FROM written) AS written,
       (SELECT coalesce(array_agg(wallet_id), '{{}}') FROM recorded WHERE asked_again) AS asked_again,
       (SELECT count(pg_notify(%(channel)s, wallet_id::text)) FROM recorded WHERE awaited) AS told
"""
_RECORD_ALL = {"locked": "", "outcome": "outcome"}

# Passes over rows that somebody keeps locked. Dearer by a lock a row, so it is for when that has been met.
_FREE = """, free AS (
    SELECT o.* FROM outcome o JOIN sync_schedule USING (wallet_id) FOR NO KEY UPDATE OF sync_schedule SKIP LOCKED
)"""
_RECORD_FREE = {"locked": _FREE, "outcome": "free"}

# For networks of which touches are there, or may come meanwhile.
_TOUCHES = """, served AS (
    DELETE FROM touches AS t USING recorded AS r
     WHERE t.wallet_id = r.wallet_id AND t.wallet_id = ANY(ARRAY(SELECT wallet_id FROM recorded))
       AND (t.network <> r.network OR (r.usdt IS NOT NULL AND t.block_number <= r.block_number))
), owed AS (
    UPDATE touches AS t
       SET due_at = CASE WHEN r.usdt IS NULL THEN to_timestamp(r.due)
                         ELSE now() + interval '1 second' * least(t.block_number - r.block_number,
                                                                 CASE WHEN t.block_number > c.block_number
                                                                      THEN 600 ELSE 60 END) END
      FROM recorded AS r LEFT JOIN feed_cursor AS c ON c.network = r.network
     WHERE t.wallet_id = r.wallet_id AND t.wallet_id = ANY(ARRAY(SELECT wallet_id FROM recorded))
       AND t.network IS NOT DISTINCT FROM r.network
       AND NOT coalesce(r.usdt IS NOT NULL AND t.block_number <= r.block_number, false)
)"""
_STATEMENTS = {
    (pass_over, follows): _RECORD.format(**way, touches=_TOUCHES if follows else "")
    for pass_over, way in ((False, _RECORD_ALL), (True, _RECORD_FREE))
    for follows in (False, True)
}


class Outcome(NamedTuple):
    """What came of one wallet's read: both balances in base units and their block, or an error's code.

    `was_due` (when it was claimed), `due` and `block_time` are in unix seconds; `one_block` is False for balances of
    their block or a little later.
    `account` is what the wallet's address was found to be, where that was not known, or wrong.
    """

    wallet_id: UUID
    was_due: float
    due: float
    failures: int
    error: str | None = None
    changed: bool = False
    usdt: int | None = None
    native: int | None = None
    block_number: int | None = None
    block_time: int | None = None
    one_block: bool = True
    account: bytes | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """How many outcomes were still under their lease, how many balances written, and who was asked for meanwhile."""

    recorded: int
    written: int
    asked_again: tuple[UUID, ...]


def record(
    connection: Connection,
    token: UUID,
    outcomes: Sequence[Outcome],
    *,
    finality: str,
    source_id: int | None = None,
    pass_over_locked: bool = False,
    follows: bool = False,
) -> Recorded:
    """Write a batch's outcomes, and end its lease. One statement. A wallet without an outcome stays as due as it was.

    `source_id`: what was read, as its claim was told; None: nobody has registered it. Where the network is read from
    another source by now, nothing is written, and its wallets stay as they are.

    `follows`: reads of the network may be owed to touches; those of the blocks that were read are served.

    A wallet that was requested while it was being read is due again at once. Rows are locked in the order of the
    wallets' ids: whoever changes several wallets at once in this order is never in a deadlock with it.
    """
    in_order = zip(*sorted(outcomes, key=_id), strict=True)
    ids, was_due, due, failures, errors, changed, usdt, native, numbers, times, one_block, accounts = in_order
    row = connection.exec_driver_sql(
        _STATEMENTS[pass_over_locked, follows],
        {
            "token": token,
            "channel": CHANNEL,
            "ids": _array([wallet.hex for wallet in ids]),
            "was_due": _array(was_due),
            "due": _array(due),
            "failures": _array(failures),
            "errors": _array(errors),
            "changed": _array(changed),
            "usdt": _array(usdt),
            "native": _array(native),
            "block_number": _array(numbers),
            "block_time": _array(times),
            "one_block": _array(one_block),
            "accounts": _array([account and account.hex() for account in accounts]),
            "finality": finality,
            "source": source_id,
        },
    ).one()
    return Recorded(row.recorded, row.written, tuple(row.asked_again))


def _id(outcome: Outcome) -> bytes:
    return outcome.wallet_id.bytes


def _array(values: Sequence[object]) -> str:
    """An array in Postgres' own notation. A list would be looked at by the driver value by value, at thrice the cost.

    Of numbers, flags, None and words of small letters: nothing that would have to be quoted.
    """
    if values.count(values[0]) == len(values):  # most are alike: no failures, one block
        return "{" + ",".join([_element(values[0])] * len(values)) + "}"
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: object) -> str:
    return "NULL" if value is None else str(value)
