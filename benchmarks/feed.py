"""Following blocks: requests, how soon a change shows, what a block and a day cost."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from time import monotonic, sleep, time

import psutil

from benchmarks.blocks import touched
from benchmarks.feed_blocks import followed_at_once
from benchmarks.feed_stage import SWEEP, add, followed
from benchmarks.feed_writes import written
from benchmarks.nodes import BLOCK_SECONDS, newest, time_of
from benchmarks.reading import Figure
from benchmarks.scale import SHARED_BUFFERS, tree_cpu, until
from benchmarks.stage import NETWORKS, Stage, Unsound, insert, stage
from config.logging import configure_logging
from config.networks import NetworkName
from devstack.servers import Server
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
PLAN_BLOCKS = 24

CPU_SECONDS = 120.0

SETTINGS = {
    "FEED": "on",
    "SYNC_INTERVAL_SWEEP": f"{SWEEP:g}",
    f"{QUICK.upper()}_FINALITY": "latest",
    f"{QUICK.upper()}_RPS": "10000",
}


def figures(tell: Callable[[str], None]) -> Iterator[Figure]:
    """Each figure as soon as it is measured. Takes half an hour."""
    configure_logging("WARNING", "console")
    with stage(SIZES[0] // 2, shared_buffers=SHARED_BUFFERS, more=SETTINGS) as scene:
        tell("how soon a change shows …")
        yield from quick(scene)
        there = SIZES[0] // 2
        for size in SIZES:
            tell(f"{size:,} wallets …")
            add(scene, size // 2, there)
            there = size // 2
            with followed(scene, NETWORKS, there) as running:
                yield from requests(scene, running, there, tell)
                if size == PLAN:
                    yield from delays(scene, running, "tron", there, PLAN_BLOCKS)
                    yield from a_day(scene, running, there, "no quota", tell)
                if size == SIZES[-1]:
                    tell("the CPU of all processes …")
                    yield from all_cpu(scene, running, there)
            if size == PLAN:
                with followed(scene, NETWORKS, there, {"TRON_DAILY_QUOTA": str(A_DAY)}) as running:
                    yield from a_day(scene, running, there, f"TRON_DAILY_QUOTA={A_DAY}", tell)
        tell("following many blocks at once …")
        yield from followed_at_once(scene, there, RARELY_TOUCHED)
        tell("what reads write …")
        yield from written(scene)


def requests(scene: Stage, running: Sequence[Server], each: int, tell: Callable[[str], None]) -> Iterator[Figure]:
    """Requests a block, while no block touches a wallet, and while each block does."""
    policies = dict(scene.database.execute("SELECT network, policy FROM feed_cursor").fetchall())
    tell(f"{policies} …")
    names = {network: f"{each:,} wallets of {network}, by {policies.get(network)}" for network in NETWORKS}
    scene.touch(**dict.fromkeys(NETWORKS, (0, 0)))
    for network, count in a_block(scene, running, tell).items():
        if policies.get(network) == "feed":  # by the other way all wallets are read all the same
            yield Figure(f"requests a block, no wallet touched: {names[network]}", count, 2)
    scene.touch(**{network: (each, max(int(each * TOUCHED), 1)) for network in NETWORKS})
    for network, count in a_block(scene, running, tell).items():
        yield Figure(f"requests a block, one of 1,000 touched: {names[network]}", count, 3)


def a_day(
    scene: Stage, running: Sequence[Server], each: int, quota: str, tell: Callable[[str], None]
) -> Iterator[Figure]:
    """A Tron's requests a day, where each wallet is touched once a day, and all are swept."""
    scene.touch(ethereum=(0, 0), tron=(each, max(round(each * BLOCK_SECONDS["tron"] / DAY), 1)))
    counted = a_block(scene, running, tell)["tron"] * DAY / BLOCK_SECONDS["tron"]
    told = scene.value("SELECT requests_a_day FROM feed_cursor WHERE network = 'tron'")
    of = f"{each:,} wallets of tron, {quota}"
    yield Figure(f"requests a day, counted and scaled: {of}", counted, 75_000)
    yield Figure(f"requests a day at the most, by the policy: {of}", float(told), 75_000)


