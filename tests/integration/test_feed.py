"""A network is followed block by block, on real nodes and tables: who was touched is read, and nobody is missed."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from followed import Followed
from network import NETWORKS, SOLID_LAG, address_on
from running import await_lock_wait
from structlog.testing import capture_logs

from config.settings import worker_settings
from db.session import transaction
from db.touches import count_touched
from devstack import contracts
from worker.feed.follow import follow
from worker.feed.step import LEAST_FLOOR
from worker.sync.batch import sync_due


def test_a_transfer_is_in_the_table_after_one_block_and_one_read(followed: Followed) -> None:
    followed.begin()
    net, (first, second, _) = followed.net, followed.holders
    net.chain.set_native([(first, 10**18)])
    followed.happens(contracts.transfer(net.token, second, 7, sender=first))
    followed.follow()
    assert followed.touches() == [(0, -7), (1, 7)]
    followed.serve()
    assert followed.usdt() == [993, 1008, 1002]
    assert followed.cursor()["missed_usdt"] == 0


def test_a_hot_wallet_in_each_block_costs_a_place_in_one_read(followed: Followed) -> None:
    followed.begin()
    followed.happens(*[followed.give(at % 2, 1) for at in range(10)])
    asked = followed.net.proxy.requests
    followed.follow()
    blocks = followed.newest() - (followed.cursor()["since"])
    assert followed.net.proxy.requests - asked <= 2 * blocks + 5, "and a few for what is not there yet"
    assert len(followed.touches()) == 10
    followed.due()
    asked = followed.net.proxy.requests
    followed.read()
    assert followed.net.proxy.requests - asked == 1
    assert followed.touches() == []
    assert followed.usdt() == [1005, 1006, 1002]


def test_a_touched_wallet_waits_for_others_but_not_below_its_floor(followed: Followed) -> None:
    followed.begin()
    followed.happens(followed.give(0, 1), followed.pay(1, 1))
    followed.rows(
        "UPDATE sync_schedule SET claimed_at = now() - interval '1 minute' WHERE wallet_id = %s", followed.ids[1]
    )
    followed.follow()
    waits = {
        followed.ids.index(row["wallet_id"]): row["seconds"]
        for row in followed.rows(
            "SELECT t.wallet_id, date_part('epoch', t.due_at - s.claimed_at) AS seconds"
            " FROM touches AS t JOIN sync_schedule AS s USING (wallet_id)"
        )
    }
    assert waits[0] >= LEAST_FLOOR * 0.75, "or a quarter less, so that no batch is missed by a hair"
    assert waits[1] >= 60, "at once, for it was read long ago"
    due = followed.rows("SELECT wallet_id FROM touches WHERE due_at <= now()")
    assert [row["wallet_id"] for row in due][-1:] == [followed.ids[1]]


def test_where_reads_are_merged_two_blocks_are_served_by_one_read_after_the_second(followed: Followed) -> None:
    followed.begin()
    seconds = worker_settings().chain(followed.network).network.block_seconds
    followed.rows("UPDATE feed_cursor SET read_every = %s", 2 * seconds)
    followed.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 hour'")
    followed.net.chain.mine(1 + followed.net.chain.head() % 2)
    assert followed.net.chain.head() % 2 == 1, "the next block is the first of two"
    followed.happens(followed.give(0, 1), followed.give(1, 1))
    reads_due = 0
    while followed.cursor()["block_number"] < followed.newest():
        followed.is_time()
        reads_due += follow(followed.network).due
    assert reads_due >= 2, "both, when the second block was followed"
    due = followed.rows("SELECT wallet_id, due_at <= now() AS is_due FROM touches")
    assert {followed.ids.index(row["wallet_id"]): row["is_due"] for row in due} == {0: True, 1: True}
    asked = followed.net.proxy.requests
    followed.read()
    assert followed.net.proxy.requests - asked == 1
    assert followed.touches() == []
    assert followed.usdt() == [1001, 1002, 1002]


def test_a_batch_too_many_does_not_read_what_waits_for_a_later_block(followed: Followed) -> None:
    followed.begin()
    seconds = worker_settings().chain(followed.network).network.block_seconds
    followed.rows("UPDATE feed_cursor SET read_every = %s", 2 * seconds)
    followed.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 hour'")
    followed.net.chain.mine(1 + followed.net.chain.head() % 2)
    followed.happens(followed.give(0, 1))
    assert followed.newest() % 2 == 0, "the first of two"
    followed.follow()
    asked = followed.net.proxy.requests
    followed.read()
    assert followed.net.proxy.requests == asked
    assert len(followed.touches()) == 1


def test_what_somebody_reads_is_not_counted_as_due(followed: Followed) -> None:
    """Else a wallet whose worker never came back would have a message sent each second."""
    followed.begin()
    followed.happens(followed.give(0, 1))
    followed.follow()
    followed.due()
    with transaction() as connection:
        assert count_touched(connection, followed.network, bound=10) == 1
    followed.rows(
        "INSERT INTO leases (token, lane, network, claimed_at, lease_until, wallet_ids)"
        " VALUES (gen_random_uuid(), 2, %s, now(), now(), ARRAY[%s])",
        followed.network,
        followed.ids[0],
    )
    with transaction() as connection:
        assert count_touched(connection, followed.network, bound=10) == 0


def test_a_wallet_that_fails_waits_for_as_long_as_its_failure_says(followed: Followed) -> None:
    followed.begin()
    followed.rows(
        "UPDATE sync_schedule SET failures = 3, last_error = 'usdt_call_failed',"
        " next_sync_at = now() + interval '1 hour' WHERE wallet_id = %s",
        followed.ids[0],
    )
    followed.happens(followed.give(0, 1))
    followed.follow()
    (row,) = followed.rows("SELECT due_at = next_sync_at AS same FROM touches JOIN sync_schedule USING (wallet_id)")
    assert row["same"]


def test_a_wallet_that_is_deleted_takes_its_touches_along(followed: Followed) -> None:
    followed.begin()
    followed.net.chain.mine()
    followed.happens(followed.move(0, 1, 5))
    followed.follow()
    followed.rows("DELETE FROM wallets WHERE id = %s", followed.ids[0])
    assert followed.touches() == [(1, 5)]
    lag = SOLID_LAG if followed.network == "tron" else 0
    followed.net.chain.reorganise(1 + lag)
    followed.net.chain.mine()
    followed.follow()
    assert followed.touched() == {1}, "and no reorganisation brings them back"
    followed.serve()
    assert followed.usdt() == [-1, 1001, 1002]


@pytest.mark.parametrize("back", [False, True])
def test_a_wallet_that_is_being_deleted_is_waited_for(followed: Followed, *, back: bool) -> None:
    """A touch of it would have nothing to refer to, and the whole step would fail."""
    followed.begin()
    followed.net.chain.mine()
    followed.happens(followed.move(0, 1, 5))
    if back:
        followed.follow()
        followed.net.chain.reorganise(1 + (SOLID_LAG if followed.network == "tron" else 0))
        followed.net.chain.mine()
        followed.rows("DELETE FROM touches")
    with psycopg.connect(followed.tables.dsn) as other, ThreadPoolExecutor(1) as pool:
        other.execute("DELETE FROM wallets WHERE id = %s", (followed.ids[0],))
        following = pool.submit(followed.follow)
        await_lock_wait(followed.rows)
        other.commit()
        following.result()
    assert followed.touched() == {1}
    assert followed.cursor()["block_number"] == followed.newest()


def test_a_wallet_with_another_address_is_looked_for_there(followed: Followed) -> None:
    followed.begin()
    followed.happens(followed.give(0, 1))
    followed.follow()
    (other,) = followed.net.new_holders()[:1]
    followed.rows("UPDATE wallets SET address = %s WHERE id = %s", followed.net.address(other), followed.ids[0])
    followed.read()  # it is due, as each wallet with another address
    followed.serve()
    assert followed.usdt() == [0, 1001, 1002]
    followed.is_quiet()
    before, followed.holders[0] = followed.holders[0], other
    followed.happens(contracts.mint(followed.net.token, [before], [5]))
    followed.follow()
    assert followed.touches() == []
    followed.happens(followed.give(0, 6))
    followed.follow()
    assert followed.touches() == [(0, 6)]
    followed.serve()
    assert followed.usdt() == [6, 1001, 1002]


def test_what_is_owed_to_a_wallet_of_another_network_by_now_is_owed_no_more(followed: Followed) -> None:
    (other,) = set(NETWORKS) - {followed.network}
    followed.begin()
    followed.happens(followed.give(0, 1))
    followed.follow()
    followed.rows(
        "UPDATE wallets SET network = %s, address = %s WHERE id = %s",
        other,
        address_on(other, followed.holders[0]),
        followed.ids[0],
    )
    followed.due()
    with transaction() as connection:
        assert count_touched(connection, followed.network, bound=10) == 0
    asked = followed.net.proxy.requests
    followed.read()
    assert followed.net.proxy.requests == asked, "there is nothing to be read"
    sync_due(other)
    followed.rows("UPDATE feed_cursor SET decided_at = NULL")
    follow(followed.network)
    assert followed.touches() == [], "it is forgotten with the next decision"


def test_a_token_that_has_a_successor_is_followed_no_more_and_said_so(followed: Followed) -> None:
    followed.begin()
    before = followed.net.chain.ask("evm_snapshot")
    try:
        followed.happens(contracts.deprecate(followed.net.token, followed.holders[0]))
        with capture_logs() as logs:
            followed.follow()
        assert [log["log_level"] for log in logs if log["event"] == "token_deprecated"] == ["error"]
        followed.rows("UPDATE feed_cursor SET decided_at = NULL, counted_at = now()")
        with capture_logs() as logs:
            follow(followed.network)
        cursor = followed.cursor()
        assert (cursor["policy"], cursor["reason"], cursor["since"]) == ("cadence", "deprecated", None)
        assert [log["reason"] for log in logs if log["event"] == "freshness_policy"] == ["deprecated"]
    finally:
        followed.net.chain.ask("evm_revert", before)
