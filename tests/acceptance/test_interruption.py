"""Workers that have to stop in the middle of a batch, a network that hangs beside one that does not, and messages too
many.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
import redis
import requests
from celery import Celery
from chaos import Scene, batches_in_hand
from environment import forget_settings

from config.broker import BATCHES_IN_A_TURN
from config.settings import worker_settings
from devstack.seed import SeededWallet, fund, insert, wallets
from devstack.servers import Server, wait_for
from devstack.stack import LocalChain, settings
from worker.chains import endpoint_reader
from worker.dispatch import MAX_WAITING

PER_CHAIN = MAX_WAITING + 10
SURPLUS = 500  # of each network
NEVER = {"SYNC_INTERVAL_ACTIVE": "3600", "SYNC_INTERVAL_IDLE": "3600"}
OFTEN = {"SYNC_INTERVAL_ACTIVE": "2", "SYNC_INTERVAL_IDLE": "2"}

Start = Callable[..., Scene]


@pytest.fixture(scope="module")
def chains(ethereum: LocalChain, tron: LocalChain) -> dict[str, LocalChain]:
    return {"ethereum": ethereum, "tron": tron}


@pytest.fixture(scope="module")
def funded(chains: dict[str, LocalChain]) -> list[SeededWallet]:
    seeded = wallets(PER_CHAIN)
    for network, chain in chains.items():
        fund(chain, [wallet for wallet in seeded if wallet.network == network])
    return seeded


@pytest.fixture
def start(
    tmp_path: Path,
    funded: list[SeededWallet],
    database_url: str,
    redis_process: Server,
    chains: dict[str, LocalChain],
) -> Iterator[Start]:
    """Starts the processes with what a test sets, and ends them with the test."""
    redis.Redis.from_url(redis_process.url).flushall()
    insert(database_url, funded)
    with ExitStack() as started:

        def begin(**more: str) -> Scene:
            env = settings(database_url, redis_process.url, **chains) | more
            scene = Scene(tmp_path, env, funded, chains)
            started.enter_context(scene.stack)
            scene.await_all_fresh()
            return scene

        yield begin


def make_due(scene: Scene) -> None:
    scene.rows("UPDATE sync_schedule SET next_sync_at = now()")


def untouched(scene: Scene) -> bool:
    """Every wallet is as if the batch had never begun."""
    as_before = "lease_token IS NULL AND claimed_at IS NULL AND failures = 0 AND next_sync_at <= now()"
    return bool(scene.value(f"SELECT bool_and({as_before}) FROM sync_schedule"))


def heard(scene: Scene, words: str, times: int = 1) -> None:
    log = scene.worker.server.log
    wait_for(lambda: log.read_text().count(words) >= times, what=f"the worker to say: {words}")


def twice(first: signal.Signals) -> Callable[[Scene], None]:
    """A cold shutdown waits for a while; the second signal ends that."""

    def send(scene: Scene) -> None:
        scene.worker.server.process.send_signal(first)
        heard(scene, "Initiating Soft Shutdown")
        scene.worker.server.process.send_signal(first)

    return send


def to_all_of_it(scene: Scene) -> None:
    """As systemd does."""
    os.killpg(scene.worker.server.process.pid, signal.SIGTERM)


@pytest.mark.parametrize(
    ("stop", "more"),
    [
        (twice(signal.SIGQUIT), {}),
        (twice(signal.SIGTERM), {"REMAP_SIGTERM": "SIGQUIT"}),
        (to_all_of_it, {}),
    ],
    ids=["QUIT twice", "TERM twice, remapped", "TERM to the pool too"],
)
def test_a_batch_that_is_interrupted_hands_its_wallets_back_at_once(
    start: Start, stop: Callable[[Scene], None], more: dict[str, str]
) -> None:
    """Long before its lease or its requests end: as if it had never begun."""
    scene = start(SYNC_LEASE="120", **NEVER, **more)
    make_due(scene)
    with batches_in_hand(scene, 2):
        stop(scene)
        wait_for(lambda: untouched(scene), what="the leases to be handed back")
    heard(scene, "leases_handed_back", 2)
    scene.worker.kill()
    scene.worker.start()
    scene.await_all_fresh()
    scene.check_written()


def test_a_worker_told_to_stop_finishes_the_batches_in_hand(start: Start) -> None:
    scene = start(SYNC_LEASE="120", **NEVER)
    make_due(scene)
    since = scene.now()
    with batches_in_hand(scene, 2):
        scene.worker.server.process.send_signal(signal.SIGTERM)
        heard(scene, "Warm shutdown")
    assert scene.worker.server.process.wait(60) == 0
    assert scene.value("SELECT count(*) FROM balance_cache WHERE last_synced > %s", since) == len(scene.wallets)
    assert scene.leases() == 0
    scene.worker.stop()
    scene.worker.start()


def test_a_batch_past_its_soft_limit_hands_its_wallets_back(start: Start) -> None:
    """What hangs here is the table that it wants to write to."""
    scene = start(SYNC_LEASE="6", **NEVER)
    since = scene.now()  # the other network's batch may just write when the table is free again
    with psycopg.connect(scene.env["DATABASE_URL"]) as other:
        other.execute("LOCK TABLE balance_cache IN SHARE MODE")
        make_due(scene)
        heard(scene, "reason=SoftTimeLimitExceeded")
    scene.await_all_fresh(since=since)
    scene.check_written()


def test_a_network_that_hangs_holds_up_the_other_for_one_request_and_then_never_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = start(SYNC_LEASE="24", **OFTEN)
    for name, value in scene.env.items():
        monkeypatch.setenv(name, value)
    forget_settings()
    reader = endpoint_reader("ethereum", worker_settings())
    failed = "SELECT count(*) > 0 FROM sync_schedule WHERE network = 'ethereum' AND failures > %s"
    with scene.hung("ethereum"):
        # So that there are batches enough to fill every process and the queue.
        reader.known.put(f"size:{reader.endpoints[0].id}", 1, 600)
        wait_for(lambda: scene.value(failed, 0), *scene.running, what="the first request to be given up")
        # Both processes may have begun with it at once: only from now on is it known.
        wait_for(lambda: long_in_hand(scene) == 0, *scene.running, what="the others to be given up too")
        for _ in range(2):
            wait_for(lambda: long_in_hand(scene) > 0, *scene.running, what="the node to be tried again", pause=0.01)
            since, most = scene.now(), 0
            while (held := long_in_hand(scene)) > 0:
                most = max(most, held)
            assert most == 1, "the other process is free"
            read = "SELECT count(*) FROM balance_cache JOIN wallets ON id = wallet_id WHERE network = 'tron'"
            assert scene.value(f"{read} AND last_synced > %s", since) == PER_CHAIN + 1, "Tron is read meanwhile"
    scene.await_all_fresh()
    scene.check_written()


def long_in_hand(scene: Scene) -> int:
    """Ethereum's batches that have been in hand for longer than one takes that finds its node at rest."""
    held = "SELECT count(DISTINCT lease_token) FROM sync_schedule WHERE network = 'ethereum'"
    return int(scene.value(f"{held} AND lease_token IS NOT NULL AND claimed_at < now() - interval '1 s'"))


