"""A million wallets: what a claim looks at, what a batch costs, and the cadence that holds."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from itertools import takewhile
from statistics import median
from time import monotonic, sleep
from typing import Any

import psutil
import redis
from sqlalchemy import Connection, event

from benchmarks.floor import Floor
from benchmarks.reading import Figure
from benchmarks.stage import NETWORKS, Stage, Unsound, insert, stage
from config.broker import sync_queue
from config.logging import configure_logging
from db.claims import claim_due
from db.due_wallets import count_due
from db.session import engine, transaction
from devstack.product import beat, worker
from devstack.servers import Server, wait_for
from worker.app import app
from worker.reading import reader_for
from worker.sync.batch import sync_due

SMALL, LARGE = 10_000, 1_000_000
"""Wallets, on both networks together."""
CADENCE = 60.0
"""Seconds within which each of a million wallets is to be read again and again."""
INTERVAL = 50
"""What is asked of the schedule for that: what is due is read a little later."""
LENGTHS = 10
LOOK_SECONDS = 5.0
COUNTED = SMALL // 2
BATCHES = 100
FLOOR_WALLETS = 50_000
SHARED_BUFFERS = "2GB"  # the tables of a million wallets and their indexes stay in memory


def figures(tell: Callable[[str], None]) -> Iterator[Figure]:
    """Each figure as soon as it is measured. Takes a quarter of an hour."""
    configure_logging("WARNING", "console")
    with stage(SMALL // 2, shared_buffers=SHARED_BUFFERS) as scene:
        tell(f"claims among {SMALL:,} wallets …")
        read_all(scene)
        few = looked_at(scene)
        tell(f"inserting {LARGE - SMALL:,} more …")
        insert(scene.database, (LARGE - SMALL) // 2, there=SMALL // 2)
        tell("reading them …")
        read_all(scene)
        tell(f"claims among {LARGE:,} wallets …")
        many = looked_at(scene)
        size = f"with {LARGE:,} wallets ÷ with {SMALL:,}"
        yield Figure(f"buffers touched by a full claim, {size}", many.claim / few.claim, 1.5)
        yield Figure(f"buffers touched by counting as many that are due, {size}", many.count / few.count, 1.5)
        yield Figure("sequential scans in those", many.scans + few.scans, 0)
        statements, transactions = per_batch(scene)
        yield Figure("SQL statements per batch", statements, 2)
        yield Figure("transactions per batch", transactions, 2)
        yield Figure("Redis commands per batch", redis_commands(scene), 12)
        yield from cadence(scene, tell)


def read_all(scene: Stage) -> None:
    """Every wallet is read once, by a worker and beat."""
    with worker(scene.folder, scene.env) as working, beat(scene.folder, scene.env) as ticking:
        wait_for(scene.all_read, working, ticking, what="every wallet to be read", seconds=900, pause=1)


@dataclass(frozen=True, slots=True)
class Looked:
    """Buffers that statements touched, and how often one went through a whole table."""

    claim: float
    count: float
    scans: int


def looked_at(scene: Stage) -> Looked:
    """A full batch is claimed again and again, in the middle of a backlog."""
    claims, counts, scans = [], [], 0
    limit = reader_for("ethereum").max_wallets
    scene.all_due()
    sync_due("ethereum")  # connections and plans are made
    scene.all_due()
    for _ in range(2):  # among the small number there are no more full batches
        with transaction() as connection:
            count_due(connection, "ethereum", bound=COUNTED)
            counts.append(touched(connection))
            scans += whole_scans(connection)
        with transaction() as connection:
            claim = claim_due(connection, "ethereum", limit=limit, lease=timedelta(hours=1), ahead=timedelta(0))
            claims.append(touched(connection))
            scans += whole_scans(connection)
        if claim is None or len(claim.wallets) != limit:
            raise Unsound("a claim was not full")
    return Looked(median(claims), median(counts), scans)


_TOUCHED = """
SELECT sum(pg_stat_get_xact_blocks_fetched(oid)) FROM pg_class
 WHERE relname ~ '(wallets|sync_schedule|balance_cache|leases)' AND relkind IN ('r', 'i')
"""
_WHOLE_SCANS = """
SELECT sum(pg_stat_get_xact_numscans(oid)) FROM pg_class
 WHERE relname IN ('wallets', 'sync_schedule', 'balance_cache')
