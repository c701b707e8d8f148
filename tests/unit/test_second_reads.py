"""Zeros and older blocks are read a second time: from which endpoint, and what is made of it."""

from collections.abc import Callable
from time import monotonic
from uuid import UUID

import pytest
from fakes import NOW, FakeNode, Reading, accounts, asked, balance_of, fails

from db.claimed_wallets import ClaimedWallet
from db.claims import Claim
from devstack.servers import CAP
from worker.errors import Throttled
from worker.reading.contract import Balance, Block
from worker.sync.feed_check import FeedCheck
from worker.sync.judged_read import JudgedRead
from worker.sync.outcome import Found

WALLET = accounts(1)[0]
TRUE = Balance(*balance_of(WALLET))


def found(reading: Reading, *, wallets: int = 1, block: int = 90) -> list[Found]:
    """What a batch makes of wallets whose balances above zero were read at a block."""
    claimed = tuple(
        ClaimedWallet(UUID(int=at), account, "", 0, None, NOW, 977, 5, block)
        for at, account in enumerate(accounts(wallets))
    )
    claim = Claim("ethereum", UUID(int=99), NOW, claimed)
    return JudgedRead(reading.reader, FeedCheck(claim, monotonic() + CAP), accounts(wallets)).read()[1]


def told(each: Found) -> Balance | str | None:
    return each.balance or each.error


def throttled(node: FakeNode) -> None:
    node.fault = fails(Throttled)


def behind(node: FakeNode) -> None:
    node.newest = Block(99, int(NOW) - 17)


@pytest.mark.parametrize("trouble", [throttled, behind])
def test_an_endpoint_does_not_confirm_its_own_zero_though_the_other_one_cannot(
    trouble: Callable[[FakeNode], None],
) -> None:
    liar, other = FakeNode("liar"), FakeNode("other")
    liar.balances = lambda _account: (0, 5)
    trouble(other)
    assert [told(each) for each in found(Reading(liar, other))] == ["zero_unconfirmed"]
    assert asked(liar) == ["revert"]


def test_the_only_endpoint_confirms_its_zero() -> None:
    node = FakeNode()
    node.balances = lambda _account: (0, 5)
    assert [told(each) for each in found(Reading(node))] == [Balance(0, 5)]
    assert asked(node) == ["revert"] * 2


def test_a_true_zero_is_written_though_the_other_endpoint_is_always_a_block_behind() -> None:
    best, other = FakeNode("best"), FakeNode("other")
    best.balances = other.balances = lambda _account: (0, 5)
    behind(other)
    (each,) = found(Reading(best, other))
    assert (each.balance, each.block) == (Balance(0, 5), other.newest)


def test_of_a_batch_that_two_endpoints_read_each_has_its_zeros_confirmed_by_the_other() -> None:
    one, two = FakeNode("one"), FakeNode("two")
    calls = iter([None])
    one.fault = lambda strategy, _accounts: next(calls, Throttled(retry_after=0)) if strategy != "contact" else None
    one.balances = lambda _account: (0, 5)
    two.balances = lambda account: (0, 5) if account in accounts(65) else (1, 1)
    every = found(Reading(one, two), wallets=66)
    assert {each.node_id for each in every[:64]} == {"one"}
    assert [told(each) for each in every[:64]] == [Balance(0, 5)] * 64
    assert told(every[64]) == "zero_unconfirmed", "the second said so, and the first does not answer any more"


def test_wallets_that_were_read_at_a_newer_block_are_read_again_by_another_endpoint() -> None:
    late, good = FakeNode("late"), FakeNode("good")
    behind(late)
    late.balances = lambda _account: (1, 1)
    assert [told(each) for each in found(Reading(late, good), block=100)] == [TRUE]
    assert (asked(late), asked(good)) == (["revert"], ["revert"])


def test_a_second_read_knows_that_time_has_passed_since_the_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, good = FakeNode("slow"), FakeNode("good")
    passed = [0.0]
    for module in ("worker.sync.judged_read", "worker.reading.reader", "worker.reading.attempt"):
        monkeypatch.setattr(f"{module}.monotonic", lambda: monotonic() + passed[0])
    slow.balances = good.balances = lambda _account: (0, 5)

    def after_a_while(_way: str, _accounts: object) -> None:
        passed[0] += 20

    slow.fault, good.newest = after_a_while, Block(103, int(NOW) + 45)
    assert [told(each) for each in found(Reading(slow, good))] == [Balance(0, 5)]


def test_where_there_is_no_other_endpoint_an_older_block_is_not_asked_for_again() -> None:
    node = FakeNode()
    (each,) = found(Reading(node), block=101)
    assert each.block == Block(100, int(NOW) - 5)
    assert asked(node) == ["revert"]
