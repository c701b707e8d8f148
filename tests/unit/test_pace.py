"""How often wallets are read, by how their network is kept fresh."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import WorkerSettings
from db.network_state import Freshness
from worker.schedule.cadence import Policy, due_after_success
from worker.sync.pace import cadence_of, pace_of

DATABASE, QUEUE = "postgresql://nobody/", "redis://nobody"
ON = WorkerSettings(database_url=DATABASE, redis_url=QUEUE)
OFF = WorkerSettings(database_url=DATABASE, redis_url=QUEUE, feed=False)
EVERY_BLOCK = Freshness(policy="every_block", read_every=3.0)
FEED = Freshness(policy="feed", read_every=3.0, sees_native=True, since=100)


@given(jitter=st.floats(0, 1, exclude_max=True), touched=st.none() | st.floats(0, 1e9))
def test_all_wallets_are_read_once_a_block_and_no_more_often(jitter: float, touched: float | None) -> None:
    pace = pace_of(ON, EVERY_BLOCK)
    assert pace
    due = due_after_success(1e9, touched, pace.policy, jitter) - 1e9
    assert 3 <= round(due, 3) <= 3.75, "the first that is due takes the others along"


def test_whom_the_feed_tells_of_is_swept_and_nobody_else() -> None:
    swept = pace_of(ON, FEED)
    assert swept
    assert (swept.policy, swept.since) == (Policy(21_600, 21_600), 100)
    assert pace_of(ON, FEED._replace(sees_native=False)) is None, "what contracts pay is seen by the cadence alone"
    assert pace_of(ON, FEED._replace(since=None)) is None, "blocks are missing"
    assert pace_of(ON, Freshness()) is None


@pytest.mark.parametrize("freshness", [EVERY_BLOCK, FEED, Freshness(stretch=4.0)])
def test_with_the_feed_off_intervals_are_those_of_the_settings(freshness: Freshness) -> None:
    assert pace_of(OFF, freshness) is None
    assert cadence_of(OFF, freshness) == Policy(60, 900)


def test_a_small_quota_makes_the_cadence_longer() -> None:
    assert cadence_of(ON, Freshness(stretch=1.5)) == Policy(90, 1350)
