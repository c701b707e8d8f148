"""What the operator's page shows of single wallets. Plain SQL in the driver's own form; changes nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from config.networks import NetworkName
from db.sources import OF_SOURCE
from db.windows import HOLDER

TIMEOUT = 5_000  # milliseconds; no index leads from an address to its wallets: a million of them are gone through
MOST = 100  # wallets that are shown


class WalletDetail(NamedTuple):
    """A wallet, its schedule and its balance. Amounts in base units; what was never read or noted is None."""

    wallet_id: UUID
    user_id: UUID
    network: NetworkName
    address: str
    created_at: datetime
    now: datetime
    """The database's clock, which all the other moments are of."""
    next_sync_at: datetime | None
    """None: it has no schedule."""
    failures: int
    last_error: str | None
    requested_at: datetime | None
    held_until: datetime | None
    """Until when a worker that reads it has a lease; past: that worker never came back."""
    usdt: int | None
    native: int | None
    block_number: int | None
    block_time: datetime | None
    finality: str | None
    last_synced: datetime | None
    last_changed_at: datetime | None
    doubted: bool
    """Whether a change of it is held back, since one endpoint alone tells of it."""
    usdt_decimals: int | None
    native_decimals: int | None
    native_symbol: str | None
    out_since: datetime | None
    touches: int
    """Reads that are owed to it, since blocks touched it."""
    touched_at_block: int | None
    """The newest of these blocks."""
    touch_due_at: datetime | None
    """When the first of them is to be served."""


# Addresses are compared as the unique index of wallets does: what begins with 0x means the same in any case.
_SPELLING = "CASE WHEN lower(left(w.address, 2)) = '0x' THEN lower(w.address) ELSE w.address END"

_DETAILS = f"""
SELECT w.id, w.user_id, w.network, w.address, w.created_at, now(), s.next_sync_at, coalesce(s.failures, 0),
       s.last_error, s.requested_at, h.lease_until, b.usdt_balance, b.native_balance, b.block_number, b.block_time,
       b.finality, b.last_synced, s.last_changed_at, EXISTS (SELECT FROM held_changes c WHERE c.wallet_id = w.id),
       t.decimals, n.native_decimals, n.native_symbol, o.out_since, c.touches, c.block_number, c.due_at
  FROM (SELECT * FROM wallets w WHERE {{of_whom}} ORDER BY w.created_at, w.id LIMIT %(most)s) w
  LEFT JOIN networks n ON n.name = w.network
  LEFT JOIN sources t ON t.id = n.source
  LEFT JOIN sync_schedule s ON s.wallet_id = w.id
  LEFT JOIN balance_cache b ON b.wallet_id = w.id AND {OF_SOURCE}
  LEFT JOIN network_state o ON o.network = w.network
 CROSS JOIN LATERAL (SELECT count(*) AS touches, max(block_number) AS block_number, min(due_at) AS due_at
                       FROM touches c WHERE c.wallet_id = w.id) c
  LEFT JOIN {HOLDER} h ON true
 ORDER BY w.created_at, w.id
"""
_BY_ID = _DETAILS.format(of_whom="w.id = %(id)s OR w.user_id = %(id)s")
_BY_ADDRESS = _DETAILS.format(of_whom=f"{_SPELLING} = ANY(%(spellings)s)")


def wallets_of_id(connection: Connection, of: UUID) -> list[WalletDetail]:
    """The wallet of this id, or the wallets of the user of this id: one more than MOST at the most."""
    return _found(connection, _BY_ID, id=of)


def wallets_of_address(connection: Connection, spellings: Sequence[str]) -> list[WalletDetail]:
    """The wallets with an address that is spelled in one of these ways; EVM's in small letters. As many."""
    return _found(connection, _BY_ADDRESS, spellings=list(spellings))


def _found(connection: Connection, statement: str, **parameters: object) -> list[WalletDetail]:
    connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {TIMEOUT}")
    rows = connection.exec_driver_sql(statement, {**parameters, "most": MOST + 1})
    return [WalletDetail._make(row) for row in rows]
