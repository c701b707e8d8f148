"""The process of metrics over a real Postgres and Redis: what it serves, and what it says of servers that are away."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event
from time import time
from typing import Any

import psutil
import psycopg
import pytest
import redis
import requests
from environment import forget_settings
from prometheus_client.parser import text_string_to_metric_families
from running import hung
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from structlog.testing import capture_logs
from tables import Tables

from config.broker import KEY_PREFIX
from config.ops_keys import DISPATCHED, WORKERS, worker_entry
from config.ops_settings import OpsSettings, ops_settings
from config.work_counts import counts_key, day_key
from db.rights import OPS
from devstack.product import beat, ops, worker
from devstack.roles import as_role
from devstack.seed import fund, insert, wallets
from devstack.servers import CAP, SUPERUSER, Server, free_port, postgres, redis_server, wait_for
from devstack.stack import LocalChain
from devstack.stack import settings as stack_settings
from ops import collect, lookup
from ops import wallets as of_wallets
from ops.collect import Passes
from ops.collector import Collector
from ops.lookup import look_up
from ops.metrics import METRICS, PREFIX
from ops.picture import Picture
from ops.wallets import bounded_transaction
from worker.admin.node_states import named_nodes
from worker.reading import shared_of
from worker.reading.shared import Shared

Env = dict[str, str]
SECRET = "hunter2"
ANSWERED = ("too slow", "locked", "not allowed")
ADDRESS = "TAVFvX9tToo1UJ2h7j47jVkgQjZa8LarY8"


@pytest.fixture
def env(database_url: str, tables: Tables, redis_process: Server) -> Env:  # noqa: ARG001  the tables' settings come first
    redis.Redis.from_url(redis_process.url).flushall()
    return {
        "DATABASE_URL": as_role(database_url, OPS),
        "REDIS_URL": redis_process.url,
        "ETHEREUM_RPC_URLS": f"http://127.0.0.1:1/{SECRET}-1,http://127.0.0.1:1/{SECRET}-2",
        "TRON_RPC_URLS": f"http://127.0.0.1:2/{SECRET}-3",
        "TRON_DAILY_QUOTA": "1000",
        "COLLECT_INTERVAL": "5",
    }


@pytest.fixture
def passes(env: Env, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Passes]]:
    """Passes with these settings, changed as a test wants, in this process."""
    monkeypatch.setattr(collect, "REDIS_TIMEOUT", CAP)  # a Redis that is only slow is not out of reach

    def made(**changes: str) -> Passes:
        for name, value in {**env, **changes}.items():
            monkeypatch.setenv(name, value)
        forget_settings()
        ops_settings.cache_clear()
        return Passes(OpsSettings())

    yield made
    forget_settings()


def served(server: Server) -> dict[str, dict[tuple[str, ...], float]]:
    """Each sample's name without the prefix, with its values by the values of its labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(requests.get(f"{server.url}/metrics", timeout=CAP).text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name.removeprefix(PREFIX), {})[labels] = sample.value
    return found


def of(picture: Picture, network: str) -> Any:
    (found,) = (each for each in picture.networks if each.name == network)
    return found


def shared(settings: OpsSettings, network: str) -> tuple[Shared, list[str]]:
    """What workers share of a network's nodes, and those nodes' ids."""
    return shared_of(network, settings), [node.id for node in named_nodes(settings.chain(network))]


