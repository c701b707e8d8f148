"""Writing what a batch found: balances and schedule, in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from db.refresh import CHANNEL

# Everything is under the claim's own token: a worker that lost its lease, to another worker or because the wallet's
# address changed or the wallet is gone, writes nothing. The upsert is guarded besides by the block, and within one
# block by the time of the read: what is older never overwrites. `awaited`: asked for so shortly before that somebody
# may wait for it now. Only then is anybody told (db.refresh), for commits that tell something go one after another.
_RECORD = """
WITH outcome AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(due)s::float8[], %(failures)s::int[], %(errors)s::text[], %(changed)s::bool[],
        %(usdt)s::numeric[], %(native)s::numeric[], %(block_number)s::bigint[], %(block_time)s::bigint[],
        %(one_block)s::bool[], %(accounts)s::text[]
    ) AS o (wallet_id, due, failures, error, changed, usdt, native, block_number, block_time, one_block, account)
), recorded AS (
    UPDATE sync_schedule s
       SET lease_token = NULL,
           lease_until = NULL,
           account = coalesce(decode(o.account, 'hex'), s.account),
           next_sync_at = CASE WHEN s.requested_at > s.claimed_at THEN now() ELSE to_timestamp(o.due) END,
           failures = o.failures,
           last_error = o.error,
           last_changed_at = CASE WHEN o.changed THEN s.claimed_at ELSE s.last_changed_at END
      FROM outcome o
     WHERE s.wallet_id = o.wallet_id AND s.lease_token = %(token)s
 RETURNING s.wallet_id, s.claimed_at, s.requested_at > s.claimed_at AS asked_again,
           s.requested_at > s.claimed_at - interval '1 minute' AS awaited,
           o.usdt, o.native, o.block_number, o.block_time, o.one_block
), written AS (
    INSERT INTO balance_cache AS b
           (wallet_id, usdt_balance, native_balance, block_number, block_time, finality, last_synced, one_block)
    SELECT wallet_id, usdt, native, block_number, to_timestamp(block_time), %(finality)s, claimed_at, one_block
      FROM recorded WHERE usdt IS NOT NULL
        ON CONFLICT (wallet_id) DO UPDATE
       SET usdt_balance = EXCLUDED.usdt_balance, native_balance = EXCLUDED.native_balance,
           block_number = EXCLUDED.block_number, block_time = EXCLUDED.block_time,
           finality = EXCLUDED.finality, last_synced = EXCLUDED.last_synced, one_block = EXCLUDED.one_block
     WHERE (b.block_number, b.last_synced) <= (EXCLUDED.block_number, EXCLUDED.last_synced)
 RETURNING wallet_id
)
SELECT (SELECT count(*) FROM recorded) AS recorded,
       (SELECT count(*) FROM written) AS written,
       (SELECT coalesce(array_agg(wallet_id), '{}') FROM recorded WHERE asked_again) AS asked_again,
       (SELECT count(pg_notify(%(channel)s, wallet_id::text)) FROM recorded WHERE awaited) AS told
"""


class Outcome(NamedTuple):
    """What came of one wallet's read: both balances in base units and their block, or an error's code.

    `due` and `block_time` are in unix seconds; `one_block` is False for balances of their block or a little later.
    `account` is what the wallet's address was found to be, where that was not known, or wrong.
    """

    wallet_id: UUID
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


def record(connection: Connection, token: UUID, outcomes: Sequence[Outcome], *, finality: str) -> Recorded:
    """Write a batch's outcomes. One statement.

    A wallet that was requested while it was being read is due again at once.
    """
    ids, due, failures, errors, changed, usdt, native, numbers, times, one_block, accounts = zip(*outcomes, strict=True)
    row = connection.exec_driver_sql(
        _RECORD,
        {
            "token": token,
            "channel": CHANNEL,
            "ids": _array([wallet.hex for wallet in ids]),
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
        },
    ).one()
    return Recorded(row.recorded, row.written, tuple(row.asked_again))


def _array(values: Sequence[object]) -> str:
    """An array in Postgres' own notation. A list would be looked at by the driver value by value, at thrice the cost.

    Of numbers, flags, None and words of small letters: nothing that would have to be quoted.
    """
    if values.count(values[0]) == len(values):  # most are alike: no failures, one block
        return "{" + ",".join([_element(values[0])] * len(values)) + "}"
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: object) -> str:
    return "NULL" if value is None else str(value)
