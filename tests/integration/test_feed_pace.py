"""How often wallets are read whose network is followed, and what becomes of their due times when it is no more."""

from collections.abc import Callable
from datetime import timedelta

import json_rpc_faults
import pytest
from followed import MANY, Followed
from structlog.testing import capture_logs

from config.settings import worker_settings
from config.work_counts import day_key
from db import feed
from db.feed_cursor import cursor as cursor_of
from db.feed_state import feed_states
from db.freshness_policy import Decision, fall_back, note_decision
from db.networks import make_due
from db.session import transaction
from devstack import contracts
from worker.admin.feed_report import feed_report
from worker.feed.follow import follow
from worker.feed.reader import feed_reader_for
from worker.schedule.cadence import SPREAD
from worker.schedule.sizing import DAY

Settings = Callable[..., None]


def seconds_until_due(followed: Followed) -> list[float]:
    wait = "SELECT date_part('epoch', next_sync_at - now()) AS seconds FROM sync_schedule WHERE wallet_id = %s"
    return [followed.rows(wait, wallet)[0]["seconds"] for wallet in followed.ids]


def sees_native(followed: Followed, *, sees: bool) -> None:
    followed.rows("UPDATE feed_cursor SET sees_native = %s", sees)


def ticks(followed: Followed) -> None:
    with transaction() as connection:
        while make_due(connection, followed.network) is not None:
            pass


def waits_for_its_sweep(followed: Followed) -> float:
    """All wallets have been read, and are covered. The interval of sweeps."""
    followed.begin()
    sees_native(followed, sees=True)
    followed.read_all()
    sweep = float(worker_settings().sync_interval_sweep)
    assert all(sweep * 0.5 <= seconds <= sweep for seconds in seconds_until_due(followed))
    return sweep


def test_wallets_that_the_feed_covers_are_swept_slowly(followed: Followed) -> None:
    assert waits_for_its_sweep(followed) == 6 * 3600


def test_where_blocks_do_not_show_what_contracts_pay_the_cadence_stays(followed: Followed) -> None:
    followed.begin()
    sees_native(followed, sees=False)
    followed.read_all()
    assert all(seconds <= worker_settings().sync_interval_idle for seconds in seconds_until_due(followed))


def test_wallets_that_were_read_before_the_feed_began_are_not_covered(followed: Followed) -> None:
    followed.begin()
    sees_native(followed, sees=True)
    followed.rows("UPDATE feed_cursor SET since = %s", followed.newest() + 1)
    followed.read_all()
    assert all(seconds <= worker_settings().sync_interval_idle for seconds in seconds_until_due(followed))


@pytest.mark.parametrize("followed", ["tron"], indirect=True)
def test_a_tron_node_that_keeps_what_contracts_pay_is_believed_to_see_native(followed: Followed) -> None:
    followed.begin()
    payer = followed.net.chain.deploy_payer()
    followed.happens(contracts.pay_through(payer, [followed.holders[0]], 100))
    followed.follow()
    assert followed.cursor()["sees_native"] is True
    assert followed.touches() == [(0, 0)]
    followed.serve()
    assert followed.shown()[0] == (1000, 100)


def test_so_few_wallets_are_read_once_a_block_and_no_block_is_followed(followed: Followed) -> None:
    followed.read()
    follow(followed.network)
    cursor = followed.cursor()
    assert (cursor["policy"], cursor["reason"], cursor["block_number"]) == ("every_block", "few_wallets", None)
    followed.read_all()
    block_seconds = worker_settings().chain(followed.network).network.block_seconds
    assert cursor["read_every"] == max(block_seconds, 1)
    waits = seconds_until_due(followed)
    assert max(waits) <= cursor["read_every"] / (1 - SPREAD), "the first one takes the others along"
    followed.rows("UPDATE sync_schedule SET next_sync_at = now() + make_interval(secs => %s)", block_seconds * 0.4)
    followed.rows("UPDATE sync_schedule SET next_sync_at = now() WHERE wallet_id = %s", followed.ids[0])
    followed.happens(*(followed.give(at, 5) for at in range(3)))
    followed.read()
    assert followed.usdt() == [1005, 1006, 1007], "they travel together"


def test_where_each_wallet_is_asked_for_singly_the_policy_counts_each_request(followed: Followed) -> None:
    followed.read()

    def requests_a_block() -> float:
        followed.rows("UPDATE feed_cursor SET decided_at = NULL, reason = NULL, policy = 'cadence'")
        follow(followed.network)
        cursor = followed.cursor()
        assert cursor["policy"] == "every_block"
        return float(cursor["requests_a_day"] * cursor["read_every"] / DAY)

    assert requests_a_block() == pytest.approx(1, rel=0.01)
    reader = feed_reader_for(followed.network).reader
    for node in reader.nodes:
        reader.shared.put(f"way:{node.id}", ["single", ""], 3600)
    assert requests_a_block() == pytest.approx(2 + 2 * len(followed.ids), rel=0.01)


@pytest.mark.parametrize("followed", ["tron"], indirect=True)
def test_a_quota_that_was_used_up_before_its_time_is_kept_by_what_is_left(
    followed: Followed, settings: Settings
) -> None:
    settings(TRON_DAILY_QUOTA="100000")
    followed.read()
    shared = feed_reader_for(followed.network).reader.shared
    decided = []
    for used in (0, 100_000):
        with shared.redis() as client:
            client.set(day_key(followed.network, shared.clock()), used)
        followed.rows("UPDATE feed_cursor SET decided_at = NULL, reason = NULL, policy = 'cadence'")
        follow(followed.network)
        cursor = followed.cursor()
        decided.append((cursor["policy"], cursor["reason"]))
    assert decided == [("every_block", "few_wallets"), ("cadence", "quota_too_small")]


