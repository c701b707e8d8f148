"""What one endpoint alone may tell, and what it may not: an unlikely share of wallets that change at once."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.claimed_wallets import ClaimedWallet
from db.claims import Claim
from db.held_changes import NO_HISTORY, HeldChange, History, Rates
from worker.reading.contract import Balance, Block
from worker.schedule.cadence import Policy
from worker.sync.likely import NEVER_UNLIKELY, most_likely_changed, most_likely_fallen
from worker.sync.outcome import Found, outcomes
from worker.sync.verify import (
    ATTEMPTS,
    COUNTED,
    HOLD_BLOCKS,
    HOLD_READS,
    HOLD_SECONDS,
    believed,
    confirmed,
    doubted,
    lesson,
)

NOW = 1_795_000_000.0
MANY = NEVER_UNLIKELY + 1


def wallet(number: int, usdt: int | None = 977, native: int | None = 5, block: int | None = 9) -> ClaimedWallet:
    return ClaimedWallet(UUID(int=number), bytes(20), "", 0, None, NOW, usdt, native, block)


def claimed(*wallets: ClaimedWallet) -> Claim:
    return Claim("ethereum", UUID(int=10**9), NOW, wallets)


def read(usdt: int, native: int = 5, block: int = 10, node_id: str = "a") -> Found:
    return Found(Balance(usdt, native), Block(block, 1), node_id=node_id)


def judged(
    claim: Claim,
    first: Sequence[Found],
    *seconds: Sequence[Found],
    several: bool = False,
    history: History = NO_HISTORY,
) -> list[Found]:
    """As the worker has it: what is doubted is read again up to twice, here with what `seconds` say of each wallet."""
    doubts = doubted(claim, first, history, rises_above=None, several=several)
    settled: dict[int, Found] = {}
    for second in seconds[:ATTEMPTS]:
        again = {place: second[place] for place in doubts.to_read_again if place not in settled}
        settled |= confirmed(claim, doubts, first, again)
    return believed(claim, doubts, first, settled, history)


def said(each: Found) -> Balance | str | None:
    return each.balance or each.error or (None if each.held else "nothing")


WALLETS = claimed(*map(wallet, range(100)))


def changes(count: int, of: int = 100, *, to: int = 1, **more: Any) -> list[Found]:
    return [read(to if number < count else 977, **more) for number in range(of)]


def test_a_new_network_may_change_by_half_and_fall_by_a_twentieth_without_a_second_word() -> None:
    assert (most_likely_changed(Rates(), 1000), most_likely_fallen(Rates(), 1000)) == (500, 50)


def test_what_a_network_usually_shows_sets_the_bound() -> None:
    usual = Rates(1_000_000, 1_000, 100)
    assert most_likely_changed(usual, 10_000) == pytest.approx(5 * 1_050 / 1_000_500 * 10_000)
    assert most_likely_fallen(usual, 10_000) == NEVER_UNLIKELY
    lively = Rates(1_000_000, 900_000, 0)
    assert most_likely_changed(lively, 1000) > 1000, "it may change as a whole, if it always does"


@pytest.mark.parametrize(("changed", "held"), [(50, 0), (51, 51)])
def test_one_endpoint_alone_may_not_tell_of_more_changes_than_are_likely_and_the_others_are_written(
    changed: int, held: int
) -> None:
    every = judged(WALLETS, changes(changed))
    assert [said(each) for each in every] == [None] * held + [Balance(1, 5)] * (changed - held) + [Balance(977, 5)] * (
        100 - changed
    )


def test_falls_are_likely_in_fewer_wallets_than_changes_are() -> None:
    zeros = changes(MANY, to=0)
    assert [said(each) for each in judged(WALLETS, zeros, zeros)[: MANY + 1]] == [None] * MANY + [Balance(977, 5)]
    changed = [read(0) if at < MANY else read(1) if at < 40 else read(977) for at in range(100)]
    every = judged(WALLETS, changed, changed)
    assert [said(each) for each in every[MANY:40]] == [Balance(1, 5)] * (40 - MANY), "what only changed is likely"


def test_a_few_wallets_may_all_fall_at_once() -> None:
    few = claimed(*map(wallet, range(NEVER_UNLIKELY)))
    zeros = changes(NEVER_UNLIKELY, NEVER_UNLIKELY, to=0)
    assert [said(each) for each in judged(few, zeros, zeros)] == [Balance(0, 5)] * NEVER_UNLIKELY


def test_first_reads_are_no_changes() -> None:
    new = claimed(*(wallet(number, None, None, None) for number in range(100)))
    first = [read(number) for number in range(100)]
    assert [said(each) for each in judged(new, first, first)] == [Balance(number, 5) for number in range(100)]


def test_each_endpoints_share_is_its_own() -> None:
    wallets = claimed(*map(wallet, range(1000)))
    first = [read(0 if at < 40 else 977, node_id="a" if at < 40 else "b") for at in range(1000)]
    assert [said(each) for each in judged(wallets, first, first)[:40]] == [None] * 40


@pytest.mark.parametrize(
    ("second", "becomes"),
    [
        (read(1, block=11, node_id="b"), Balance(1, 5)),  # it says so too
        (read(1, block=9, node_id="b"), Balance(1, 5)),
        (read(977, block=11, node_id="b"), Balance(977, 5)),  # it has what the row has
        (read(977, block=9, node_id="b"), None),  # which may have been true then
        (read(500, block=11, node_id="b"), "change_unconfirmed"),
        (Found(error="unreachable"), None),
        (read(1, block=11, node_id="a"), None),  # it is not another one
    ],
)
def test_another_endpoint_confirms_an_unlikely_change_or_has_it_otherwise(
    second: Found, becomes: Balance | str | None
) -> None:
    every = judged(WALLETS, changes(60), [second] * 100, several=True)
    assert [said(each) for each in every] == [becomes] * 60 + [Balance(977, 5)] * 40


def test_a_doubted_wallet_whose_second_read_only_waits_for_our_budget_has_not_failed() -> None:
    waits = Found(error="throttled", untried=True)
    for first in (changes(60), changes(60, to=0), changes(1, to=0)):
        every = judged(WALLETS, first, [waits] * 100, several=True)
        doubted_ones = [each for each, was in zip(every, first, strict=True) if was.balance != Balance(977, 5)]
        assert set(doubted_ones) == {waits}
        policy = Policy(60, 900)
        made = outcomes(WALLETS, [bytes(20)] * 100, every, policy=policy, chance=lambda: 0.0)
        assert {each.usdt for each in made} == {977}, "the others are written, and no row of these"


def test_an_unlikely_zero_that_another_endpoint_does_not_confirm_is_as_any_zero() -> None:
    zeros = changes(60, to=0)
    for silent in (Found(error="unreachable"), read(3, block=11, node_id="b")):
        every = judged(WALLETS, zeros, [silent] * 100, several=True)
        assert {said(each) for each in every[:60]} == {"zero_unconfirmed"}


LONG_AGO = HeldChange(1, 5, 10 - HOLD_BLOCKS, NOW - HOLD_SECONDS, HOLD_READS - 1)


@pytest.mark.parametrize(
    ("held", "is_believed"),
    [
        (LONG_AGO, True),
        (LONG_AGO._replace(since=NOW - HOLD_SECONDS + 1), False),
        (LONG_AGO._replace(block_number=11 - HOLD_BLOCKS), False),
        (LONG_AGO._replace(reads=HOLD_READS - 2), False),
        (LONG_AGO._replace(usdt=2, native=6), True),  # sums go on changing where there is business
        (LONG_AGO._replace(usdt=0), False),
        (LONG_AGO._replace(native=0), False),
    ],
)
def test_what_one_endpoint_keeps_saying_for_minutes_over_blocks_and_reads_is_believed(
    held: HeldChange, *, is_believed: bool
) -> None:
    history = History(Rates(), {wallet.id: held for wallet in WALLETS.wallets})
    every = judged(WALLETS, changes(60), history=history)
    assert [said(each) for each in every[:60]] == [Balance(1, 5) if is_believed else None] * 60


def test_a_change_that_is_held_stays_so_in_a_batch_in_which_little_else_changes() -> None:
    history = History(Rates(), {UUID(int=0): LONG_AGO._replace(since=NOW - 1)})
    every = judged(WALLETS, changes(2), history=history)
    assert [said(each) for each in every[:2]] == [None, Balance(1, 5)]
    assert said(judged(WALLETS, changes(1, to=3), history=history)[0]) is None, "whatever it changes to"
    assert said(judged(WALLETS, changes(1, to=977), history=history)[0]) == Balance(977, 5), (
        "what the row has is believed"
    )
    assert said(judged(WALLETS, changes(1), changes(1, node_id="b"), history=history, several=True)[0]) == Balance(1, 5)


def test_where_everything_moves_all_the_time_that_is_usual_after_two_waits() -> None:
    wallets, rates = WALLETS.wallets[:50], Rates()
    waits = 0
    while most_likely_changed(rates, 50) < 50:
        history = History(rates, {each.id: LONG_AGO for each in wallets})
        every = judged(claimed(*wallets), changes(50, 50), history=history)
        learnt = lesson(claimed(*wallets), every, history, chance=COUNTED).rates
        assert learnt == Rates(50, 50, 0), "what was believed after a wait always counts"
        rates, waits = Rates(*map(sum, zip(rates, learnt, strict=True))), waits + 1
    assert waits == 2


def test_a_sweep_that_is_believed_after_a_wait_does_not_make_zeros_usual() -> None:
    swept = LONG_AGO._replace(usdt=0)
    history = History(Rates(), {each.id: swept for each in WALLETS.wallets})
    zeros = changes(100, to=0)
    every = judged(WALLETS, zeros, zeros, history=history)
    assert [said(each) for each in every] == [Balance(0, 5)] * 100
    assert lesson(WALLETS, every, history, chance=COUNTED).rates == Rates(100, 100, 0)


def test_a_held_wallet_keeps_its_row_has_not_failed_and_is_read_again_soon() -> None:
    (each,) = judged(
        claimed(wallet(0)), [read(1)], history=History(Rates(), {UUID(int=0): LONG_AGO._replace(since=NOW)})
    )
    (made,) = outcomes(claimed(wallet(0)), [bytes(20)], [each], policy=Policy(60, 900), chance=lambda: 0.0)
    assert (made.usdt, made.native, made.block_number) == (None, None, None)
    assert (made.failures, made.error, made.changed, made.due) == (0, None, False, NOW + 60)


def test_what_is_held_of_another_source_says_nothing_of_the_new_one_and_is_forgotten_with_the_first_read() -> None:
    """A claim knows nothing of such a wallet: it is as one that was never read."""
    claim = claimed(*(wallet(number, None, None, None) for number in range(MANY)))
    long_ago = HeldChange(1, 5, 1, NOW - 2 * HOLD_SECONDS, reads=HOLD_READS)
    history = History(Rates(), {each.id: long_ago for each in claim.wallets})
    found = [read(1, block=1 + HOLD_BLOCKS)] * MANY
    doubts = doubted(claim, found, history, rises_above=None, several=False)
    assert not doubts.places
    assert judged(claim, found, history=history) == found
    learnt = lesson(claim, found, history, chance=1.0)
    assert (learnt.hold, set(learnt.forget)) == ({}, {each.id for each in claim.wallets})


def test_a_change_of_what_somebody_had_forgotten_is_held_as_any_other_is() -> None:
    """Only its block holds nothing up: the node that lied may still be there."""
    claim = claimed(*(wallet(number, block=0) for number in range(MANY)))
    assert {said(each) for each in judged(claim, [read(1, block=5)] * MANY)} == {None}
    assert {said(each) for each in judged(claim, [read(977, block=5)] * MANY)} == {Balance(977, 5)}


def test_what_is_held_is_remembered_and_what_is_settled_is_forgotten() -> None:
    claim = claimed(*map(wallet, range(5)))
    history = History(Rates(), {UUID(int=number): LONG_AGO for number in range(4)})
    found = [
        Found(None, Block(10, 1), held=Balance(1, 5)),
        read(977),
        Found(error="change_unconfirmed"),
        Found(error="throttled"),
        read(0),
    ]
    learnt = lesson(claim, found, history, chance=COUNTED)
    assert (learnt.hold, learnt.forget) == ({UUID(int=0): (1, 5, 10)}, [UUID(int=1), UUID(int=2)])
    assert learnt.rates is None, "few batches are counted"
    assert lesson(claim, found, history, chance=0.0).rates == Rates(2, 1, 1)
    first = claimed(wallet(0, None, None, None))
    assert lesson(first, [read(0)], NO_HISTORY, chance=0.0).rates == Rates(), "a first read is no change"


# From any claim and any replies.
amounts = st.sampled_from([0, 0, 1, 5, 977])
known = st.builds(wallet, st.just(0), amounts, amounts, st.integers(8, 11)) | st.just(wallet(0, None, None, None))


def replies(node_id: str) -> st.SearchStrategy[Found]:
    good = st.builds(read, amounts, amounts, st.integers(8, 12), st.just(node_id))
    return good | st.just(Found(error="unreachable", node_id=node_id))


@st.composite
def batches(draw: st.DrawFn, other: str) -> tuple[Claim, list[Found], list[Found]]:
    """Some wallets as any rows have them, and two reads; most wallets are of one kind, so that shares are unlikely."""
    kinds = st.tuples(known, replies("a"), replies(other))
    rows = [draw(kinds)] * draw(st.integers(0, 60)) + draw(st.lists(kinds, max_size=30))
    wallets = [each._replace(id=UUID(int=at)) for at, (each, _, _) in enumerate(rows)]
    return claimed(*wallets), [first for _, first, _ in rows], [second for _, _, second in rows]


def is_change(wallet: ClaimedWallet, each: Found) -> bool:
    known = wallet.block_number
    return (
        known is not None
        and each.block is not None
        and each.block.number >= known
        and each.balance is not None
        and each.balance != (wallet.usdt, wallet.native)
    )


def falls(wallet: ClaimedWallet, each: Found) -> bool:
    now = each.balance or Balance(1, 1)
    return bool(wallet.usdt and not now.usdt) or bool(wallet.native and not now.native)


def changed_in(claim: Claim, found: Sequence[Found]) -> list[int]:
    return [at for at, pair in enumerate(zip(claim.wallets, found, strict=True)) if is_change(*pair)]


@given(batches("a"))
def test_of_an_unlikely_share_nothing_is_written_that_one_endpoint_alone_says(
    batch: tuple[Claim, list[Found], list[Found]],
) -> None:
    claim, first, second = batch
    changed = changed_in(claim, first)
    read_before = [at for at, each in enumerate(first) if each.balance and claim.wallets[at].block_number is not None]
    fallen = [at for at in changed if falls(claim.wallets[at], first[at])]
    every = judged(claim, first, second, second)
    for those, share in ((changed, 2), (fallen, 20)):
        if len(those) > max(NEVER_UNLIKELY, len(read_before) / share):
            assert not set(those) & set(changed_in(claim, every))


@given(batches("b"))
def test_whatever_two_endpoints_say_is_written(batch: tuple[Claim, list[Found], list[Found]]) -> None:
    claim, first, _ = batch
    second = [each._replace(node_id="b") for each in first]
    for each, was in zip(judged(claim, first, second, second, several=True), first, strict=True):
        assert each.balance == was.balance


@given(batches("b"))
def test_nothing_is_written_but_what_was_read_and_a_change_of_an_unlikely_share_only_as_two_have_it(
    batch: tuple[Claim, list[Found], list[Found]],
) -> None:
    claim, first, second = batch
    doubts = doubted(claim, first, NO_HISTORY, rises_above=None, several=True)
    for at, each in enumerate(judged(claim, first, second, second, several=True)):
        if each.balance:
            assert each.balance in {first[at].balance, second[at].balance}
        if at in doubts.unlikely and each.balance:
            assert each.balance == second[at].balance
            assert each.balance in {first[at].balance, claim.wallets[at][6:8]}
        if at in doubts.zeros and each.balance and 0 in each.balance:
            assert second[at].balance, "a zero has a second read"


@given(batches("b"), st.booleans())
def test_wallets_that_nothing_is_doubtful_about_are_always_written(
    batch: tuple[Claim, list[Found], list[Found]], several: bool
) -> None:
    claim, first, second = batch
    changed = set(changed_in(claim, first))
    every = judged(claim, first, second, second, several=several)
    for at, (each, was) in enumerate(zip(every, first, strict=True)):
        new_zero = claim.wallets[at].block_number is None and was.balance and 0 in was.balance
        if at not in changed and not new_zero:
            assert each == was


@given(known, st.booleans())
def test_a_lone_true_zero_is_written_after_one_confirmation(one: ClaimedWallet, several: bool) -> None:
    zero = [read(0, 0, block=12)]
    second = [read(0, 0, block=12, node_id="b" if several else "a")]
    assert judged(claimed(one), zero, second, several=several)[0].balance == Balance(0, 0)
