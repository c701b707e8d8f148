"""A network of which no endpoint answers: one row says so, and no wallet's is written."""

from typing import Any
from uuid import UUID

import pytest
from fake_reader import FakeReader, in_place, sync_times
from leases import held
from queue_model import address
from structlog.testing import capture_logs
from tables import Tables

from worker.errors import OverBudget, ReadFailed, Throttled, TooMuch, Unreachable
from worker.sync import batch as sync

WALLETS = 40


@pytest.fixture
def reader(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> FakeReader:  # noqa: ARG001  its settings come first
    return in_place(FakeReader(max_wallets=8), monkeypatch)


@pytest.fixture
def ids(tables: Tables) -> list[UUID]:
    return tables.add("tron", *(address("tron", number) for number in range(WALLETS)))


def versions(tables: Tables) -> list[dict[str, Any]]:
    """Every wallet's rows, and which versions of them these are."""
    return tables.rows(
        "SELECT s.*, s.xmin, s.ctid, b.xmin AS balance_xmin FROM sync_schedule s LEFT JOIN balance_cache b"
        " USING (wallet_id) ORDER BY wallet_id"
    )


def state(tables: Tables) -> dict[str, Any]:
    (row,) = tables.rows("SELECT *, xmin FROM network_state WHERE network = 'tron'")
    return row


def events(logs: list[Any]) -> list[str]:
    return [line["event"] for line in logs]


def fail_with(reader: FakeReader, failure: ReadFailed) -> None:
    reader.failure = lambda _numbers: failure


@pytest.mark.usefixtures("ids")
def test_an_outage_is_noted_once_and_writes_no_wallet(tables: Tables, reader: FakeReader) -> None:
    before = versions(tables)
    fail_with(reader, Unreachable())
    with capture_logs() as logs:
        for _ in range(3):
            sync.sync_due("tron")
    assert events(logs) == ["network_out"]
    assert len(reader.reads) == 3
    assert versions(tables) == before
    assert (held(tables), tables.rows("SELECT FROM leases")) == ({}, [])
    noted = state(tables)
    assert (noted["out_since"] is not None, noted["reason"], noted["back_at"]) == (True, "unreachable", None)
    fail_with(reader, Throttled())
    with capture_logs() as logs:
        sync.sync_due("tron")
    assert events(logs) == []
    now = state(tables)
    assert (now["out_since"], now["reason"]) == (noted["out_since"], "throttled"), "since when, and why just now"
    sync_times(1)
    assert state(tables) == now, "what is known is not written again"


@pytest.mark.usefixtures("ids")
def test_the_first_answer_ends_an_outage_and_is_written(tables: Tables, reader: FakeReader) -> None:
    fail_with(reader, Unreachable())
    sync_times(1)
    reader.failure = lambda _numbers: None
    reader.reads.clear()
    with capture_logs() as logs:
        sync.sync_due("tron")
    assert events(logs) == ["network_back", "batch_synced"]
    now = state(tables)
    assert (now["out_since"], now["reason"], now["back_at"] is not None) == (None, None, True)
    assert len(tables.rows("SELECT FROM balance_cache")) == len(reader.read_so_far())
    sync_times(WALLETS // 8)
    assert sorted(reader.read_so_far()) == list(range(WALLETS))


def test_a_refresh_ends_an_outage_too(tables: Tables, reader: FakeReader, ids: list[UUID]) -> None:
    fail_with(reader, Unreachable())
    with capture_logs():
        sync.sync_these("tron", ids[:1])
    assert state(tables)["out_since"] is not None
    reader.failure = lambda _numbers: None
    with capture_logs() as logs:
        sync.sync_these("tron", ids[:1])
    assert events(logs) == ["network_back", "batch_synced"]
    assert state(tables)["out_since"] is None


@pytest.mark.usefixtures("ids")
def test_nothing_is_claimed_while_no_endpoint_may_be_asked(tables: Tables, reader: FakeReader) -> None:
    before = versions(tables)
    reader.closed = Unreachable()
    with capture_logs() as logs:
        sync.sync_due("tron")
        sync.sync_due("tron")
    assert (events(logs), reader.reads, versions(tables)) == (["network_out"], [], before)
    assert state(tables)["reason"] == "unreachable"


@pytest.mark.usefixtures("ids")
def test_a_budget_without_room_is_no_outage_and_fails_nobody(tables: Tables, reader: FakeReader) -> None:
    before = versions(tables)
    reader.closed = OverBudget()
    with capture_logs() as logs:
        sync.sync_due("tron")
    reader.closed = None
    fail_with(reader, OverBudget())
    with capture_logs() as more:
        sync.sync_due("tron")
    assert (events(logs), events(more), versions(tables)) == ([], [], before)
    assert (state(tables)["out_since"], tables.rows("SELECT FROM leases")) == (None, [])


@pytest.mark.usefixtures("ids")
def test_while_a_network_is_out_wallets_at_which_endpoints_fail_do_not_stand_in_the_way_for_ever(
    tables: Tables, reader: FakeReader
) -> None:
    """The longest overdue are such: were these alone tried, an endpoint that answers would never be heard of."""
    tables.rows(
        "UPDATE sync_schedule s SET next_sync_at = now() - interval '1 h' + interval '1 min' * ("
        "SELECT count(*) FROM wallets o WHERE (o.created_at, o.id) < (w.created_at, w.id)) FROM wallets w"
        " WHERE w.id = s.wallet_id"
    )
    first = tables.rows("SELECT address FROM sync_schedule ORDER BY next_sync_at LIMIT 10")
    numbers = {address("tron", number): number for number in range(WALLETS)}
    fatal = {numbers[row["address"]] for row in first}
    reader.failure = lambda read: Unreachable() if fatal & set(read) else None
    for _ in range(1000):
        sync_times(1)
        if reader.read_so_far() and state(tables)["back_at"]:
            break
    assert state(tables)["out_since"] is None
    # Now they are known for what they are: they fail, and come back at times of their own.
    sync_times(1)
    failed = tables.rows("SELECT next_sync_at FROM sync_schedule WHERE failures > 0")
    assert len({row["next_sync_at"] for row in failed}) == len(failed) > 0


@pytest.mark.usefixtures("ids")
def test_a_batch_that_is_too_much_says_nothing_of_its_network(tables: Tables, reader: FakeReader) -> None:
    fail_with(reader, TooMuch())
    sync_times(1)
    assert state(tables)["out_since"] is None
    assert len(tables.rows("SELECT FROM sync_schedule WHERE last_error = 'too_much'")) == 8


@pytest.mark.usefixtures("ids")
def test_a_network_whose_row_is_gone_gets_one_again(tables: Tables, reader: FakeReader) -> None:
    tables.rows("DELETE FROM network_state")
    sync_times(WALLETS // 8)
    assert sorted(reader.read_so_far()) == list(range(WALLETS))
    assert tables.rows("SELECT network, out_since FROM network_state") == [{"network": "tron", "out_since": None}]
