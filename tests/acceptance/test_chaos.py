"""Whatever dies while balances change: every wallet is fresh again, and no row is ever wrong."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import monotonic

import psutil
import pytest
import redis
from chaos import TICK, Audit, most_batches
from conftest import migrate
from running import hung
from scene import EVER, LONG_LEASE, OFTEN, Restartable, Scene

from devstack.product import beat, worker
from devstack.seed import fund_all, insert, wallets
from devstack.servers import Server, free_port, postgres, redis_server, wait_for
from devstack.stack import LocalChain, settings
from worker.dispatch import MAX_TICKS, MAX_WAITING

PER_CHAIN = 12


@pytest.fixture(scope="module")
def scene(servers: Path, chains: dict[str, LocalChain]) -> Iterator[Scene]:
    """Servers of its own, since it ends them, and processes that go on from one disaster to the next."""
    folder = servers / "chaos"
    with ExitStack() as started:
        # At ports that they have again after a restart.
        database = Restartable(partial(postgres, folder, free_port()))
        queue = Restartable(partial(redis_server, folder, free_port()))
        for server in (database, queue):
            started.callback(server.stop)
            server.start()
        migrate(database.server.url)
        seeded = wallets(PER_CHAIN)
        fund_all(chains, seeded)
        insert(database.server.url, seeded)
        env = settings(database.server.url, queue.server.url, **chains) | OFTEN | LONG_LEASE
        scene = Scene(folder, env, seeded, chains, {"postgres": database, "redis": queue})
        with scene.stack:
            yield scene


@pytest.fixture(scope="module")
def audit(scene: Scene) -> Audit:
    made = Audit(scene)
    scene.begin()
    return made


def pool_children_killed(scene: Scene) -> None:
    with scene.batches_in_hand(2) as leases:
        killed = scene.worker.children()
        for child in killed:
            child.kill()
    scene.wait_for(lambda: len(scene.worker.children()) == len(killed), "new children")
    scene.end_leases(leases)


def worker_killed(scene: Scene) -> None:
    with scene.batches_in_hand(2) as leases:
        scene.worker.kill()
    scene.end_leases(leases)
    scene.worker.start()


def warm_shutdown(scene: Scene) -> None:
    assert scene.worker.ends(signal.SIGTERM) == 0
    assert not scene.tokens(), "its batches are finished"
    scene.worker.restart()


def cold_shutdown(scene: Scene) -> None:
    """Of a worker with a short lease: it waits for half of one."""
    before = scene.env["SYNC_LEASE"]
    scene.env["SYNC_LEASE"] = "12"
    try:
        scene.worker.restart()
        scene.await_all_fresh()
        scene.worker.ends(signal.SIGQUIT)
        assert not scene.tokens(), "its batches are finished, or handed back"
    finally:
        scene.env["SYNC_LEASE"] = before
    scene.worker.restart()


def redis_flushed(scene: Scene) -> None:
    with redis.Redis.from_url(scene.env["REDIS_URL"]) as client:
        client.flushall()
    scene.await_all_fresh()


def redis_hung(scene: Scene) -> None:
    """Until beat and the worker have each given up a connection."""
    queue = scene.servers["redis"].server
    before = {each: connections(each, queue) for each in (scene.beat.server, scene.worker.server)}
    with hung(queue):
        for each, opened in before.items():
            wait_for(lambda: bool(opened - connections(each, queue)), each, what="it to give up")  # noqa: B023


def connections(process: Server, to: Server) -> set[int]:
    """A process's connections to a server, each by its port on the process's side."""
    found = psutil.Process(process.process.pid).net_connections("tcp4")
    return {each.laddr.port for each in found if each.raddr and to.url.endswith(f":{each.raddr.port}/0")}


def redis_restarted(scene: Scene) -> None:
    scene.servers["redis"].kill()
    scene.servers["redis"].start()


def postgres_restarted(scene: Scene) -> None:
    scene.servers["postgres"].restart()
    scene.end_leases(scene.tokens())


def connections_killed(scene: Scene) -> None:
    with scene.batches_in_hand():
        killed = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        assert scene.value(f"{killed} WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'") >= 1
    scene.end_leases(scene.tokens())


def two_beats_and_two_workers(scene: Scene) -> None:
    with (
        beat(scene.folder, scene.env, "second-beat") as second,
        worker(scene.folder, scene.env, "worker-second"),
    ):
        queue = scene.servers["redis"].server
        wait_for(lambda: bool(connections(second, queue)), second, what="the second beat to send")
        scene.await_all_fresh()
        scene.await_all_fresh()


def beat_dead(scene: Scene) -> None:
    """For many intervals, and longer than a lease."""
    scene.beat.stop()
    due = "SELECT bool_and(next_sync_at < now()) AND NOT EXISTS (SELECT FROM leases) FROM sync_schedule"
    wait_for(lambda: bool(scene.value(due)), scene.worker.server, what="every wallet to be due, and nobody to read it")
    scene.rows("UPDATE sync_schedule SET next_sync_at = next_sync_at - interval '1 hour'")
    scene.beat.start()


DISASTERS = [
    pool_children_killed,
    worker_killed,
    warm_shutdown,
    cold_shutdown,
    redis_flushed,
    redis_hung,
    redis_restarted,
    postgres_restarted,
    connections_killed,
    two_beats_and_two_workers,
    beat_dead,
]


@pytest.mark.parametrize("disaster", DISASTERS, ids=lambda disaster: disaster.__name__)
def test_every_wallet_is_fresh_again_soon_and_no_row_was_wrong(
    scene: Scene, audit: Audit, disaster: Callable[[Scene], None], pytestconfig: pytest.Config
) -> None:
    """Soon: no lease has to end by itself, unless the process or the connection was lost that held it."""
    scene.await_all_fresh(since=EVER)
    began, before, audit.queues.most = monotonic(), audit.batches(), dict.fromkeys(audit.queues.most, 0)
    for _ in range(pytestconfig.getoption("rounds")):
        disaster(scene)
    scene.await_all_fresh()
    run, waited = audit.batches() - before, audit.queues.most
    # These bounds hold at any speed: what sends messages is a tick of beat, and a slow machine has fewer of them.
    seconds = monotonic() - began
    assert run <= most_batches(seconds) + MAX_WAITING, "no storm of batches"
    assert max(waited["sync.ethereum"], waited["sync.tron"]) <= MAX_WAITING
    assert waited["ticks"] <= MAX_TICKS + 2, "two beats may each send one as they look at the same moment"
    assert waited["refresh"] <= 2 * seconds / TICK + 2
    assert audit.check_written() >= len(scene.wallets)