def test_what_real_workers_do_is_served_and_nothing_secret_with_it(
    env: Env, tables: Tables, ethereum: LocalChain, tron: LocalChain, tmp_path: Path
) -> None:
    seeded = wallets(4)
    fund(ethereum, [wallet for wallet in seeded if wallet.network == "ethereum"])
    fund(tron, [wallet for wallet in seeded if wallet.network == "tron"])
    database_url = as_role(env["DATABASE_URL"], SUPERUSER)
    running_env = stack_settings(database_url, env["REDIS_URL"], ethereum, tron)
    running_env["SYNC_INTERVAL_ACTIVE"] = "10"  # what a process has counted, it sends with its next batch
    key = f"{SECRET}-key"
    ops_env = {
        **running_env,
        "COLLECT_INTERVAL": "5",
        "OPS_TOKEN": f"{SECRET}-token-of-some-length",
        "TRON_API_KEYS": key,
    }
    insert(database_url, seeded)
    tables.add("tron", "no address")
    began = time()
    with (
        worker(tmp_path, running_env) as worked,
        beat(tmp_path, running_env) as ticked,
        ops(tmp_path, ops_env) as server,
    ):

        def counted() -> bool:
            found = served(server)
            sums = found.get("batch_wallets_sum", {}).values()
            return sum(sums) >= len(seeded) and "beat_last_dispatch_timestamp_seconds" in found

        wait_for(counted, worked, ticked, server, what="the batches to be counted", pause=0.5)
        wait_for(
            lambda: served(server).get("wallets", {}).get(("tron", "fresh"), 0) == 5, server, what="all to be fresh"
        )
        found = served(server)
        text = requests.get(f"{server.url}/metrics", timeout=CAP).text + server.log.read_text()
    assert found["wallets"]["ethereum", "fresh"] == 5
    assert found["wallets"]["tron", "never_synced"] == 1, "which has no address"
    assert found["failing_wallets"] == {("bad_address", "tron"): 1}
    for name in ("oldest_read", "last_read"):
        assert all(began - 60 <= moment <= time() for moment in found[f"{name}_timestamp_seconds"].values())
    assert set(found["block_timestamp_seconds"]) == {("ethereum",), ("tron",)}
    assert all(requests_sent > 0 for requests_sent in found["requests_total"].values())
    assert found["batches_total"]["ethereum", "synced"] >= 1
    assert began <= found["beat_last_dispatch_timestamp_seconds"][()] <= time() + 1
    assert {("ticks",), ("refresh",), ("sync.tron",)} <= set(found["worker_last_seen_timestamp_seconds"])
    assert (found["redis_up"], found["database_up"]) == ({(): 1}, {(): 1})
    canaries = [SECRET, *(str(wallet.id) for wallet in seeded), *(str(wallet.user_id) for wallet in seeded)]
    canaries += [wallet.address for wallet in seeded]
    assert [canary for canary in canaries if canary in text] == []


def test_redis_away_takes_its_part_along_and_brings_it_back(env: Env, tables: Tables, tmp_path: Path) -> None:
    tables.add("tron", ADDRESS)
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with ops(tmp_path, {**env, "REDIS_URL": url}) as server:  # it starts while Redis is away
        found = served(server)
        assert found["redis_up"] == {(): 0}
        assert found["wallets"]["tron", "never_synced"] == 1
        of_redis = ("requests_total", "queue_messages", "endpoint_failures_in_a_row", "batches_total")
        assert [name for name in of_redis if name in found] == []
        with redis_server(tmp_path, port):
            wait_for(lambda: served(server)["redis_up"] == {(): 1}, server, what="Redis to be noticed", pause=0.5)
            assert served(server)["queue_messages"]["refresh",] == 0
        wait_for(lambda: served(server)["redis_up"] == {(): 0}, server, what="its end to be noticed", pause=0.5)
        assert "queue_messages" not in served(server)
        log = server.log.read_text()
    assert log.count("collection_failed") == 2, "said once for each time that it went"
    assert "Traceback" not in log


def test_postgres_away_keeps_the_process_alive_and_not_ready(env: Env, tmp_path: Path) -> None:
    away = f"postgresql://bal_ops:{SECRET}@127.0.0.1:{free_port()}/none"
    with ops(tmp_path, {**env, "DATABASE_URL": away}, until="/healthz") as server:
        wait_for(lambda: "database_up" in served(server), server, what="a pass", pause=0.2)
        found = served(server)
        ready = requests.get(f"{server.url}/readyz", timeout=CAP)
        log = server.log.read_text()
    assert (found["database_up"], found["redis_up"]) == ({(): 0}, {(): 1})
    assert "wallets" not in found
    assert found["queue_messages"]["refresh",] == 0
    assert (ready.status_code, ready.text) == (503, "No pass over Postgres has succeeded yet.\n")
    assert SECRET not in log
    assert "Traceback" not in log


def test_a_reply_has_its_headers_and_only_get_is_served(env: Env, tmp_path: Path) -> None:
    with ops(tmp_path, env) as server:
        replies = [requests.get(f"{server.url}{path}", timeout=CAP) for path in ("/metrics", "/healthz", "/nothing")]
        refused = requests.post(f"{server.url}/metrics", timeout=CAP)
    assert [reply.status_code for reply in (*replies, refused)] == [200, 200, 404, 405]
    assert replies[0].headers["content-type"].count("charset") == 1, "two are none for Prometheus"
    for reply in (*replies, refused):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in reply.headers["content-security-policy"]


