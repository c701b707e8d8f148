"""Where blocks are missing, or others come in their place: what was orphaned vanishes from the rows, and a gap is
followed, or all wallets are read again.
"""

from collections.abc import Callable
from typing import Any

import pytest
from followed import Followed, another_process, forget_nodes
from network import SOLID_LAG
from structlog.testing import capture_logs

from config.settings import worker_settings
from db import feed
from db.networks import make_due, register
from db.session import transaction
from worker.feed.follow import follow

Settings = Callable[..., None]


def reorganise(followed: Followed, depth: int, *calls: Any) -> None:
    """Other blocks come in the place of so many that were followed, and one more, so that it is noticed.

    The calls are in the first of them.
    """
    lag = SOLID_LAG if followed.network == "tron" else 0
    followed.net.chain.reorganise(depth + lag, *((call, 0) for call in calls))
    followed.net.chain.mine()


def all_made_due(followed: Followed) -> set[int]:
    """What ticks make due after a gap: which wallets."""
    with transaction() as connection:
        while make_due(connection, followed.network) is not None:
            pass
    due = {row["wallet_id"] for row in followed.rows("SELECT wallet_id FROM sync_schedule WHERE next_sync_at <= now()")}
    return {at for at, wallet in enumerate(followed.ids) if wallet in due}


@pytest.mark.parametrize("depth", [1, 2, 70])
def test_a_payment_that_a_reorganisation_took_back_vanishes_from_its_row(followed: Followed, depth: int) -> None:
    followed.begin()
    followed.happens(followed.give(0, 50), followed.pay(1, 9))
    followed.net.chain.mine(max(depth - 2, 0))
    followed.follow()
    forget_nodes()  # which take so many blocks at once for none that the chain can have made
    followed.serve()
    assert followed.shown() == [(1050, 0), (1001, 9), (1002, 0)]
    reorganise(followed, max(depth, 2), followed.give(2, 8))
    with capture_logs() as logs:
        followed.follow()
    assert [log["depth"] for log in logs if log["event"] == "reorganisation"] == [max(depth, 2)]
    assert followed.touched() == {0, 1, 2}
    followed.serve()
    assert followed.shown() == followed.really() == [(1000, 0), (1001, 0), (1010, 0)]
    cursor = followed.cursor()
    assert (cursor["block_number"], cursor["jumps"], cursor["reorganisations"]) == (followed.newest(), 0, 1)


def test_one_block_is_taken_back(followed: Followed) -> None:
    followed.begin()
    followed.net.chain.mine(3)
    followed.happens(followed.give(0, 50))
    followed.follow()
    followed.serve()
    reorganise(followed, 1)
    followed.follow()
    assert followed.touched() == {0}
    followed.serve()
    assert followed.shown() == followed.really() == [(1000, 0), (1001, 0), (1002, 0)]
    assert followed.cursor()["reorganisations"] == 1


def test_the_first_block_that_was_followed_is_taken_back_without_a_gap(followed: Followed) -> None:
    followed.begin()
    followed.happens(followed.give(0, 50))
    followed.follow()
    followed.serve()
    reorganise(followed, followed.newest() - followed.cursor()["since"])
    followed.follow()
    followed.serve()
    assert followed.shown() == followed.really()
    cursor = followed.cursor()
    assert (cursor["jumps"], cursor["reorganisations"]) == (0, 1)


def test_a_payment_that_moves_to_another_block_is_shown_once(followed: Followed) -> None:
    followed.begin()
    again = followed.give(0, 50)
    followed.net.chain.mine(2)
    followed.happens(again)
    followed.net.chain.mine(2)
    followed.follow()
    reorganise(followed, 3, again)  # nobody has read it in the block where it was
    followed.follow()
    followed.serve()
    assert followed.shown() == followed.really() == [(1050, 0), (1001, 0), (1002, 0)]


@pytest.mark.parametrize("followed", ["ethereum"], indirect=True)  # a solid block stays
def test_a_row_of_an_orphaned_block_that_was_read_ahead_of_the_feed_is_read_again(followed: Followed) -> None:
    """The read found no change, and the block that it was of came to be another one, in which there is one."""
    followed.begin()
    followed.net.chain.mine(2)
    followed.read_all()
    followed.is_quiet()
    assert followed.row(0)["block_number"] == followed.newest() > followed.cursor()["block_number"]
    reorganise(followed, 2, followed.pay(0, 9))
    followed.follow()
    assert followed.touched() == {0}
    followed.serve()
    assert followed.shown() == followed.really() == [(1000, 9), (1001, 0), (1002, 0)]


