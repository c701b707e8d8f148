"""From any state that the feed's tables may be in: a clock that was wrong, a restored copy, rows of another time.
Nothing wrong is believed for it, and the feed finds back by itself.
"""

from collections.abc import Callable

import pytest
from followed import Followed, forget_nodes
from proxy import Exchange, Fault, passed_on
from structlog.testing import capture_logs

from db import feed
from db.feed import RING
from db.freshness_policy import fall_back
from db.networks import PIECE, make_due
from db.session import transaction
from db.touches import covered, told
from devstack import contracts
from worker.feed.follow import follow
from worker.feed.gap import IN_VAIN

Settings = Callable[..., None]
FAR = 60
"""More blocks than any lag explains on the tests' chains."""

ON_EVM = pytest.mark.parametrize("followed", ["ethereum"], indirect=True)  # where a block may be undone


def asked_number(exchange: Exchange) -> int | None:
    """The number of the block that is asked for; None: of none, or of the newest."""
    asked = exchange.json
    if "getblockbynum" in exchange.path:
        return int(asked["num"])
    if asked.get("method") == "eth_getBlockByNumber" and asked["params"][0].startswith("0x"):
        return int(asked["params"][0], 16)
    return None


def lacks(number: int) -> Fault:
    """A node that has thrown its blocks up to this one away."""

    def answer(exchange: Exchange) -> None:
        at = asked_number(exchange)
        if at is None or at > number:
            passed_on(exchange)
        else:
            exchange.send({} if exchange.path != "/" else {"jsonrpc": "2.0", "id": exchange.json["id"], "result": None})

    return answer


def garbles(number: int, asked: list[int] | None = None) -> Fault:
    """A node one of whose blocks cannot be read. `asked`: gets its number each time that it is asked for."""

    def answer(exchange: Exchange) -> None:
        if asked_number(exchange) == number:
            if asked is not None:
                asked.append(number)
            exchange.send({"jsonrpc": "2.0", "id": exchange.json.get("id"), "result": {"number": "0x"}})
        else:
            passed_on(exchange)

    return answer


def all_are_read(followed: Followed) -> None:
    """Ticks make due whoever is to be read after a gap."""
    with transaction() as connection:
        while make_due(connection, followed.network) is not None:
            pass
    followed.read()


def follow_in_vain(followed: Followed, times: int) -> None:
    """Each time as if no node were left alone for what it said before."""
    for _ in range(times):
        forget_nodes()
        followed.follow_once()


def wallets_are_many(followed: Followed) -> None:
    """They have just been counted, and are so many that the feed is for them."""
    followed.is_time()
    followed.rows("UPDATE feed_cursor SET counted_at = now()")


@pytest.mark.parametrize("fault", [lacks, garbles])
def test_a_block_that_nobody_can_give_any_more_is_left_out_and_all_wallets_are_read(
    followed: Followed, fault: Callable[[int], Fault]
) -> None:
    followed.begin()
    before, misses = followed.cursor()["block_number"], followed.cursor()["misses"]
    followed.happens(followed.give(0, 50))
    followed.net.chain.mine(FAR)
    with followed.net.proxy.faulty(fault(before + 1)), capture_logs() as logs:
        follow_in_vain(followed, 2)
        assert followed.cursor()["jumps"] == 0, "it may be there the next time"
        assert followed.cursor()["misses"] == misses + 2
        followed.rows("UPDATE feed_cursor SET misses = %s", IN_VAIN)
        follow_in_vain(followed, 3)
    assert [log["before"] for log in logs if log["event"] == "feed_jumped"] == [before]
    followed.follow()
    assert followed.cursor()["block_number"] == followed.newest()
    all_are_read(followed)
    assert followed.shown() == followed.really() == [(1050, 0), (1001, 0), (1002, 0)]


def test_only_what_a_node_was_asked_for_counts_as_asked_for_in_vain(followed: Followed) -> None:
    followed.begin()
    before, asked = followed.cursor(), list[int]()
    followed.happens(followed.give(0, 50))
    with followed.net.proxy.faulty(garbles(before["block_number"] + 1, asked)):
        for _ in range(6):  # after the first one the only node is left alone, but for a trial now and then
            followed.follow_once()
    assert followed.cursor()["misses"] == before["misses"] + len(asked)


