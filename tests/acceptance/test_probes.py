"""The probes of docker-compose.yml, word for word, against real processes to which something happens.

Where a probe must keep, the time for which a sign is good is the default's, or far beyond what the test takes; where it
must fail, that time is cut short by settings. So neither depends on how fast the machine is.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis
import yaml
from running import hung, kill_9, send, sender
from scene import Restartable
from tables import Tables

from config.ops_keys import DISPATCHED, WORKERS, worker_of
from devstack.product import api, beat, worker
from devstack.servers import HOST, ROOT, Server, free_port, redis_server, tail, wait_for
from worker.liveness import probe

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
FOLDER = COMPOSE["services"]["worker"]["environment"]["LIFE_SIGN_DIR"]
ADDRESS = "TAVFvX9tToo1UJ2h7j47jVkgQjZa8LarY8"
SHORT = {"LIVENESS_GRACE": "5"}
LONG_AHEAD = 300.0
"""Seconds: further ahead than LIVENESS_GRACE alone puts a sign, and less far than LIVENESS_PATIENCE does."""


def as_compose_has_it(service: str) -> list[str]:
    """The command of a service's health check, as Docker runs it."""
    kind, *words = COMPOSE["services"][service]["healthcheck"]["test"]
    return ["/bin/sh", "-c", *words] if kind == "CMD-SHELL" else words


@dataclass
class Probes:
    """Probes of processes that have their signs in a folder of the test's."""

    folder: Path

    def _passes(self, command: list[str]) -> bool:
        here = [word.replace(FOLDER, str(self.folder)) for word in command]
        return subprocess.run(here, check=False, capture_output=True).returncode == 0

    def alive(self, service: str = "worker") -> bool:
        return self._passes(as_compose_has_it(service))

    def ready(self) -> bool:
        """As the manifests for Kubernetes have it; Compose has one check for each service."""
        return self._passes(["sh", "-c", probe("worker-ready", FOLDER)])

    def ahead(self, sign: str = "worker") -> float:
        """Seconds until the moment of a sign."""
        return (self.folder / sign).stat().st_mtime - time.time()


@pytest.fixture
def probes(tmp_path: Path) -> Probes:
    return Probes(tmp_path / "signs")


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Restartable]:
    """A Redis that may hang and end."""
    server = Restartable(partial(redis_server, tmp_path / "redis", free_port()))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def deaf_node() -> Iterator[str]:
    """The URL of a node that takes connections and never says a word."""
    with socket.create_server((HOST, 0), backlog=100) as listening:
        yield f"http://{HOST}:{listening.getsockname()[1]}"


@pytest.fixture
def env(database_url: str, own_redis: Restartable, probes: Probes, deaf_node: str) -> dict[str, str]:
    of_redis = {"REDIS_URL": own_redis.server.url, "LIFE_SIGN_DIR": str(probes.folder)}
    return {"DATABASE_URL": database_url, **of_redis, "TRON_RPC_URLS": deaf_node}


def await_served(worked: Server, probes: Probes) -> None:
    wait_for(lambda: probes.alive() and probes.ready(), worked, what="a worker that is alive and ready")


def await_while(condition: Callable[[], bool], alive: Callable[[], bool], server: Server, what: str) -> None:
    """Wait for something during which a probe must not fail once."""

    def met() -> bool:
        assert alive(), f"while waiting for {what}:\n{tail(server.log)}"
        return condition()

    wait_for(met, server, what=what, pause=0.5)


@contextmanager
def out(server: Restartable, how: str) -> Iterator[None]:
    """A server that is away for the block, or hangs."""
    if how == "hangs":
        with hung(server.server):
            yield
    else:
        server.stop()
        yield
        server.start()


OUT = pytest.mark.parametrize("how", ["is away", "hangs"])


def test_a_worker_whose_main_process_hangs_fails_both_probes(
    env: dict[str, str], tmp_path: Path, probes: Probes
) -> None:
    with worker(tmp_path, env | SHORT) as worked:
        await_served(worked, probes)
        with hung(worked):
            wait_for(lambda: not probes.alive(), worked, what="liveness to fail")
            wait_for(lambda: not probes.ready(), worked, what="readiness to fail")
        await_served(worked, probes)


