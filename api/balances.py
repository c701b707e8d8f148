"""From rows to the contract's reply. Pure: amounts are integers until they become text, and no float is near them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from config.networks import NetworkName
from db.user_balances import WalletRow

_ONE = 10**8  # 8 places
_POWERS = tuple(10**exponent for exponent in range(78))

Finality = Literal["latest", "safe", "finalized", "solid"]
Status = Literal["fresh", "stale", "failing", "never_synced"]

_EXACTLY = r"^\d+\.\d{8}$"
_UsdtBalance = Annotated[
    str,
    Meta(pattern=_EXACTLY, description="USDT, 8 decimals, cut off; null: never read.", examples=["977.00000000"]),
]
_NativeBalance = Annotated[
    str,
    Meta(
        pattern=_EXACTLY,
        description="The network's own coin, 8 decimals, cut off; null: never read.",
        examples=["1993.89360000"],
    ),
]
_LastSynced = Annotated[
    datetime,
    Meta(
        tz=True,
        description="When this balance was read from the chain: UTC, whole seconds; null: never.",
        examples=["2026-01-16T09:15:30Z"],
    ),
]


class WalletBalance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wallet of the user, with its balances."""

    wallet_id: Annotated[UUID, Meta(description="The wallet's id.", examples=["fae48f4b-9aa3-44db-9011-c4f6b91aeb0e"])]
    wallet_address: Annotated[
        str, Meta(description="As the wallet was registered.", examples=["TAVFvX9tToo1UJ2h7j47jVkgQjZa8LarY8"])
    ]
    network: Annotated[NetworkName, Meta(description="The wallet's blockchain.", examples=["tron"])]
    usdt_balance: _UsdtBalance | None
    native_balance: _NativeBalance | None
    last_synced: _LastSynced | None
    is_cached: Annotated[
        bool, Meta(description="true: from the cache; false: read from the chain for this request.", examples=[True])
    ]