def test_a_block_that_is_late_is_waited_for_however_often_it_was_asked_for(followed: Followed) -> None:
    followed.begin()
    followed.rows("UPDATE feed_cursor SET misses = %s", IN_VAIN)
    follow_in_vain(followed, 2)
    followed.happens(followed.give(0, 50))
    followed.follow()
    assert followed.cursor()["jumps"] == 0
    assert followed.touches() == [(0, 50)]


@pytest.mark.parametrize(
    ("name", "above"),
    [("block_number", FAR), ("block_number", 2**50), ("since", 2**50)],
)
def test_a_cursor_above_all_blocks_comes_back_to_the_chain_and_covers_nothing_that_may_be_gone(
    followed: Followed, monkeypatch: pytest.MonkeyPatch, name: str, above: int
) -> None:
    """A chain that was thrown back, or tables that were filled from another one."""
    monkeypatch.setattr(feed, "RING", 8)
    followed.begin()
    followed.rows(f"UPDATE feed_cursor SET {name} = {name} + %s, misses = %s", above, IN_VAIN)
    follow_in_vain(followed, 3)
    assert followed.cursor()["block_number"] == followed.newest()
    assert followed.cursor()["since"] > followed.newest()
    followed.happens(followed.give(0, 50))
    followed.follow()
    followed.serve()
    assert followed.shown() == followed.really() == [(1050, 0), (1001, 0), (1002, 0)]
    followed.net.chain.mine(feed.RING + FAR)
    forget_nodes()
    followed.follow()
    followed.read_all()
    followed.happens(followed.give(1, 60))
    followed.follow()
    with transaction() as connection:
        at = covered(connection, followed.network)
    assert at.number == followed.newest()
    assert (at.since or 0) <= min(followed.row(holder)["block_number"] for holder in range(3)), "all are covered again"
    assert followed.touches() == [(1, 60)]


@pytest.mark.parametrize("name", ["next_at", "followed_at", "good_until", "decided_at", "lease_until", "block_time"])
def test_what_was_noted_by_a_clock_that_was_ahead_puts_the_feed_to_sleep_for_no_longer_than_a_moment(
    followed: Followed, name: str
) -> None:
    followed.begin()
    followed.happens(followed.give(0, 50))
    wallets_are_many(followed)
    followed.rows(f"UPDATE feed_cursor SET {name} = now() + interval '1 year', lease_token = gen_random_uuid()")
    follow(followed.network)
    assert followed.cursor()["block_number"] == followed.newest()
    ahead = "SELECT FROM feed_cursor WHERE greatest(next_at, followed_at, good_until) > now() + interval '1 day'"
    assert followed.rows(ahead) == []


@pytest.mark.parametrize("name", ["followed_at", "good_until", "decided_at"])
def test_a_feed_that_no_node_answers_is_relied_on_for_no_longer_because_a_clock_was_ahead(
    followed: Followed, name: str
) -> None:
    followed.begin()
    followed.happens(followed.give(0, 50))
    wallets_are_many(followed)
    followed.rows(f"UPDATE feed_cursor SET {name} = now() + interval '1 year'")
    with followed.net.proxy.faulty(lambda exchange: exchange.send(b"", 503)):
        follow(followed.network)
        followed.rows("UPDATE feed_cursor SET decided_at = now() - interval '1 minute' WHERE decided_at <= now()")
        if name == "followed_at":
            follow(followed.network)
            assert followed.cursor()["policy"] == "cadence"
        else:
            good = "SELECT FROM feed_cursor WHERE good_until > now() + interval '5 minutes' OR decided_at > now()"
            assert followed.rows(good) == []


@pytest.mark.parametrize("ahead", ["1 hour", "1 year"])
def test_a_touch_that_was_put_off_by_a_clock_that_was_ahead_is_due_with_the_next_decision(
    followed: Followed, ahead: str
) -> None:
    followed.begin()
    followed.happens(followed.give(0, 50))
    followed.follow()
    followed.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '5 hours'")  # with the sweep
    followed.rows("UPDATE touches SET due_at = now() + %s::interval", ahead)
    followed.rows("UPDATE feed_cursor SET decided_at = NULL, counted_at = NULL, next_at = now()")
    follow(followed.network)
    followed.read()
    assert followed.usdt()[0] == 1050