"""


def touched(connection: Connection) -> float:
    """Shared buffers of our tables and indexes that this transaction has touched."""
    return float(connection.exec_driver_sql(_TOUCHED).scalar_one())


def whole_scans(connection: Connection) -> int:
    return int(connection.exec_driver_sql(_WHOLE_SCANS).scalar_one())


def per_batch(scene: Stage) -> tuple[float, float]:
    """Statements and transactions of a batch, counted where they are sent."""
    counted = {"statements": 0, "transactions": 0}

    def count(what: str) -> Callable[..., None]:
        def one_more(*_: object) -> None:
            counted[what] += 1

        return one_more

    scene.all_due()
    sync_due("ethereum")
    listened = {"before_cursor_execute": count("statements"), "commit": count("transactions")}
    for name, listener in listened.items():
        event.listen(engine(), name, listener)
    for _ in range(BATCHES):
        sync_due("ethereum")
    for name, listener in listened.items():
        event.remove(engine(), name, listener)
    return counted["statements"] / BATCHES, counted["transactions"] / BATCHES


def redis_commands(scene: Stage) -> float:
    """All that Redis is sent for batches that a worker does, their messages included; not what its scripts then do."""
    scene.all_due()
    client: Any = redis.Redis.from_url(scene.redis.url)
    size = reader_for("ethereum").max_wallets
    with worker(scene.folder, {**scene.env, "LOG_LEVEL": "INFO"}) as running:
        wait_for(lambda: "ready." in running.log.read_text(), running, what="the worker to be ready")
        wallets = unread(scene)
        with client.monitor() as monitor:
            for _ in range(BATCHES):
                app.send_task("worker.tasks.sync_due_wallets", args=["ethereum"], queue=sync_queue("ethereum"))
            wait_for(lambda: wallets - unread(scene) >= BATCHES * size, running, what="the batches to be done")
            client.echo("the end")
            until_the_end = takewhile(lambda each: "the end" not in each["command"], monitor.listen())
            sent = [each for each in until_the_end if each["client_type"] != "lua"]
    return len(sent) / BATCHES


def unread(scene: Stage) -> int:
    return int(scene.value("SELECT count(*) FROM sync_schedule WHERE network = 'ethereum' AND next_sync_at < now()"))


def cadence(scene: Stage, tell: Callable[[str], None]) -> Iterator[Figure]:
    """Worker and beat alone with a million wallets, for ten lengths of the cadence after a first pass."""
    intervals = {"SYNC_INTERVAL_ACTIVE": str(INTERVAL), "SYNC_INTERVAL_IDLE": str(INTERVAL)}
    floor_cpu = floor(scene)
    scene.all_due()
    with ExitStack() as started:
        env = {**scene.env, **intervals}
        running = [
            started.enter_context(worker(scene.folder, env)),
            started.enter_context(beat(scene.folder, env)),
        ]
        tell("the first pass …")
        began = scene.now()
        wait_for(lambda: scene.oldest() > began, *running, what="every wallet to be read", seconds=600, pause=2)
        tell("the second, in which due times spread …")
        until(monotonic() + 2 * CADENCE, *running)
        before = measured(scene, running)
        worst, end = 0.0, monotonic() + LENGTHS * CADENCE
        tell(f"{LENGTHS} lengths of {CADENCE:.0f} s …")
        while monotonic() < end:
            until(monotonic() + LOOK_SECONDS, *running)
            worst = max(worst, scene.oldest_age())
        after = measured(scene, running)
    wallets = after.written - before.written
    cpu = {name: seconds - before.cpu[name] for name, seconds in after.cpu.items()}
    yield Figure(f"oldest of {LARGE:,} wallets over ten lengths of a minute, seconds", worst, CADENCE)
    yield Figure("wallets read a second", wallets / (after.at - before.at))
    yield Figure("CPU seconds per 1,000 wallets, the worker", 1000 * cpu["worker"] / wallets)
    yield Figure("CPU seconds per 1,000 wallets, Postgres", 1000 * cpu["postgres"] / wallets)
    both = cpu["worker"] + cpu["postgres"]
    yield Figure("wallets per CPU second, worker and Postgres", wallets / both)
    yield Figure("the same ÷ the floor program's", wallets / both * floor_cpu)
    grown = max(after.memory[name] / before.memory[name] for name in before.memory)
    yield Figure("memory of the process that grew most, after ÷ before", grown, 1.1)
    bloat = max(after.size[name] / before.size[name] for name in before.size)
    yield Figure("size of the table or index that grew most, after ÷ before", bloat, 1.1)


def until(end: float, *running: Server) -> None:
    """Let time pass, as long as what runs goes on."""
    while monotonic() < end:
        for server in running:
            server.check()
        sleep(1)


@dataclass(frozen=True, slots=True)
class Measured:
    """The state of what runs: CPU seconds by program, memory in bytes by process, sizes in bytes by relation."""

    at: float
    written: int
    cpu: Mapping[str, float]
    memory: Mapping[str, int]
    size: Mapping[str, int]


def measured(scene: Stage, running: list[Server]) -> Measured:
    programs = {"postgres": scene.postgres, "redis": scene.redis, "worker": running[0], "beat": running[1]}
    processes = {name: psutil.Process(server.process.pid) for name, server in programs.items()}
    memory = {name: process.memory_full_info().uss for name, process in processes.items()}
    # A pool's process is replaced after a thousand tasks: what counts is how large one gets.
    memory["pool"] = max(child.memory_full_info().uss for child in processes["worker"].children())
    names = (
        "sync_schedule",
        "balance_cache",
        "ix_sync_schedule_network_lane_next_sync_at_wallet_id",
        "pk_sync_schedule",
    )
    sizes = {name: scene.value("SELECT pg_relation_size(%s::regclass)", name) for name in names}
    written = "SELECT n_tup_ins + n_tup_upd FROM pg_stat_user_tables WHERE relname = 'balance_cache'"
    return Measured(
        monotonic(),
        scene.value(written),
        {name: tree_cpu(processes[name]) for name in ("postgres", "worker")},
        memory,
        sizes,
    )


def tree_cpu(process: psutil.Process) -> float:
    """CPU seconds of a process, of its children, and of children that have ended and were waited for."""
    ended = process.cpu_times()
    return cpu_of([process, *process.children(recursive=True)]) + ended.children_user + ended.children_system


def floor(scene: Stage) -> float:
    """CPU seconds of the floor program and its backend for one wallet, of both networks alike."""
    spent, wallets = 0.0, 0
    for network in NETWORKS:
        program = Floor.at(scene.nodes.url, scene.postgres.url)
        some = scene.wallets(network)[:FLOOR_WALLETS]
        processes = [psutil.Process(), psutil.Process(program.database.info.backend_pid)]
        before = cpu_of(processes)
        program.run(network, some, reader_for(network).max_wallets)
        spent += cpu_of(processes) - before
        wallets += len(some)
    return spent / wallets


def cpu_of(processes: list[psutil.Process]) -> float:
    """CPU seconds of these processes."""
    times = [process.cpu_times() for process in processes]
    return float(sum(each.user + each.system for each in times))
