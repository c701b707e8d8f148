"""Several that follow one network, processes that die while they do, and wallets that come in between: nothing is lost,
and nothing is noted twice.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from threading import Event
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from faults import Asks
from followed import Followed, another_process
from network import SOLID_LAG
from proxy import Exchange, passed_on
from running import await_lock_wait

from db import feed
from db.feed import Seen, Step
from db.feed_cursor import cursor as cursor_of
from db.feed_cursor import take
from db.session import engine, transaction
from db.touches import watch
from devstack.servers import wait_for
from worker.feed import follow as following
from worker.feed.follow import follow

STEP = Step(None, "latest", 0.0, 12.0, 0.0, timedelta(minutes=1))


def asks_for_blocks(exchange: Exchange) -> bool:
    return "getblock" in exchange.path or "eth_getBlockByNumber" in exchange.body.decode()


def asks_for_events(exchange: Exchange) -> bool:
    """The second request of a block: its first one has been answered."""
    return "infobyblocknum" in exchange.path or b"eth_getLogs" in exchange.body or b"Receipts" in exchange.body


class Gate:
    """Lets the first of some requests wait until it is opened."""

    def __init__(self, asks: Asks) -> None:
        self.asks, self.reached, self.open = asks, Event(), Event()

    def __call__(self, exchange: Exchange) -> None:
        if self.asks(exchange) and not self.reached.is_set():
            self.reached.set()
            self.open.wait(60)
        passed_on(exchange)


def its_lease_ends(followed: Followed) -> None:
    followed.rows("UPDATE feed_cursor SET lease_until = now() WHERE lease_token IS NOT NULL")


def test_one_process_at_a_time_asks_for_blocks(followed: Followed) -> None:
    followed.begin()
    followed.happens(followed.give(0, 5))
    followed.is_time()
    gate = Gate(asks_for_blocks)
    with followed.net.proxy.faulty(gate), ThreadPoolExecutor(1) as pool:
        first = pool.submit(follow, followed.network)
        assert gate.reached.wait(60)
        another_process()
        asked = followed.net.proxy.requests
        assert follow(followed.network) == following.NOTHING
        assert followed.net.proxy.requests == asked
        gate.open.set()
        first.result()
    followed.follow()
    assert followed.touches() == [(0, 5)]


def test_of_two_who_follow_at_once_one_moves_the_cursor(followed: Followed) -> None:
    """The first one's lease is over while a node keeps it waiting. What it then has is known already."""
    followed.begin()
    followed.happens(followed.give(0, 5), followed.give(0, 6))
    followed.is_time()
    gate = Gate(asks_for_blocks)
    with followed.net.proxy.faulty(gate), ThreadPoolExecutor(1) as pool:
        first = pool.submit(follow, followed.network)
        assert gate.reached.wait(60)
        its_lease_ends(followed)
        another_process()
        followed.follow()
        found = followed.touches()
        cursor = followed.cursor()["block_number"]
        gate.open.set()
        first.result()
    assert found == followed.touches() == [(0, 5), (0, 6)], "a sum that were noted twice would not be known any more"
    assert cursor == followed.cursor()["block_number"] == followed.newest()
    followed.serve()
    assert followed.usdt() == [1011, 1001, 1002]


