"""What a batch's wallets come to, from what was claimed and what was read."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from db.balances import Outcome
from db.wallets import Claim, ClaimedWallet
from worker.chains.snapshot import Balance, Block, Snapshot
from worker.schedule import NEVER, Policy
from worker.sync import outcomes, valid_accounts

NOW = datetime(2026, 11, 23, tzinfo=UTC)
POLICY = Policy(active=timedelta(seconds=60), idle=timedelta(seconds=900))
ADDRESS = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
ACCOUNT = bytes.fromhex("a614f803b6fd780986a42c78ec9c7f77e6ded13c")


def wallet(number: int = 1, **known: Any) -> ClaimedWallet:
    fields: dict[str, Any] = {
        "address": ADDRESS,
        "failures": 0,
        "last_changed_at": None,
        "requested_at": None,
        "usdt": None,
        "native": None,
        "block_number": None,
    }
    return ClaimedWallet(id=UUID(int=number), **{**fields, **known})


def decide(
    *wallets: ClaimedWallet, balances: tuple[Balance | None, ...] = (), block: int = 10, failure: str | None = None
) -> list[Outcome]:
    claim = Claim("tron", UUID(int=99), NOW, wallets)
    snapshot = None if failure else Snapshot(Block(block, 1), balances)
    return outcomes(claim, valid_accounts(claim), snapshot, failure, policy=POLICY, chance=lambda: 0.0)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_first_read_is_a_change() -> None:
    assert decide(wallet(failures=3), balances=(Balance(0, 0),)) == [
        Outcome(UUID(int=1), after(60), failures=0, changed=True, usdt=0, native=0)
    ]


@pytest.mark.parametrize("balance", [Balance(6, 5), Balance(5, 6)])
def test_either_balance_alone_is_a_change_and_makes_the_wallet_due_soon(balance: Balance) -> None:
    known = wallet(usdt=5, native=5, block_number=9, last_changed_at=after(-86400))
    (found,) = decide(known, balances=(balance,))
    assert (found.changed, found.due) == (True, after(60))


def test_an_unchanged_wallet_is_written_all_the_same_and_rests_longer() -> None:
    known = wallet(usdt=5, native=5, block_number=9, last_changed_at=after(-600))
    (found,) = decide(known, balances=(Balance(5, 5),))
    assert found == Outcome(UUID(int=1), after(300), failures=0, changed=False, usdt=5, native=5)


def test_a_wallet_that_a_user_asked_for_is_due_soon_though_nothing_changed() -> None:
    known = wallet(usdt=5, native=5, block_number=9, last_changed_at=after(-86400), requested_at=after(-1))
    assert decide(known, balances=(Balance(5, 5),))[0].due == after(60)


def test_the_same_block_may_be_read_again_but_an_older_one_is_a_failure_and_no_balance() -> None:
    known = wallet(usdt=5, native=5, block_number=10, last_changed_at=after(-600))
    assert decide(known, balances=(Balance(7, 7),), block=10)[0].usdt == 7
    assert decide(known, balances=(Balance(7, 7),), block=9) == [Outcome(UUID(int=1), after(60), 1, "older_block")]


def test_a_wallet_without_a_usable_token_balance_fails_alone_and_has_no_balance_at_all() -> None:
    found = decide(wallet(1, failures=1), wallet(2), balances=(None, Balance(1, 2)))
    assert found[0] == Outcome(UUID(int=1), after(120), 2, "usdt_call_failed")
    assert (found[1].usdt, found[1].error) == (1, None)


def test_a_failed_read_fails_every_wallet_of_it_and_gives_none_a_balance() -> None:
    found = decide(wallet(1, usdt=5, native=5), wallet(2, failures=2), failure="throttled")
    assert found == [
        Outcome(UUID(int=1), after(5), 1, "throttled"),
        Outcome(UUID(int=2), after(20), 3, "throttled"),
    ]


def test_a_bad_address_is_not_asked_for_and_rests_whatever_became_of_the_read() -> None:
    bad = wallet(2, address="0xdAC17F958D2ee523a2206206994597C13D831ec7")
    claim = Claim("tron", UUID(int=99), NOW, (wallet(1), bad))
    with capture_logs() as logs:
        assert valid_accounts(claim) == {UUID(int=1): ACCOUNT}
    assert [(line["event"], line["log_level"]) for line in logs] == [("bad_address", "warning")]
    expected = Outcome(bad.id, NEVER, 1, "bad_address")
    assert decide(wallet(1), bad, balances=(Balance(1, 1),))[1] == expected
    assert decide(wallet(1), bad, failure="throttled")[1] == expected


def test_balances_stay_with_their_wallets_when_one_in_the_middle_is_not_asked_for() -> None:
    bad = wallet(2, address="nonsense")
    found = decide(wallet(1), bad, wallet(3), balances=(Balance(1, 1), Balance(3, 3)))
    assert [(outcome.wallet_id.int, outcome.usdt) for outcome in found] == [(1, 1), (2, None), (3, 3)]


def test_more_or_fewer_balances_than_wallets_is_never_paired_up() -> None:
    for balances in ((), (Balance(1, 1), Balance(2, 2))):
        with pytest.raises(ValueError, match="argument 2"):
            decide(wallet(1), balances=balances)
