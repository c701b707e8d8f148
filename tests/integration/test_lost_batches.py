"""What workers read of the queue when some of them died: whole batches, whatever state the rows are in."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from uuid import UUID, uuid4

import pytest
from fake_reader import Died, FakeReader, in_place, sync_times
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from leases import claim, claim_ids, claim_what_was_lost, claimed, end_lease, good, only, write
from queue_model import Dirty, DirtyLease, address, dirty_leases, dirty_rows, look
from structlog.testing import capture_logs
from tables import Tables

from db import resync_queries as resync
from db.session import transaction
from worker.sync import batch as sync

pytestmark = pytest.mark.usefixtures("as_superuser")  # the rows of any state are not for a role to make

SIZE = 4
DOZEN = 12
OLD = "-infinity", "0100-01-01", "2099-01-01", "infinity"
"""Due times that come from a clock that was wrong once, or from somebody's own SQL."""


@pytest.fixture
def reader(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> FakeReader:  # noqa: ARG001  its settings come first
    return in_place(FakeReader(max_wallets=SIZE), monkeypatch)


def add(tables: Tables, *numbers: int) -> list[UUID]:
    return tables.add("tron", *(address("tron", number) for number in numbers))


def begin_with(tables: Tables, rows: Sequence[Dirty], leases: Sequence[DirtyLease] = ()) -> list[int]:
    """Put these rows into the tables, and no others. The accounts that are due and free, by number."""
    tables.rows("DELETE FROM wallets")
    tables.rows("DELETE FROM leases")
    ids = add(tables, *range(len(rows)))
    with transaction() as connection:
        for wallet, row in zip(ids, rows, strict=True):
            row.write(connection, wallet, 1)
        queue = look(connection)
        for lease in leases:
            lease.write(connection, "tron", [queue.rows[wallet] for wallet in ids])
        return [ids.index(row.wallet_id) for row in look(connection).ended("tron").free("tron")]


def live_and_die(tables: Tables, times: int) -> None:
    """So many messages of the queue. Where a worker dies, another one comes when its lease is over."""
    for _ in range(times):
        try:
            sync_times(1)
        except Died:
            end_lease(tables)


def never_read(row: Dirty) -> Dirty:
    return replace(row, block=None)


any_rows = st.lists(dirty_rows.map(never_read), min_size=SIZE, max_size=6 * SIZE)
any_leases = st.lists(dirty_leases, max_size=4)
once_each = settings(
    max_examples=settings().max_examples * 3 // 20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)


@given(rows=any_rows, leases=any_leases)
@once_each
def test_from_any_state_claims_read_whole_batches_of_what_is_healthy(
    tables: Tables, reader: FakeReader, rows: list[Dirty], leases: list[DirtyLease]
) -> None:
    """Whatever was lost, and whoever holds what: it is read besides."""
    due = begin_with(tables, rows, leases)
    reader.reads.clear()
    sync_times(claims := ceil(len(due) / SIZE))
    assert set(due) <= set(reader.read_so_far())
    healthy = [numbers for numbers in reader.reads if set(numbers) <= set(due)]
    assert [len(numbers) for numbers in healthy[: claims - 1]] == [SIZE] * (claims - 1 if claims else 0)


@given(rows=any_rows, leases=any_leases, deadly=st.sets(st.integers(0, 6 * SIZE - 1), max_size=2))
@once_each
def test_from_any_state_every_wallet_is_read_in_the_end_but_those_that_kill(
    tables: Tables, reader: FakeReader, rows: list[Dirty], leases: list[DirtyLease], deadly: set[int]
) -> None:
    begin_with(tables, rows, leases)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() WHERE next_sync_at > now()")
    reader.reads.clear()
    reader.deadly = deadly
    for _ in range(20 * len(rows)):
        live_and_die(tables, 1)
        # An hour passes for what was lost, and for those who hold something, who have all died.
        tables.rows(
            "UPDATE leases SET claimed_at = claimed_at - interval '1 h', lease_until = lease_until - interval '1 h'"
        )
        if set(range(len(rows))) - deadly <= set(reader.read_so_far()):
            break
    assert set(range(len(rows))) - deadly <= set(reader.read_so_far())


@given(others=st.integers(0, 5 * SIZE), errors=any_rows, deadly=st.integers(0, SIZE - 1))
@once_each
def test_from_any_state_a_wallet_that_kills_is_alone_after_a_dozen_leases_and_costs_the_others_nothing_then(
    tables: Tables, reader: FakeReader, others: int, errors: list[Dirty], deadly: int
) -> None:
    begin_with(tables, errors)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() - interval '1 s'")
    reader.deadly = {deadly}
    live_and_die(tables, DOZEN + ceil(len(errors) / SIZE))
    (left,) = tables.rows("SELECT wallet_ids FROM leases")
    (killer,) = left["wallet_ids"]
    new = range(1000, 1000 + others)
    add(tables, *new)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() - interval '1 s' WHERE wallet_id <> %s", killer)
    reader.reads.clear()
    sync_times(ceil((len(errors) - 1 + others) / SIZE))
    assert sorted(reader.read_so_far()) == sorted({*range(len(errors)), *new} - {deadly})


@given(dues=st.lists(st.sampled_from([*OLD, "now", "1 s"]), min_size=1, max_size=5 * SIZE))
@once_each
def test_of_wallets_that_are_due_at_one_moment_or_since_ever_each_is_read_once(
    tables: Tables, reader: FakeReader, dues: list[str]
) -> None:
    begin_with(tables, [])
    ids = add(tables, *range(len(dues)))
    moment = tables.rows("SELECT now()::text AS now, (now() - interval '1 s')::text AS past")[0]
    for wallet, due in zip(ids, dues, strict=True):
        at = {"now": moment["now"], "1 s": moment["past"]}.get(due, due)
        tables.rows("UPDATE sync_schedule SET next_sync_at = %s::timestamptz WHERE wallet_id = %s", at, wallet)
    reader.reads.clear()
    due_now = [number for number, due in enumerate(dues) if due not in ("2099-01-01", "infinity")]
    sync_times(ceil(len(due_now) / SIZE) + 1)
    assert sorted(reader.read_so_far()) == due_now


def lose_the_first_batch(tables: Tables, failures: int) -> None:
    """A batch fails so often, and is then lost with its worker."""
    only(claim(limit=SIZE))
    tables.rows("UPDATE sync_schedule SET failures = %s, last_error = 'unreachable'", failures)
    end_lease(tables)


@pytest.mark.parametrize("failures", [0, 12])
def test_a_batch_that_is_lost_once_is_read_whole_by_the_next_worker(
    tables: Tables, reader: FakeReader, failures: int
) -> None:
    add(tables, *range(6 * SIZE))
    lose_the_first_batch(tables, failures)
    sync_times(6)
    assert sorted(reader.read_so_far()) == list(range(6 * SIZE))
    assert [len(numbers) for numbers in reader.reads] == [SIZE] * 6


@pytest.mark.parametrize("failures", [0, 12])
def test_a_refresh_of_a_batch_that_was_lost_reads_it_whole(tables: Tables, reader: FakeReader, failures: int) -> None:
    ids = add(tables, *range(SIZE))
    lose_the_first_batch(tables, failures)
    with capture_logs():
        sync.sync_these("tron", ids)
    assert [sorted(numbers) for numbers in reader.reads] == [list(range(SIZE))]


def test_a_refresh_of_a_wallet_that_kills_reads_the_others_and_tries_its_batch_once(
    tables: Tables, reader: FakeReader
) -> None:
    """Its message is gone with the worker, and comes again: nobody spins."""
    lost = add(tables, *range(SIZE))
    reader.deadly = set(range(SIZE))
    lose_the_first_batch(tables, 0)
    others = add(tables, *range(SIZE, 2 * SIZE))
    with pytest.raises(Died), capture_logs():
        sync.sync_these("tron", lost + others)
    assert sorted(reader.read_so_far()) == list(range(SIZE, 2 * SIZE))
    with capture_logs():
        sync.sync_these("tron", lost)
    assert tables.rows("SELECT deaths FROM leases") == [{"deaths": 1}]
    end_lease(tables)
    with pytest.raises(Died), capture_logs():
        sync.sync_these("tron", lost)
    assert sorted(row["deaths"] for row in tables.rows("SELECT deaths FROM leases")) == [2, 2]


def test_a_wallet_that_kills_whoever_reads_it_holds_up_no_other(tables: Tables, reader: FakeReader) -> None:
    """As many claims as it takes to read all, and those in which it is found out."""
    add(tables, 999)
    reader.deadly = {999}
    lose_the_first_batch(tables, 12)
    others = list(range(10 * SIZE))
    add(tables, *others)
    live_and_die(tables, 10)
    assert sorted(reader.read_so_far()) == others


def test_what_was_lost_is_tried_besides_a_healthy_batch_and_not_in_its_place(
    tables: Tables, reader: FakeReader
) -> None:
    add(tables, *range(SIZE))
    lose_the_first_batch(tables, 0)
    add(tables, *range(SIZE, 3 * SIZE))
    sync_times(1)
    healthy, lost = reader.reads
    assert set(healthy) < set(range(SIZE, 3 * SIZE))
    assert (len(healthy), sorted(lost)) == (SIZE, list(range(SIZE)))


def test_a_wallet_whose_address_changed_leaves_the_batch_that_was_lost_with_it(
    tables: Tables, reader: FakeReader
) -> None:
    """It is free, and read at its new address, whatever becomes of the others."""
    changed, *_ = add(tables, *range(SIZE))
    reader.deadly = set(range(SIZE))
    live_and_die(tables, 2)
    tables.rows("UPDATE wallets SET address = %s WHERE id = %s", address("tron", 50), changed)
    live_and_die(tables, 1)
    assert reader.read_so_far() == [50]


def test_what_left_its_window_before_its_worker_died_is_not_lost_with_the_others(tables: Tables) -> None:
    changed, other = add(tables, 1, 2)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() - interval '1 min'")
    only(claim())
    tables.rows("UPDATE wallets SET address = %s WHERE id = %s", address("tron", 50), changed)
    assert claimed(claim()) == {changed}
    tables.rows("UPDATE leases SET lease_until = now() WHERE %s = ANY(wallet_ids)", other)
    assert claimed(claim()) == {other}


def test_what_was_lost_and_is_in_somebody_elses_hands_is_not_taken_from_them(tables: Tables) -> None:
    """No code of ours leaves the same wallet in two leases."""
    ids = add(tables, 1, 2)
    only(claim_ids(ids))
    tables.rows(
        "INSERT INTO leases (token, lane, network, claimed_at, deaths, wallet_ids)"
        " VALUES (%s, 2, 'tron', now(), 1, %s)",
        uuid4(),
        ids,
    )
    assert claim_what_was_lost() is None
    assert len(tables.rows("SELECT FROM leases")) == 1


def test_a_lost_batch_of_which_no_wallet_is_left_is_forgotten(tables: Tables) -> None:
    add(tables, 1, 2)
    only(claim())
    end_lease(tables)
    add(tables, 3)
    third = only(claim())
    assert len(third.wallets) == 1
    tables.rows("DELETE FROM wallets WHERE id <> %s", third.wallets[0].id)
    assert claim() is None
    assert [row["token"] for row in tables.rows("SELECT token FROM leases")] == [third.token]


@pytest.mark.parametrize("deaths", [0, 1, 2**31 - 1])
def test_a_count_that_is_as_large_as_can_be_stops_no_claim(tables: Tables, deaths: int) -> None:
    lost, other = add(tables, 1, 2)
    only(claim())
    tables.rows("UPDATE sync_schedule SET failures = 2147483647")
    tables.rows("UPDATE leases SET deaths = %s", deaths)
    end_lease(tables)
    found = only(claim())
    assert claimed(found) == ({lost, other} if deaths == 0 else {found.wallets[0].id})
    write(found.token, *(good(wallet) for wallet in claimed(found)))


def test_a_wallet_that_no_trigger_has_enrolled_is_found_by_a_resync_of_all(tables: Tables) -> None:
    """As it is after an import with session_replication_role, or a restore with --disable-triggers."""
    tables.rows("SET session_replication_role = replica")
    (wallet,) = add(tables, 1)
    with transaction() as connection:
        (bundle,) = resync.slice_of(connection, resync.Scope(), UUID(int=0)).bundles
        marked, _ = resync.mark(connection, bundle)
        assert marked
        assert marked.wallets == 1
    assert claimed(claim()) == {wallet}
