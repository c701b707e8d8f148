"""Workers that have to stop in the middle of a batch, a network that hangs beside one that does not, and messages too
many.
"""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Lock

import psycopg
import pytest
import redis
from chaos import Audit
from environment import forget_settings
from proxy import Exchange, proxy
from running import node_reads, send, sender
from scene import EVER, NEVER, OFTEN, Scene

from config.broker import BATCHES_IN_A_TURN
from config.settings import worker_settings
from devstack.seed import SeededWallet, fund_all, insert, wallets
from devstack.servers import CAP, Server, wait_for
from devstack.stack import LocalChain, settings
from worker.chains import endpoint_reader
from worker.chains.known import LOOKED_UP
from worker.dispatch import MAX_WAITING

PER_CHAIN = MAX_WAITING + 10
SURPLUS = 500  # of each network
LONGEST_LEASE = {"SYNC_LEASE": "3600"}
"""A request to a node may take twice as long as a test waits: one that hangs does not end by itself."""

Start = Callable[..., tuple[Scene, Audit]]


@pytest.fixture(scope="module")
def funded(chains: dict[str, LocalChain]) -> list[SeededWallet]:
    seeded = wallets(PER_CHAIN)
    fund_all(chains, seeded)
    return seeded


@pytest.fixture
def start(
    tmp_path: Path,
    funded: list[SeededWallet],
    database_url: str,
    redis_process: Server,
    chains: dict[str, LocalChain],
) -> Iterator[Start]:
    """Starts the processes with what a test sets, waits until they have read every wallet, and ends them with the test.

    Balances change all the while.
    """
    redis.Redis.from_url(redis_process.url).flushall()
    insert(database_url, funded)
    with ExitStack() as started:

        def begin(**more: str) -> tuple[Scene, Audit]:
            env = settings(database_url, redis_process.url, **chains) | more
            scene = Scene(tmp_path, env, funded, chains)
            started.enter_context(scene.stack)
            audit = Audit(scene)
            scene.begin()
            scene.await_all_fresh(since=EVER)
            return scene, audit

        yield begin


def untouched(scene: Scene) -> bool:
    """Every wallet is as if the batch had never begun."""
    as_before = "lease_token IS NULL AND claimed_at IS NULL AND failures = 0 AND next_sync_at <= now()"
    return bool(scene.value(f"SELECT bool_and({as_before}) FROM sync_schedule"))


def twice(number: signal.Signals) -> Callable[[Scene], None]:
    """A cold shutdown waits for a while; the second signal ends that."""

    def stop(scene: Scene) -> None:
        scene.worker.server.process.send_signal(number)
        scene.await_words("Initiating Soft Shutdown")
        scene.worker.server.process.send_signal(number)

    return stop


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
    scene, audit = start(**LONGEST_LEASE, **NEVER, **more)
    scene.make_due()
    with scene.batches_in_hand(2):
        scene.wait_for(lambda: scene.batches_begun() == 2, "the main process to know of both")
        stop(scene)
        scene.await_words("leases_handed_back", 2)
        assert untouched(scene)
    scene.worker.kill()
    scene.worker.start()
    scene.await_all_fresh()
    audit.check_written()


def test_a_worker_told_to_stop_finishes_the_batches_in_hand(start: Start) -> None:
    scene, _ = start(**LONGEST_LEASE, **NEVER)
    since = scene.make_due()
    with scene.batches_in_hand(2):
        scene.worker.server.process.send_signal(signal.SIGTERM)
        scene.await_words("Warm shutdown")
    assert scene.worker.server.process.wait(CAP) == 0
    assert scene.value("SELECT count(*) FROM balance_cache WHERE last_synced > %s", since) == len(scene.wallets)
    assert not scene.tokens()


def test_a_batch_that_has_only_just_begun_is_finished_where_another_one_is_handed_back(start: Start) -> None:
    """The main process interrupts what it knows of: here the one, and not yet the other."""
    scene, _ = start(**LONGEST_LEASE, **NEVER)
    scene.beat.stop()
    main, children = scene.worker.server, scene.worker.children()
    since = scene.make_due()
    with sender(scene.env["REDIS_URL"]) as app, scene.hung(*scene.chains):
        send(app, "sync_due_wallets", "ethereum", queue="sync.ethereum")
        wait_for(lambda: scene.batches_begun() == 1, main, what="the main process to know of the first")
        for child in children:
            child.suspend()
        send(app, "sync_due_wallets", "tron", queue="sync.tron")
        for _ in range(2):  # when it answers for the second time, it has written it to the pool's pipe too
            wait_for(lambda: scene.batches_reserved() == 1, main, what="the second to be handed on")
        main.process.send_signal(signal.SIGSTOP)
        for child in children:
            child.resume()
        wait_for(lambda: len(scene.tokens(since)) == 2, main, what="the second to begin")
        main.process.send_signal(signal.SIGQUIT)
        main.process.send_signal(signal.SIGCONT)
        scene.await_words("Initiating Soft Shutdown")
        main.process.send_signal(signal.SIGQUIT)
        scene.await_words("leases_handed_back")
        assert len(scene.tokens(since)) == 1
    wait_for(lambda: not scene.tokens(), main, what="the second to be finished")
    read = "SELECT array_agg(DISTINCT network) FROM wallets JOIN balance_cache ON wallet_id = id WHERE last_synced > %s"
    assert scene.value(read, since) == ["tron"]
    assert scene.said("leases_handed_back") == 1
    scene.worker.kill()


