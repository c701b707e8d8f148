"""When a wallet is due next: the whole rule, as a table and as properties."""

from collections import Counter
from collections.abc import Callable
from heapq import heapify, heapreplace
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.schedule.cadence import (
    SPREAD,
    Policy,
    due_after_failed_read,
    due_after_failed_wallet,
    due_after_success,
)

NOW = 1_795_000_000.0
POLICY = Policy(active=60, idle=900)
SOONEST = POLICY.active * (1 - SPREAD)
NEARLY_ONE = 1 - 2**-53
jitters = st.floats(0, 1, exclude_max=True)
moments = st.none() | st.floats(0, 900 * 86400).map(lambda ago: NOW - ago)
lateness = st.floats(-900, 10**9)


@pytest.mark.parametrize(
    ("touched", "seconds", "at_least"),
    [
        (None, 60, 48),
        (0, 60, 48),
        (120, 60, 48),
        (130, 65, 48),
        (240, 120, 78),
        (900, 450, 292.5),
        (1800, 900, 585),
        (10**6, 900, 585),
    ],
)
def test_a_wallet_rests_longer_the_longer_it_is_quiet(touched: int | None, seconds: int, at_least: float) -> None:
    since = None if touched is None else NOW - touched
    assert due_after_success(NOW, since, POLICY, 0) == NOW + seconds
    assert due_after_success(NOW, since, POLICY, NEARLY_ONE) - NOW == pytest.approx(at_least)


@pytest.mark.parametrize(("late", "at_least"), [(60, 585), (61, 48), (10**9, 48)])
def test_a_wallet_that_is_late_by_more_than_the_active_interval_comes_back_at_any_time_of_its_own(
    late: float, at_least: float
) -> None:
    assert due_after_success(NOW, 0, POLICY, 0, overdue=late) == NOW + 900
    assert due_after_success(NOW, 0, POLICY, NEARLY_ONE, overdue=late) - NOW == pytest.approx(at_least)


@pytest.mark.parametrize(("failures", "seconds"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (6, 60), (10**9, 60)])
def test_a_failed_read_is_tried_again_soon_and_never_later_than_the_active_interval(
    failures: int, seconds: int
) -> None:
    assert due_after_failed_read(NOW, failures, POLICY, 0) == NOW + seconds
    assert due_after_failed_read(NOW, failures, POLICY, NEARLY_ONE) - NOW == pytest.approx(0.8 * seconds)


@pytest.mark.parametrize(("failures", "seconds"), [(1, 60), (2, 120), (3, 240), (4, 480), (5, 900), (10**9, 900)])
def test_a_wallet_that_alone_fails_backs_off_up_to_the_idle_interval(failures: int, seconds: int) -> None:
    assert due_after_failed_wallet(NOW, failures, POLICY, 0) == NOW + seconds
    assert due_after_failed_wallet(NOW, failures, POLICY, NEARLY_ONE) - NOW == pytest.approx(0.8 * seconds)


@given(moments, jitters, lateness)
def test_after_success_never_sooner_than_the_spread_allows_and_never_later_than_idle(
    touched: float | None, jitter: float, late: float
) -> None:
    wait = due_after_success(NOW, touched, POLICY, jitter, overdue=late) - NOW
    assert wait + 1e-6 >= SOONEST
    assert wait <= POLICY.idle


@given(st.floats(0, 10**6), st.floats(0, 10**6), jitters)
def test_what_was_touched_later_is_never_due_later(one: float, other: float, jitter: float) -> None:
    earlier, later = sorted((NOW - one, NOW - other))
    assert due_after_success(NOW, later, POLICY, jitter) <= due_after_success(NOW, earlier, POLICY, jitter)


@given(st.integers(1, 10**6), jitters)
def test_after_a_failure_never_later_than_its_cap(failures: int, jitter: float) -> None:
    assert 4 <= due_after_failed_read(NOW, failures, POLICY, jitter) - NOW <= POLICY.active
    wait = due_after_failed_wallet(NOW, failures, POLICY, jitter) - NOW
    assert SOONEST - 1e-6 <= wait <= POLICY.idle


@given(jitters, jitters)
def test_chance_alone_spreads_wallets_that_are_alike(one: float, other: float) -> None:
    dues = [due_after_success(NOW, NOW, POLICY, jitter) for jitter in sorted((one, other))]
    assert dues[0] >= dues[1]
    assert (dues[0] - dues[1]) <= POLICY.active * SPREAD


