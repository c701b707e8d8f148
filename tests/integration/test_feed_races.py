"""What happens between a batch's claim and its writing, and between two workers with other settings."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from followed import Followed
from proxy import Exchange, passed_on
from running import await_lock_wait
from structlog.testing import capture_logs

from config.settings import worker_settings
from db.claims import claim_due
from db.feed_cursor import cursor as cursor_of
from db.freshness_policy import fall_back
from db.networks import PIECE, make_due
from db.session import engine, transaction
from worker.feed.follow import follow
from worker.feed.reach import reach
from worker.sync.batch import sync_these

Settings = Callable[..., None]
HOUR = timedelta(hours=1)


@pytest.fixture
def covered(followed: Followed) -> Iterator[Followed]:
    """All wallets wait for their sweep."""
    followed.begin()
    followed.rows("UPDATE feed_cursor SET sees_native = true")
    followed.read_all()
    yield followed
    followed.net.proxy.fault = passed_on


def seconds_until_due(followed: Followed) -> list[float]:
    wait = "SELECT date_part('epoch', next_sync_at - now()) AS seconds FROM sync_schedule"
    return [row["seconds"] for row in followed.rows(wait)]


def test_a_batch_that_was_claimed_before_a_jump_leaves_no_wallet_to_the_sweep(covered: Followed) -> None:
    def jumps_meanwhile(exchange: Exchange) -> None:
        covered.rows("UPDATE feed_cursor SET since = block_number + 1000")
        passed_on(exchange)

    covered.net.proxy.fault = jumps_meanwhile
    covered.read_all()
    assert all(seconds <= worker_settings().sync_interval_idle for seconds in seconds_until_due(covered))


def test_what_is_written_ahead_of_the_feed_is_read_once_more(covered: Followed) -> None:
    """Here of the native coin, which no event tells of: its block cannot be followed just now."""
    covered.happens(covered.pay(0, 6))
    covered.rows("UPDATE feed_cursor SET policy = 'feed', decided_at = now()")
    with psycopg.connect(covered.tables.dsn) as other:
        other.execute("SELECT FROM feed_cursor FOR UPDATE")
        assert not reach(covered.network, covered.newest(), 0.0)
    covered.rows("UPDATE feed_cursor SET lease_token = gen_random_uuid(), lease_until = now() + interval '9 seconds'")
    covered.read_all()
    assert covered.row(0)["block_number"] == covered.newest()
    assert covered.touches() == [(0, None)]
    covered.serve()


def test_a_cursor_that_somebody_keeps_locked_is_no_reason_for_a_batch_to_fail(covered: Followed) -> None:
    covered.net.chain.mine()
    with psycopg.connect(covered.tables.dsn) as other:
        other.execute("LOCK feed_cursor IN ACCESS EXCLUSIVE MODE")
        with capture_logs() as logs:
            assert not reach(covered.network, covered.newest() + 1, 1e12)
    assert [log["event"] for log in logs] == ["feed_not_reached"]


def test_a_worker_without_the_feed_decides_nothing(covered: Followed, settings: Settings) -> None:
    settings(FEED="off")
    covered.rows("UPDATE feed_cursor SET decided_at = NULL, next_at = now()")
    before = covered.cursor()
    follow(covered.network)
    assert covered.cursor() == before


@pytest.mark.parametrize("decided_at", ["now() - interval '2 minutes'", "now() + interval '1 year'"])
def test_a_policy_that_nobody_has_decided_on_for_a_minute_is_the_cadence(covered: Followed, decided_at: str) -> None:
    covered.rows("UPDATE feed_cursor SET policy = 'every_block', read_every = 1, stretch = 4, decided_at = now()")
    with transaction() as connection:
        claim_due(connection, covered.network, limit=1, lease=HOUR, ahead=2 * HOUR)
    assert covered.rows("SELECT FROM leases") == [], "it looks half a second ahead"
    covered.rows(f"UPDATE feed_cursor SET decided_at = {decided_at}")
    covered.read_all()
    active = worker_settings().sync_interval_active
    assert all(active * 0.5 <= seconds <= active * 1.5 for seconds in seconds_until_due(covered)), "and not stretched"


def test_after_a_jump_wallets_that_were_to_come_by_and_by_do_not_come_at_once(covered: Followed) -> None:
    """It was fallen back from, some wallets were spread, and then it began anew: it covers nothing that it had not."""
    idle = worker_settings().sync_interval_idle
    covered.rows("UPDATE feed_cursor SET good_until = now()")
    with transaction() as connection:
        assert fall_back(connection, covered.network, spread=idle)
    covered.rows("UPDATE feed_cursor SET since = NULL")
    covered.follow()
    with transaction() as connection:
        assert cursor_of(connection, covered.network).since is not None
    assert len(covered.ids) < PIECE
    with transaction() as connection:
        make_due(connection, covered.network)
    assert covered.cursor()["due_spread"] == idle


def test_a_node_that_says_not_yet_for_longer_than_a_block_may_be_old_keeps_no_feed_good(
    covered: Followed, settings: Settings
) -> None:
    covered.rows("UPDATE feed_cursor SET good_until = now(), block_time = now() - interval '1 year'")
    settings(**{f"{covered.network.upper()}_MAX_HEAD_AGE": "60"})
    covered.follow_once()
    assert covered.rows("SELECT good_until <= now() AS over FROM feed_cursor") == [{"over": True}]
    settings(**{f"{covered.network.upper()}_MAX_HEAD_AGE": "0"})
    covered.follow_once()
    assert covered.rows("SELECT good_until <= now() AS over FROM feed_cursor") == [{"over": False}]


def test_two_batches_that_count_missed_changes_at_once_never_wait_for_each_other(covered: Followed) -> None:
    """Both are kept at the cursor, each as far as it comes: had it a shared lock by then, neither could ever count."""
    covered.net.chain.set_native([(holder, 9) for holder in covered.holders])
    covered.settle()
    covered.net.chain.mine()
    covered.follow()
    covered.is_time()
    covered.rows("UPDATE sync_schedule SET next_sync_at = now()")
    # Whoever waits in a circle is told so before he would give up waiting. New connections are of these settings.
    (database,) = covered.rows("SELECT current_database() AS name")
    covered.rows(f"ALTER DATABASE {database['name']} SET deadlock_timeout = '20ms'")
    engine().dispose()
    with psycopg.connect(covered.tables.dsn) as other, ThreadPoolExecutor(2) as pool, capture_logs() as logs:
        other.execute("SELECT FROM feed_cursor FOR SHARE")
        batches = [pool.submit(sync_these, covered.network, [wallet]) for wallet in covered.ids[:2]]
        await_lock_wait(covered.rows, statements=2)
        other.commit()
        for batch in batches:
            batch.result()
    assert covered.cursor()["missed_native"] == 2
    assert "DeadlockDetected" not in [log.get("error") for log in logs if log["event"] == "transaction_repeated"]


def test_a_touch_that_is_noted_while_a_batch_reads_is_served_by_it_though_the_feed_was_behind(
    covered: Followed,
) -> None:
    """The batch was claimed while nothing was owed, and nobody relied on the feed."""
    covered.rows("UPDATE feed_cursor SET good_until = now()")
    with transaction() as connection:
        assert fall_back(connection, covered.network, spread=0.0)

    def comes_back_meanwhile(exchange: Exchange) -> None:
        covered.net.proxy.fault = passed_on
        covered.happens(covered.give(0, 5))
        covered.follow()
        assert covered.touches() == [(0, 5)]
        passed_on(exchange)

    covered.net.proxy.fault = comes_back_meanwhile
    covered.read_all()
    assert covered.usdt()[0] == 1005
    assert covered.touches() == [], "it would be read once more for a touch that this read has served"