class UserBalances(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every wallet of a user, oldest first, and their USDT total."""

    user_id: Annotated[UUID, Meta(description="The user's id.", examples=["5c81c005-1c52-4e0d-85e2-862ee1cdd4d0"])]
    total_usdt: Annotated[
        str,
        Meta(
            pattern=_EXACTLY,
            description="USDT over the wallets shown that have a balance, summed exactly, then cut off.",
            examples=["977.00000000"],
        ),
    ]
    balances: Annotated[list[WalletBalance], Meta(description="One entry per wallet.")]
    synced_at: Annotated[
        datetime,
        Meta(tz=True, description="When this response was made.", examples=["2026-01-16T09:20:58Z"]),
    ]


class WalletBalanceInFull(WalletBalance, frozen=True, forbid_unknown_fields=True):
    """The same with `detail=full`: what the balances are of, how old they are, and what is wrong."""

    block_number: Annotated[int, Meta(ge=1, description="The block whose state this is.", examples=[79200000])] | None
    block_time: (
        Annotated[datetime, Meta(tz=True, description="That block's time.", examples=["2026-01-16T09:20:00Z"])] | None
    )
    finality: (
        Annotated[Finality, Meta(description="How settled that block was when it was read.", examples=["solid"])] | None
    )
    age_seconds: (
        Annotated[int, Meta(ge=0, description="Since last_synced, in whole seconds, rounded up.", examples=[42])] | None
    )
    status: Annotated[
        Status,
        Meta(
            description="fresh; stale: older than its cadence allows; failing: the last read failed, this is what the "
            "one before it gave; never_synced: there is no balance yet.",
            examples=["fresh"],
        ),
    ]
    error: Annotated[str, Meta(description="Why the last read failed, in a word.", examples=["unreachable"])] | None


class Outage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network that none of its endpoints reads just now: its balances are as old as they say."""

    network: Annotated[NetworkName, Meta(description="The blockchain.", examples=["tron"])]
    since: Annotated[
        datetime, Meta(tz=True, description="Since when: UTC, whole seconds.", examples=["2026-01-16T09:02:11Z"])
    ]
    error: Annotated[str, Meta(description="Why, in a word.", examples=["unreachable"])]


class UserBalancesInFull(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same with `detail=full`: whether anything is left out, and what."""

    user_id: Annotated[UUID, Meta(description="The user's id.", examples=["5c81c005-1c52-4e0d-85e2-862ee1cdd4d0"])]
    total_usdt: Annotated[
        str,
        Meta(
            pattern=_EXACTLY, description="USDT over the wallets shown that have a balance.", examples=["977.00000000"]
        ),
    ]
    balances: Annotated[list[WalletBalanceInFull], Meta(description="One entry per wallet.")]
    synced_at: Annotated[
        datetime, Meta(tz=True, description="When this response was made.", examples=["2026-01-16T09:20:58Z"])
    ]
    complete: Annotated[bool, Meta(description="Whether every wallet shown has a balance.", examples=[True])]
    excluded: Annotated[
        list[UUID],
        Meta(
            description="The wallets that the total lacks, by id: never read.",
            examples=[["de755c09-27e0-41cd-a791-41c5c858459c"]],
        ),
    ]
    outages: (
        Annotated[
            list[Outage],
            Meta(
                description="Networks of these wallets that are out; absent: none is.",
                examples=[[{"network": "tron", "since": "2026-01-16T09:02:11Z", "error": "unreachable"}]],
            ),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET


def amount(base_units: int, decimals: int) -> str:
    """An amount as text with 8 places, truncated toward zero: never more than there is."""
    whole, part = divmod(base_units * _ONE // _POWERS[decimals], _ONE)
    return f"{whole}.{part:08d}"


def total(amounts: Sequence[tuple[int, int]]) -> str:
    """The sum of (base units, decimals), in full precision, as text with 8 places."""
    most = max((decimals for _, decimals in amounts), default=0)
    return amount(sum(units * 10 ** (most - decimals) for units, decimals in amounts), most)


def is_complete(rows: Sequence[WalletRow]) -> bool:
    """Whether every wallet has a balance, so that the total is of all of them."""
    return all(row.usdt is not None for row in rows)


def with_decimals(row: WalletRow, usdt: int | None, native: int | None) -> WalletRow:
    """A row with these decimals where no worker has registered any. Where nobody knows them, it has no balance."""
    row = row._replace(
        usdt_decimals=usdt if row.usdt_decimals is None else row.usdt_decimals,
        native_decimals=native if row.native_decimals is None else row.native_decimals,
    )
    if row.usdt_decimals is None or row.native_decimals is None:
        return row._replace(usdt=None, native=None, last_synced=None, status=row.status and "never_synced")
    return row


def reply(user_id: UUID, rows: Sequence[WalletRow], *, asked_at: datetime | None, now: datetime) -> UserBalances:
    """The contract's reply, of rows with their decimals.

    `asked_at`: when this request asked for a read; what was read since is not cached.
    """
    return UserBalances(
        user_id,
        total([(int(row.usdt), row.usdt_decimals or 0) for row in rows if row.usdt is not None]),
        [WalletBalance(*_balance(row, asked_at)) for row in rows],
        now.replace(microsecond=0),
    )


def reply_in_full(
    user_id: UUID, rows: Sequence[WalletRow], *, asked_at: datetime | None, now: datetime
) -> UserBalancesInFull:
    """The same with `detail=full`. The rows must have their detail."""
    plain = reply(user_id, rows, asked_at=asked_at, now=now)
    return UserBalancesInFull(
        user_id,
        plain.total_usdt,
        [
            WalletBalanceInFull(*msgspec.structs.astuple(shown), *_detail(row))
            for shown, row in zip(plain.balances, rows, strict=True)
        ],
        plain.synced_at,
        complete=is_complete(rows),
        excluded=[row.wallet_id for row in rows if row.usdt is None],
        outages=outages(rows) or msgspec.UNSET,
    )


def outages(rows: Sequence[WalletRow]) -> list[Outage]:
    """The networks of these wallets that are out."""
    out = {row.network: row for row in rows if row.out_since}
    return [
        Outage(network, _whole(row.out_since), row.out_reason or "unknown")
        for network, row in sorted(out.items())
        if row.out_since
    ]


def _balance(row: WalletRow, asked_at: datetime | None) -> tuple[Any, ...]:
    """The fields of `WalletBalance`."""
    if row.usdt is None or row.native is None or row.last_synced is None:
        return row.wallet_id, row.address, row.network, None, None, None, True
    return (
        row.wallet_id,
        row.address,
        row.network,
        amount(int(row.usdt), row.usdt_decimals or 0),
        amount(int(row.native), row.native_decimals or 0),
        _whole(row.last_synced),
        asked_at is None or row.last_synced < asked_at,
    )


def _detail(row: WalletRow) -> tuple[Any, ...]:
    """The fields that `WalletBalanceInFull` has besides."""
    block_time = row.block_time and _whole(row.block_time)
    return row.block_number, block_time, row.finality, row.age_seconds, row.status, row.error


def _whole(moment: datetime) -> datetime:
    """In UTC, whatever the connection's time zone is: a pooler may drop what ours ask for."""
    return moment.astimezone(UTC).replace(microsecond=0)
