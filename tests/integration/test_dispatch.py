"""What a tick sends: a real database, kombu's own code, and Redis' behaviour without a server."""

from collections.abc import Iterator
from typing import Any

import fakeredis
import kombu.transport.redis
import pytest
import redis
from environment import forget_settings
from kombu.utils.json import loads
from leases import claim, end_lease
from network import NETWORKS
from structlog.testing import capture_logs
from tables import Tables

from config.networks import NetworkName
from config.ops_keys import DISPATCHED
from devstack.servers import Server
from worker.ops_notes import ops_notes
from worker.schedule.dispatch import MAX_WAITING, dispatch

FAKE = fakeredis.FakeServer()


class Client(kombu.transport.redis.GlobalKeyPrefixMixin, fakeredis.FakeStrictRedis):
    """A client as kombu makes it, of a Redis without a server."""

    def __init__(self, global_keyprefix: str = "", **_: Any) -> None:
        self.global_keyprefix = global_keyprefix
        fakeredis.FakeStrictRedis.__init__(self, server=FAKE)


@pytest.fixture
def server(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> fakeredis.FakeStrictRedis:  # noqa: ARG001
    """The Redis behind kombu's clients, beside a real database."""
    for network in NETWORKS:
        monkeypatch.setenv(f"{network.upper()}_RPC_URLS", "http://127.0.0.1:1")
    forget_settings()
    monkeypatch.setattr(kombu.transport.redis, "PrefixedStrictRedis", Client)
    behind = fakeredis.FakeStrictRedis(server=FAKE)
    behind.flushall()
    return behind


def tick(network: NetworkName = "tron") -> int:
    from worker.schedule.dispatch import dispatch_network

    return dispatch_network(network)


def add(tables: Tables, count: int, network: NetworkName = "tron") -> None:
    """So many more wallets that are due: 500 are a batch on Tron, 2,447 on Ethereum."""
    tables.rows(
        f"INSERT INTO wallets (user_id, network, address) SELECT gen_random_uuid(), '{network}', 'A' || n"
        f" FROM generate_series(1, {count}) AS n"
    )


def messages(server: fakeredis.FakeStrictRedis, queue: str) -> list[Any]:
    """The arguments of the messages that wait in a queue."""
    return [loads(raw)["headers"]["argsrepr"] for raw in server.lrange(f"bal:{queue}", 0, -1)]


def test_a_tick_sends_a_message_for_each_batch_and_counts_those_that_wait(
    tables: Tables, server: fakeredis.FakeStrictRedis
) -> None:
    assert tick() == 0
    add(tables, 1200)
    assert [tick(), tick()] == [3, 0]
    add(tables, 500)
    assert tick() == 1
    assert messages(server, "sync.tron") == ["['tron']"] * 4
    server.lpop("bal:sync.tron", 3)
    assert tick() == 3


def test_what_is_being_read_needs_no_message(tables: Tables, server: fakeredis.FakeStrictRedis) -> None:  # noqa: ARG001
    add(tables, 600)
    claim(limit=500)
    assert tick() == 1


def test_each_lost_batch_has_a_message_once_its_lease_is_over(
    tables: Tables,
    server: fakeredis.FakeStrictRedis,
) -> None:
    add(tables, 900)
    claim(limit=500)
    claim(limit=500)
    assert tick() == 0
    end_lease(tables)
    assert (tick(), len(messages(server, "sync.tron"))) == (2, 2)
    server.flushall()
    claim()  # it puts aside what was lost, and tries one of them
    assert tick() == 1


def test_a_wallet_that_kills_is_no_reason_for_a_message_until_its_turn(
    tables: Tables,
    server: fakeredis.FakeStrictRedis,
) -> None:
    add(tables, 1)
    claim()
    tables.rows("UPDATE leases SET deaths = 5, lease_until = NULL, claimed_at = now() - interval '3 min'")
    assert tick() == 0
    tables.rows("UPDATE leases SET claimed_at = now() - interval '5 min'")
    assert (tick(), messages(server, "sync.tron")) == (1, ["['tron']"])


def test_a_backlog_of_any_size_is_sent_a_few_seconds_of_work_and_nothing_more_until_half_of_that_is_done(
    tables: Tables, server: fakeredis.FakeStrictRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tables, 25_000)
    assert tick() == MAX_WAITING == 40
    with monkeypatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
        forget_settings()
        assert tick() == 0, "and the database, which is not there, is not asked"
        server.lpop("bal:sync.tron", 20)
        assert tick() == 0
    forget_settings()
    server.lpop("bal:sync.tron", 1)
    assert tick() == 21


def test_networks_have_queues_of_their_own(tables: Tables, server: fakeredis.FakeStrictRedis) -> None:
    add(tables, 1)
    add(tables, 3000, "ethereum")
    assert (tick(), tick("ethereum")) == (1, 2)
    assert sorted(key.decode() for key in server.keys("bal:sync.*")) == ["bal:sync.ethereum", "bal:sync.tron"]


def test_a_tick_costs_redis_no_more_trips_the_more_messages_it_sends(
    tables: Tables,
    server: fakeredis.FakeStrictRedis,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trips: list[str] = []
    command, pipeline = fakeredis.FakeStrictRedis.execute_command, fakeredis.FakeStrictRedis.pipeline

    def one_command(self: Any, *arguments: Any, **options: Any) -> Any:
        trips.append(arguments[0])
        return command(self, *arguments, **options)

    def one_pipeline(self: Any, *arguments: Any, **options: Any) -> Any:
        trips.append("pipeline")
        return pipeline(self, *arguments, **options)

    monkeypatch.setattr(fakeredis.FakeStrictRedis, "execute_command", one_command)
    monkeypatch.setattr(fakeredis.FakeStrictRedis, "pipeline", one_pipeline)
    sent, cost = [], []
    for more in (1, 9_000):
        add(tables, more)
        trips.clear()
        sent.append(tick())
        cost.append(len(trips))
    assert sent == [1, 18]
    assert cost[1] <= cost[0], trips


@pytest.mark.usefixtures("server")
def test_what_goes_wrong_with_a_networks_queue_is_told_and_keeps_the_tick_from_nothing_else(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker.schedule import dispatch
    from worker.schedule.reconciliation import Reconciliation

    tables.rows("ALTER TABLE leases RENAME TO elsewhere")  # what looks at queues needs it, what enrols does not
    tables.rows("SET session_replication_role = replica")
    add(tables, 1)
    monkeypatch.setattr(dispatch, "reconciliation", Reconciliation())
    with capture_logs() as logs:
        dispatch.dispatch()
    told = [line["event"] for line in logs if line["event"] != "redis_unavailable"]
    assert told == ["dispatch_failed", "dispatch_failed", "schedules_mended"]
    assert len(tables.rows("SELECT FROM sync_schedule")) == 1


@pytest.fixture
def noted(server: fakeredis.FakeStrictRedis, redis_process: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:  # noqa: ARG001
    """The Redis in which ticks are noted: a real one, beside that which their messages go to."""
    monkeypatch.setenv("REDIS_URL", redis_process.url)
    forget_settings()
    ops_notes.cache_clear()
    client: Any = redis.Redis.from_url(redis_process.url)
    client.flushall()
    yield client
    ops_notes.cache_clear()


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_tick_counts_as_carried_out_unless_the_database_failed_for_every_network(
    tables: Tables, noted: Any, carried_out: bool
) -> None:
    if not carried_out:
        tables.rows("ALTER TABLE sync_schedule RENAME TO elsewhere")
    dispatch()
    assert (noted.get(DISPATCHED) is not None) is carried_out


def test_a_tick_is_carried_out_where_it_cannot_be_noted(
    tables: Tables, server: fakeredis.FakeStrictRedis, noted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    forget_settings()
    add(tables, 1)
    with capture_logs() as logs:
        dispatch()
    assert {each["event"] for each in logs} == {"redis_unavailable"}
    assert messages(server, "sync.tron") == ["['tron']"]
    assert noted.get(DISPATCHED) is None
