"""A refresh beside a backlog: how much longer a user waits, and what a crowd of them costs the nodes."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from statistics import median
from time import monotonic, perf_counter
from uuid import UUID

import redis
import requests
from celery import Celery

from benchmarks.reading import Figure
from benchmarks.stage import NETWORKS, Stage, Unsound, nodes, stage
from config.broker import REFRESH_QUEUE, TICKS_QUEUE, sync_queue, transport_options
from config.networks import PRESETS
from devstack.product import WORKER, api, beat, environment, token
from devstack.servers import Server, running, wait_for
from devstack.stack import base58_address
from worker.reading.contract import MAX_WALLETS_BY_REVERT

BACKLOG = 50_000
"""Wallets of each network that are due while users refresh."""
PER_BATCH = {"ethereum": MAX_WALLETS_BY_REVERT, "tron": PRESETS["tron"].most_wallets["return"]}
ROUNDS = 5
FEWEST = 10
"""Refreshes in a round, at the least, for its median to say something."""
IDLE_SECONDS = 3.0
USERS = 2_000
"""Each refreshes once in many cool-downs."""
CROWD = 50


@dataclass(frozen=True, slots=True)
class Scene:
    """Both workers, beat and the endpoint, on a stage."""

    stage: Stage
    server: Server
    nodes: Server
    sender: Celery
    queue: "redis.Redis[bytes]"
    http: requests.Session

    def refresh(self, user: UUID) -> float:
        """Seconds for which a user waits. Raises Unsound unless each balance is of a read for this request."""
        headers = {"Authorization": f"Bearer {token(self.stage.env, user)}"}
        url = f"{self.server.url}/api/v1/auth/balances/user/{user}?refresh=true"
        started = perf_counter()
        answer = self.http.get(url, headers=headers, timeout=30).json()
        took = perf_counter() - started
        if [entry["is_cached"] for entry in answer["balances"]] != [False] * len(NETWORKS):
            raise Unsound(f"a refresh was answered from the cache: {answer}")
        return took

    def waiting(self) -> int:
        """Batches that no process has begun."""
        return sum(int(self.queue.llen(f"bal:{sync_queue(network)}")) for network in NETWORKS)

    def counts(self) -> Counter[str]:
        """What the nodes were asked since the last look. Batches may read requested wallets too."""
        told = [requests.get(f"{node.url}/counts", timeout=10).json() for node in (self.nodes, self.stage.nodes)]
        return sum(map(Counter, told), Counter())

    def fall_due(self) -> None:
        """A hundred thousand wallets fall due at once, and their batches are queued."""
        # Those of users who refresh rest: a batch's read of one would put it into its cool-down.
        self.stage.database.execute(
            "UPDATE sync_schedule SET next_sync_at = to_timestamp(0) FROM wallets"
            " WHERE id = wallet_id AND user_id < %s",
            (refreshing(0),),
        )
        self.stage.database.execute("VACUUM sync_schedule, balance_cache")
        for network in NETWORKS:
            for _ in range(-(-BACKLOG // PER_BATCH[network])):
                self.sender.send_task("worker.tasks.sync_due_wallets", args=[network], queue=sync_queue(network))

    def at_rest(self) -> bool:
        return not self.waiting() and all(self.stage.done(network) for network in NETWORKS)


def figures(tell: Callable[[str], None]) -> Iterator[Figure]:
    """Each figure as soon as it is measured.

    A process of a batch worker and its connection to Postgres keep one core busy: one leaves the refreshes a core of
    two, two leave none.
    """
    for processes, named in ((1, "one process"), (2, "two processes")):
        tell(f"a refresh beside {2 * BACKLOG:,} wallets that are due, turn by turn with none, batches by {named} …")
        with scene(processes) as stands:
            ratio = beside_a_backlog(stands)
            yield Figure(f"refresh p50 with 100,000 wallets queued ÷ idle, batches by {named}", ratio, 1.5)
            if processes == 1:
                tell(f"{CROWD} refreshes at once …")
                yield Figure(f"chain reads for {CROWD} refreshes at once, each network", reads_of_a_crowd(stands), 2)


def beside_a_backlog(scene: Scene) -> float:
    """The median of the rounds' ratios."""
    users = cycle(refreshing(number) for number in range(USERS))

    def p50(more: Callable[[int], bool]) -> float:
        waits: list[float] = []
        while more(len(waits)):
            waits.append(scene.refresh(next(users)))
        if len(waits) < FEWEST:
            raise Unsound(f"{len(waits)} refreshes are too few for a median")
        return median(waits)

    p50(lambda made: made < FEWEST)  # what is loaded at first use is loaded
    ratios = []
    for _ in range(ROUNDS):
        wait_for(scene.at_rest, what="the backlog to be worked off", seconds=300)
        until = monotonic() + IDLE_SECONDS
        idle = p50(lambda _: monotonic() < until)  # noqa: B023  called before the next round
        scene.fall_due()
        ratios.append(p50(lambda _: scene.waiting() > 0) / idle)
    return median(ratios)


