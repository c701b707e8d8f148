"""A network that hangs beside one that does not, and messages too many of both."""

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Lock

import pytest
import redis
from chaos import Audit
from environment import forget_settings
from proxy import Exchange, proxy
from running import send, sender
from scene import LONG_LEASE, NEVER, OFTEN, Scene

from config.broker import sync_queue
from config.settings import worker_settings
from devstack.servers import CAP
from devstack.stack import LocalChain, node_reads
from worker.reading import node_reader
from worker.reading.shared import LOOKED_UP

SURPLUS = 500  # of each network

Start = Callable[..., tuple[Scene, Audit]]


class HungNode:
    """A fault of a proxy: requests are taken and not answered, until they are let go and their connections closed.

    Counts those whose asker still waits.
    """

    def __init__(self) -> None:
        self.taken = self.most = self._let_go = 0
        self._waiting: set[socket.socket] = set()
        self._lock = Lock()

    def __call__(self, exchange: Exchange) -> None:
        with self._lock:
            self.taken += 1
            self._waiting.add(exchange.handler.connection)
            self.most = max(self.most, self._count())
            before = self._let_go
        while self._let_go == before and not exchange.wait(0.05):
            continue
        exchange.end()

    def let_go(self) -> None:
        """As if the time were over in which the requests that hang should have been answered."""
        with self._lock:
            self._let_go += 1

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
    start_audited: Start, chains: dict[str, LocalChain], monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(chains["ethereum"].node.url) as node:
        scene, audit = start_audited(ETHEREUM_RPC_URLS=node.url, **LONG_LEASE, **OFTEN)
        for name, value in scene.env.items():
            monkeypatch.setenv(name, value)
        forget_settings()
        reader = node_reader("ethereum", worker_settings())
        hangs = HungNode()
        with node.faulty(hangs):
            # So that there are batches enough to fill every process and the queue.
            reader.shared.put(f"size:{reader.nodes[0].id}", 1, 600)
            out = "SELECT count(*) > 0 FROM network_state WHERE network = 'ethereum' AND out_since IS NOT NULL"
            unread = "SELECT *, ctid, xmin FROM sync_schedule WHERE network = 'ethereum' ORDER BY wallet_id"

            def given_up(condition: Callable[[], bool]) -> bool:
                hangs.let_go()
                return condition()

            scene.wait_for(lambda: given_up(lambda: bool(scene.value(out))), "the first request to be given up")
            known_to_all = scene.now() + timedelta(seconds=2 * LOOKED_UP)
            # Both processes may have begun with it before they knew.
            begun = "SELECT count(*) FROM leases WHERE network = 'ethereum' AND claimed_at < %s"
            scene.wait_for(
                lambda: given_up(lambda: scene.now() > known_to_all and scene.value(begun, known_to_all) == 0),
                "those to be given up",
            )
            rows = (
                "SELECT b.* FROM balance_cache b JOIN wallets ON id = wallet_id WHERE network = 'ethereum' ORDER BY 1"
            )
            before, schedule = scene.rows(rows), scene.rows(unread)
            hangs.taken = hangs.most = 0
            for _ in range(2):
                """A trial lasts until Tron has been read beside it, however long that takes."""
                taken = hangs.taken
                scene.wait_for(lambda: hangs.taken > taken, "the node to be tried")  # noqa: B023
                since = scene.now()
                scene.wait_for(lambda: tron_was_read(scene, since), "Tron to be read beside the trial")  # noqa: B023
                hangs.let_go()
            assert hangs.most == 1, "the other process is free"
            assert (scene.rows(rows), scene.rows(unread)) == (before, schedule), "no wallet of it is written"
            assert scene.value("SELECT reason FROM network_state WHERE network = 'ethereum'") == "unreachable"
        scene.await_all_fresh()
        audit.check_written()


def tron_was_read(scene: Scene, since: datetime) -> bool:
    """Whether each wallet of Tron's was claimed and written since then."""
    late = "SELECT FROM balance_cache JOIN wallets ON id = wallet_id WHERE network = 'tron' AND last_synced <= %s"
    return not scene.rows(late, since)


def test_a_thousand_messages_too_many_are_gone_soon_and_no_node_hears_of_them(start_audited: Start) -> None:
    scene, audit = start_audited(**NEVER)
    scene.worker.stop()
    with sender(scene.env["REDIS_URL"]) as app:
        for _ in range(SURPLUS):
            for network in scene.chains:
                send(app, "sync_due_wallets", network, queue=f"sync.{network}")
    before, batches = node_reads(scene.chains), audit.batches()
    with taken_messages(scene) as taken:
        scene.worker.start()
        scene.wait_for(lambda: len(taken()) >= 2 * SURPLUS, "the messages to be taken")
        order = taken()
    scene.wait_for(lambda: scene.messages_in_hand() == 0, "the last of them to be done with")
    assert node_reads(scene.chains) == before
    assert audit.batches() == batches
    assert behind(order) < SURPLUS / 2, "the networks take turns"
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


def behind(order: list[str]) -> int:
    """How many messages one network had left when the other had none: each of them costs about as much."""
    first_to_end = next(at for at in range(len(order)) if SURPLUS in Counter(order[: at + 1]).values())
    counts = Counter(order[: first_to_end + 1])
    return SURPLUS - min(counts[sync_queue(network)] for network in ("ethereum", "tron"))