@pytest.mark.parametrize("followed", ["ethereum"], indirect=True)
def test_a_network_that_no_endpoint_ever_gives_blocks_of_is_behind_for_as_long_as_that_lasts(
    followed: Followed,
) -> None:
    followed.read()
    soon = "UPDATE feed_cursor SET decided_at = NULL, next_at = now(), counted_at = now(), wallets = %s"
    with followed.net.proxy.faulty(json_rpc_faults.error(-32601, "method not found")):
        followed.is_time()
        followed.rows(soon, MANY)
        follow(followed.network)
        first = followed.cursor()
        assert (first["block_number"], first["blind"]) == (None, "unsupported")
        followed.rows(soon, MANY)
        follow(followed.network)
    with transaction() as connection:
        state = feed_states(connection)[followed.network]
    assert (state.policy, state.reason, state.good_until) == ("cadence", "blind", first["good_until"])
    told = feed_report(state)
    assert told["followed"]
    assert told["behind_seconds"] > 0, "the alert FeedBehind goes by it"


def test_after_a_gap_those_are_due_that_were_read_before_it(followed: Followed) -> None:
    waits_for_its_sweep(followed)
    with transaction() as connection:
        at = cursor_of(connection, followed.network)
        block = feed.Seen(
            followed.newest() + 5, bytes(32), bytes(32), 1_795_000_000, [], [], sees_native=None, deprecated=False
        )
        step = feed.Step(at.registered_id, "latest", 0.0, 12.0, 0.0, timedelta(minutes=1))
        assert feed.jump(connection, followed.network, at, block, step, all_due=True)
    followed.rows("UPDATE balance_cache SET block_number = %s WHERE wallet_id = %s", block.number, followed.ids[2])
    ticks(followed)
    one, two, three = seconds_until_due(followed)
    assert one <= 0
    assert two <= 0
    assert three > 3600, "it was read after the gap"
    assert followed.cursor()["jumps"] == 1


def test_a_feed_that_stands_still_is_fallen_back_from_without_a_wave(followed: Followed) -> None:
    waits_for_its_sweep(followed)
    since = followed.cursor()["since"]
    idle = worker_settings().sync_interval_idle
    with transaction() as connection:
        assert not fall_back(connection, followed.network, spread=idle), "it does not"
    followed.rows("UPDATE feed_cursor SET good_until = now()")
    with transaction() as connection:
        assert fall_back(connection, followed.network, spread=idle)
    with transaction() as connection:
        assert not fall_back(connection, followed.network, spread=idle), "it is no news any more"
    ticks(followed)
    waits = seconds_until_due(followed)
    assert all(-60 <= seconds <= idle for seconds in waits)
    assert len(set(waits)) == len(waits), "each at a time of its own"
    cursor = followed.cursor()
    assert (cursor["policy"], cursor["reason"], cursor["since"]) == ("cadence", "behind", since), "it may catch up"


def test_a_feed_that_stands_still_counts_for_nothing_before_anybody_has_noticed(followed: Followed) -> None:
    followed.begin()
    sees_native(followed, sees=True)
    followed.rows("UPDATE feed_cursor SET good_until = now()")
    followed.read_all()
    assert all(seconds <= worker_settings().sync_interval_idle for seconds in seconds_until_due(followed))


def test_one_that_came_to_be_read_by_every_block_waits_for_no_sweep(followed: Followed) -> None:
    waits_for_its_sweep(followed)
    with transaction() as connection:
        at = cursor_of(connection, followed.network)
        few = Decision("every_block", "few_wallets", 12.0, 1.0, 7200, 3, counted=True)
        note_decision(connection, followed.network, at, few, spread=12.0)
    ticks(followed)
    assert all(seconds <= 12 for seconds in seconds_until_due(followed))


def test_without_the_feed_what_is_owed_is_read_and_everything_else_is_as_before(
    followed: Followed, settings: Settings
) -> None:
    waits_for_its_sweep(followed)
    followed.happens(followed.give(0, 5))
    followed.follow()
    followed.due()
    settings(FEED="off")
    followed.read()
    assert followed.touches() == []
    assert followed.usdt() == [1005, 1001, 1002]
    idle = worker_settings().sync_interval_idle
    assert seconds_until_due(followed)[0] <= idle
    followed.rows("UPDATE feed_cursor SET good_until = now()")
    with transaction() as connection:
        fall_back(connection, followed.network, spread=idle)
    ticks(followed)
    assert all(seconds <= idle for seconds in seconds_until_due(followed)), "nobody waits for a sweep"


def test_when_the_feed_is_turned_on_again_it_catches_up_and_finds_wallets_that_came_meanwhile(
    followed: Followed, settings: Settings
) -> None:
    followed.begin()
    since = followed.cursor()["since"]
    settings(FEED="off")
    followed.rows("UPDATE feed_cursor SET good_until = now()")
    with transaction() as connection:
        fall_back(connection, followed.network, spread=1.0)
    (holder,) = followed.net.new_holders()[:1]
    followed.holders.append(holder)
    followed.ids += followed.tables.add(followed.network, followed.net.address(holder))
    followed.read()
    followed.happens(followed.give(0, 5))
    settings(FEED="on")
    with capture_logs() as logs:
        followed.follow()
    assert [log["event"] for log in logs if log["event"].startswith("feed_")] == []
    assert followed.cursor()["since"] == since, "it covers what it covered"
    assert followed.touches() == [(0, 5)]
    followed.read_all()
    assert followed.usdt() == [1005, 1001, 1002, 0]
    followed.serve()
    followed.is_quiet()
    followed.happens(followed.give(3, 6))
    followed.follow()
    assert followed.touches() == [(3, 6)]
