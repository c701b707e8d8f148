"""Following blocks: requests, how soon a change shows, what a block and a day cost."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from time import monotonic, sleep, time

import psutil

from benchmarks.blocks import touched
from benchmarks.feed_blocks import followed_at_once
from benchmarks.feed_writes import written
from benchmarks.nodes import BLOCK_SECONDS, newest, time_of
from benchmarks.reading import Figure
from benchmarks.scale import SHARED_BUFFERS, tree_cpu, until
from benchmarks.stage import NETWORKS, Stage, Unsound, insert, stage
from config.logging import configure_logging
from config.networks import NetworkName
from devstack.product import beat, worker
from devstack.servers import Server, wait_for
from worker.schedule.sizing import DAY

SIZES = (1_000, 10_000, 200_000, 1_000_000)
"""Wallets, on an Ethereum and a Tron together."""
PLAN = 200_000  # of these, half of which are on Tron, that one's requests a day are told
A_DAY = 100_000  # requests that a free plan of Tron's allows
TOUCHED = 0.001  # of the wallets, by each block
RARELY_TOUCHED = 0.0001
WATCHED_SECONDS = 72  # six blocks of an Ethereum, 24 of a Tron

QUICK: NetworkName = "avalanche"
"""Its blocks come every two seconds."""
QUICK_WALLETS, QUICK_TOUCHED = 10_000, 10
QUICK_BLOCKS = 30

SWEEP = 21_600.0  # seconds
CPU_SECONDS = 120.0

SETTINGS = {
    "FEED": "on",
    "SYNC_INTERVAL_SWEEP": f"{SWEEP:g}",
    f"{QUICK.upper()}_FINALITY": "latest",
    f"{QUICK.upper()}_RPS": "10000",
}


def figures(tell: Callable[[str], None]) -> Iterator[Figure]:
    """Each figure as soon as it is measured. Takes twenty minutes."""
    configure_logging("WARNING", "console")
    with stage(SIZES[0] // 2, shared_buffers=SHARED_BUFFERS, more=SETTINGS) as scene:
        scene.env[f"{QUICK.upper()}_RPC_URLS"] = f"{scene.nodes.url}/{QUICK}"
        there = 0
        for size in SIZES:
            tell(f"{size:,} wallets …")
            each = size // 2
            insert(scene.database, each - there, there=there) if there else None
            there = each
            with followed(scene, NETWORKS, each) as running:
                yield from requests(scene, running, each, tell)
            if size == PLAN:
                yield from a_day(scene, each, tell)
        tell("the CPU of all processes …")
        yield from all_cpu(scene, there)
        tell("following many blocks at once …")
        yield from followed_at_once(scene, there, RARELY_TOUCHED)
        yield from written(scene)
        tell("how soon a change shows …")
        insert(scene.database, QUICK_WALLETS, networks=(QUICK,))
        with followed(scene, (QUICK,), QUICK_WALLETS) as running:
            yield from delays(scene, running)


_SPREAD = "UPDATE sync_schedule SET next_sync_at = now() + random() * %s * interval '1 s'"
READ = "SELECT bool_and(last_synced > %s) FROM balance_cache JOIN wallets ON id = wallet_id WHERE network = ANY(%s)"


@contextmanager
def followed(
    scene: Stage, networks: Sequence[str], wallets: int, more: Mapping[str, str] | None = None
) -> Iterator[tuple[Server, ...]]:
    """Worker and beat at work, all wallets read, and it decided how the networks are kept fresh.

    `more`: settings beside those of the stage.
    """
    env = {**scene.env, **(more or {})}
    with worker(scene.folder, env) as working, beat(scene.folder, env) as ticking:
        running = (working, ticking)
        wait_for(scene.all_read, *running, what="every wallet to be read", seconds=900, pause=1)
        scene.database.execute("UPDATE feed_cursor SET counted_at = NULL, decided_at = NULL")
        wait_for(lambda: decided(scene, networks, wallets), *running, what="a decision")
        # How a wallet is kept fresh, and whether it is looked for in blocks, is settled with its next read.
        began, of = scene.now(), list(networks)
        scene.database.execute("UPDATE sync_schedule SET next_sync_at = now() WHERE network = ANY(%s)", (of,))
        wait_for(lambda: bool(scene.value(READ, began, of)), *running, what="them to be read", seconds=900, pause=1)
        yield running


def decided(scene: Stage, networks: Sequence[str], wallets: int) -> bool:
    """Whether each network is kept fresh as it is right for so many wallets."""
    found = "SELECT count(*) FROM feed_cursor WHERE network = ANY(%s) AND wallets = %s AND reason <> 'starting'"
    return bool(scene.value(found, list(networks), wallets) == len(networks))


def requests(scene: Stage, running: Sequence[Server], each: int, tell: Callable[[str], None]) -> Iterator[Figure]:
    """Requests a block, while no block touches a wallet, and while each block does."""
    policies = dict(scene.database.execute("SELECT network, policy FROM feed_cursor").fetchall())
    tell(f"{policies} …")
    names = {network: f"{each:,} wallets of {network}, by {policies.get(network)}" for network in NETWORKS}
    scene.touch(**dict.fromkeys(NETWORKS, (0, 0)))
    for network, count in a_block(scene, running).items():
        if policies.get(network) == "feed":  # by the other way all wallets are read all the same
            yield Figure(f"requests a block, no wallet touched: {names[network]}", count, 2)
    scene.touch(**{network: (each, max(int(each * TOUCHED), 1)) for network in NETWORKS})
    for network, count in a_block(scene, running).items():
        yield Figure(f"requests a block, one of 1,000 touched: {names[network]}", count, 3)


def a_day(scene: Stage, each: int, tell: Callable[[str], None]) -> Iterator[Figure]:
    """A Tron's requests a day, of wallets that are each touched once a day and swept, without a quota and with one."""
    seconds = BLOCK_SECONDS["tron"]
    for name, more in (("no quota", {}), (f"TRON_DAILY_QUOTA={A_DAY}", {"TRON_DAILY_QUOTA": str(A_DAY)})):
        tell(f"a day of {each:,} Tron wallets, {name} …")
        scene.touch(ethereum=(0, 0), tron=(each, max(round(each * seconds / DAY), 1)))
        with followed(scene, NETWORKS, each, more) as running:
            scene.database.execute(_SPREAD, (SWEEP,))
            counted = a_block(scene, running)["tron"] * DAY / seconds
            told = scene.value("SELECT requests_a_day FROM feed_cursor WHERE network = 'tron'")
        of = f"{each:,} wallets of tron, {name}"
        yield Figure(f"requests a day, counted and scaled: {of}", counted, 75_000)
        yield Figure(f"requests a day at the most, by the policy: {of}", float(told), 75_000)


