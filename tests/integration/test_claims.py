"""Claims, leases and what is written under them, on a real PostgreSQL."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from leases import LATER, LEASE, SOON, WAS_DUE, claim, claim_ids, claimed, end_lease, good, only, write
from running import await_lock_wait
from tables import Tables

from db.claims import claim_due
from db.due_wallets import count_due
from db.outcomes import Outcome, Recorded, record
from db.session import transaction
from devstack.servers import CAP


def test_a_claim_takes_what_is_due_once_and_no_more_than_its_limit(tables: Tables) -> None:
    ids = set(tables.add("tron", *(f"T{n}" for n in range(5))))
    first, second = claim(limit=3), claim(limit=3)
    assert (len(claimed(first)), len(claimed(second))) == (3, 2)
    assert claimed(first) | claimed(second) == ids
    assert claim() is None


def test_a_claim_takes_one_network_alone(tables: Tables) -> None:
    tables.add("ethereum", "0x1")
    (tron,) = tables.add("tron", "T1")
    assert claimed(claim("tron")) == {tron}


def test_the_longest_overdue_goes_first(tables: Tables) -> None:
    ids = tables.add("tron", "T0", "T1", "T2")
    for wallet, overdue in zip(ids[:2], (10, 20), strict=True):
        tables.rows(
            f"UPDATE sync_schedule SET next_sync_at = now() - interval '{overdue} s' WHERE wallet_id = %s", wallet
        )

    def next_one() -> set[UUID]:
        with transaction() as connection:
            # Without the index nothing but the statement itself puts the rows in order.
            connection.exec_driver_sql("SET LOCAL enable_indexscan = off")
            connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
            return claimed(claim_due(connection, "tron", limit=1, lease=LEASE, ahead=SOON))

    assert [next_one() for _ in range(3)] == [{ids[1]}, {ids[0]}, {ids[2]}]


def test_what_is_due_soon_travels_along_but_does_not_set_off_alone(tables: Tables) -> None:
    due, soon, later = tables.add("tron", "T0", "T1", "T2")
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '30 min' WHERE wallet_id = %s", soon)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '3 h' WHERE wallet_id = %s", later)
    assert claimed(claim()) == {due, soon}
    assert claim() is None
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '30 min' WHERE wallet_id = %s", later)
    assert claim() is None


def test_neither_a_claim_nor_a_write_waits_for_ever_for_a_row_that_somebody_else_has_locked(tables: Tables) -> None:
    locked, free = tables.add("tron", "T0", "T1")
    with psycopg.connect(tables.dsn) as other:
        other.execute("SELECT FROM sync_schedule WHERE wallet_id = %s FOR UPDATE", [locked])
        found = only(claim())
        assert claimed(found) == {locked, free}
        outcomes = [good(wallet)._replace(block_number=10, block_time=10) for wallet in (locked, free)]
        with transaction() as connection:
            written = record(connection, found.token, outcomes, finality="solid", pass_over_locked=True)
        assert written == Recorded(1, 1, ())
    assert claimed(claim()) == {locked}


def test_what_somebody_holds_neither_sets_a_claim_off_nor_travels_along(tables: Tables) -> None:
    (held,) = tables.add("tron", "T0")
    claim(lease=timedelta(minutes=30))
    assert claim() is None
    (fresh,) = tables.add("tron", "T1")
    assert claimed(claim()) == {fresh}
    assert held not in claimed(claim())
    with transaction() as connection:
        assert count_due(connection, "tron", bound=10) == 0


def test_a_claim_leaves_the_due_time_and_tells_it(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "T0")
    tables.rows("UPDATE sync_schedule SET next_sync_at = to_timestamp(1795000000)")
    assert only(claim()).wallets[0].due_at == 1_795_000_000
    assert tables.schedule(wallet)["next_sync_at"].timestamp() == 1_795_000_000


def test_an_expired_lease_is_due_and_its_old_holder_writes_nothing(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "T0")
    dead = only(claim())
    end_lease(tables)
    alive = only(claim())
    assert claimed(alive) == {wallet}
    assert write(dead.token, good(wallet, 1), block=99) == Recorded(0, 0, ())
    assert tables.balance(wallet) is None
    assert write(alive.token, good(wallet, 2)) == Recorded(1, 1, ())
    assert tables.balance(wallet)["usdt_balance"] == 2  # type: ignore[index]


def test_workers_at_once_never_hold_the_same_wallet(tables: Tables) -> None:
    ids = tables.add("tron", *(f"T{n}" for n in range(600)))
    start = threading.Barrier(6)

    def work() -> list[UUID]:
        start.wait()
        mine: list[UUID] = []
        with psycopg.connect(tables.dsn, autocommit=True):
            while found := claim(limit=20):
                mine += [wallet.id for wallet in found.wallets]
        return mine

    with ThreadPoolExecutor(6) as pool:
        taken = [wallet for mine in [pool.submit(work) for _ in range(6)] for wallet in mine.result()]
    assert Counter(taken) == Counter(ids)


def test_workers_that_claim_by_name_never_hold_what_another_one_holds(tables: Tables) -> None:
    """As when a message comes twice, and while others claim what is due."""
    ids = tables.add("tron", *(f"T{n}" for n in range(600)))
    start = threading.Barrier(6)

    def work(at: int) -> list[UUID]:
        start.wait()
        mine: list[UUID] = []
        for batch in range(0, 600, 20):
            found = claim(limit=20) if at % 2 else claim_ids(ids[batch : batch + 20])
            mine += claimed(found)
        return mine

    with ThreadPoolExecutor(6) as pool:
        taken = [wallet for mine in [pool.submit(work, at) for at in range(6)] for wallet in mine.result()]
    assert Counter(taken) == Counter(ids)


def test_a_claim_tells_what_was_known_and_when_it_was_made(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "T0")
    first = only(claim())
    assert first.wallets[0].usdt is first.wallets[0].block_number is None
    write(first.token, good(wallet, 2**128 - 2, 7), block=10)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    second = only(claim())
    (known,) = second.wallets
    assert (known.usdt, known.native, known.block_number) == (2**128 - 2, 7, 10)
    assert known.touched_at == first.at < second.at


def test_a_claim_tells_when_a_wallet_was_touched_last_by_its_chain_or_by_somebody_who_asked(tables: Tables) -> None:
    tables.add("tron", "T0")
    moments = {"last_changed_at": 1_795_000_000, "requested_at": 1_795_000_100}
    for name, at in moments.items():
        tables.rows(f"UPDATE sync_schedule SET {name} = to_timestamp({at})")
        assert only(claim()).wallets[0].touched_at == at
        end_lease(tables)
    tables.rows("UPDATE sync_schedule SET last_changed_at = to_timestamp(1795000200)")
    assert only(claim()).wallets[0].touched_at == 1_795_000_200


def test_an_account_is_kept_with_its_wallet_once_it_is_known(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "T0")
    found = only(claim())
    assert found.wallets[0].account is None
    write(found.token, good(wallet)._replace(account=b"\x01" * 20))
    tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    again = only(claim())
    assert again.wallets[0].account == b"\x01" * 20
    write(again.token, good(wallet))
    assert tables.schedule(wallet)["account"] == b"\x01" * 20


def test_a_good_outcome_writes_the_balance_with_the_claims_moment_and_frees_the_wallet(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "T0")
    found = only(claim())
    assert write(found.token, good(wallet)) == Recorded(1, 1, ())
    assert tables.balance(wallet) == {
        "wallet_id": wallet,
        "usdt_balance": 977_000_000,
        "native_balance": 5,
        "block_number": 10,
        "block_time": datetime.fromtimestamp(1_795_000_000, UTC),
        "finality": "solid",
        "last_synced": datetime.fromtimestamp(found.at, UTC),
        "one_block": True,
        "source": None,
    }
    row = tables.schedule(wallet)
    assert (row["lease_token"], row["lease_until"]) == (None, None)
    assert (row["next_sync_at"].timestamp(), row["claimed_at"].timestamp()) == (LATER, found.at)


def test_a_failure_changes_no_balance_and_says_why(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "T0")
    write(only(claim()).token, good(wallet))
    before = tables.balance(wallet)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    assert write(only(claim()).token, Outcome(wallet, WAS_DUE[wallet], LATER, 4, "throttled")) == Recorded(1, 0, ())
    assert tables.balance(wallet) == before
    row = tables.schedule(wallet)
    assert (row["failures"], row["last_error"], row["lease_token"]) == (4, "throttled", None)


def test_a_wallet_deleted_while_it_is_read_does_not_fail_the_others(tables: Tables) -> None:
    gone, stays = tables.add("tron", "T0", "T1")
    found = only(claim())
    tables.rows("DELETE FROM wallets WHERE id = %s", gone)
    assert write(found.token, good(gone), good(stays)) == Recorded(1, 1, ())
    assert tables.balance(stays) is not None


def test_a_wallet_whose_address_changes_while_it_is_read_gets_no_balance_of_the_old_one(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "T0")
    found = only(claim())
    tables.rows("UPDATE wallets SET address = 'T1'")
    assert write(found.token, good(wallet)) == Recorded(0, 0, ())
    assert tables.balance(wallet) is None
    assert claimed(claim()) == {wallet}


@pytest.mark.parametrize(
    "change", ["DELETE FROM wallets WHERE id = %s", "UPDATE wallets SET address = 'T9' WHERE id = %s"]
)
def test_a_wallet_that_changes_while_its_balance_is_being_written_waits_for_it_and_wins(
    tables: Tables, change: str
) -> None:
    (wallet,) = tables.add("tron", "T0")
    found = only(claim())
    with ThreadPoolExecutor(1) as pool:
        with transaction() as connection:
            record(connection, found.token, [good(wallet)._replace(block_number=1, block_time=1)], finality="solid")
            changing = pool.submit(tables.rows, change, wallet)
            with psycopg.connect(tables.dsn, autocommit=True) as look:
                await_lock_wait(Tables(look).rows)
        changing.result(CAP)
    assert tables.balance(wallet) is None


def test_the_balances_of_one_batch_may_be_of_several_blocks(tables: Tables) -> None:
    first, second = tables.add("tron", "T0", "T1")
    found = only(claim())
    made = [
        good(first)._replace(block_number=10, block_time=100),
        good(second)._replace(block_number=11, block_time=103, one_block=False),
    ]
    with transaction() as connection:
        record(connection, found.token, made, finality="solid")
    rows: list[Any] = [tables.balance(first), tables.balance(second)]
    assert [(row["block_number"], row["block_time"].timestamp(), row["one_block"]) for row in rows] == [
        (10, 100, True),
        (11, 103, False),
    ]


def test_counting_looks_no_further_than_its_bound(tables: Tables) -> None:
    tables.add("tron", *(f"T{n}" for n in range(30)))
    with transaction() as connection:
        assert [count_due(connection, "tron", bound=bound) for bound in (10, 30, 99)] == [10, 30, 30]
        assert count_due(connection, "ethereum", bound=10) == 0


@pytest.fixture
def history(tables: Tables) -> tuple[Tables, UUID]:
    (wallet,) = tables.add("tron", "T0")
    return tables, wallet


reads = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 2**128 - 2)), min_size=1, max_size=8)


@given(reads=reads)
@settings(max_examples=settings().max_examples // 4, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_older_block_never_overwrites_a_newer_one_and_the_same_block_is_overwritten_by_a_later_read(
    history: tuple[Tables, UUID], reads: list[tuple[int, int]]
) -> None:
    tables, wallet = history
    tables.rows("DELETE FROM balance_cache")
    expected: tuple[int, int] | None = None
    for block, usdt in reads:
        tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
        written = write(only(claim()).token, good(wallet, usdt), block=block).written
        newer = expected is None or block >= expected[0]
        assert written == newer
        expected = (block, usdt) if newer else expected
        row: Any = tables.balance(wallet)
        assert (row["block_number"], row["usdt_balance"]) == expected


def test_whoever_asks_while_a_claim_waits_for_its_turn_is_served_by_it(tables: Tables) -> None:
    """Its time is that of its statement: by its transaction's the wallet would be read once more."""
    (wallet,) = tables.add("tron", "T0")
    with psycopg.connect(tables.dsn) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT FROM network_state WHERE network = 'tron' FOR UPDATE")
        waiting = pool.submit(claim)
        await_lock_wait(tables.rows)
        tables.rows("UPDATE sync_schedule SET requested_at = clock_timestamp()")
        other.rollback()
        found = only(waiting.result(CAP))
    assert write(found.token, good(wallet)) == Recorded(1, 1, ())