def test_a_pool_whose_processes_are_killed_is_replaced_and_never_fails(
    env: dict[str, str], tmp_path: Path, probes: Probes, own_redis: Restartable
) -> None:
    client: Any = redis.Redis.from_url(own_redis.server.url)
    with worker(tmp_path, env) as worked:
        await_served(worked, probes)
        pool = psutil.Process(worked.process.pid).children()
        for process in pool:
            process.kill()
        send(sender(own_redis.server.url), "dispatch_due_wallets", queue="ticks")
        await_while(lambda: client.get(DISPATCHED) is not None, probes.alive, worked, "a tick that is carried out")
        new = psutil.Process(worked.process.pid).children()
        assert len(new) == len(pool)
        assert not {each.pid for each in new} & {each.pid for each in pool}
        await_served(worked, probes)


def test_a_pool_that_never_begins_what_it_is_given_fails(
    env: dict[str, str], tmp_path: Path, probes: Probes, own_redis: Restartable
) -> None:
    with worker(tmp_path, env | SHORT | {"SYNC_LEASE": "3"}) as worked:
        await_served(worked, probes)
        for process in psutil.Process(worked.process.pid).children():
            process.suspend()
        send(sender(own_redis.server.url), "dispatch_due_wallets", queue="ticks")
        wait_for(lambda: not probes.alive(), worked, what="liveness to fail")
        wait_for(lambda: "worker_wedged" in worked.log.read_text(), worked, what="the reason to be logged")
        kill_9(worked)


def test_a_batch_that_lasts_until_its_process_is_killed_never_fails(
    env: dict[str, str], tmp_path: Path, probes: Probes, own_redis: Restartable, tables: Tables
) -> None:
    """It lasts longer than LIVENESS_GRACE, for which the main process itself would be let alone."""
    tables.add("tron", ADDRESS)
    with worker(tmp_path, env | {"LIVENESS_GRACE": "15", "SYNC_LEASE": "40"}) as worked:
        await_served(worked, probes)
        send(sender(own_redis.server.url), "sync_due_wallets", "tron", queue="sync.tron")
        wait_for(lambda: bool(tables.rows("SELECT FROM leases")), worked, what="a batch that has begun")
        pool = psutil.Process(worked.process.pid).children()
        for process in pool:
            process.suspend()
        await_while(
            lambda: "Hard time limit" in worked.log.read_text(), probes.alive, worked, "the process to be killed"
        )
        for process in pool:
            if process.is_running():
                process.resume()
        await_served(worked, probes)


@OUT
def test_a_worker_without_redis_is_left_alone_and_not_ready(
    env: dict[str, str], tmp_path: Path, probes: Probes, own_redis: Restartable, how: str
) -> None:
    with worker(tmp_path, env) as worked:
        await_served(worked, probes)
        with out(own_redis, how):
            await_while(lambda: not probes.ready(), probes.alive, worked, "readiness to fail")
            await_while(lambda: probes.ahead() > LONG_AHEAD, probes.alive, worked, "patience")
            assert not probes.ready()
        await_while(probes.ready, probes.alive, worked, "readiness")
        wait_for(lambda: probes.ahead() < LONG_AHEAD, worked, what="the sign of a worker that is watched again")


@OUT
def test_a_worker_without_redis_for_longer_than_patience_has_fails_and_is_well_when_it_is_back(
    env: dict[str, str], tmp_path: Path, probes: Probes, own_redis: Restartable, how: str
) -> None:
    with worker(tmp_path, env | {"LIVENESS_PATIENCE": "5"}) as worked:
        await_served(worked, probes)
        with out(own_redis, how):
            wait_for(lambda: not probes.alive(), worked, what="liveness to fail")
        await_served(worked, probes)


