"""Which way a network is kept fresh: the whole rule as a table, and what holds for whatever is known of a network."""

import re
from dataclasses import replace
from math import inf
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.base_settings import MOST_STRETCHED
from worker.feed.policy import (
    MARGIN,
    RESERVE,
    SHARE,
    STRETCHES,
    Choice,
    PolicyFacts,
    Reason,
    Way,
    choose,
    left_of,
    requests_a_day,
    sweep_a_day,
)
from worker.feed.policy_words import BLIND_SPOTS, REASONS, WAYS, blind_spots, is_followed, told
from worker.schedule.cadence import Policy
from worker.schedule.sizing import DAY

SWEEP = 21_600.0


def tron(wallets: int, **more: object) -> PolicyFacts:
    return known(wallets, 500, 3.0, **more)


def ethereum(wallets: int, **more: object) -> PolicyFacts:
    """Before EIP-7708: what contracts pay in the native coin is not shown."""
    return known(wallets, 2447, 12.0, **{"sees_native": False, **more})


def known(wallets: int, per_batch: int, block_seconds: float, **more: object) -> PolicyFacts:
    facts = PolicyFacts(
        wallets=wallets,
        per_batch=per_batch,
        block_seconds=block_seconds,
        cadence_a_day=requests_a_day(wallets, per_batch, Policy(60, 900), ahead=15),
        sweep_a_day=sweep_a_day(wallets, per_batch, SWEEP),
    )
    return replace(facts, **more)  # type: ignore[arg-type]  # the fields' own kinds


def way(facts: PolicyFacts, so_far: Choice | None = None) -> tuple[Way, Reason]:
    chosen = choose(facts, so_far)
    return chosen.way, chosen.reason


FEED = Choice("feed", "many_wallets", 87_200, 3.0, follows=True)
EVERY_BLOCK = Choice("every_block", "few_wallets", 86_400, 3.0)
CADENCE = Choice("cadence", "behind", 20_000, follows=True)

TABLE = {
    # As many wallets as fit into the three requests that a followed block and its read cost, and one more.
    "one wallet": (tron(1), "every_block", "few_wallets"),
    "no wallet": (tron(0), "every_block", "few_wallets"),
    "as many as fit, Tron": (tron(1500), "every_block", "few_wallets"),
    "one too many, Tron": (tron(1501), "feed", "many_wallets_free_plan"),
    "as many as fit, Ethereum": (ethereum(7341), "every_block", "few_wallets"),
    "one too many, Ethereum": (ethereum(7342), "feed", "many_wallets"),
    "a million": (tron(10**6), "feed", "many_wallets_free_plan"),
    "a million, a large quota": (tron(10**6, daily_quota=10**6), "feed", "many_wallets"),
    # What keeps a network from being followed.
    "off": (tron(100_000, enabled=False), "cadence", "off"),
    "off, and few": (tron(5, enabled=False), "cadence", "off"),
    "a token that moved": (tron(100_000, deprecated=True), "cadence", "deprecated"),
    "no endpoint with events": (tron(100_000, blind="unsupported"), "cadence", "blind"),
    "nothing followed yet": (tron(100_000, lag=None), "cadence", "starting"),
    "four blocks behind": (tron(100_000, lag=4), "cadence", "behind"),
    "nobody answers": (tron(100_000, silent=16.0), "cadence", "behind"),
    "three slow blocks without an answer": (ethereum(100_000, silent=36.0), "feed", "many_wallets"),
    "nobody answers for longer": (ethereum(100_000, silent=36.1), "cadence", "behind"),
    # None of which matters where all are read anyway.
    "few, and no events": (tron(1500, blind="unsupported"), "every_block", "few_wallets"),
    "few, and behind": (tron(1500, lag=9), "every_block", "few_wallets"),
    "few, and a token that moved": (tron(1500, deprecated=True), "every_block", "few_wallets"),
    # What is too dear.
    "few, a small quota": (tron(1500, daily_quota=20_000), "cadence", "quota"),
    "many, a small quota": (tron(100_000, daily_quota=60_000), "cadence", "quota"),
    "a quota that nothing fits": (tron(10**6, daily_quota=20_000), "cadence", "quota_too_small"),
    "blocks faster than the budget": (known(10**6, 2447, 0.25, per_second=10), "cadence", "budget"),
    "with a larger budget": (known(10**6, 2447, 0.25, per_second=40), "feed", "many_wallets"),
    "few, one request in five seconds": (tron(1, per_second=0.2), "cadence", "budget"),
    # Nodes that are asked for each wallet singly, two requests each and two for the block.
    "one by one": (known(5, 20, 3.0, batch_requests=42), "every_block", "few_wallets"),
    "one by one, two batches": (known(21, 20, 3.0, batch_requests=42), "feed", "many_wallets"),
    "one by one, a budget for one request a batch": (
        known(20, 20, 3.0, batch_requests=42, per_second=10),
        "cadence",
        "budget",
    ),
}


