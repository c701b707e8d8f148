"""What one block costs to follow, when a million wallets are there: processors beside a straight loop, and Postgres."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from statistics import median
from time import process_time
from typing import Any
from urllib.parse import urlsplit

import psutil
from psycopg import ClientCursor

from benchmarks.blocks import hash_of, strangers, touched
from benchmarks.nodes import newest, time_of
from benchmarks.reading import Figure
from benchmarks.scale import tree_cpu
from benchmarks.stage import NETWORKS, Stage, Unsound
from devstack.servers import HOST
from worker.feed.follow import follow

CAUGHT_UP = 100  # blocks that are followed one after the other
NAMED, OURS = 900, 9  # accounts that a busy block names, and how many of them are of wallets
LOOKS = 50


def followed_at_once(scene: Stage, each: int, touched_share: float) -> Iterator[Figure]:
    """Blocks that are there already, followed one after the other, beside a loop that fetches and parses them.

    `each`: wallets of each network. `touched_share`: the share of them that a block touches.
    """
    scene.touch(**{network: (each, max(int(each * touched_share), 1)) for network in NETWORKS})
    for network in NETWORKS:
        go_back(scene, network)
        follow(network)  # connections are made, and what is asked for once is known
        first = go_back(scene, network)
        jumps = scene.value("SELECT jumps FROM feed_cursor WHERE network = %s", network)
        postgres, began = tree_cpu(psutil.Process(scene.postgres.process.pid)), process_time()
        while (place := at(scene, network)) < first + CAUGHT_UP - 1:
            follow(network)
            if at(scene, network) == place:
                raise Unsound(f"{network} is not followed")
        ours = process_time() - began
        postgres = tree_cpu(psutil.Process(scene.postgres.process.pid)) - postgres
        if scene.value("SELECT jumps FROM feed_cursor WHERE network = %s", network) != jumps:
            raise Unsound(f"{network} has so few wallets that blocks were left out")
        count = at(scene, network) - first
        floor = straight_loop(scene, network, first, count)
        name = f"a block of {network} against {2 * each:,} wallets"
        yield Figure(f"CPU of following {name} ÷ a straight loop that parses it", ours / floor, 2)
        yield Figure(f"the same with the CPU of Postgres: {network}", (ours + postgres) / floor)
        yield Figure(f"milliseconds of Postgres' CPU for following {name}", 1000 * postgres / count)
    yield from matched(scene, each)


_PREPARE = """
PREPARE of_accounts (bytea[], text) AS
SELECT w.wallet_id FROM unnest($1) AS a (account) JOIN watched AS w USING (account) WHERE w.network = $2
"""
_MATCH = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE of_accounts (%s, %s)"


def matched(scene: Stage, each: int) -> Iterator[Figure]:
    """The join by which a block's accounts find wallets, by itself: how long Postgres takes for it."""
    scene.database.execute("SET plan_cache_mode = force_generic_plan")  # as the product's connections do
    scene.database.execute(_PREPARE)
    cursor = ClientCursor(scene.database)
    for network in NETWORKS:
        times = []
        for number in range(newest(network), newest(network) + LOOKS):
            others = strangers(number)
            accounts = [bytes.fromhex(next(others)) for _ in range(NAMED - OURS)] + touched(number, each, OURS)
            (((told,),),) = cursor.execute(_MATCH, (accounts, network)).fetchall()
            if told["Plan"]["Actual Rows"] != OURS:
                raise Unsound(f"{told['Plan']['Actual Rows']} wallets were found, not {OURS}")
            times.append(told["Execution Time"])
        name = f"{NAMED} accounts of a block of {network} against {2 * each:,} wallets"
        yield Figure(f"milliseconds of Postgres for matching {name}", median(times), 10)


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
