"""Batches that go wrong by no fault of a node: locked rows, deadlocks, workers that die, mistakes of our own."""

import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any
from uuid import UUID

import psycopg
import pytest
from environment import forget_settings
from fake_reader import Died, FakeReader, in_place, sync_times
from leases import NOTHING, claim, claim_ids, claim_what_was_lost, claimed, end_lease, good, held, only, write
from queue_model import address
from running import await_lock_wait
from structlog.testing import capture_logs
from tables import Tables

from db import session
from db.claims import request_wallets
from db.leases import release
from db.outcomes import record
from db.resync_queries import Bundle, mark
from db.session import transaction, until_done
from devstack.servers import CAP
from worker.reading import reader_for
from worker.sync import batch as sync


@pytest.fixture
def tron(monkeypatch: pytest.MonkeyPatch, tables: Tables) -> Tables:
    """A network whose node refuses every connection."""
    monkeypatch.setenv("TRON_RPC_URLS", "http://127.0.0.1:1")
    monkeypatch.setenv("SYNC_LEASE", "60")
    forget_settings()
    return tables


ADDRESS = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"


def test_a_batch_is_written_without_a_row_that_somebody_keeps_locked_and_that_one_is_read_again(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(session.OPTIONS, "lock_timeout", 50)
    in_place(FakeReader(), monkeypatch)
    free, locked = tables.add("tron", address("tron", 1), address("tron", 2))
    with psycopg.connect(tables.dsn) as other, capture_logs() as logs:
        other.execute("SELECT FROM sync_schedule WHERE wallet_id = %s FOR UPDATE", [locked])
        sync.sync_these("tron", [free, locked])
    assert [line["event"] for line in logs] == ["transaction_repeated", "batch_synced"]
    assert tables.balance(free)
    assert not tables.balance(locked)
    assert held(tables) == {}
    sync_times(1)
    assert tables.balance(locked)


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


def test_a_worker_that_never_came_back_is_counted_with_its_batch_and_fails_no_wallet(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "T0")
    before = tables.rows("SELECT *, xmin, ctid FROM sync_schedule")
    assert only(claim()).deaths == 0
    for deaths in (1, 2):
        end_lease(tables)
        lost = only(claim())
        assert (claimed(lost), lost.deaths, lost.wallets[0].failures) == ({wallet}, deaths, 0)
    assert tables.rows("SELECT *, xmin, ctid FROM sync_schedule") == before
    write(lost.token, good(wallet))
    assert (tables.schedule(wallet)["last_error"], tables.rows("SELECT FROM leases")) == (None, [])


def test_a_batch_that_kills_twice_falls_into_halves_again_and_again(tables: Tables) -> None:
    tables.add("tron", *(f"T{at}" for at in range(9)))
    tried: list[tuple[int, int]] = []
    while found := claim():
        tried.append((found.deaths, len(found.wallets)))
        end_lease(tables)
    alone = [(2, 1)] * 9  # each once; then they wait for their turn
    assert [each for each in tried if each not in alone] == [
        (0, 9),
        (1, 9),
        (2, 5),
        (2, 4),
        *[(3, 3)],
        *[(3, 2)] * 3,
        (4, 2),
    ]
    assert [each for each in tried if each in alone] == alone


def test_one_wallet_that_kills_its_worker_is_alone_soon_and_the_others_are_read(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = in_place(FakeReader(), monkeypatch)
    reader.deadly = {7}
    ids = tables.add("tron", *(address("tron", number) for number in range(32)))
    lives = 0
    while any(not tables.balance(wallet) for wallet in ids if wallet != ids[7]):
        lives += 1
        assert lives < 20
        try:
            sync_times(1)
        except Died:
            end_lease(tables)
    (row,) = tables.rows("SELECT wallet_ids, lease_until FROM leases")
    assert row == {"wallet_ids": [ids[7]], "lease_until": None}


@pytest.mark.parametrize(("deaths", "minutes"), [(3, 1), (4, 2), (8, 32), (9, 60), (2**31 - 1, 60)])
def test_a_wallet_that_kills_alone_is_tried_more_and_more_rarely_but_at_once_for_whoever_names_it(
    tables: Tables, deaths: int, minutes: int
) -> None:
    (wallet,) = tables.add("tron", "T0")
    only(claim())
    tables.rows("UPDATE leases SET lease_until = NULL, deaths = %s", deaths)
    tables.rows("UPDATE leases SET claimed_at = now() - make_interval(mins => %s, secs => -30)", minutes)
    assert claim() is None
    assert claimed(claim_what_was_lost(ids=[wallet])) == {wallet}
    tables.rows("UPDATE leases SET lease_until = NULL, claimed_at = now() - make_interval(mins => %s)", minutes)
    assert claimed(claim()) == {wallet}


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
    assert {(row["last_error"], row["failures"]) for row in rows} == {("our_error", 1)}
    assert held(tron) == {}
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
    wallet, due = tables.add("tron", "T0", "T1")
    write(only(claim()).token, good(wallet), good(due))
    tables.rows(
        "UPDATE sync_schedule SET requested_at = now() - interval '1 h', claimed_at = now() - interval '1 minute',"
        " next_sync_at = now() + interval '10 s' * (wallet_id = %s)::int",
        wallet,
    )
    batch = only(claim())
    assert claimed(batch) == {wallet, due}
    with transaction() as connection:
        release(connection, batch.token)
        request_wallets(connection, [wallet], cooldown=NOTHING)
    assert claimed(claim_ids([wallet])) == {wallet}
