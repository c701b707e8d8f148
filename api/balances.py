"""From rows to the contract's reply. Pure: amounts are integers until they become text, and no float is near them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from config.settings import Network
from db.user_balances import WalletRow

PLACES = 8
NATIVE_DECIMALS: Mapping[Network, int] = {"ethereum": 18, "tron": 6}

Amount = Annotated[str, Meta(pattern=r"^\d+\.\d{8}$", description="Exactly 8 decimals.", examples=["977.00000000"])]
Moment = Annotated[datetime, Meta(tz=True, description="UTC, whole seconds.")]


class WalletBalance(msgspec.Struct, frozen=True):
    """One wallet. Balances and last_synced are null when it was never read."""

    wallet_id: UUID
    wallet_address: Annotated[str, Meta(description="As the wallet was registered.")]
    network: Network
    usdt_balance: Amount | None
    native_balance: Amount | None
    last_synced: Moment | None
    is_cached: Annotated[bool, Meta(description="false: read from the chain for this request.")]


class UserBalances(msgspec.Struct, frozen=True):
    """Every wallet of a user, oldest first."""

    user_id: UUID
    total_usdt: Annotated[Amount, Meta(description="USDT over the wallets shown that have a balance.")]
    balances: list[WalletBalance]
    synced_at: Annotated[datetime, Meta(tz=True, description="When this response was made.")]


def amount(base_units: int, decimals: int) -> str:
    """An amount as text with 8 places, truncated toward zero: never more than there is."""
    whole, part = divmod(base_units * 10**PLACES // 10**decimals, 10**PLACES)
    return f"{whole}.{part:0{PLACES}d}"


def total(amounts: Sequence[tuple[int, int]]) -> str:
    """The sum of (base units, decimals), in full precision, as text with 8 places."""
    most = max((decimals for _, decimals in amounts), default=0)
    return amount(sum(units * 10 ** (most - decimals) for units, decimals in amounts), most)


def is_complete(rows: Sequence[WalletRow]) -> bool:
    """Whether every wallet has a balance, so that the total is of all of them."""
    return all(row.usdt is not None for row in rows)


def reply(
    user_id: UUID,
    rows: Sequence[WalletRow],
    *,
    usdt_decimals: Mapping[Network, int],
    asked_at: datetime | None,
    now: datetime,
) -> UserBalances:
    """The contract's reply. `asked_at`: when this request asked for a read; what was read since is not cached."""
    return UserBalances(
        user_id=user_id,
        total_usdt=total([(int(row.usdt), usdt_decimals[row.network]) for row in rows if row.usdt is not None]),
        balances=[_balance(row, usdt_decimals[row.network], asked_at) for row in rows],
        synced_at=now.replace(microsecond=0),
    )


def _balance(row: WalletRow, usdt_decimals: int, asked_at: datetime | None) -> WalletBalance:
    read_now = asked_at is not None and row.last_synced is not None and row.last_synced >= asked_at
    return WalletBalance(
        wallet_id=row.wallet_id,
        wallet_address=row.address,
        network=row.network,
        usdt_balance=None if row.usdt is None else amount(int(row.usdt), usdt_decimals),
        native_balance=None if row.native is None else amount(int(row.native), NATIVE_DECIMALS[row.network]),
        last_synced=None if row.last_synced is None else row.last_synced.replace(microsecond=0),
        is_cached=not read_now,
    )
