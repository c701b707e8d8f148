"""Whatever dies, in a loop and while balances change: every wallet is fresh soon after, and no row is ever wrong."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import redis
from chaos import INTERVAL, LEASE, SHORT, TICK, Restartable, Scene, batches_in_hand, most_batches
from conftest import migrate

from devstack.product import beat
from devstack.seed import fund, insert, wallets
from devstack.servers import free_port, postgres, redis_server, wait_for
from devstack.stack import LocalChain, settings
from worker.dispatch import MAX_WAITING

ROUNDS = 3
PER_CHAIN = 12


@pytest.fixture(scope="module")
def scene(servers: Path, ethereum: LocalChain, tron: LocalChain) -> Iterator[Scene]:
    """Servers of its own, since it ends them, and processes that go on from one disaster to the next."""
    folder = servers / "chaos"
    with ExitStack() as started:
        # At ports that they have again after a restart.
        database = Restartable(partial(postgres, folder, free_port()))
        started.callback(database.stop)
        queue = Restartable(partial(redis_server, folder, free_port()))
        started.callback(queue.stop)
        migrate(database.server.url)
        seeded = wallets(PER_CHAIN)
        for chain, network in ((ethereum, "ethereum"), (tron, "tron")):
            fund(chain, [wallet for wallet in seeded if wallet.network == network])
        insert(database.server.url, seeded)
        env = settings(database.server.url, queue.server.url, ethereum, tron) | SHORT
        scene = Scene(folder, env, seeded, {"ethereum": ethereum, "tron": tron}, {"postgres": database, "redis": queue})
        with scene.stack:
            yield scene


def pool_children_killed(scene: Scene) -> None:
    for _ in range(ROUNDS):
        with batches_in_hand(scene):
            killed = scene.worker.children()
            for child in killed:
                child.kill()
        wait_for(lambda: len(scene.worker.children()) == len(killed), scene.worker.server, what="new children")  # noqa: B023


def worker_killed(scene: Scene) -> None:
    for _ in range(ROUNDS):
        with batches_in_hand(scene):
            scene.worker.kill()
        scene.worker.start()


def warm_shutdown(scene: Scene) -> None:
    assert scene.worker.ends(signal.SIGTERM) == 0
    assert scene.leases() == 0, "its batches are finished"
    scene.worker.stop()
    scene.worker.start()


def cold_shutdown(scene: Scene) -> None:
    scene.worker.ends(signal.SIGQUIT)
    assert scene.leases() == 0, "its batches are finished, or handed back"
    scene.worker.stop()
    scene.worker.start()


def redis_flushed(scene: Scene) -> None:
    with redis.Redis.from_url(scene.env["REDIS_URL"]) as client:
        for _ in range(ROUNDS):
            client.flushall()
            scene.await_all_fresh()


def redis_hung(scene: Scene) -> None:
    scene.servers["redis"].server.process.send_signal(signal.SIGSTOP)
    time.sleep(10)  # the disaster itself
    scene.servers["redis"].server.process.send_signal(signal.SIGCONT)


def redis_restarted(scene: Scene) -> None:
    scene.servers["redis"].kill()
    scene.servers["redis"].start()


def postgres_restarted(scene: Scene) -> None:
    scene.servers["postgres"].stop()
    scene.servers["postgres"].start()


def connections_killed(scene: Scene) -> None:
    for _ in range(ROUNDS):
        with batches_in_hand(scene):
            killed = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            assert scene.value(f"{killed} WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'") >= 1


def two_beats(scene: Scene) -> None:
    with beat(scene.folder, scene.env, "second-beat"):
        for _ in range(ROUNDS):
            scene.await_all_fresh()


def beat_dead(scene: Scene) -> None:
    """For many intervals and more than two leases: with the intervals of a deployment that would be ten minutes."""
    scene.beat.stop()
    last = "SELECT extract(epoch FROM clock_timestamp() - max(last_synced))::float FROM balance_cache"
    wait_for(lambda: scene.value(last) > max(5 * INTERVAL, 2 * LEASE), scene.worker.server, what="wallets to be late")
    scene.beat.start()


@pytest.mark.parametrize(
    "disaster",
    [
        pool_children_killed,
        worker_killed,
        warm_shutdown,
        cold_shutdown,
        redis_flushed,
        redis_hung,
        redis_restarted,
        postgres_restarted,
        connections_killed,
        two_beats,
        beat_dead,
    ],
    ids=lambda disaster: disaster.__name__,
)
def test_every_wallet_is_fresh_again_soon_and_no_row_was_wrong(scene: Scene, disaster: Callable[[Scene], None]) -> None:
    scene.await_all_fresh()
    began, batches, scene.queues.most = time.monotonic(), scene.batches(), dict.fromkeys(scene.queues.most, 0)
    disaster(scene)
    scene.await_all_fresh()
    seconds = time.monotonic() - began
    written, run = scene.check_written(), scene.batches() - batches
    assert written >= len(scene.wallets)
    scene.check_changes()
    assert run <= most_batches(seconds) + MAX_WAITING, "no storm of batches"
    waited = scene.queues.most
    assert max(waited["sync.ethereum"], waited["sync.tron"]) <= MAX_WAITING
    assert waited["refresh"] <= 2 * seconds / TICK + 2, "no more than the ticks of two beats"