@contextmanager
def another(network: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own that follows a network."""
    code = f"from worker.feed.follow import follow; follow({network!r})"
    process = subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ), stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_process_that_dies_between_the_nodes_answer_and_its_step_has_lost_nothing(followed: Followed) -> None:
    followed.begin()
    followed.happens(followed.give(0, 5))
    followed.is_time()
    gate = Gate(asks_for_events)
    with followed.net.proxy.faulty(gate), another(followed.network) as process:
        assert gate.reached.wait(60)
        process.kill()
        process.wait()
        gate.open.set()
    its_lease_ends(followed)
    followed.follow()
    assert followed.touches() == [(0, 5)]
    followed.serve()
    assert followed.usdt() == [1005, 1001, 1002]


def test_a_process_that_dies_in_the_middle_of_a_step_has_noted_neither_touches_nor_cursor(followed: Followed) -> None:
    followed.begin()
    followed.follow()
    followed.happens(followed.give(0, 5))
    at = followed.net.chain.head() - 1 - (SOLID_LAG if followed.network == "tron" else 0)
    followed.rows("UPDATE feed_cursor SET block_number = %s, block_hash = %s", at, followed.block_hash(at))
    followed.is_time()
    with psycopg.connect(followed.tables.dsn) as other, another(followed.network) as process:
        other.execute("SELECT FROM sync_schedule WHERE wallet_id = %s FOR UPDATE", (followed.ids[0],))
        await_lock_wait(followed.rows)
        process.kill()
        process.wait()
        _until_nobody_waits(followed)
        other.rollback()
    assert (followed.cursor()["block_number"], followed.touches()) == (at, [])
    its_lease_ends(followed)
    followed.follow()
    assert followed.touches() == [(0, 5)]


def _until_nobody_waits(followed: Followed) -> None:
    waiting = (
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        " AND state <> 'idle'"
    )
    wait_for(lambda: not followed.rows(waiting), what="the dead process's statement to end")


class BrokenOff(Exception):
    """What ends a step in a test."""


def test_a_step_that_is_broken_off_before_its_commit_is_taken_again(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed.begin()
    followed.happens(followed.give(0, 5))
    advance: Callable[..., Any] = feed.advance

    def broken_off(*arguments: Any) -> Any:
        advance(*arguments)
        raise BrokenOff

    followed.is_time()
    before = followed.cursor()["block_number"]
    monkeypatch.setattr(feed, "advance", broken_off)
    with pytest.raises(BrokenOff):
        follow(followed.network)
    monkeypatch.setattr(feed, "advance", advance)
    cursor = followed.cursor()
    assert (cursor["block_number"], cursor["lease_token"], followed.touches()) == (before, None, [])
    followed.follow()
    assert followed.touches() == [(0, 5)]


# New wallets: both orders of the race between a block that is matched and a wallet that begins to be watched.


def block_after(followed: Followed, account: bytes) -> Seen:
    cursor = followed.cursor()
    number = cursor["block_number"] + 1
    parent = bytes(cursor["block_hash"])
    return Seen(number, number.to_bytes(32), parent, 1_795_000_000, [account], [7], sees_native=None, deprecated=False)


def watched_later(followed: Followed) -> tuple[Any, bytes]:
    """One wallet more, which the feed does not know yet."""
    followed.begin()
    account = uuid4().bytes + bytes(4)
    (wallet,) = followed.tables.add(followed.network, followed.net.address(account))
    return wallet, account


def owed_to(followed: Followed, wallet: Any) -> list[tuple[int, int | None]]:
    rows = followed.rows("SELECT block_number, usdt_change FROM touches WHERE wallet_id = %s ORDER BY 1", wallet)
    return [(row["block_number"], row["usdt_change"]) for row in rows]


def test_a_block_that_comes_while_a_wallet_begins_to_be_watched_waits_and_finds_it(followed: Followed) -> None:
    wallet, account = watched_later(followed)
    network, block = followed.network, block_after(followed, account)
    with transaction() as connection:
        at = cursor_of(connection, network)
    with ThreadPoolExecutor(1) as pool, engine().begin() as first:
        watch(first, network, {wallet: account}, lease=timedelta(minutes=1))

        def step() -> None:
            with transaction() as connection:
                assert feed.advance(connection, network, at, block, STEP)

        stepping = pool.submit(step)
        await_lock_wait(followed.rows)
        first.commit()
        stepping.result()
    assert owed_to(followed, wallet) == [(block.number - 1, None), (block.number, 7)]


def test_a_wallet_that_begins_to_be_watched_while_a_block_is_noted_is_owed_a_read_of_that_block(
    followed: Followed,
) -> None:
    wallet, account = watched_later(followed)
    network, block = followed.network, block_after(followed, account)
    with transaction() as connection:
        at = cursor_of(connection, network)
    with ThreadPoolExecutor(1) as pool, engine().begin() as first:
        assert feed.advance(first, network, at, block, STEP)

        def begin() -> None:
            with transaction() as connection:
                watch(connection, network, {wallet: account}, lease=timedelta(minutes=1))

        watching = pool.submit(begin)
        await_lock_wait(followed.rows)
        first.commit()
        watching.result()
    assert owed_to(followed, wallet) == [(block.number, None)], "it was not matched, and is read at that block"


def test_a_new_wallet_is_watched_from_before_its_first_read(followed: Followed) -> None:
    """A payment between that read and the next block: either shows it, whatever comes first."""
    followed.begin()
    (holder,) = followed.net.new_holders()[:1]
    followed.holders.append(holder)
    followed.ids += followed.tables.add(followed.network, followed.net.address(holder))
    gate = Gate(lambda exchange: not asks_for_blocks(exchange))
    with followed.net.proxy.faulty(gate), ThreadPoolExecutor(1) as pool:
        reading = pool.submit(followed.read)
        assert gate.reached.wait(60)
        followed.happens(followed.give(3, 5))
        another_process()
        followed.follow()
        gate.open.set()
        reading.result()
    followed.serve()
    assert followed.usdt()[3] == 5


def test_a_lease_that_was_taken_while_another_process_looked_is_not_taken_for_one_of_a_wrong_clock(
    followed: Followed,
) -> None:
    followed.begin()
    with engine().begin() as looking:
        cursor_of(looking, followed.network)
        with transaction() as faster:
            assert take(faster, followed.network)
        assert take(looking, followed.network) is None
