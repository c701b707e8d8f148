"""Writing what a batch found: balances and schedule, in one statement."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

# Everything is under the claim's own token: a worker that lost its lease, to another worker or because the wallet's
# address changed or the wallet is gone, writes nothing. The upsert is guarded besides by the block, and within one
# block by the time of the read: what is older never overwrites.
_RECORD = """
WITH outcome AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(due)s::float8[], %(failures)s::int[], %(errors)s::text[], %(changed)s::bool[],
        %(usdt)s::numeric[], %(native)s::numeric[], %(block_number)s::bigint[], %(block_time)s::bigint[],
        %(one_block)s::bool[]
    ) AS o (wallet_id, due, failures, error, changed, usdt, native, block_number, block_time, one_block)
), recorded AS (
    UPDATE sync_schedule s
       SET lease_token = NULL,
           next_sync_at = CASE WHEN s.requested_at > s.claimed_at THEN now() ELSE to_timestamp(o.due) END,
           failures = o.failures,
           last_error = o.error,
           last_changed_at = CASE WHEN o.changed THEN s.claimed_at ELSE s.last_changed_at END
      FROM outcome o
     WHERE s.wallet_id = o.wallet_id AND s.lease_token = %(token)s
 RETURNING s.wallet_id, s.claimed_at, s.requested_at > s.claimed_at AS asked_again,
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
       (SELECT coalesce(array_agg(wallet_id), '{}') FROM recorded WHERE asked_again) AS asked_again
"""


class Outcome(NamedTuple):
    """What came of one wallet's read: both balances in base units and their block, or an error's code.

    `block_time` is in unix seconds; `one_block` is False for balances of their block or a little later.
    """

    wallet_id: UUID
    due: datetime
    failures: int
    error: str | None = None
    changed: bool = False
    usdt: int | None = None
    native: int | None = None
    block_number: int | None = None
    block_time: int | None = None
    one_block: bool = True


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
    ids, due, failures, errors, changed, usdt, native, numbers, times, one_block = zip(*outcomes, strict=True)
    row = connection.exec_driver_sql(
        _RECORD,
        {
            "token": token,
            "ids": _array(wallet.hex for wallet in ids),
            "due": _array(at.timestamp() for at in due),
            "failures": _array(failures),
            "errors": _array(errors),
            "changed": _array(changed),
            "usdt": _array(usdt),
            "native": _array(native),
            "block_number": _array(numbers),
            "block_time": _array(times),
            "one_block": _array(one_block),
            "finality": finality,
        },
    ).one()
    return Recorded(row.recorded, row.written, tuple(row.asked_again))


def _array(values: Iterable[object]) -> str:
    """An array in Postgres' own notation. A list would be looked at by the driver value by value, at thrice the cost.

    Of numbers, flags, None and words of small letters: nothing that would have to be quoted.
    """
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"
