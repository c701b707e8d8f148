"""Following blocks: requests, how soon a change shows, what a block and a day cost."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from statistics import median
from time import monotonic, process_time, sleep, time
from typing import Any
from urllib.parse import urlsplit

import psutil

from benchmarks.blocks import hash_of, touched
from benchmarks.nodes import BLOCK_SECONDS, newest, time_of
from benchmarks.reading import Figure
from benchmarks.scale import SHARED_BUFFERS, tree_cpu, until
from benchmarks.stage import NETWORKS, Stage, Unsound, insert, stage
from config.logging import configure_logging
from config.networks import NetworkName
from devstack.product import beat, worker
from devstack.servers import HOST, Server, wait_for
from worker.feed.follow import follow
from worker.feed.policy import sweep_a_day
from worker.schedule.sizing import DAY
from worker.sync.batch import sync_due

SIZES = (1_000, 10_000, 200_000, 1_000_000)
"""Wallets, on an Ethereum and a Tron together."""
PLAN = 200_000  # of these, half of which are on Tron, that one's requests a day are told
A_DAY = 100_000  # requests that Tron's node allows: its policy keeps to them
TOUCHED = 0.001  # of the wallets, by each block
RARELY_TOUCHED = 0.0001
WATCHED_SECONDS = 72  # six blocks of an Ethereum, 24 of a Tron

QUICK: NetworkName = "avalanche"
"""Its blocks come every two seconds."""
QUICK_WALLETS, QUICK_TOUCHED = 10_000, 10
QUICK_BLOCKS = 30

CAUGHT_UP = 100  # blocks that are followed one after the other
BATCHES = 40
SWEEP = 21_600.0  # seconds
CPU_SECONDS = 120.0

SETTINGS = {
    "FEED": "on",
    "SYNC_INTERVAL_SWEEP": f"{SWEEP:g}",
    "TRON_DAILY_QUOTA": str(A_DAY),
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
        tell("the CPU of all processes …")
        yield from all_cpu(scene, there)
        tell("following many blocks at once …")
        yield from followed_at_once(scene, there)
        yield from written(scene)
        tell("how soon a change shows …")
        insert(scene.database, QUICK_WALLETS, networks=(QUICK,))
        with followed(scene, (QUICK,), QUICK_WALLETS) as running:
            yield from delays(scene, running)


READ = "SELECT bool_and(last_synced > %s) FROM balance_cache JOIN wallets ON id = wallet_id WHERE network = ANY(%s)"


@contextmanager
def followed(scene: Stage, networks: Sequence[str], wallets: int) -> Iterator[tuple[Server, ...]]:
    """Worker and beat at work, all wallets read, and it decided how the networks are kept fresh."""
    with worker(scene.folder, scene.env) as working, beat(scene.folder, scene.env) as ticking:
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
    if each == PLAN // 2:
        scene.touch(tron=(each, max(round(each * BLOCK_SECONDS["tron"] / DAY), 1)))
        a_day = a_block(scene, running)["tron"] * DAY / BLOCK_SECONDS["tron"] + sweep_a_day(each, 500, SWEEP)
        yield Figure(f"requests a day: {names['tron']}, each touched once a day, and the sweep", a_day, 75_000)


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
        spread = "UPDATE sync_schedule SET next_sync_at = now() + random() * %s * interval '1 s'"
        scene.database.execute(spread, (SWEEP,))
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


def followed_at_once(scene: Stage, each: int) -> Iterator[Figure]:
    """Blocks that are there already, followed one after the other, beside a loop that fetches and parses them."""
    scene.touch(**{network: (each, max(int(each * RARELY_TOUCHED), 1)) for network in NETWORKS})
    for network in NETWORKS:
        first = go_back(scene, network)
        jumps = scene.value("SELECT jumps FROM feed_cursor WHERE network = %s", network)
        postgres, began = cpu(scene.postgres), process_time()
        while (place := at(scene, network)) < first + CAUGHT_UP - 1:
            follow(network)
            if at(scene, network) == place:
                raise Unsound(f"{network} is not followed")
        ours, postgres = process_time() - began, cpu(scene.postgres) - postgres
        if scene.value("SELECT jumps FROM feed_cursor WHERE network = %s", network) != jumps:
            raise Unsound(f"{network} has so few wallets that blocks were left out")
        count = at(scene, network) - first
        floor = straight_loop(scene, network, first, count)
        name = f"a block of {network} against {each:,} wallets"
        yield Figure(f"CPU of following {name} ÷ a straight loop that parses it", ours / floor, 2)
        yield Figure(f"milliseconds of Postgres for {name}", 1000 * postgres / count, 10)


def go_back(scene: Stage, network: str) -> int:
    """Set the cursor back to where it was some blocks ago; which block that is."""
    first = newest(network) - CAUGHT_UP
    scene.database.execute("DELETE FROM touches WHERE network = %s", (network,))
    scene.database.execute("DELETE FROM feed_blocks WHERE network = %s", (network,))
    scene.database.execute(
        "UPDATE feed_cursor SET block_number = %s, block_hash = decode(%s, 'hex'), block_time = to_timestamp(%s),"
        " next_at = to_timestamp(0), lease_token = NULL, lease_until = NULL, decided_at = now() WHERE network = %s",
        (first, hash_of(first), time_of(network, first), network),
    )
    return first


def at(scene: Stage, network: str) -> int:
    """The block up to which a network was followed."""
    return int(scene.value("SELECT block_number FROM feed_cursor WHERE network = %s", network))


def straight_loop(scene: Stage, network: str, first: int, count: int) -> float:
    """CPU seconds of fetching and parsing the same blocks, and nothing else."""
    parts = urlsplit(scene.nodes.url)
    node = HTTPConnection(parts.hostname or HOST, parts.port)

    def ask(path: str, body: Any) -> Any:
        node.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(node.getresponse().read())

    def call(method: str, *parameters: Any) -> Any:
        return ask("/", {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})["result"]

    began = process_time()
    for number in range(first + 1, first + 1 + count):
        if network == "tron":
            block = ask("/walletsolidity/getblockbynum", {"num": number})
            _tron_accounts(block, ask("/walletsolidity/gettransactioninfobyblocknum", {"num": number}))
        else:
            block = call("eth_getBlockByNumber", hex(number), True)
            _evm_accounts(block, call("eth_getLogs", {"blockHash": block["hash"]}))
    return process_time() - began


def _evm_accounts(block: Any, logs: Any) -> set[bytes]:
    found = {block["miner"]}
    for transaction in block["transactions"]:
        found.add(transaction["from"])
        found.add(transaction["to"])
    for log in logs:
        found.add("0x" + log["topics"][1][26:])
        found.add("0x" + log["topics"][2][26:])
    return {bytes.fromhex(each[2:]) for each in found}


def _tron_accounts(block: Any, infos: Any) -> set[bytes]:
    found = set()
    for transaction in block["transactions"]:
        value = transaction["raw_data"]["contract"][0]["parameter"]["value"]
        found.add(value["owner_address"])
        found.add(value.get("to_address") or value["contract_address"])
    for info in infos:
        for log in info.get("log", ()):
            found.add("41" + log["topics"][1][24:])
            found.add("41" + log["topics"][2][24:])
        for inner in info.get("internal_transactions", ()):
            found.add(inner["transferTo_address"])
    return {bytes.fromhex(each[2:]) for each in found}


def written(scene: Stage) -> Iterator[Figure]:
    """What reads write, by batches that nothing but the schedule makes due."""
    scene.database.execute("DELETE FROM touches")
    scene.all_due()
    sync_due("ethereum")
    scene.all_due()
    scene.database.execute("CHECKPOINT")
    counted = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'sync_schedule'"
    read = "SELECT count(*) FROM sync_schedule WHERE network = 'ethereum' AND next_sync_at > now()"
    wal = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"
    before, due, began = scene.value(wal), scene.value(read), flushed(scene, counted)
    for _ in range(BATCHES):
        sync_due("ethereum")
    written, reads = scene.value(wal) - before, scene.value(read) - due
    yield Figure("writes to sync_schedule per read", (flushed(scene, counted) - began) / reads, 2)
    yield Figure("bytes of the write-ahead log per read", float(written) / reads, 800)


def flushed(scene: Stage, query: Any) -> int:
    """A count of Postgres' statistics, once its processes have told what they did."""
    scene.database.execute("SELECT pg_stat_force_next_flush()")
    sleep(2)
    return int(scene.value(query))


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
