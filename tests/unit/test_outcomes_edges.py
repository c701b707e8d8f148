"""What a batch comes to, at the edges: answers that do not fit, and reads that say nothing."""

from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from db.claimed_wallets import ClaimedWallet
from db.claims import Claim
from db.held_changes import NO_HISTORY
from worker.errors import Throttled, Unreachable
from worker.reading.contract import Balance, Block
from worker.reading.request import Part
from worker.schedule.cadence import Policy
from worker.sync.outcome import Found, accounts_of, found_in, outcomes
from worker.sync.verify import agrees, behind, doubted, lesson

NOW = 1_795_000_000.0
POLICY = Policy(active=60, idle=3600)
KNOWN: dict[str, Any] = {"usdt": 977, "native": 5, "block_number": 9}


def wallet(number: int = 1, address: str = "T", **known: Any) -> ClaimedWallet:
    fields: dict[str, Any] = {"account": bytes(20), "failures": 0, "touched_at": None, "due_at": NOW}
    fields |= {"usdt": None, "native": None, "block_number": None}
    return ClaimedWallet(id=UUID(int=number), address=address, **{**fields, **known})


def claim(*wallets: ClaimedWallet, network: Any = "tron") -> Claim:
    return Claim(network, UUID(int=99), NOW, wallets)


def read(usdt: int, native: int, block: int = 10) -> Found:
    return Found(Balance(usdt, native), Block(block, 1))


def test_each_network_checks_addresses_in_its_own_way_and_says_whose_is_none() -> None:
    ethereum = "0x" + "ab" * 20
    assert accounts_of(claim(wallet(account=None, address=ethereum), network="ethereum"), "evm") == [b"\xab" * 20]
    with capture_logs() as logs:
        assert accounts_of(claim(wallet(7, account=None, address=ethereum)), "tron") == [None]
    assert logs == [
        {
            "event": "bad_address",
            "log_level": "warning",
            "network": "tron",
            "wallet_id": str(UUID(int=7)),
            "detail": "a Tron address has 34 characters",
        }
    ]


def test_a_node_that_does_not_say_how_long_to_wait_is_not_waited_for() -> None:
    assert [found_in([Part(range(1), failure=failure)], 1)[0].told for failure in (Unreachable(), Throttled())] == [
        0,
        0,
    ]
    assert found_in([Part(range(1), failure=Throttled(retry_after=0.5))], 1)[0].told == 0.5


@pytest.mark.parametrize("answers", [[], [read(0, 5)] * 3])
def test_answers_that_are_more_or_fewer_than_the_wallets_are_never_paired_up(answers: list[Found]) -> None:
    two = claim(wallet(1, **KNOWN), wallet(2, **KNOWN))
    for pairing in (
        lambda: behind(two, answers),
        lambda: doubted(two, answers, NO_HISTORY, rises_above=None, several=False),
        lambda: lesson(two, answers, NO_HISTORY, chance=0.0),
        lambda: outcomes(two, [bytes(20)] * 2, answers, policy=POLICY, chance=lambda: 0.0),
    ):
        with pytest.raises(ValueError, match="zip"):
            pairing()


def test_a_balance_without_a_block_or_a_block_without_a_balance_confirms_nothing_and_is_not_written() -> None:
    known = wallet(**KNOWN)
    for half in (Found(Balance(0, 5)), Found(block=Block(10, 1))):
        assert agrees(known, read(0, 5), half) is None
        (made,) = outcomes(claim(known), [bytes(20)], [half], policy=POLICY, chance=lambda: 0.0)
        assert (made.usdt, made.block_number, made.failures) == (None, None, 1)
    assert agrees(known, Found(Balance(0, 5)), read(0, 5)) is None


@pytest.mark.parametrize(("late", "spread"), [(60, False), (61, True)])
def test_a_quiet_wallet_is_put_anywhere_in_its_interval_only_when_it_is_later_than_the_active_one(
    late: float, *, spread: bool
) -> None:
    """Quiet for 2,000 s it rests 1,000 s, spread over the last third, or, after a downtime, over nearly all of it."""
    quiet = wallet(**KNOWN, touched_at=NOW - 2000, due_at=NOW - late)
    (made,) = outcomes(claim(quiet), [bytes(20)], [read(977, 5)], policy=POLICY, chance=lambda: 1.0)
    assert made.due - NOW == pytest.approx(48 if spread else 650)
