"""CONFIRM_RISES: USDT that rises by more than a sum is read a second time, as a fall to zero is."""

from time import monotonic
from typing import Any
from uuid import UUID

import pytest
from fakes import NOW, FakeNode, Reading, accounts, asked, fails
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from db.claimed_wallets import ClaimedWallet
from db.claims import Claim
from db.held_changes import NO_HISTORY
from worker.errors import Unreachable
from worker.reading.contract import Balance, Block
from worker.sync.feed_check import FeedCheck
from worker.sync.judged_read import JudgedRead
from worker.sync.outcome import Found
from worker.sync.verify import agrees, believed, confirmed, doubted

ABOVE = 1000


def wallet(usdt: int | None = 977, native: int | None = 5, block: int | None = 9) -> ClaimedWallet:
    return ClaimedWallet(UUID(int=1), bytes(20), "", 0, None, NOW, usdt, native, block)


def claimed(*wallets: ClaimedWallet) -> Claim:
    return Claim("ethereum", UUID(int=99), NOW, wallets)


def read(usdt: int, native: int = 5, block: int = 10, **more: Any) -> Found:
    return Found(Balance(usdt, native), Block(block, 1), **more)


@pytest.mark.parametrize(
    ("known", "now", "above", "suspect"),
    [
        (wallet(), read(1977), ABOVE, False),
        (wallet(), read(1978), ABOVE, True),
        (wallet(), read(1978), None, False),
        (wallet(), read(978), 0, True),
        (wallet(), read(977), 0, False),
        (wallet(), read(5), 0, False),
        (wallet(None, None, None), read(1001), ABOVE, True),  # the first read
        (wallet(None, None, None), read(1000), ABOVE, False),
        (wallet(), Found(error="throttled"), ABOVE, False),
    ],
)
def test_a_rise_above_the_sum_is_suspect(known: ClaimedWallet, now: Found, above: int | None, *, suspect: bool) -> None:
    doubts = doubted(claimed(wallet(), known), [read(977), now], NO_HISTORY, rises_above=above, several=False)
    assert doubts.rises == {1} if suspect else not doubts.rises


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (read(5000), read(5000), True),
        (read(5000), read(4000, block=11), True),  # spent a little meanwhile
        (read(5000), read(6000, block=11), True),
        (read(5000), read(3999, block=11), False),
        (read(5000), read(977, block=11), False),
        (read(5000), read(5000, block=9), True),  # the other way round: the first agrees with the second
        (read(5000), read(977, block=9), None),  # it may have come in between
        (read(5000), read(5000, block=8), None),  # older than what is known
        (read(5000), Found(error="unreachable"), None),
        (read(5000, 0), read(5000, 0), True),  # a rise, and a zero
        (read(5000, 0), read(5000, 5), False),
        (read(5000, 0), read(977, 0), False),
    ],
)
def test_a_second_read_agrees_when_the_sums_are_no_further_apart_than_that(
    first: Found, second: Found, verdict: bool | None
) -> None:
    assert agrees(wallet(), first, second, ABOVE) is verdict


def test_what_is_no_rise_needs_no_agreement_of_sums() -> None:
    assert agrees(wallet(native=5), read(5000, 0), read(0, 0, block=11), None) is True


amounts = st.integers(0, 10**4)
blocks = st.integers(5, 15)
reads = st.builds(read, amounts, amounts, blocks) | st.just(Found(error="unreachable"))


@given(
    st.builds(wallet, st.none() | amounts, st.none() | amounts, st.none() | blocks), reads, st.lists(reads, min_size=2)
)
def test_no_rise_above_the_sum_is_written_on_one_reads_word(
    known: ClaimedWallet, first: Found, answers: list[Found]
) -> None:
    claim = claimed(known)
    doubts = doubted(claim, [first], NO_HISTORY, rises_above=ABOVE, several=False)
    verdicts = [confirmed(claim, doubts, [first], {0: second}) for second in answers[:2]]
    verdict = next((each for each in verdicts if each), {})
    (settled,) = believed(claim, doubts, [first], verdict, NO_HISTORY)
    if settled.balance and doubts.rises:
        others = [each.balance.usdt for each in answers if each.balance]
        assert first.balance
        assert any(abs(first.balance.usdt - usdt) <= ABOVE for usdt in others)
    if doubts.rises and not settled.balance:
        assert settled.error in {"rise_unconfirmed", "zero_unconfirmed"}


def found(reading: Reading, above: int | None = 10**3) -> Found:
    claim = claimed(ClaimedWallet(UUID(int=1), accounts(1)[0], "", 0, None, NOW, 977, 5, 90))
    return JudgedRead(reading.reader, FeedCheck(claim, monotonic() + 60), accounts(1), above).read()[1][0]


def test_another_endpoint_confirms_a_rise_or_it_is_not_written() -> None:
    liar, good = FakeNode("liar"), FakeNode("good")
    liar.balances = lambda _account: (4 * 10**9, 5)
    good.balances = lambda _account: (4, 5)
    with capture_logs() as logs:
        assert found(Reading(liar, good)).error == "rise_unconfirmed"
    assert [line for line in logs if line["event"].endswith("read_again")] == [
        {"event": "rises_read_again", "log_level": "info", "network": "ethereum", "wallets": 1, "unconfirmed": 1}
    ]
    assert (asked(liar), asked(good)) == (["revert"], ["revert"])
    good.balances = liar.balances
    assert found(Reading(liar, good)).balance == Balance(4 * 10**9, 5)
    good.fault = fails(Unreachable)
    assert found(Reading(liar, good)).error == "rise_unconfirmed"


def test_the_only_endpoint_is_asked_again_and_without_the_setting_none_is() -> None:
    node = FakeNode()
    node.balances = lambda _account: (4 * 10**9, 5)
    assert found(Reading(node)).balance == Balance(4 * 10**9, 5)
    assert asked(node) == ["revert"] * 2
    assert found(Reading(node), None).balance == Balance(4 * 10**9, 5)
    assert asked(node) == ["revert"] * 3


@pytest.mark.parametrize(("decimals", "confirmed_by_both"), [(6, True), (7, False)])
def test_the_sum_is_of_whole_tokens_by_the_decimals_that_the_chain_has_told(
    decimals: int, confirmed_by_both: bool
) -> None:
    """Nobody has said how many the token has: a sum of 1,000 tokens is no reason not to start."""
    node = FakeNode()
    node.decimals, node.balances = decimals, lambda _account: (4 * 10**9, 5)
    assert found(Reading(node, decimals=None)).balance == Balance(4 * 10**9, 5)
    assert len(asked(node)) == 1 + confirmed_by_both