def test_a_batch_past_its_soft_limit_hands_its_wallets_back(start: Start) -> None:
    """What hangs here is the table that it wants to write to."""
    scene, audit = start(SYNC_LEASE="12", **NEVER)
    with psycopg.connect(scene.env["DATABASE_URL"]) as other:
        other.execute("LOCK TABLE balance_cache IN SHARE MODE")
        since = scene.make_due()  # the other network's batch may just write when the table is free again
        scene.await_words("reason=SoftTimeLimitExceeded")
    scene.await_all_fresh(since)
    audit.check_written()


class HungNode:
    """A fault of a proxy: requests are taken and not answered. Counts those whose asker still waits."""

    def __init__(self) -> None:
        self.taken = self.most = 0
        self._waiting: set[socket.socket] = set()
        self._lock = Lock()

    def __call__(self, exchange: Exchange) -> None:
        with self._lock:
            self.taken += 1
            self._waiting.add(exchange.handler.connection)
            self.most = max(self.most, self._count())
        exchange.wait()
        exchange.end()

    def _count(self) -> int:
        self._waiting = {each for each in self._waiting if is_open(each)}
        return len(self._waiting)


def is_open(connection: socket.socket) -> bool:
    """Whether the other side has not closed it."""
    try:
        return bool(connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_a_network_that_hangs_holds_up_the_other_for_one_request_and_then_never_again(
    start: Start, chains: dict[str, LocalChain], monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(chains["ethereum"].node.url) as node:
        scene, audit = start(SYNC_LEASE="24", ETHEREUM_RPC_URLS=node.url, **OFTEN)
        for name, value in scene.env.items():
            monkeypatch.setenv(name, value)
        forget_settings()
        reader = endpoint_reader("ethereum", worker_settings())
        hangs = HungNode()
        with node.faulty(hangs):
            # So that there are batches enough to fill every process and the queue.
            reader.known.put(f"size:{reader.endpoints[0].id}", 1, 600)
            failed = "SELECT count(*) > 0 FROM sync_schedule WHERE network = 'ethereum' AND failures > 0"
            scene.wait_for(lambda: bool(scene.value(failed)), "the first request to be given up")
            known_to_all = scene.now() + timedelta(seconds=2 * LOOKED_UP)
            # Both processes may have begun with it before they knew.
            begun = "SELECT count(*) FROM sync_schedule WHERE lease_token IS NOT NULL AND claimed_at < %s"
            scene.wait_for(
                lambda: scene.now() > known_to_all and scene.value(begun, known_to_all) == 0, "those to be given up"
            )
            hangs.taken = hangs.most = 0
            trials = set()

            def two_trials() -> bool:
                trials.update(trials_beside_which_tron_was_read(scene))
                return len(trials) >= 2 and hangs.taken >= 2

            scene.wait_for(two_trials, "Tron to be read while the node is tried, twice")
            assert hangs.most == 1, "the other process is free"
        scene.await_all_fresh()
        audit.check_written()


def trials_beside_which_tron_was_read(scene: Scene) -> list[object]:
    """Ethereum's batches in hand since whose beginning each wallet of Tron's was claimed and written."""
    rows = scene.rows(
        """
        SELECT DISTINCT lease_token FROM sync_schedule AS trial
        WHERE network = 'ethereum' AND lease_token IS NOT NULL AND %s = (
            SELECT count(*) FROM balance_cache JOIN wallets ON id = wallet_id
            WHERE network = 'tron' AND last_synced > trial.claimed_at
        )
        """,
        PER_CHAIN + 1,
    )
    return [row["lease_token"] for row in rows]


def test_a_thousand_messages_too_many_are_gone_soon_and_no_node_hears_of_them(start: Start) -> None:
    scene, audit = start(**NEVER)
    scene.worker.ends(signal.SIGTERM)
    scene.worker.stop()
    with sender(scene.env["REDIS_URL"]) as app:
        for _ in range(SURPLUS):
            for network in scene.chains:
                send(app, "sync_due_wallets", network, queue=f"sync.{network}")
    before, batches = node_reads(**scene.chains), audit.batches()
    with taken_messages(scene) as taken:
        scene.worker.start()
        scene.wait_for(lambda: len(taken()) >= 2 * SURPLUS, "the messages to be taken")
        order = taken()
    scene.wait_for(lambda: scene.batches_begun() == 0, "the last of them to be done with")
    assert node_reads(**scene.chains) == before
    assert audit.batches() == batches
    assert furthest_apart(order) <= 2, "the networks take turns"
    scene.await_all_fresh(since=scene.make_due())


@contextmanager
def taken_messages(scene: Scene) -> Iterator[Callable[[], list[str]]]:
    """Redis' own account of the messages that are taken in the block: each message's queue, in their order."""
    order: list[str] = []
    with redis.Redis.from_url(scene.env["REDIS_URL"], decode_responses=True) as client, client.pubsub() as events:

        def taken() -> list[str]:
            while event := events.get_message():
                if event["data"] == "rpop":
                    order.append(event["channel"].rpartition(":bal:")[2])
            return order

        client.config_set("notify-keyspace-events", "Kl")
        events.psubscribe("__keyspace@0__:bal:sync.*")
        events.get_message(timeout=CAP)  # Redis has heard of it
        try:
            yield taken
        finally:
            client.config_set("notify-keyspace-events", "")


def furthest_apart(order: list[str]) -> float:
    """How many turns one network was ahead of the other, while both had messages."""
    counts, most = dict.fromkeys(BATCHES_IN_A_TURN, 0), 0.0
    for queue in order:
        counts[queue] += 1
        if max(counts.values()) == SURPLUS:
            break
        ethereum, tron = (counts[each] / turn for each, turn in BATCHES_IN_A_TURN.items())
        most = max(most, abs(ethereum - tron))
    return most
