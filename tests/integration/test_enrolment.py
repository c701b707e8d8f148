"""Wallets whose schedule is missing or wrong are found and mended, however that came."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from environment import forget_settings
from leases import claim, claimed, good, only, write
from structlog.testing import capture_logs
from tables import Tables

from db import freshness_queries as freshness
from db.enrolment import reconcile
from db.session import transaction
from devstack.servers import wait_for
from worker.schedule import reconciliation

HOUR = timedelta(hours=1)


def mended(longest: timedelta = HOUR) -> int:
    with transaction() as connection:
        return reconcile(connection, longest) or 0


@pytest.fixture
def rested(tables: Tables) -> list[UUID]:
    """Wallets that were read, and are due within the idle interval."""
    ids = tables.add("tron", "T0", "T1", "T2")
    write(only(claim()).token, *map(good, ids))
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '59 min'")
    return ids


@pytest.fixture
def triggers_off(tables: Tables) -> Iterator[None]:
    """As on a replica that was promoted, in a restore, in a bulk load."""
    tables.rows("SET session_replication_role = replica")
    yield
    tables.rows("RESET session_replication_role")


@pytest.mark.usefixtures("rested")
def test_of_what_is_as_it_should_be_nothing_is_written(tables: Tables) -> None:
    before = tables.rows("SELECT *, xmin FROM sync_schedule ORDER BY wallet_id")
    assert mended() == 0
    assert tables.rows("SELECT *, xmin FROM sync_schedule ORDER BY wallet_id") == before


@pytest.mark.usefixtures("triggers_off")
def test_a_wallet_that_no_trigger_has_enrolled_is_enrolled_and_counted_before_that(tables: Tables) -> None:
    tron = tables.add("tron", *(f"T{at}" for at in range(5)))
    (ethereum,) = tables.add("ethereum", "0x0")
    assert claim() is None
    with transaction() as connection:
        seen = {each.network: each for each in freshness.freshness(connection, grace=HOUR)}
    assert (seen["tron"].wallets, seen["tron"].due, seen["ethereum"].overdue) == (5, 5, 1)
    assert (mended(), mended()) == (6, 0)
    assert (claimed(claim()), claimed(claim("ethereum"))) == (set(tron), {ethereum})


@pytest.mark.usefixtures("triggers_off")
def test_a_schedule_of_a_wallet_that_is_gone_reads_nothing(tables: Tables) -> None:
    """What is left behind by a deletion without triggers is of no wallet."""
    tables.rows("INSERT INTO sync_schedule (wallet_id, network, address) VALUES (gen_random_uuid(), 'tron', 'T')")
    assert mended() == 0
    assert [wallet.address for wallet in only(claim()).wallets] == [None], "it rests as one without an address"


def test_what_was_read_of_a_wallet_that_got_another_address_without_triggers_is_older_than_what_is_read_next(
    tables: Tables, rested: list[UUID]
) -> None:
    tables.rows("UPDATE balance_cache SET block_number = 80000000")
    tables.rows("SET session_replication_role = replica")
    tables.rows("UPDATE wallets SET network = 'ethereum', address = '0x7' WHERE id = %s", rested[0])
    assert mended() == 1
    found = only(claim("ethereum"))
    assert [(each.id, each.address, each.block_number) for each in found.wallets] == [(rested[0], "0x7", 1)]
    assert [tables.balance(wallet)["block_number"] for wallet in rested[1:]] == [80_000_000] * 2  # type: ignore[index]


def test_a_wallet_that_the_schedule_has_on_another_network_is_read_on_its_own(
    tables: Tables, rested: list[UUID]
) -> None:
    tables.rows(
        "UPDATE sync_schedule SET network = 'ethereum', account = '\\x07', failures = 3, last_error = 'bad_address'"
        " WHERE wallet_id = %s",
        rested[0],
    )
    assert mended() == 1
    row = tables.schedule(rested[0])
    assert (row["network"], row["account"], row["failures"], row["last_error"]) == ("tron", None, 0, None)
    assert claimed(claim()) >= {rested[0]}


@pytest.mark.parametrize("lane", [0, 1])
@pytest.mark.parametrize("due", ["infinity", "5000-01-01", "now() + interval '1 day 61 min'"])
def test_a_wallet_that_would_never_be_read_is_due(tables: Tables, rested: list[UUID], due: str, lane: int) -> None:
    moment = due if due.startswith("now") else f"'{due}'"
    tables.rows(f"UPDATE sync_schedule SET next_sync_at = {moment}, lane = {lane} WHERE wallet_id = %s", rested[0])
    assert mended() == 1
    with transaction() as connection:
        due_now = connection.exec_driver_sql("SELECT wallet_id FROM sync_schedule WHERE next_sync_at <= now()")
        assert due_now.scalars().all() == [rested[0]]


@pytest.mark.usefixtures("rested")
def test_who_waits_for_as_long_as_the_idle_interval_says_is_left_alone(tables: Tables) -> None:
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '29 days'")
    assert mended(timedelta(days=30)) == 0
    assert mended(timedelta(days=27)) == 3


def test_a_tick_finds_a_wallet_without_a_schedule(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRON_RPC_URLS", "http://127.0.0.1:1")
    forget_settings()
    clock = iter(range(0, 10**9, 100))
    monkeypatch.setattr(reconciliation, "monotonic", lambda: next(clock))
    tables.add("tron", "T0")
    watch = reconciliation.Reconciliation()

    def look_until(event: str) -> None:
        def seen() -> bool:
            with capture_logs() as logs:
                watch.look()
            return event in [line["event"] for line in logs]

        wait_for(seen, what=event, pause=0.1)

    tables.rows("SET session_replication_role = replica")
    (wallet,) = tables.add("tron", "T1")
    tables.rows("RESET session_replication_role")
    look_until("schedules_mended")
    assert wallet in claimed(claim())


def test_it_is_looked_no_more_often_than_each_twenty_seconds(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(reconciliation, "monotonic", lambda: now[0])
    watch = reconciliation.Reconciliation()
    watch.look()
    tables.rows("SET session_replication_role = replica")
    tables.add("tron", "T0")
    now[0] = 19.9
    with capture_logs() as logs:
        watch.look()
    assert (logs, tables.rows("SELECT FROM sync_schedule")) == ([], [])