def test_after_a_reorganisation_deeper_than_is_remembered_every_wallet_is_read_again(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "RING", 8)
    followed.begin()
    before = followed.net.chain.ask("evm_snapshot")
    followed.happens(followed.give(0, 50), followed.pay(1, 9))
    followed.net.chain.mine(12)
    followed.follow()
    followed.serve()
    at = followed.newest()
    followed.net.chain.mine(3)
    followed.read_all()  # all rows are of a block that will be gone, and that has not been followed
    followed.is_quiet()
    followed.net.chain.ask("evm_revert", before)
    followed.net.chain.mine(at + 1 - followed.newest())
    followed.follow_once()
    assert followed.cursor()["jumps"] == 1
    assert all_made_due(followed) == {0, 1, 2}
    followed.net.chain.mine(4)  # no row is overwritten by one of a lower block
    followed.read()
    assert followed.shown() == followed.really() == [(1000, 0), (1001, 0), (1002, 0)]


def test_a_head_that_goes_back_takes_nothing_with_it(followed: Followed) -> None:
    followed.begin()
    followed.net.chain.mine(2)
    before = followed.net.chain.ask("evm_snapshot")
    followed.happens(followed.give(0, 50))
    followed.net.chain.mine(4)
    followed.follow()
    followed.serve()
    at = followed.cursor()["block_number"]
    followed.net.chain.ask("evm_revert", before)
    followed.follow()
    assert followed.cursor()["block_number"] == at, "the next block is not there yet"
    assert followed.touches() == []
    followed.happens(followed.give(1, 60))
    followed.net.chain.mine(at + 1 - followed.newest())
    followed.follow()
    assert followed.touched() == {0, 1}
    followed.serve()
    assert followed.shown() == followed.really() == [(1000, 0), (1061, 0), (1002, 0)]


def a_touch_is_left(followed: Followed, block: int) -> None:
    followed.rows(
        "INSERT INTO touches (wallet_id, block_number, network, due_at) VALUES (%s, %s, %s, now())",
        followed.ids[0],
        block,
        followed.network,
    )


def test_after_a_change_of_source_the_feed_begins_anew_and_nothing_of_the_other_one_is_owed(
    followed: Followed, settings: Settings
) -> None:
    followed.begin()
    a_touch_is_left(followed, 10**9)  # its chain was further than this one will be
    followed.rows("UPDATE feed_cursor SET deprecated = true, orphaned_to = 1000000000, policy = 'cadence'")
    other = followed.net.chain.deploy_token()
    followed.net.chain.mint(other, [(followed.holders[0], 77)])
    followed.settle()
    settings(**{f"{followed.network.upper()}_USDT_CONTRACT": followed.net.address(other)})
    with transaction() as connection:
        register(connection, worker_settings().chain(followed.network))
    assert followed.touches() == []
    a_touch_is_left(followed, 10**9)  # of a wallet that came since then
    followed.rows("UPDATE feed_cursor SET decided_at = NULL, next_at = now(), counted_at = now(), wallets = 1000000")
    follow(followed.network)
    cursor = followed.cursor()
    assert (cursor["block_number"], cursor["since"]) == (followed.newest(), followed.newest())
    assert (cursor["deprecated"], cursor["orphaned_to"], followed.touches()) == (False, None, [])
    assert all_made_due(followed) == {0, 1, 2}
    followed.read()
    assert followed.usdt() == [77, 0, 0]


@pytest.mark.parametrize("followed", ["ethereum"], indirect=True)
def test_of_another_source_no_block_is_followed_by_a_worker_of_before(followed: Followed, settings: Settings) -> None:
    followed.begin()
    other = followed.net.chain.deploy_token()
    settings(ETHEREUM_USDT_CONTRACT=followed.net.address(other))
    with transaction() as connection:
        register(connection, worker_settings().chain(followed.network))
    settings(ETHEREUM_USDT_CONTRACT=followed.net.address(followed.net.token))
    before, asked = followed.cursor()["block_number"], followed.net.proxy.requests
    followed.follow()
    assert (followed.cursor()["block_number"], followed.net.proxy.requests) == (before, asked)


@pytest.mark.parametrize(
    ("followed", "finality"), [("ethereum", "finalized"), ("tron", "latest")], indirect=["followed"]
)
def test_at_another_finality_the_feed_begins_anew(followed: Followed, finality: str, settings: Settings) -> None:
    followed.begin()
    followed.happens(followed.give(0, 50))
    settings(**{f"{followed.network.upper()}_FINALITY": finality})
    another_process()
    followed.follow_once()
    cursor = followed.cursor()
    head = followed.net.chain.head()
    assert cursor["finality"] == finality
    assert cursor["since"] == cursor["block_number"]
    assert (cursor["block_number"] < head) == (finality == "finalized")
    if finality == "latest":
        all_made_due(followed)
        followed.read()
        assert followed.usdt() == [1050, 1001, 1002]
