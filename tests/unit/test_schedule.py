"""When a wallet is due next: the whole rule, as a table and as properties."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.schedule import (
    NEVER,
    SPREAD,
    Policy,
    due_after_failed_read,
    due_after_failed_wallet,
    due_after_success,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)
POLICY = Policy(active=timedelta(seconds=60), idle=timedelta(seconds=900))
jitters = st.floats(0, 1, exclude_max=True)
moments = st.none() | st.timedeltas(timedelta(0), timedelta(days=900)).map(lambda ago: NOW - ago)


@pytest.mark.parametrize(
    ("changed", "asked", "seconds"),
    [
        (0, None, 60),
        (60, None, 60),
        (120, None, 60),
        (240, None, 120),
        (900, None, 450),
        (1800, None, 900),
        (10**6, None, 900),
        (None, None, 60),
        (10**6, 0, 60),
        (10**6, 600, 300),
        (240, 10**6, 120),
    ],
)
def test_a_wallet_rests_longer_the_longer_it_is_quiet(changed: int | None, asked: int | None, seconds: int) -> None:
    touched = [None if ago is None else NOW - timedelta(seconds=ago) for ago in (changed, asked)]
    assert due_after_success(NOW, touched, POLICY, 0) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(("failures", "seconds"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (6, 60), (10**9, 60)])
def test_a_failed_read_is_tried_again_soon_and_never_later_than_the_active_interval(
    failures: int, seconds: int
) -> None:
    assert due_after_failed_read(NOW, failures, POLICY, 0) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(("failures", "seconds"), [(1, 60), (2, 120), (3, 240), (4, 480), (5, 900), (10**9, 900)])
def test_a_wallet_that_alone_fails_backs_off_up_to_the_idle_interval(failures: int, seconds: int) -> None:
    assert due_after_failed_wallet(NOW, failures, POLICY, 0) == NOW + timedelta(seconds=seconds)


@given(st.lists(moments, max_size=3), jitters)
def test_after_success_never_sooner_than_the_spread_allows_and_never_later_than_idle(
    touched: list[datetime | None], jitter: float
) -> None:
    wait = due_after_success(NOW, touched, POLICY, jitter) - NOW
    assert POLICY.active * (1 - SPREAD) <= wait <= POLICY.idle


@given(st.integers(1, 10**6), jitters)
def test_after_a_failure_never_later_than_its_cap(failures: int, jitter: float) -> None:
    assert timedelta(seconds=4) <= due_after_failed_read(NOW, failures, POLICY, jitter) - NOW <= POLICY.active
    wait = due_after_failed_wallet(NOW, failures, POLICY, jitter) - NOW
    assert POLICY.active * (1 - SPREAD) <= wait <= POLICY.idle


@given(jitters, jitters)
def test_chance_alone_spreads_wallets_that_are_alike(one: float, other: float) -> None:
    dues = [due_after_success(NOW, [NOW], POLICY, jitter) for jitter in sorted((one, other))]
    assert dues[0] >= dues[1]
    assert (dues[0] - dues[1]) <= POLICY.active * SPREAD


def test_never_is_a_time_that_the_database_can_hold_and_nobody_will_see() -> None:
    assert NOW + timedelta(days=365 * 1000) < NEVER
