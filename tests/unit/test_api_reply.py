"""From rows to the contract's reply: amounts, order, nulls, is_cached."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_DOWN, Decimal, localcontext
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.balances import amount, is_complete, reply, reply_in_full, total, with_decimals
from api.openapi import EXAMPLE
from db.user_balances import WalletRow

NOW = datetime(2026, 1, 16, 9, 20, 58, 999_999, tzinfo=UTC)
READ = datetime(2026, 1, 16, 9, 15, 30, 999_999, tzinfo=UTC)
USER = UUID("5c81c005-1c52-4e0d-85e2-862ee1cdd4d0")

TRON = WalletRow(
    UUID("fae48f4b-9aa3-44db-9011-c4f6b91aeb0e"),
    "TAVFvX9tToo1UJ2h7j47jVkgQjZa8LarY8",
    "tron",
    977_000_000,
    1_993_893_600,
    READ,
    hopeless=False,
    awaited=False,
    overdue=False,
    out_since=None,
    out_reason=None,
    usdt_decimals=6,
    native_decimals=6,
)
ETHEREUM = WalletRow(
    UUID("de755c09-27e0-41cd-a791-41c5c858459c"),
    "0x17F4552b0c47F24F88B9569E6305413c5ff5370d",
    "ethereum",
    0,
    0,
    READ,
    hopeless=False,
    awaited=False,
    overdue=False,
    out_since=None,
    out_reason=None,
    usdt_decimals=6,
    native_decimals=18,
)
NEVER_READ = TRON._replace(usdt=None, native=None, last_synced=None)


def body(*rows: WalletRow, asked_at: datetime | None = None) -> bytes:
    return msgspec.json.encode(reply(USER, rows, asked_at=asked_at, now=NOW))


def entries(*rows: WalletRow, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.json.decode(body(*rows, **more))["balances"]
    return found


def test_the_contracts_example_comes_out_to_the_byte() -> None:
    assert body(TRON, ETHEREUM) == msgspec.json.encode(EXAMPLE)


def test_moments_are_shown_in_utc_whatever_the_connections_time_zone_is() -> None:
    elsewhere = READ.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert body(TRON._replace(last_synced=elsewhere), ETHEREUM) == body(TRON, ETHEREUM)
    rows = [TRON._replace(block_time=moment, status="fresh") for moment in (READ, elsewhere)]
    shown = [reply_in_full(USER, [row], asked_at=None, now=NOW) for row in rows]
    assert msgspec.json.encode(shown[0]) == msgspec.json.encode(shown[1])


@pytest.mark.parametrize(
    ("units", "decimals", "text"),
    [
        (0, 6, "0.00000000"),
        (1, 6, "0.00000100"),
        (977_000_000, 6, "977.00000000"),
        (1, 18, "0.00000000"),
        (9_999_999_999, 18, "0.00000000"),
        (10_000_000_000, 18, "0.00000001"),
        (1_999_999_999_999_999_999, 18, "1.99999999"),
        (2**256 - 1, 18, f"{(2**256 - 1) // 10**18}.58400791"),
        (5, 0, "5.00000000"),
        (123, 8, "0.00000123"),
    ],
)
def test_an_amount_has_eight_places_and_is_never_rounded_up(units: int, decimals: int, text: str) -> None:
    assert amount(units, decimals) == text


@given(st.integers(0, 2**256 - 1), st.integers(0, 77))
def test_an_amount_is_what_exact_decimal_arithmetic_says(units: int, decimals: int) -> None:
    with localcontext() as context:
        context.prec = 200
        exact = Decimal(units).scaleb(-decimals).quantize(Decimal("1e-8"), rounding=ROUND_DOWN)
        assert amount(units, decimals) == f"{exact:f}"


@given(st.lists(st.tuples(st.integers(0, 2**128), st.sampled_from([0, 6, 8, 18])), max_size=20))
def test_a_total_is_summed_exactly_before_it_is_cut(amounts: list[tuple[int, int]]) -> None:
    with localcontext() as context:
        context.prec = 200
        exact = sum((Decimal(units).scaleb(-decimals) for units, decimals in amounts), Decimal(0))
        assert total(amounts) == f"{exact.quantize(Decimal('1e-8'), rounding=ROUND_DOWN):f}"


def test_parts_too_small_to_show_still_count_in_the_total() -> None:
    rows = [ETHEREUM._replace(usdt=6 * 10**9, usdt_decimals=18)] * 2
    shown = msgspec.json.decode(body(*rows))
    assert [entry["usdt_balance"] for entry in shown["balances"]] == ["0.00000000"] * 2
    assert shown["total_usdt"] == "0.00000001"


def test_a_wallet_never_read_is_null_and_not_zero_and_is_left_out_of_the_total() -> None:
    shown = msgspec.json.decode(body(NEVER_READ, TRON))
    assert shown["total_usdt"] == "977.00000000"
    first = shown["balances"][0]
    assert first["usdt_balance"] is first["native_balance"] is first["last_synced"] is None
    assert not is_complete([NEVER_READ, TRON])
    assert is_complete([TRON, ETHEREUM])


def test_a_user_without_wallets_has_an_empty_list_and_a_total_of_zero() -> None:
    assert msgspec.json.decode(body())["total_usdt"] == "0.00000000"
    assert entries() == []
    assert is_complete([])


def test_times_are_whole_seconds_cut_off_and_never_ahead_of_what_they_tell() -> None:
    shown = msgspec.json.decode(body(TRON))
    assert (shown["synced_at"], shown["balances"][0]["last_synced"]) == ("2026-01-16T09:20:58Z", "2026-01-16T09:15:30Z")


@pytest.mark.parametrize(
    ("asked_at", "is_cached"),
    [(None, True), (READ, False), (READ + timedelta(microseconds=1), True), (READ - timedelta(seconds=1), False)],
)
def test_only_what_was_read_since_this_request_is_not_cached(asked_at: datetime | None, *, is_cached: bool) -> None:
    assert entries(TRON, asked_at=asked_at)[0]["is_cached"] is is_cached


def test_a_wallet_that_could_not_be_read_for_this_request_is_not_called_fresh() -> None:
    assert entries(NEVER_READ, asked_at=READ)[0]["is_cached"] is True


def test_amounts_come_as_the_driver_gives_them_and_stay_exact() -> None:
    huge: Any = Decimal(2**128 - 2)
    assert entries(TRON._replace(usdt=huge))[0]["usdt_balance"] == amount(2**128 - 2, 6)


@pytest.mark.parametrize(("registered", "shown"), [((None, None), "977.00000000"), ((8, 6), "9.77000000")])
def test_decimals_that_a_worker_has_registered_come_before_those_of_the_settings(
    registered: tuple[int | None, int | None], shown: str
) -> None:
    row = TRON._replace(usdt_decimals=registered[0], native_decimals=registered[1])
    assert entries(with_decimals(row, 6, 6))[0]["usdt_balance"] == shown


@pytest.mark.parametrize("known", [(None, 6), (6, None), (None, None)])
def test_a_balance_whose_decimals_nobody_knows_is_null_and_not_in_the_total(
    known: tuple[int | None, int | None],
) -> None:
    row = TRON._replace(usdt_decimals=None, native_decimals=None, block_number=5, status="fresh")
    unknown = with_decimals(row, *known)
    shown = msgspec.json.decode(body(unknown))
    entry = shown["balances"][0]
    assert entry["usdt_balance"] is entry["native_balance"] is entry["last_synced"] is None
    assert (shown["total_usdt"], is_complete([unknown]), unknown.status) == ("0.00000000", False, "never_synced")


def test_tokens_of_different_decimals_are_summed_as_what_they_are() -> None:
    """Base units of one are not base units of the other."""
    of_18 = ETHEREUM._replace(network="bsc", usdt=5 * 10**17, usdt_decimals=18)
    assert msgspec.json.decode(body(TRON, of_18))["total_usdt"] == "977.50000000"
