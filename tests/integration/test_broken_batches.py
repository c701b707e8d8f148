"""Batches that go wrong by no fault of a node: locked rows, deadlocks, workers that die, mistakes of our own."""

import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from environment import forget_settings
from leases import claim, claimed, end_lease, good, only, write
from running import await_lock_wait
from structlog.testing import capture_logs
from tables import Tables

from db.balances import record
from db.resync import Bundle, mark
from db.session import transaction, until_done
from devstack.servers import CAP
from worker import sync
from worker.chains import reader_for
from worker.outcomes import share


@pytest.fixture
def tron(monkeypatch: pytest.MonkeyPatch, tables: Tables) -> Tables:
    """A network whose node refuses every connection."""
    monkeypatch.setenv("TRON_RPC_URLS", "http://127.0.0.1:1")
    monkeypatch.setenv("SYNC_LEASE", "60")
    forget_settings()
    return tables


ADDRESS = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"


def test_a_refresh_does_not_lose_a_wallet_whose_row_somebody_has_locked_for_a_moment(
    tron: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, locked = (tron.add("tron", ADDRESS)[0] for _ in range(2))
    with psycopg.connect(tron.dsn) as other:
        other.execute("SELECT FROM sync_schedule WHERE wallet_id = %s FOR UPDATE", [locked])
        monkeypatch.setattr(sync, "sleep", lambda _: other.rollback())
        sync.sync_these("tron", [free, locked])
    assert {tron.schedule(wallet)["last_error"] for wallet in (free, locked)} == {"unreachable"}


def test_a_row_that_stays_locked_is_not_waited_for_for_ever(tron: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    (locked,) = tron.add("tron", ADDRESS)
    moments = iter(range(0, 1000, 3))
    monkeypatch.setattr(sync, "monotonic", lambda: next(moments))
    monkeypatch.setattr(sync, "sleep", lambda _: None)
    with psycopg.connect(tron.dsn) as other:
        other.execute("SELECT FROM sync_schedule WHERE wallet_id = %s FOR UPDATE", [locked])
        assert sync.sync_these("tron", [locked]) == ()
    assert tron.schedule(locked)["claimed_at"] is None


@pytest.mark.usefixtures("as_superuser")  # only such a one may say who looks for a deadlock
def test_a_write_that_meets_a_deadlock_is_done_again(tables: Tables) -> None:
    first, second = tables.add("tron", "T0", "T1")
    found = only(claim())
    outcomes = [good(wallet)._replace(block_number=5, block_time=5) for wallet in (first, second)]
    tries: list[int] = []

    def work(connection: Any) -> Any:
        tries.append(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
        if len(tries) == 1:
            raise_deadlock(tables, connection, first, second)
        return record(connection, found.token, outcomes, finality="solid")

    with capture_logs() as logs:
        assert until_done(work, monotonic() + CAP).written == 2
    assert [(line["event"], line["error"]) for line in logs] == [("transaction_repeated", "DeadlockDetected")]
    assert len(tries) == 2


def raise_deadlock(tables: Tables, connection: Any, first: UUID, second: UUID) -> None:
    lock = "SELECT FROM sync_schedule WHERE wallet_id = %s FOR UPDATE"
    connection.exec_driver_sql("SET LOCAL deadlock_timeout = '10ms'")  # so that it is we who give in
    connection.exec_driver_sql(lock.replace("%s", f"'{first}'"))
    with psycopg.connect(tables.dsn) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SET deadlock_timeout = '1h'")
        other.execute(lock, [second])
        waiting = pool.submit(other.execute, lock, [first])
        await_lock_wait(tables.rows)  # who waits before there is a deadlock looks for none
        try:
            connection.exec_driver_sql(lock.replace("%s", f"'{second}'"))
        finally:
            connection.rollback()
            waiting.result(CAP)


def test_a_write_that_goes_on_to_fail_fails_at_its_deadline(tables: Tables) -> None:  # noqa: ARG001
    from sqlalchemy.exc import OperationalError

    def work(connection: Any) -> None:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 1")
        connection.exec_driver_sql("SELECT pg_sleep(1)")

    with capture_logs() as logs, pytest.raises(OperationalError):
        until_done(work, monotonic() + 1)
    assert {line["event"] for line in logs} == {"transaction_repeated"}


def test_a_worker_that_never_came_back_counts_as_a_failure_until_the_wallet_is_read(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "T0")
    assert not only(claim()).wallets[0].lost
    for deaths in (1, 2, 3):
        end_lease(tables)
        (found,) = only(claim()).wallets
        assert (found.lost, found.failures) == (True, deaths)
        row = tables.schedule(wallet)
        assert (row["failures"], row["last_error"]) == (deaths, "worker_lost")
    write(row["lease_token"], good(wallet))
    row = tables.schedule(wallet)
    assert (row["failures"], row["last_error"]) == (0, None)


@pytest.mark.parametrize(
    ("wallets", "deaths", "tried"), [(2447, 0, 2447), (2447, 1, 2447), (2447, 2, 1223), (2447, 12, 1), (10, 99, 1)]
)
def test_of_a_batch_that_kills_half_as_many_are_tried_each_time(wallets: int, deaths: int, tried: int) -> None:
    assert share(wallets, deaths) == tried


def test_one_wallet_that_kills_its_worker_is_alone_soon_and_the_others_are_read(
    tron: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [tron.add("tron", ADDRESS)[0] for _ in range(32)]
    deadly = ids[7]

    class Died(BaseException):
        """What a kill leaves: no outcome, no lease handed back."""

    def read(reader: Any, settings: Any, found: Any, deadline: float) -> Any:
        if deadly in claimed(found):
            raise Died
        return decide(reader, settings, found, deadline)

    decide = sync._decide
    monkeypatch.setattr(sync, "_decide", read)
    lives = 0
    while any(tron.schedule(wallet)["last_error"] != "unreachable" for wallet in ids if wallet != deadly):
        lives += 1
        assert lives < 60
        try:
            sync.sync_due("tron")
        except Died:
            end_lease(tron)
    assert tron.schedule(deadly)["last_error"] == "worker_lost"


def test_a_mistake_of_our_own_fails_its_batch_which_then_falls_apart(
    tron: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [tron.add("tron", ADDRESS)[0] for _ in range(20)]
    reader: Any = reader_for("tron")
    monkeypatch.setattr(type(reader), "read", lambda *_, **__: 1 / 0)
    with capture_logs() as logs:
        sync.sync_due("tron")
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["batch_broken"]
    rows = [tron.schedule(wallet) for wallet in ids]
    assert {(row["last_error"], row["failures"], row["lease_token"]) for row in rows} == {("our_error", 1, None)}
    assert len({row["next_sync_at"] for row in rows}) == len(ids)


def test_a_mark_that_meets_writes_makes_due_whatever_it_says_it_marked(tables: Tables) -> None:
    ids = tables.add("tron", *(f"T{at}" for at in range(500)))
    write(only(claim()).token, *(good(wallet) for wallet in ids))
    bundle = Bundle("tron", len(ids), "{" + ",".join(map(str, ids)) + "}")
    rewrite = "UPDATE sync_schedule SET next_sync_at = '2099-01-01' WHERE wallet_id = %s"
    stop = threading.Event()

    def work() -> None:
        with psycopg.connect(tables.dsn, autocommit=True) as connection:
            while not stop.is_set():
                for wallet in ids[::7]:
                    connection.execute(rewrite, [wallet])

    undone = 0
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            for _ in range(300):
                with transaction() as connection:
                    marked, _ = mark(connection, bundle)
                    assert marked
                    # Its rows are ours until the commit.
                    not_due = "SELECT count(*) FROM sync_schedule WHERE wallet_id = ANY(%(ids)s::uuid[])"
                    not_due += " AND next_sync_at > now()"
                    undone += connection.exec_driver_sql(not_due, {"ids": marked.ids}).scalar_one()
        finally:
            stop.set()
        working.result()
    assert undone == 0


def test_a_request_after_a_lease_was_handed_back_is_made_anew(tables: Tables) -> None:
    """Its wallet travelled along before it was due, and an old request was served long ago."""
    from datetime import timedelta

    from db.leases import release
    from db.wallets import claim_these, request_wallets

    (wallet,) = tables.add("tron", "T0")
    write(only(claim()).token, good(wallet))
    tables.rows(
        "UPDATE sync_schedule SET requested_at = now() - interval '1 h', next_sync_at = now() + interval '10 s',"
        " claimed_at = now() - interval '1 minute', lease_token = %s, lease_until = now() + interval '1 minute'",
        token := uuid4(),
    )
    with transaction() as connection:
        release(connection, token, [wallet])
        request_wallets(connection, [wallet], cooldown=timedelta(0))
    with transaction() as connection:
        assert claim_these(connection, "tron", [wallet], limit=1, lease=timedelta(seconds=60))