def reads_of_a_crowd(scene: Scene) -> float:
    """The most reads of one network that a crowd took. Raises Unsound when a network was not read at all."""
    wait_for(scene.at_rest, what="the backlog to be worked off", seconds=300)
    most = 0
    for number in range(ROUNDS):
        user = refreshing(USERS + number)
        headers = {"Authorization": f"Bearer {token(scene.stage.env, user)}"}
        url = f"{scene.server.url}/api/v1/auth/balances/user/{user}?refresh=true"
        scene.counts()
        with ThreadPoolExecutor(CROWD) as pool:
            answers = list(pool.map(lambda _: requests.get(url, headers=headers, timeout=30), range(CROWD)))  # noqa: B023
        asked = scene.counts()
        reads = [asked[f"{network} reads"] for network in NETWORKS]
        if not all(answer.ok for answer in answers) or not all(reads):
            raise Unsound(f"a crowd was answered without reads: {asked}")
        most = max(most, *reads)
    return float(most)


@contextmanager
def scene(processes: int) -> Iterator[Scene]:
    """A worker for batches, with as many processes, one for refreshes, beat and the endpoint."""
    with stage(BACKLOG) as stands, ExitStack() as started:
        stands.env["JWT_SECRET"] = "s" * 32
        stands.env.update(REFRESH_MAX="0", REFRESH_MAX_PER_USER="0")
        add_users(stands)
        queues = [sync_queue(network) for network in NETWORKS]
        sync = started.enter_context(serving(stands, stands.nodes, processes, *queues))
        # A node serves requests side by side; these serve one after another, so each worker has its own.
        memory = started.enter_context(nodes(stands.folder / "refresh"))
        refresh = started.enter_context(serving(stands, memory, 2, TICKS_QUEUE, REFRESH_QUEUE))
        started.enter_context(beat(stands.folder, stands.env))
        server = started.enter_context(api(stands.folder, stands.env))
        for worker in (sync, refresh):
            wait_for(partial(ready, worker), worker, what="a worker to be ready")
        # Its own, not the worker's app: that one is still connected to an earlier stage.
        sender = Celery(broker=stands.redis.url, set_as_current=False)
        sender.conf.update(broker_transport_options=transport_options(), task_ignore_result=True)
        yield Scene(stands, server, memory, sender, redis.Redis.from_url(stands.redis.url), requests.Session())


def ready(worker: Server) -> bool:
    return "ready." in worker.log.read_text()


@contextmanager
def serving(stands: Stage, node: Server, processes: int, *queues: str) -> Iterator[Server]:
    """A worker that serves these queues alone."""
    name = f"worker-{queues[0]}"
    command = [*WORKER, "--concurrency", str(processes), "-Q", ",".join(queues), "--hostname", f"{name}@%h"]
    urls = {"ETHEREUM_RPC_URLS": node.url, "TRON_RPC_URLS": node.url}
    env = environment({**stands.env, **urls, "LOG_LEVEL": "INFO"})
    with running(name, command, stands.folder, env=env) as server:
        yield server


def refreshing(number: int) -> UUID:
    return UUID(f"00000000-0000-4000-9000-{number:012d}")


def add_users(stands: Stage) -> None:
    """Users with a wallet on each network. Nothing is due."""
    with stands.database.cursor() as cursor, cursor.copy("COPY wallets (user_id, network, address) FROM STDIN") as copy:
        for number in range(USERS + ROUNDS):
            account = (10**9 + number).to_bytes(20)
            copy.write_row((refreshing(number), "ethereum", "0x" + account.hex()))
            copy.write_row((refreshing(number), "tron", base58_address(account)))
    stands.database.execute("UPDATE sync_schedule SET next_sync_at = now() + interval '1 day'")
    stands.database.execute("ANALYZE")