def test_every_family_of_the_table_is_in_a_real_scrape(env: Env, tmp_path: Path) -> None:
    with ops(tmp_path, env) as server:
        text = requests.get(f"{server.url}/metrics", timeout=CAP).text
    names = {family.name for family in text_string_to_metric_families(text)}
    assert names == {f"{PREFIX}{metric.name}".removesuffix("_total") for metric in METRICS}


def test_a_redis_that_hangs_is_given_up_and_postgres_is_still_asked(
    passes: Callable[..., Passes], tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.add("tron", ADDRESS)
    monkeypatch.setattr(collect, "REDIS_TIMEOUT", 0.5)
    with redis_server(tmp_path) as own:
        made = passes(REDIS_URL=own.url)
        with hung(own), capture_logs() as logs:
            found = [made.run() for _ in range(2)]
        assert [(each.redis, each.database, each.queues) for each in found] == [(False, True, None)] * 2
        assert [line["event"] for line in logs] == ["collection_failed"], "said once"
        monkeypatch.setattr(collect, "REDIS_TIMEOUT", CAP)
        made._client = None
        assert made.run().redis, "it is asked again at each pass"


@contextmanager
def hung_with_its_backends(server: Server) -> Iterator[None]:
    """Its postmaster makes no new connection, and those that there are say nothing."""
    with hung(server), ExitStack() as backends:
        for backend in psutil.Process(server.process.pid).children():
            backend.suspend()
            backends.callback(backend.resume)
        yield


def commit_while_it_hangs(server: Server) -> None:
    with ExitStack() as until_answered, bounded_transaction(1) as connection:
        connection.exec_driver_sql("SELECT 1")
        until_answered.enter_context(hung_with_its_backends(server))


def test_a_postgres_that_hangs_is_given_up_and_redis_is_still_asked(
    passes: Callable[..., Passes], servers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conftest import migrate

    with postgres(servers / "ops-hangs") as own:
        migrate(own.url)
        made = passes(DATABASE_URL=as_role(own.url, OPS))
        assert made.run().database
        monkeypatch.setattr(of_wallets, "HUNG_AFTER", 0.5)
        monkeypatch.setattr(collect, "STATEMENT_INTERVALS", 0.1)
        with hung_with_its_backends(own), capture_logs() as logs:
            found = made.run()
        assert (found.database, found.redis) == (False, True)
        assert found.why == "Postgres: it does not answer", "it is we who end the connection"
        assert found.queues
        assert "collection_failed" in [line["event"] for line in logs]
        monkeypatch.setattr(collect, "STATEMENT_INTERVALS", CAP)
        assert made.run().database, "and the next pass finds it again"
        monkeypatch.setattr(lookup, "TIMEOUT", 100)
        monkeypatch.setattr(lookup, "HUNG_AFTER", 0.5)
        with hung_with_its_backends(own):
            assert look_up(ADDRESS).problem == "The database does not answer, so nothing can be looked up now."
        assert look_up(ADDRESS).problem == ""
        with pytest.raises(SQLAlchemyError):
            commit_while_it_hangs(own)


def test_a_statement_that_takes_too_long_is_ended_on_the_server(passes: Callable[..., Passes], tables: Tables) -> None:
    passes()
    tables.rows(
        "INSERT INTO wallets (id, user_id, network, address)"
        " SELECT gen_random_uuid(), gen_random_uuid(), 'tron', 'x' || n FROM generate_series(1, 20000) AS n"
    )
    with pytest.raises(OperationalError, match="statement timeout"):
        of_wallets.look(timedelta(seconds=60), 0.001)
    assert of_wallets.look(timedelta(seconds=60), CAP)["tron"].wallets == 20_000


@pytest.mark.parametrize("how", ANSWERED)
def test_a_postgres_that_answers_and_does_not_tell_is_up_and_nothing_else_is_said_of_it(
    passes: Callable[..., Passes], tables: Tables, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    tables.add("tron", ADDRESS)
    made = passes()
    collector = Collector(made.settings, made.run)
    collector.run_pass()
    good = collector.last
    with ExitStack() as until_told:
        match how:
            case "too slow":
                monkeypatch.setattr(collect, "STATEMENT_INTERVALS", 0.0002)
                tables.rows(
                    "INSERT INTO wallets (user_id, network, address)"
                    " SELECT gen_random_uuid(), 'tron', 'x' || n FROM generate_series(1, 20000) AS n"
                )
            case "locked":
                until_told.enter_context(tables.connection.transaction())
                tables.connection.execute("LOCK TABLE wallets")
            case _:
                tables.rows(f"REVOKE SELECT ON wallets FROM {OPS}")
                until_told.callback(tables.rows, f"GRANT SELECT ON wallets TO {OPS}")
        collector.run_pass()
    found = collector.last
    assert found
    assert good
    assert (found.database, found.counted, of(found, "tron").wallets) == (True, False, None)
    assert found.why.startswith(f"Postgres: {dict(zip(ANSWERED, collect.ANSWERS.values(), strict=True))[how]}")
    families = text_string_to_metric_families(collector.metrics.decode())
    told = {sample.name.removeprefix(PREFIX): sample.value for family in families for sample in family.samples}
    assert (told["database_up"], told["collection_failures_total"]) == (1, 1)
    assert told["collected_timestamp_seconds"] == pytest.approx(good.at, abs=0.001), "which goes on growing old"
    assert "due_wallets" not in told


def test_the_role_of_operators_is_all_that_a_pass_needs(passes: Callable[..., Passes], tables: Tables) -> None:
    tables.add("tron", ADDRESS)
    made = passes()
    assert made.run().database
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        psycopg.connect(made.settings.database_url.get_secret_value()) as connection,
    ):
        connection.execute("UPDATE wallets SET address = 'x'")


def test_counters_go_on_after_a_restart_and_begin_anew_with_redis(
    passes: Callable[..., Passes], redis_process: Server
) -> None:
    made = passes()
    known, (node,) = shared(made.settings, "tron")
    known.requests.add(node, 5, failed="throttled", waited=1.5)
    known.requests.add_batch("synced", 480, lost=True)
    known.requests.add_denied([node])
    known.requests.send()
    for picture in (made.run(), passes().run()):
        found = of(picture, "tron")
        assert found.work.requests == {"127.0.0.1:2": 5}
        denied = "127.0.0.1:2", "change_unconfirmed"
        assert found.work.failed_reads == {("127.0.0.1:2", "throttled"): 1, denied: 1}
        assert (found.work.batches["synced"], found.work.lost_batches) == (1, 1)
        assert (found.work.batch_sizes[500], found.work.batch_wallets) == (1, 480)
        assert found.work.budget_wait_seconds == 1.5
        assert (found.quota.a_day, found.quota.used) == (1000, 5)
        assert found.quota.predicted >= 5
        assert sum(found.nodes[0].requests.values()) == 5
    redis.Redis.from_url(redis_process.url).flushall()
    emptied = of(made.run(), "tron")
    assert emptied.work is None, "nothing is known, and that is not zero"
    assert (emptied.quota.used, emptied.quota.predicted) == (None, None)
    known.requests.add(node, 3)
    known.requests.send()
    assert of(made.run(), "tron").work.requests == {"127.0.0.1:2": 3}, "an ordinary reset of a counter"


def test_a_user_of_redis_with_an_older_releases_rights_is_told_of_once_and_the_past_hour_is_counted_all_the_same(
    passes: Callable[..., Passes], redis_process: Server
) -> None:
    client: Any = redis.Redis.from_url(redis_process.url)
    client.acl_setuser("older", enabled=True, passwords=["+p"], keys=["*"], commands=["+@all", "-hincrby"])
    made = passes(REDIS_URL=redis_process.url.replace("redis://", "redis://older:p@"))
    known, (node,) = shared(made.settings, "tron")
    with capture_logs() as logs:
        for _ in range(2):
            known.requests.add(node, 5)
            known.requests.send()
    assert [line["event"] for line in logs] == ["counts_refused"]
    assert not known.is_left_alone, "which would have each worker go on by itself"
    found = of(made.run(), "tron")
    assert sum(found.nodes[0].requests.values()) == 10
    assert found.work is None, "nothing is known, which is not zero"
    client.acl_deluser("older")


def test_a_queue_has_its_length_and_the_moment_of_its_oldest_message(
    passes: Callable[..., Passes], redis_process: Server
) -> None:
    client: Any = redis.Redis.from_url(redis_process.url)
    made, now = passes(), round(time(), 3)
    for at in (now - 60, now - 30, now):
        client.lpush(f"{KEY_PREFIX}refresh", json.dumps({"headers": {"sent_at": at}}))
    client.set(DISPATCHED, str(now))
    client.zadd(WORKERS, {worker_entry("w@one", ["refresh", "ticks"]): now - 5, worker_entry("w@two", ["ticks"]): now})
    found = made.run()
    by_name = {queue.name: queue for queue in found.queues or ()}
    assert list(by_name) == ["ticks", "refresh", "sync.ethereum", "sync.tron"]
    assert (by_name["refresh"].messages, by_name["refresh"].oldest) == (3, now - 60)
    assert (by_name["refresh"].worker_seen, by_name["ticks"].worker_seen) == (now - 5, now)
    assert (by_name["sync.tron"].messages, by_name["sync.tron"].oldest, by_name["sync.tron"].worker_seen) == (
        0,
        None,
        None,
    )
    assert (found.dispatched, found.workers) == (now, {"w@one": now - 5, "w@two": now})


def test_the_queue_of_the_feed_is_looked_at_where_the_feed_is_on(passes: Callable[..., Passes]) -> None:
    found = passes(FEED="on").run()
    assert [queue.name for queue in found.queues or ()] == ["ticks", "refresh", "feed", "sync.ethereum", "sync.tron"]


def test_a_policy_of_before_counts_for_nothing_where_the_feed_is_off(
    passes: Callable[..., Passes], tables: Tables
) -> None:
    tables.add("tron", ADDRESS)
    tables.rows("INSERT INTO feed_cursor (network, policy, reason) VALUES ('tron', 'feed', 'many_wallets')")
    told = {}
    for feed in ("on", "off"):
        wallets = of(passes(FEED=feed).run(), "tron").wallets
        assert wallets
        told[feed] = (wallets.feed.policy, wallets.feed.reason)
    assert told == {"on": ("feed", "many_wallets"), "off": ("cadence", "off")}


@pytest.mark.parametrize("lies", ["text", "list", "hash", "zset", "future"])
def test_whatever_a_stranger_puts_into_redis_a_pass_ends_well(
    passes: Callable[..., Passes], redis_process: Server, lies: str
) -> None:
    client: Any = redis.Redis.from_url(redis_process.url)
    made = passes()
    keys = [
        DISPATCHED,
        WORKERS,
        counts_key("tron"),
        *(f"{KEY_PREFIX}{name}" for name in ("ticks", "refresh", "sync.tron")),
    ]
    for key in keys:
        match lies:
            case "text":
                client.set(key, b"\xff nan inf")
            case "list":
                client.rpush(key, b"\xff", b"[" * 10_000, b'{"headers": {"sent_at": 1e999}}')
            case "hash":
                client.hset(key, mapping={"requests:x": "-5", "wallets": "9" * 40})
            case "zset":
                client.zadd(key, {b"\xff|\x1b[2J": 5, b"no queue": 1e300, b"x|ticks": 1e300})
            case _:
                client.set(key, str(time() + 86_400))
    client.rpush(day_key("tron", time()), "no number")
    found = made.run()
    assert (found.redis, found.database) == (True, True)
    assert (of(found, "tron").work, of(found, "tron").quota.used) == (None, None)
    assert found.dispatched is None, "a moment of tomorrow is none of ours either"
    assert all(queue.worker_seen is None and queue.oldest is None for queue in found.queues or ())
    assert "\x1b" not in "".join(found.workers or ())


def test_a_pass_that_takes_longer_than_the_interval_is_never_joined_by_another(passes: Callable[..., Passes]) -> None:
    made, begun, go_on = passes(), Event(), Event()
    running: list[int] = []
    picture = made.run()

    def slow() -> Picture:
        running.append(len(running))
        begun.set()
        go_on.wait(CAP)
        return picture

    collector = Collector(made.settings, slow)
    collector._interval = 0.01
    collector.start()
    begun.wait(CAP)
    assert b"collected_timestamp_seconds 1" not in collector.metrics, "nothing is known yet, and it is served at once"
    wait_for(lambda: len(running) == 1, what="the pass to be in hand")
    go_on.set()
    wait_for(lambda: len(running) > 2, what="the next ones")
    collector.close()