def test_a_node_that_stands_still_has_the_network_kept_fresh_by_the_cadence_once_and_not_to_and_fro(
    followed: Followed, settings: Settings
) -> None:
    followed.begin()
    settings(**{f"{followed.network.upper()}_MAX_HEAD_AGE": "60"})
    followed.rows("UPDATE feed_cursor SET good_until = now(), block_time = now() - interval '1 year'")
    fallen = []
    for _ in range(4):
        followed.rows(
            "UPDATE feed_cursor SET next_at = now() - interval '1 second', counted_at = now(), wallets = 1000000,"
            " followed_at = followed_at - interval '20 seconds', decided_at = decided_at - interval '11 seconds'"
        )
        follow(followed.network)
        with transaction() as connection:
            fallen.append(fall_back(connection, followed.network, spread=1.0))
    assert fallen[1:] == [False, False, False]
    assert (followed.cursor()["policy"], followed.cursor()["reason"]) == ("cadence", "behind")


def undo_a_block(followed: Followed) -> None:
    """Another block comes in the place of the newest one, without its payments."""
    followed.net.chain.reorganise(1)
    followed.net.chain.mine()
    followed.follow()
    followed.serve()


@ON_EVM
def test_a_wallet_that_came_to_be_watched_after_its_payment_loses_it_with_the_block(followed: Followed) -> None:
    """The block did not know the wallet when it was followed, so nothing of it names the wallet."""
    followed.begin()
    holder = b"came after its payment"[:20]
    followed.happens(contracts.mint(followed.net.token, [holder], [500]))
    followed.follow()
    followed.ids += followed.tables.add(followed.network, followed.net.address(holder))
    followed.holders.append(holder)
    followed.read()
    followed.serve()
    assert followed.usdt()[3] == 500
    undo_a_block(followed)
    assert followed.shown() == followed.really() == [(1000, 0), (1001, 0), (1002, 0), (0, 0)]


@ON_EVM
def test_a_wallet_of_before_the_feed_that_was_paid_before_it_was_watched_loses_it_with_the_block(
    followed: Followed,
) -> None:
    followed.begin()
    followed.rows("DELETE FROM watched")
    followed.happens(followed.give(0, 50))
    followed.follow()
    followed.rows("UPDATE feed_cursor SET watched_up_to = '00000000-0000-0000-0000-000000000000'")
    followed.read_all()
    followed.is_quiet()
    followed.rows("DELETE FROM watched")  # as if it had been read at another time than it came to be watched
    followed.rows("DELETE FROM touches")
    followed.follow_once()
    followed.serve()
    followed.is_quiet()
    assert followed.usdt()[0] == 1050
    undo_a_block(followed)
    assert followed.shown() == followed.really() == [(1000, 0), (1001, 0), (1002, 0)]


@ON_EVM
@pytest.mark.parametrize(
    "spoilt",
    [
        "DELETE FROM feed_blocks WHERE number = %s - 1",
        "UPDATE feed_blocks SET number = number + 1000 WHERE number < %s",
    ],
    ids=["one is missing", "numbers of others"],
)
def test_after_a_reorganisation_across_a_block_that_was_forgotten_all_wallets_are_read(
    followed: Followed, spoilt: str
) -> None:
    followed.begin()
    followed.happens(followed.give(0, 50), followed.give(1, 60), followed.give(2, 70))
    followed.follow()
    followed.serve()
    followed.is_quiet()
    followed.rows(spoilt, followed.newest())
    followed.net.chain.reorganise(3)
    followed.net.chain.mine()
    followed.follow()
    followed.net.chain.mine(3)
    followed.follow()
    all_are_read(followed)
    followed.serve()
    assert followed.shown() == followed.really() == [(1000, 0), (1001, 0), (1002, 0)]


