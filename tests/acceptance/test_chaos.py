"""Whatever dies while balances change: every wallet is fresh again, and no row is ever wrong."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import monotonic

import psutil
import psycopg
import pytest
import redis
from chaos import Audit, most_batches
from conftest import migrate
from running import hung
from scene import EVER, LONG_LEASE, OFTEN, Restartable, Scene

from devstack.product import beat, worker
from devstack.seed import fund_all, insert, wallets
from devstack.servers import Server, free_port, postgres, redis_server, wait_for
from devstack.stack import LocalChain, base58_address, settings
from worker.schedule.beat import MAX_TICKS
from worker.schedule.dispatch import MAX_WAITING

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


def redis_away_while_batches_end(scene: Scene) -> None:
    """Of as many as the worker has in hand at most: it waits for no more messages, and so does not notice before."""
    scene.wait_for(lambda: not scene.messages_in_hand(), "nothing to be in hand", pause=0.01)
    with scene.batches_in_hand(2):
        scene.wait_for(scene.main_process_has_heard, "the main process to know of both")
        scene.servers["redis"].kill()
    scene.await_words("Couldn't ack")
    wait_for(lambda: not scene.tokens(), scene.worker.server, what="both to end")
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


IMPORTED = 3000  # wallets of each network: more than a hundred times those that were there


def dirty_rows(scene: Scene) -> None:
    """Rows as outages, dead workers, restores and people leave them, all at once, while an import is running."""
    with psycopg.connect(scene.env["DATABASE_URL"], autocommit=True) as connection, connection.transaction():
        connection.execute(
            """
            UPDATE sync_schedule s SET
                failures = CASE n % 4 WHEN 0 THEN 2147483647 WHEN 1 THEN 12 ELSE 0 END,
                last_error = CASE WHEN n % 4 < 2 THEN 'unreachable' END,
                lane = n % 2,
                requested_at = CASE WHEN n % 5 = 0 THEN now() + interval '1 day' END,
                next_sync_at = CASE n % 6 WHEN 0 THEN '-infinity' WHEN 1 THEN to_timestamp(0) WHEN 2 THEN 'infinity'
                                          WHEN 3 THEN now() + interval '3 years' ELSE now() END
              FROM (SELECT wallet_id, row_number() OVER (ORDER BY wallet_id) AS n FROM sync_schedule) AS numbered
             WHERE numbered.wallet_id = s.wallet_id
            """
        )
        # Batches of workers that never came back: one that killed before, one that did not, one with wallets that are
        # gone, and a window over everything.
        connection.execute(
            """
            INSERT INTO leases (token, lane, network, first_due, first_id, last_due, last_id, claimed_at, lease_until,
                                deaths, wallet_ids)
            SELECT gen_random_uuid(), kind, network, '-infinity', min(wallet_id::text)::uuid,
                   now(), max(wallet_id::text)::uuid, now() - interval '1 hour', now() - interval '1 minute',
                   5 * kind, array_agg(wallet_id) || gen_random_uuid()
              FROM sync_schedule, generate_series(0, 2) AS kind GROUP BY network, kind
            """
        )
        connection.execute("DELETE FROM sync_schedule WHERE wallet_id = ANY(%s)", [[scene.wallets[0].id]])
    for network in scene.chains:
        addresses = [account.to_bytes(20) for account in range(10**9, 10**9 + IMPORTED)]
        scene.rows(
            "INSERT INTO wallets (user_id, network, address) SELECT gen_random_uuid(), %s, unnest(%s::text[])",
            network,
            ["0x" + each.hex() if network == "ethereum" else base58_address(each) for each in addresses],
        )


DISASTERS = [
    pool_children_killed,
    worker_killed,
    warm_shutdown,
    cold_shutdown,
    redis_flushed,
    redis_hung,
    redis_restarted,
    redis_away_while_batches_end,
    postgres_restarted,
    connections_killed,
    two_beats_and_two_workers,
    beat_dead,
    dirty_rows,
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
    assert audit.check_written() >= len(scene.wallets)
    run, waited = audit.batches() - before, audit.queues.most
    # These bounds hold at any speed: what sends messages is a tick of beat, and a slow machine has fewer of them.
    seconds = monotonic() - began
    if disaster is dirty_rows:
        return  # what was imported is read as fast as may be
    assert run <= most_batches(seconds) + MAX_WAITING, "no storm of batches"
    assert max(waited["sync.ethereum"], waited["sync.tron"]) <= MAX_WAITING
    assert waited["ticks"] <= 2 * MAX_TICKS, "no more than the ticks of two beats"
    assert waited["refresh"] == 0
