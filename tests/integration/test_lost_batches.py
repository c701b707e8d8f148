"""What workers read of the queue when some of them died: whole batches, whatever state the rows are in."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from math import ceil
from uuid import UUID, uuid4

import pytest
from environment import forget_settings
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from leases import claim, end_lease, only
from queue_model import Dirty, address, dirty_rows, look
from sqlalchemy.exc import DataError
from structlog.testing import capture_logs
from tables import Tables

from db import resync
from db.session import transaction
from worker import sync
from worker.chains.snapshot import Balance, Block, Snapshot
from worker.chains.task import Part

pytestmark = pytest.mark.usefixtures("as_superuser")  # the rows of any state are not for a role to make

SIZE = 4
DEADLY = 999
FAULT = pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="after a worker's death any failed read counts as one more: claims shrink to a wallet each "
    "(worker.sync._share)",
)


class Died(BaseException):
    """What a kill leaves: no outcome, and a lease that nobody hands back."""


class Nodes:
    """A reader whose nodes answer everything, but for one account, at which the worker dies."""

    finality, max_wallets, several = "solid", SIZE, False

    def __init__(self) -> None:
        self.reads: list[list[int]] = []
        """The accounts of each read, by number."""

    def read(
        self,
        accounts: Sequence[bytes],
        now: float,
        deadline: float,  # noqa: ARG002  it answers at once
        *,
        avoid: Collection[str] = (),  # noqa: ARG002  there is but one
    ) -> list[Part]:
        numbers = [int.from_bytes(account) for account in accounts]
        if DEADLY in numbers:
            raise Died
        self.reads.append(numbers)
        balances = tuple(Balance(number + 1, 7) for number in numbers)
        return [Part(range(len(numbers)), Snapshot(Block(10, int(now)), 1, balances))]

    def read_so_far(self) -> list[int]:
        return [number for numbers in self.reads for number in numbers]


@pytest.fixture
def nodes(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> Nodes:  # noqa: ARG001  the settings name its database
    monkeypatch.setenv("TRON_RPC_URLS", "http://127.0.0.1:1")
    forget_settings()
    nodes = Nodes()
    monkeypatch.setattr(sync, "reader_for", lambda _network: nodes)
    return nodes


def add(tables: Tables, *numbers: int) -> list[UUID]:
    return tables.add("tron", *(address("tron", number) for number in numbers))


def begin_with(tables: Tables, rows: Sequence[Dirty]) -> list[int]:
    """Put these rows into the tables, and no others. The accounts that are due, by number."""
    tables.rows("DELETE FROM wallets")
    ids = add(tables, *range(len(rows)))
    with transaction() as connection:
        for wallet, row in zip(ids, rows, strict=True):
            row.write(connection, wallet, uuid4(), 1)
        now, found = look(connection)
        return [number for number, wallet in enumerate(ids) if found[wallet].due(now)]


def sync_times(times: int) -> None:
    with capture_logs():
        for _ in range(times):
            sync.sync_due("tron")


def never_lost(row: Dirty) -> Dirty:
    return replace(row, lease=None, error=None if row.error == "worker_lost" else row.error, block=None)


def lease_over(row: Dirty) -> Dirty:
    return replace(row, lease=None if row.lease is None else min(row.lease, 0), block=None)


any_rows = st.lists(dirty_rows, min_size=SIZE, max_size=6 * SIZE)
once_each = settings(
    max_examples=settings().max_examples * 3 // 20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)


@given(rows=any_rows)
@once_each
def test_from_any_state_in_which_nobody_died_claims_read_whole_batches(
    tables: Tables, nodes: Nodes, rows: list[Dirty]
) -> None:
    due = begin_with(tables, [never_lost(row) for row in rows])
    nodes.reads.clear()
    sync_times(ceil(len(due) / SIZE))
    assert set(due) <= set(nodes.read_so_far())
    assert [len(numbers) for numbers in nodes.reads[:-1]] == [SIZE] * (len(nodes.reads) - 1)


@FAULT
@given(rows=any_rows)
@once_each
def test_from_any_state_claims_read_whole_batches(tables: Tables, nodes: Nodes, rows: list[Dirty]) -> None:
    due = begin_with(tables, [lease_over(row) for row in rows])
    nodes.reads.clear()
    sync_times(ceil(len(due) / SIZE) + 1)  # what was lost may be claimed apart from the rest
    assert set(due) <= set(nodes.read_so_far())


def lose_the_first_batch(tables: Tables, failures: int) -> None:
    """A batch fails so often, and is then lost with its worker."""
    only(claim(limit=SIZE))
    tables.rows(
        "UPDATE sync_schedule SET failures = %s, last_error = 'unreachable' WHERE lease_token IS NOT NULL", failures
    )
    end_lease(tables)


@pytest.mark.parametrize("failures", [0, pytest.param(12, marks=FAULT)])
def test_a_batch_that_is_lost_once_is_read_whole_by_the_next_worker(
    tables: Tables, nodes: Nodes, failures: int
) -> None:
    add(tables, *range(6 * SIZE))
    lose_the_first_batch(tables, failures)
    sync_times(6)
    assert sorted(nodes.read_so_far()) == list(range(6 * SIZE))


@pytest.mark.parametrize("failures", [0, pytest.param(12, marks=FAULT)])
def test_a_refresh_of_a_batch_that_was_lost_reads_it_whole(tables: Tables, nodes: Nodes, failures: int) -> None:
    ids = add(tables, *range(SIZE))
    lose_the_first_batch(tables, failures)
    with capture_logs():
        sync.sync_these("tron", ids)
    assert [sorted(numbers) for numbers in nodes.reads] == [list(range(SIZE))]


@FAULT
def test_a_wallet_that_kills_whoever_reads_it_holds_up_no_other_for_long(tables: Tables, nodes: Nodes) -> None:
    """Twice as many claims as it takes to read all, and some in which it is found out."""
    add(tables, DEADLY)
    lose_the_first_batch(tables, 12)
    others = list(range(10 * SIZE))
    add(tables, *others)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() WHERE failures = 0")
    for _ in range(2 * 10 + 8):
        try:
            sync_times(1)
        except Died:
            end_lease(tables)
    assert sorted(nodes.read_so_far()) == others


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="resync looks for wallets among the schedule's rows (db.resync)"
)
def test_a_wallet_that_no_trigger_has_enrolled_is_found_by_a_resync_of_all(tables: Tables) -> None:
    """As it is after an import with session_replication_role, or a restore with --disable-triggers."""
    tables.rows("SET session_replication_role = replica")
    add(tables, 1)
    with transaction() as connection:
        assert sum(bundle.wallets for bundle in resync.find(connection, resync.Scope()).bundles) == 1


@pytest.mark.xfail(
    strict=True, raises=DataError, reason="the claim adds one to whatever count of failures there is (db.wallets)"
)
def test_a_count_of_failures_that_is_as_large_as_can_be_stops_no_claim(tables: Tables) -> None:
    lost, other = add(tables, 1, 2)
    tables.rows(
        "UPDATE sync_schedule SET failures = 2147483647, lease_token = %s, lease_until = now() WHERE wallet_id = %s",
        uuid4(),
        lost,
    )
    assert {wallet.id for wallet in only(claim()).wallets} == {lost, other}