@ON_EVM
def test_where_orphaned_blocks_name_too_many_wallets_for_one_statement_all_are_read_by_pieces(
    followed: Followed,
) -> None:
    followed.begin()
    followed.happens(followed.give(0, 50))
    followed.follow()
    followed.serve()
    many = "SELECT array_agg(gen_random_uuid()) FROM generate_series(1, %s)"
    followed.rows(
        f"UPDATE feed_blocks SET wallet_ids = wallet_ids || ({many}) WHERE number = %s", PIECE, followed.newest()
    )
    followed.net.chain.reorganise(1)
    followed.net.chain.mine()
    followed.follow()
    assert (followed.cursor()["jumps"], followed.cursor()["reorganisations"]) == (1, 0)
    all_are_read(followed)
    assert followed.shown() == followed.really() == [(1000, 0), (1001, 0), (1002, 0)]


@ON_EVM
def test_where_the_remembered_blocks_are_far_below_the_cursor_no_fork_is_looked_for(followed: Followed) -> None:
    followed.begin()
    followed.net.chain.mine(RING + FAR)
    forget_nodes()  # which take so many blocks at once for none that the chain can have made
    below = followed.cursor()["block_number"]
    at, asked = followed.newest() - 1, list[int]()
    followed.rows("UPDATE feed_cursor SET block_number = %s, block_hash = sha256('')", at)  # its hash is no block's

    def looked_for(exchange: Exchange) -> None:
        asked.append(asked_number(exchange) or at)
        passed_on(exchange)

    with followed.net.proxy.faulty(looked_for):
        followed.follow_once()
    assert followed.cursor()["jumps"] == 1
    assert [number for number in asked if below < number < at] == []
    all_are_read(followed)
    assert followed.shown() == followed.really()


def test_a_touch_of_a_network_that_its_wallet_has_left_goes_with_the_first_read(followed: Followed) -> None:
    followed.begin()
    add = "INSERT INTO touches (wallet_id, block_number, network, usdt_change, due_at) VALUES (%s, %s, %s, %s, now())"
    followed.rows(add, followed.ids[0], 70_000_000, "another", 5)
    followed.rows(add, followed.ids[0], 70_000_001, "another", None)
    with transaction() as connection:
        assert told(connection, followed.network, [(followed.ids[0], 1, 2)]) == {}
    followed.happens(followed.give(0, 50))
    followed.follow()
    followed.serve()
    assert followed.usdt()[0] == 1050
    assert followed.touches() == []


def test_a_touch_without_its_wallet_is_forgotten(followed: Followed) -> None:
    """Where triggers are off, a deleted wallet leaves it behind; and it would be owed for ever."""
    followed.begin()
    followed.rows("SET session_replication_role = replica")
    followed.rows("INSERT INTO touches VALUES (gen_random_uuid(), 5, %s, 5, now())", followed.network)
    followed.rows("RESET session_replication_role")
    followed.rows("UPDATE feed_cursor SET decided_at = NULL, next_at = now()")
    follow(followed.network)
    assert followed.rows("SELECT FROM touches") == []


def test_a_touch_of_a_block_that_no_read_will_reach_costs_no_more_than_a_quiet_wallet(followed: Followed) -> None:
    followed.begin()
    add = "INSERT INTO touches (wallet_id, block_number, network, usdt_change, due_at) VALUES (%s, %s, %s, %s, now())"
    followed.rows(add, followed.ids[0], 2**62, followed.network, None)
    followed.read()
    (touch,) = followed.rows("SELECT date_part('epoch', due_at - now()) AS seconds FROM touches")
    assert 500 < touch["seconds"] <= 600
    followed.happens(followed.give(0, 50))
    followed.follow()
    followed.due()
    followed.read()
    assert followed.usdt()[0] == 1050


@pytest.mark.parametrize("change", ["NaN", "-1e78", "1e78"])
def test_a_change_that_cannot_be_is_no_reason_to_believe_nothing(followed: Followed, change: str) -> None:
    followed.begin()
    followed.happens(followed.give(1, 60))
    followed.follow()
    block = followed.newest()
    followed.rows(
        "INSERT INTO touches (wallet_id, block_number, network, usdt_change, due_at) VALUES (%s, %s, %s, %s, now())",
        followed.ids[0], block, followed.network, change,
    )  # fmt: skip
    followed.due()
    with capture_logs() as logs:
        followed.read()
    assert "batch_broken" not in {log["event"] for log in logs}
    assert followed.usdt() == [1000, 1061, 1002]