@pytest.mark.parametrize(("facts", "expected", "reason"), TABLE.values(), ids=TABLE)
def test_the_cheapest_way_that_is_fresh_within_a_block(facts: PolicyFacts, expected: Way, reason: Reason) -> None:
    assert way(facts) == (expected, reason)


@pytest.mark.parametrize(
    ("facts", "read_every", "stretch", "most"),
    [
        (tron(100_000), 6, 1, 75_000),  # as if its quota was that of a free plan
        (known(100_000, 500, 2.0), 2, 1, 130_500),  # which two blocks a read would not keep to
        (tron(100_000, sees_native=False), 3, 1, 112_700),  # nor would they where the cadence goes on
        (tron(100_000, daily_quota=150_000), 3, 1, 87_300),
        (tron(100_000, daily_quota=100_000), 6, 1, 75_000),  # TronGrid's free plan
        (tron(100_000, daily_quota=82_000), 9, 1, 68_100),
        (tron(1500, daily_quota=100_000), 6, 1, 43_200),
        (tron(1500, daily_quota=102_000), 3, 1, 86_400),
        (ethereum(100_000), 12, 1, 27_400),
        (ethereum(1_000_000), 12, 1, 75_300),
        (ethereum(1_000_000, daily_quota=60_000), 36, 2, 43_700),
    ],
)
def test_reads_are_merged_and_then_the_cadence_is_stretched_to_keep_a_quota(
    facts: PolicyFacts, read_every: float, stretch: float, most: float
) -> None:
    chosen = choose(facts)
    assert (chosen.way != "cadence", chosen.read_every, chosen.stretch) == (True, read_every, stretch)
    assert most * 0.9 < chosen.a_day <= most


@pytest.mark.parametrize(
    ("quota", "stretch"), [(None, 1), (200_000, 1), (160_000, 1.5), (100_000, 2), (63_000, 3), (50_000, 4), (9, 4)]
)
def test_where_only_the_cadence_is_left_it_is_stretched_as_far_as_the_quota_wants(
    quota: int | None, stretch: float
) -> None:
    facts = replace(tron(10**6, blind="unsupported", daily_quota=quota), cadence_a_day=160_000)
    assert choose(facts).stretch == stretch


def test_blocks_are_followed_while_the_feed_is_behind_so_that_it_can_be_taken_up_again() -> None:
    assert choose(tron(100_000)).follows
    assert choose(tron(100_000, lag=99)).follows
    assert choose(tron(100_000, lag=None)).follows
    assert choose(tron(100_000, blind="unsupported")).follows, "an endpoint may learn to"
    assert not choose(tron(100_000, deprecated=True)).follows
    assert not choose(tron(100_000, enabled=False)).follows
    assert not choose(tron(1500)).follows, "all are read anyway"


@pytest.mark.parametrize(("lag", "before"), [(0, "feed"), (1, "feed"), (2, "cadence"), (4, "cadence")])
def test_a_feed_that_was_behind_is_taken_up_with_one_block_to_follow_and_given_up_with_more_than_three(
    lag: int, before: Way
) -> None:
    assert choose(tron(100_000, lag=lag), CADENCE).way == before
    assert choose(tron(100_000, lag=lag), FEED).way == ("feed" if lag <= 3 else "cadence")


def test_fast_blocks_are_behind_by_seconds_rather_than_by_blocks() -> None:
    fast = known(10**6, 2447, 0.45, lag=6)
    assert choose(fast, FEED).way == "feed"
    assert choose(replace(fast, lag=7), FEED).way == "cadence"


def test_nobody_is_read_more_often_than_once_a_second_however_fast_blocks_are() -> None:
    assert choose(known(10, 2447, 0.25)).read_every == 1
    assert choose(known(10, 2447, 0.25)).a_day == DAY