def a_block(scene: Stage, running: Sequence[Server], tell: Callable[[str], None]) -> dict[str, float]:
    """Requests of each network's node for each of its blocks, as they go on."""
    until(monotonic() + 2 * max(BLOCK_SECONDS[network] for network in NETWORKS), *running)
    sleep(-time() % BLOCK_SECONDS[NETWORKS[0]])
    scene.counts()
    until(monotonic() + WATCHED_SECONDS, *running)
    counts = {kind: count for kind, count in scene.counts().items() if not kind.endswith("bytes")}
    tell(f"{counts} …")
    return {
        network: sum(count for kind, count in counts.items() if kind.startswith(network))
        * BLOCK_SECONDS[network]
        / WATCHED_SECONDS
        for network in NETWORKS
    }


def all_cpu(scene: Stage, running: Sequence[Server], each: int) -> Iterator[Figure]:
    """Of worker, beat, Postgres and Redis, while few wallets are touched and all are swept."""
    scene.touch(**dict.fromkeys(NETWORKS, (each, max(int(each * RARELY_TOUCHED), 1))))
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


def quick(scene: Stage) -> Iterator[Figure]:
    """How soon a change shows where blocks come every two seconds. Its wallets are gone afterwards."""
    insert(scene.database, QUICK_WALLETS, networks=(QUICK,))
    more = {f"{QUICK.upper()}_RPC_URLS": f"{scene.nodes.url}/{QUICK}"}
    with followed(scene, (QUICK,), QUICK_WALLETS, more) as running:
        yield from delays(scene, running, QUICK, QUICK_WALLETS, QUICK_BLOCKS)
    scene.database.execute("DELETE FROM wallets WHERE network = %s", (QUICK,))


# A row's `last_synced` is of before its read: when it was written is noted beside it.
_NOTE_WRITES = """
CREATE TABLE IF NOT EXISTS shown (wallet_id uuid, block_number bigint, at timestamptz DEFAULT clock_timestamp());
TRUNCATE shown;
CREATE OR REPLACE FUNCTION note_shown() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN INSERT INTO shown (wallet_id, block_number) VALUES (NEW.wallet_id, NEW.block_number); RETURN NULL; END $$;
CREATE OR REPLACE TRIGGER note_shown AFTER INSERT OR UPDATE ON balance_cache FOR EACH ROW EXECUTE FUNCTION note_shown();
"""
_SHOWN = """
SELECT account, date_part('epoch', at), block_number FROM shown JOIN watched USING (wallet_id) WHERE network = %s
 ORDER BY at
"""


def delays(scene: Stage, running: Sequence[Server], network: str, wallets: int, blocks: int) -> Iterator[Figure]:
    """From the moment at which a block can be had to the row of each wallet that it touches, in blocks."""
    scene.touch(**{network: (wallets, QUICK_TOUCHED)})
    seconds = BLOCK_SECONDS[network]
    scene.database.execute(_NOTE_WRITES)
    until(monotonic() + 5 * seconds, *running)
    first = newest(network) + 1
    until(monotonic() + (blocks + 5) * seconds, *running)
    writes: dict[bytes, list[tuple[float, int]]] = {}
    for account, moment, number in scene.database.execute(_SHOWN, (network,)):
        writes.setdefault(bytes(account), []).append((moment, number))
    scene.database.execute("DROP TRIGGER note_shown ON balance_cache")
    waits = []
    for number in range(first, first + blocks):
        for account in touched(number, wallets, QUICK_TOUCHED):
            shown = [moment for moment, of_block in writes.get(account, ()) if of_block >= number]
            if not shown:
                raise Unsound(f"block {number} touched a wallet that was not read since")
            waits.append((shown[0] - time_of(network, number)) / seconds)
    waits.sort()
    name = f"blocks of {seconds} s from when one can be read to the row"
    yield Figure(f"{name}, {network}, p50", median(waits), 1)
    yield Figure(f"{name}, {network}, p95", waits[int(len(waits) * 0.95)], 2)
    yield Figure(f"{name}, {network}, the longest", waits[-1])