a_few = settings(max_examples=settings().max_examples // 20)
"""Each of these simulates thousands of reads: a rule that lets waves come back does so from every seed."""


class Fleet:
    """Wallets that never change, read in the order in which they are due, so many a second at most."""

    def __init__(self, dues: list[float], per_second: float, touched: float | None, seed: int) -> None:
        self.queue = [(due, wallet) for wallet, due in enumerate(dues)]
        heapify(self.queue)
        self.per_second, self.random, self.now = per_second, Random(seed), 0.0
        self.touched = [touched] * len(dues)
        self.failures = Counter[int]()
        self.reads: list[tuple[float, int, float]] = []

    def run(self, until: float, bad: Callable[[int], bool] = lambda _wallet: False, *, out: bool = False) -> None:
        """`bad`: of which wallets no read is good. `out`: all nodes are out of order."""
        while self.now < until:
            due, wallet = self.queue[0]
            self.now = max(self.now + 1 / self.per_second, due)
            self.reads.append((self.now, wallet, self.now - due))
            if out:
                self.failures[wallet] += 1
                next_one = due_after_failed_read(self.now, self.failures[wallet], POLICY, self.random.random())
            elif bad(wallet):
                self.failures[wallet] += 1
                next_one = due_after_failed_wallet(self.now, self.failures[wallet], POLICY, self.random.random())
            else:
                touched = self.touched[wallet]
                self.touched[wallet] = self.now if touched is None else touched
                late = inf if self.failures.pop(wallet, 0) else self.now - due
                jitter = self.random.random()
                next_one = due_after_success(self.now, self.touched[wallet], POLICY, jitter, overdue=late)
            heapreplace(self.queue, (next_one, wallet))

    def peak(self, since: float, until: float) -> float:
        """The busiest minute over the average one."""
        minutes = Counter(int(at // 60) for at, _, _ in self.reads if since <= at < until)
        return max(minutes.values()) / (minutes.total() / ((until - since) / 60))


@given(st.integers(0, 2**32))
@a_few
def test_wallets_that_were_inserted_at_once_do_not_come_back_in_waves_when_they_have_grown_quiet(seed: int) -> None:
    fleet = Fleet([0.0] * 500, 25, None, seed)
    fleet.run(6300)
    assert fleet.peak(4500, 6300) < 2


@given(st.integers(0, 2**32))
@a_few
def test_nor_do_they_after_an_hour_of_downtime(seed: int) -> None:
    random = Random(seed)
    fleet = Fleet([-3600 + 900 * random.random() for _ in range(500)], 25, -(10**6), seed)
    fleet.run(3600)
    assert fleet.peak(900, 3600) < 2


@given(st.integers(0, 2**32))
@a_few
def test_nor_do_they_after_an_hour_in_which_no_node_answered(seed: int) -> None:
    random = Random(seed)
    fleet = Fleet([900 * random.random() for _ in range(500)], 25, -(10**6), seed)
    fleet.run(3600, out=True)
    fleet.run(7200)
    assert fleet.peak(4500, 7200) < 2


@given(st.floats(0.1, 10**6), st.integers(1, 10**6), jitters)
def test_nodes_that_want_to_be_left_alone_are_but_not_beyond_the_idle_interval_and_not_by_all_until_one_moment(
    told: float, failures: int, jitter: float
) -> None:
    wait = due_after_failed_read(NOW, failures, POLICY, jitter, retry_after=told) - NOW
    assert min(told, POLICY.idle) - 1e-6 <= wait <= max(POLICY.idle, POLICY.active)
    if 60 < told < 800 and jitter > 0.5:
        assert wait > told


@given(st.integers(0, 2**32), st.sampled_from([2, 3, 10]))
@a_few
def test_failures_never_crowd_out_the_healthy_and_nobody_waits_longer_than_all_the_others_take(
    seed: int, each: int
) -> None:
    """With too few reads for all: who is due first goes first, so a wallet waits for the others once at most."""
    wallets, per_second = 300, 3.0  # a hundred seconds for all, of which each wants to be read every sixty
    fleet = Fleet([0.0] * wallets, per_second, None, seed)
    fleet.run(1200, bad=lambda wallet: wallet % each == 0)
    healthy = [late for at, wallet, late in fleet.reads if at > 120 and wallet % each]
    assert max(healthy) <= wallets / per_second
    served = Counter(wallet for _, wallet, _ in fleet.reads)
    sick = max(served[wallet] for wallet in range(0, wallets, each))
    assert sick <= min(served[wallet] for wallet in range(wallets) if wallet % each)