@pytest.mark.parametrize("at", [1500, 1400])
def test_a_network_whose_wallets_come_and_go_keeps_its_way(at: int) -> None:
    assert choose(tron(at), EVERY_BLOCK).way == "every_block"
    assert choose(tron(at), FEED).way == "feed"
    assert choose(tron(1501), EVERY_BLOCK).way == "feed"
    assert choose(tron(1363), FEED).way == "every_block"


facts = st.builds(
    PolicyFacts,
    wallets=st.integers(0, 10**7),
    per_batch=st.integers(1, 2447),
    batch_requests=st.just(1) | st.integers(2, 100),
    block_seconds=st.floats(0.1, 60),
    cadence_a_day=st.floats(0, 10**7),
    sweep_a_day=st.floats(0, 10**5),
    per_second=st.just(0.0) | st.floats(0.1, 1000),
    daily_quota=st.none() | st.integers(1, 10**7),
    enabled=st.booleans() | st.just(True),
    blind=st.none() | st.just("unsupported"),
    deprecated=st.just(False) | st.booleans(),
    sees_native=st.booleans(),
    lag=st.none() | st.integers(0, 10),
    silent=st.floats(0, 100),
)


def is_catching_up(chosen: Choice) -> bool:
    """It takes what it takes: nothing else brings the feed back, which takes less than the quota."""
    return chosen.way == "cadence" and chosen.follows and chosen.stretch in {1.0, STRETCHES[-1]}


@given(facts)
def test_a_quota_is_kept_or_is_said_to_be_too_small(known: PolicyFacts) -> None:
    chosen = choose(known)
    allowed = inf if known.daily_quota is None else known.daily_quota * (1 - RESERVE)
    assert chosen.a_day <= allowed * 1.000001 or chosen.reason in {"off", "quota_too_small"} or is_catching_up(chosen)
    if known.per_second and chosen.way != "cadence":
        assert chosen.a_day / DAY <= known.per_second * SHARE * 1.000001


@given(facts)
def test_with_the_feed_off_everything_is_as_before(known: PolicyFacts) -> None:
    chosen = choose(replace(known, enabled=False))
    assert chosen == Choice("cadence", "off", known.cadence_a_day)
    assert (chosen.stretch, chosen.read_every, chosen.follows) == (1, 0, False)


@given(facts, st.floats(1 - (MARGIN - 1) / 3, 1 + (MARGIN - 1) / 3))
def test_what_changes_by_a_little_and_back_does_not_change_the_way_to_and_fro(
    known: PolicyFacts, change: float
) -> None:
    def changed(by: float) -> PolicyFacts:
        costs = {"cadence_a_day": known.cadence_a_day * by, "sweep_a_day": known.sweep_a_day * by}
        return replace(known, wallets=round(known.wallets * by), **costs)  # type: ignore[arg-type]  # all floats

    chosen, ways = choose(known), []
    for by in (change, 1.0, change, 1.0, change, 1.0):
        chosen = choose(changed(by), chosen)
        ways.append(chosen.way)
    assert len(set(ways[1:])) == 1 or known.wallets < SOME_WALLETS


@pytest.mark.parametrize("block_seconds", [3.0, 3.2])
def test_without_a_quota_a_network_at_a_bound_of_a_free_plan_keeps_what_it_had(block_seconds: float) -> None:
    """At three seconds a block the bound is where merged reads are too many; at a little more, where others are not."""
    counts = range(10_000, 3 * 10**6, 10_000)
    ways = [choose(known(count, 500, block_seconds)) for count in counts]
    turns = [at for at in range(1, len(counts)) if ways[at].reason != ways[at - 1].reason]
    assert turns
    for at in turns:
        chosen, reasons = ways[at - 1], []
        for count in (counts[at], counts[at - 1]) * 3:
            chosen = choose(known(count, 500, block_seconds), chosen)
            reasons.append(chosen.reason)
        assert len(set(reasons[1:])) == 1


def test_reads_are_merged_less_only_where_that_stays_clear_of_the_quota() -> None:
    merged = Choice("feed", "many_wallets", 72_889, 6.0, follows=True)
    barely = tron(100_000, daily_quota=round(87_300 / (1 - RESERVE)) + 1)
    assert (choose(barely, merged).read_every, choose(barely, FEED).read_every) == (6, 3)
    assert choose(replace(barely, daily_quota=115_000), merged).read_every == 3