def test_a_node_that_hangs_fails_nothing(
    env: dict[str, str], tmp_path: Path, probes: Probes, own_redis: Restartable, tables: Tables
) -> None:
    tables.add("tron", ADDRESS)
    with worker(tmp_path, env | {"SYNC_LEASE": "12"}) as worked:
        await_served(worked, probes)
        send(sender(own_redis.server.url), "sync_due_wallets", "tron", queue="sync.tron")
        await_while(
            lambda: "network_out" in worked.log.read_text(),
            lambda: probes.alive() and probes.ready(),
            worked,
            "the node to be given up",
        )


def test_a_worker_that_is_told_to_stop_is_ready_no_more_and_leaves_the_list(
    env: dict[str, str], tmp_path: Path, probes: Probes, own_redis: Restartable
) -> None:
    client: Any = redis.Redis.from_url(own_redis.server.url)
    with worker(tmp_path, env) as worked:
        await_served(worked, probes)
        ((entry, seen),) = client.zrange(WORKERS, 0, -1, withscores=True)
        name, queues = worker_of(entry.decode())
        assert name == f"worker@{socket.gethostname()}"
        assert queues == ["ticks", "refresh", "sync.tron"]
        assert abs(seen - time.time()) < LONG_AHEAD
        worked.process.send_signal(signal.SIGTERM)
        worked.process.wait()
        assert not probes.ready()
        assert client.zcard(WORKERS) == 0


def test_a_beat_that_is_blocked_fails(env: dict[str, str], tmp_path: Path, probes: Probes) -> None:
    alive = partial(probes.alive, "beat")
    with beat(tmp_path, env | {"LIVENESS_GRACE": "10"}) as ticked:
        wait_for(alive, ticked, what="beat to live")
        with hung(ticked):
            wait_for(lambda: not alive(), ticked, what="liveness to fail")
        wait_for(alive, ticked, what="beat to live again")


@OUT
def test_a_beat_without_redis_is_left_alone(
    env: dict[str, str], tmp_path: Path, probes: Probes, own_redis: Restartable, how: str
) -> None:
    alive = partial(probes.alive, "beat")
    client: Any = redis.Redis.from_url(own_redis.server.url)
    with beat(tmp_path, env) as ticked:
        wait_for(lambda: client.llen("bal:ticks") > 0, ticked, what="a tick")
        with out(own_redis, how):
            await_while(lambda: probes.ahead("beat") > LONG_AHEAD, alive, ticked, "patience")
        client.ltrim("bal:ticks", 1, 0)
        await_while(lambda: client.llen("bal:ticks") > 0, alive, ticked, "a tick")
        await_while(lambda: probes.ahead("beat") < LONG_AHEAD, alive, ticked, "the sign of one that is watched again")


def test_a_beat_that_finds_no_redis_for_longer_than_patience_has_fails(
    env: dict[str, str], tmp_path: Path, probes: Probes, own_redis: Restartable
) -> None:
    own_redis.stop()
    with beat(tmp_path, env | {"LIVENESS_PATIENCE": "20"}) as ticked:
        wait_for(partial(probes.alive, "beat"), ticked, what="beat to live")
        wait_for(lambda: not probes.alive("beat"), ticked, what="liveness to fail")
        own_redis.start()
        wait_for(partial(probes.alive, "beat"), ticked, what="beat to live")


def test_the_endpoints_probe_tells_whether_it_is_ready(env: dict[str, str], tmp_path: Path, database_url: str) -> None:
    def probed(server: Server) -> int:
        command = [word.replace("127.0.0.1/8000", server.url.partition("//")[2].replace(":", "/")) for word in check]
        return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode

    check = as_compose_has_it("api")
    assert any("127.0.0.1/8000" in word for word in check)
    with api(tmp_path, env | {"JWT_SECRET": os.urandom(16).hex()}) as served:
        assert probed(served) == 0
        with tables_locked_out(database_url):
            wait_for(lambda: probed(served) != 0, served, what="readiness to fail")
        wait_for(lambda: probed(served) == 0, served, what="the endpoint to be ready again")
    assert probed(served) != 0


@contextmanager
def tables_locked_out(database_url: str) -> Iterator[None]:
    """A database that nobody may connect to for the block."""
    server, _, name = database_url.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