def reads(scene: Scene) -> tuple[int, int]:
    """How many calls each chain's node has had."""
    ethereum, tron = scene.chains["ethereum"].node, scene.chains["tron"].node
    asked = requests.get(f"{tron.url}/devstack/requests", timeout=5).json()
    return ethereum.log.read_text().count("eth_call"), asked.get("triggerconstantcontract", 0)


def test_a_thousand_messages_too_many_are_gone_soon_and_no_node_hears_of_them(start: Start) -> None:
    scene = start(**NEVER)
    scene.worker.ends(signal.SIGTERM)
    scene.worker.stop()
    sender = Celery(broker=scene.env["REDIS_URL"], set_as_current=False)
    sender.conf.broker_transport_options = {"global_keyprefix": "bal:"}
    for _ in range(SURPLUS):
        for network in ("ethereum", "tron"):
            queue = f"sync.{network}"
            sender.send_task("worker.tasks.sync_due_wallets", args=[network], queue=queue, ignore_result=True)
    before, batches, apart = reads(scene), scene.batches(), []

    def gone() -> bool:
        waiting = scene.queues.lengths()
        if waiting["sync.ethereum"] and waiting["sync.tron"]:
            ethereum, tron = ((SURPLUS - waiting[queue]) / turn for queue, turn in BATCHES_IN_A_TURN.items())
            apart.append(abs(ethereum - tron))
        return not any(waiting.values())

    scene.worker.start()
    wait_for(gone, *scene.running, what="the messages to be gone")
    assert reads(scene) == before
    assert scene.batches() == batches
    assert max(apart) < SURPLUS / 20, "the networks take turns"
    make_due(scene)
    scene.await_all_fresh()