@pytest.mark.parametrize(
    ("used", "gone", "left"),
    [
        (0, 0.0, 100_000),
        (50_000, 0.5, 100_000),
        (60_000, 0.5, 80_000),
        (1, 0.0, 99_999),
        (90_000, 0.1, 11_111),
        (100_000, 0.99, 0),
        (300_000, 0.5, 0),
    ],
)
def test_a_quota_of_which_too_much_was_used_is_what_its_rest_allows(used: int, gone: float, left: int) -> None:
    assert left_of(100_000, used, gone) == left


def test_what_was_sent_beyond_the_forecast_stretches_what_may_be_stretched() -> None:
    facts = tron(100_000, daily_quota=100_000)
    ways = [choose(replace(facts, daily_quota=left_of(100_000, used, 0.5))) for used in (50_000, 58_500, 80_000)]
    assert [(each.way, each.read_every) for each in ways] == [("feed", 6), ("feed", 9), ("cadence", 0)]


SOME_WALLETS = 100
"""Of fewer, a third of a tenth is hardly one."""


def test_each_way_and_each_reason_has_its_sentence() -> None:
    assert set(WAYS) == set(get_args(Way))
    assert set(REASONS) == set(get_args(Reason))
    for sentence in (*WAYS.values(), *REASONS.values(), *BLIND_SPOTS.values()):
        assert re.fullmatch(r"[A-Z`].*\.", sentence)
        assert sentence.count("`") % 2 == 0


def test_what_was_stretched_is_said() -> None:
    chosen = choose(ethereum(1_000_000, daily_quota=60_000))
    assert list(told(chosen.way, chosen.reason, read_every=chosen.read_every, stretch=chosen.stretch)) == [
        "Blocks are followed: wallets that they touch are read, every 36 s, and all others by a sweep.",
        "To read them after each block there is no room in `*_DAILY_QUOTA` or `*_RPS`.",
        "To keep `*_DAILY_QUOTA`, the cadence's intervals are 2 times as long.",
    ]
    assert len(list(told("feed", "many_wallets", read_every=3, stretch=1))) == 2
    assert list(told("cadence", "of another version", read_every=0, stretch=1))[1].startswith("This version")
    assert list(told("of another version", None, read_every=0, stretch=1)) == []


@given(facts)
def test_what_is_said_to_be_followed_is(known: PolicyFacts) -> None:
    chosen = choose(known)
    assert is_followed(chosen.way, chosen.reason) == chosen.follows


def test_blind_spots_are_those_of_a_feed_that_is_relied_on() -> None:
    assert blind_spots("feed", sees_native=True, deprecated=False) == []
    assert blind_spots("feed", sees_native=False, deprecated=False) == ["native_by_contracts"]
    assert blind_spots("cadence", sees_native=False, deprecated=True) == ["deprecated"]
    assert set(BLIND_SPOTS) == {*blind_spots("feed", sees_native=False, deprecated=True)}


@pytest.mark.parametrize(("wallets", "a_block"), [(1, 4), (5, 12), (20, 42)])
def test_nodes_that_are_asked_for_each_wallet_singly_are_asked_two_requests_for_each_and_two_more(
    wallets: int, a_block: int
) -> None:
    assert choose(known(wallets, 20, 3.0, batch_requests=42)).a_day == a_block * DAY / 3
    # Of a thousand wallets each batch is full, and of one none is.
    for number, batch in ((1000, 42), (1, 1 + 41 / 20)):
        by_one = requests_a_day(number, 20, Policy(60, 900), ahead=0 if number == 1 else 900)
        singly = requests_a_day(number, 20, Policy(60, 900), ahead=0 if number == 1 else 900, batch_requests=42)
        assert singly == pytest.approx(by_one * batch)
    assert sweep_a_day(10_000, 20, SWEEP, batch_requests=42) == pytest.approx(42 * sweep_a_day(10_000, 20, SWEEP))


def test_the_cadence_has_what_it_had_before_and_a_sweep_of_it_little() -> None:
    assert (STRETCHES[0], STRETCHES[-1]) == (1, MOST_STRETCHED)
    assert 800 < sweep_a_day(100_000, 500, SWEEP) < 1000
    assert sweep_a_day(100_000, 500, SWEEP) < requests_a_day(100_000, 500, Policy(60, 900), ahead=15) / 10
    assert (sweep_a_day(0, 500, SWEEP), requests_a_day(0, 500, Policy(60, 900), ahead=15)) == (0, 0)
