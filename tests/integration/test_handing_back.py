"""Leases that are handed back before they expire, on a real PostgreSQL."""

import os
import signal
import threading
from typing import Any

import psycopg
import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from leases import NOTHING, claim, claim_ids, claimed, end_lease, good, held, only, write
from running import await_lock_wait
from structlog.testing import capture_logs
from tables import Tables

from db.claims import Claim, request_wallets
from db.leases import release
from db.requests import LAST_READS
from db.session import transaction
from devstack.servers import CAP
from worker.sync.interruption import _undisturbed, handed_back_when_interrupted


def interrupt(batch: Claim, how: type[BaseException]) -> None:
    def begin_and_end() -> None:
        with handed_back_when_interrupted() as hold:
            hold.claim = batch
            raise how

    with pytest.raises(how):
        begin_and_end()


def test_a_lease_handed_back_is_due_at_once_and_its_old_holder_writes_nothing(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "T0")
    first = only(claim())
    with transaction() as connection:
        assert release(connection, first.token) == 1
    assert claimed(claim()) == {wallet}
    assert write(first.token, good(wallet)).recorded == 0


def test_nobody_elses_lease_is_handed_back(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "T0")
    lost = only(claim(lease=NOTHING))
    holder = only(claim())
    with transaction() as connection:
        assert release(connection, lost.token) == 0
    assert held(tables) == {holder.token: {wallet}}


def test_a_lost_batch_that_is_handed_back_stays_apart_and_is_tried_again(tables: Tables) -> None:
    """Its worker was told to end, and has not died of it: no death more."""
    ids = set(tables.add("tron", "T0", "T1"))
    only(claim())
    end_lease(tables)
    tried = only(claim())
    interrupt(tried, SystemExit)
    assert held(tables) == {}
    assert write(tried.token, *map(good, ids)).recorded == 0
    again = only(claim())
    assert (claimed(again), again.deaths) == (ids, tried.deaths)


@pytest.mark.parametrize("how", [SystemExit, KeyboardInterrupt, SoftTimeLimitExceeded])
def test_a_batch_that_is_ended_from_outside_is_as_if_it_had_never_begun(
    tables: Tables, how: type[BaseException]
) -> None:
    (wallet,) = tables.add("tron", "T0")
    before = tables.rows("SELECT *, xmin, ctid FROM sync_schedule")
    interrupt(only(claim()), how)
    assert tables.rows("SELECT *, xmin, ctid FROM sync_schedule") == before
    assert tables.rows("SELECT FROM leases") == []
    assert claimed(claim()) == {wallet}


@pytest.mark.parametrize("how", [ValueError, psycopg.OperationalError])
def test_a_batch_that_ends_by_an_error_is_tried_again_when_its_lease_ends(
    tables: Tables, how: type[BaseException]
) -> None:
    """Handed back, it would fail again at once, and for ever."""
    (wallet,) = tables.add("tron", "T0")
    batch = only(claim())
    interrupt(batch, how)
    assert held(tables) == {batch.token: {wallet}}
    assert claim() is None


def test_an_interruption_before_anything_was_claimed_is_passed_on(tables: Tables) -> None:
    tables.add("tron", "T0")
    with pytest.raises(SystemExit), handed_back_when_interrupted():
        raise SystemExit


def test_what_was_written_before_the_interruption_stays(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "T0")
    batch = only(claim())

    def write_and_end() -> None:
        with handed_back_when_interrupted() as hold:
            hold.claim = batch
            write(batch.token, good(wallet))
            raise SystemExit

    with pytest.raises(SystemExit):
        write_and_end()
    assert tables.balance(wallet)
    assert claim() is None, "it is due when the outcome says so"


def test_whoever_waits_for_a_read_that_was_interrupted_waits_for_the_next_one(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "T0")

    def read_since(asked_at: Any) -> bool:
        ((_, claimed_at, over),) = tables.connection.execute(LAST_READS, {"wallet_ids": [wallet]})
        return bool(over and claimed_at is not None and claimed_at >= asked_at)

    with transaction() as connection:
        request_wallets(connection, [wallet], cooldown=NOTHING)
    asked_at = tables.schedule(wallet)["requested_at"]
    interrupt(only(claim_ids([wallet])), SystemExit)
    assert not read_since(asked_at)
    write(only(claim_ids([wallet])).token, good(wallet))
    assert read_since(asked_at)


def test_with_postgres_out_of_reach_the_lease_expires_and_the_process_ends_all_the_same(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    from environment import forget_settings

    tables.add("tron", "T0")
    batch = only(claim())
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    forget_settings()
    with capture_logs() as logs:
        interrupt(batch, SystemExit)
    assert [line["event"] for line in logs] == ["leases_not_handed_back"]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1])
def test_a_second_signal_waits_until_the_leases_are_handed_back(sent: signal.Signals) -> None:
    order: list[str] = []
    done = threading.Event()
    # A signal may come to another thread.
    threading.Thread(target=done.wait, daemon=True).start()
    before = signal.signal(sent, lambda *_: order.append("signal"))
    try:
        with _undisturbed():
            os.kill(os.getpid(), sent)
            order.append("handed back")
    finally:
        signal.signal(sent, before)
        done.set()
    assert order == ["handed back", "signal"]


class Limit(Exception):
    """As billiard raises its soft limit: out of a signal's handler, and unknown to psycopg."""


def test_a_statement_that_a_signal_breaks_off_is_ended_and_its_locks_with_it(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "T0")
    batch = only(claim())

    def limit(*_: Any) -> None:
        raise Limit

    def once_it_waits() -> None:
        with psycopg.connect(tables.dsn, autocommit=True) as look:
            await_lock_wait(Tables(look).rows)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, limit)
    try:
        with psycopg.connect(tables.dsn) as other:
            other.execute("LOCK TABLE balance_cache IN SHARE MODE")
            threading.Thread(target=once_it_waits, daemon=True).start()
            with pytest.raises(Limit):
                write(batch.token, good(wallet))
            with transaction() as connection:  # waits for the broken-off statement's locks, should there be any
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{CAP:.0f}s'")
                assert release(connection, batch.token) == 1
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert claimed(claim()) == {wallet}