def a_block(scene: Stage, running: Sequence[Server]) -> dict[str, float]:
    """Requests of each network's node for each of its blocks, as they go on."""
    until(monotonic() + 2 * max(BLOCK_SECONDS[network] for network in NETWORKS), *running)
    sleep(-time() % BLOCK_SECONDS[NETWORKS[0]])
    scene.counts()
    until(monotonic() + WATCHED_SECONDS, *running)
    counts = scene.counts()
    return {
        network: sum(count for kind, count in counts.items() if kind.startswith(network) and not kind.endswith("bytes"))
        * BLOCK_SECONDS[network]
        / WATCHED_SECONDS
        for network in NETWORKS
    }


def all_cpu(scene: Stage, each: int) -> Iterator[Figure]:
    """Of worker, beat, Postgres and Redis, while few wallets are touched and all are swept."""
    few = max(int(each * RARELY_TOUCHED), 1)
    scene.touch(**dict.fromkeys(NETWORKS, (each, few)))
    with followed(scene, NETWORKS, each) as running:
        scene.database.execute(_SPREAD, (SWEEP,))
        servers = (*running, scene.postgres, scene.redis)
        until(monotonic() + 30, *running)
        before, began = {server.name: cpu(server) for server in servers}, monotonic()
        until(monotonic() + CPU_SECONDS, *running)
        shares = {server.name: (cpu(server) - before[server.name]) / (monotonic() - began) for server in servers}
    for name, share in shares.items():
        yield Figure(f"share of a core, {2 * each:,} wallets, feed and sweep: {name}", share)
    yield Figure(f"share of a core, {2 * each:,} wallets, feed and sweep: all processes", sum(shares.values()), 0.1)


def cpu(server: Server) -> float:
    return tree_cpu(psutil.Process(server.process.pid))


def delays(scene: Stage, running: Sequence[Server]) -> Iterator[Figure]:
    """From the moment at which a block can be had to the row of each wallet that it touches, in blocks."""
    scene.touch(**{QUICK: (QUICK_WALLETS, QUICK_TOUCHED)})
    seconds = BLOCK_SECONDS[QUICK]
    until(monotonic() + 5 * seconds, *running)
    first = newest(QUICK) + 1
    until(monotonic() + (QUICK_BLOCKS + 5) * seconds, *running)
    rows = scene.database.execute(
        "SELECT account, date_part('epoch', last_synced), block_number"
        "  FROM watched JOIN balance_cache USING (wallet_id) WHERE network = %s",
        (QUICK,),
    )
    read = {bytes(account): (moment, number) for account, moment, number in rows}
    waits = []
    for number in range(first, first + QUICK_BLOCKS):
        for account in touched(number, QUICK_WALLETS, QUICK_TOUCHED):
            moment, of_block = read[account]
            if of_block < number:
                raise Unsound(f"block {number} touched a wallet that was not read since block {of_block}")
            waits.append((moment - time_of(QUICK, number)) / seconds)
    waits.sort()
    yield Figure("blocks from a block to the row of a wallet that it touched, half of them", median(waits), 1)
    yield Figure("blocks from a block to the row, 95 of 100", waits[int(len(waits) * 0.95)], 2)
