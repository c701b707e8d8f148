"""Reading the chains: requests, bytes, CPU, and a whole pass beside the floor."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time, sleep, time
from typing import Literal

from benchmarks.floor import TOKEN, Floor, build
from benchmarks.floor import decode as straight_loop
from benchmarks.nodes import words
from benchmarks.stage import Stage, stage
from config.broker import sync_queue
from config.logging import configure_logging
from config.network_settings import NodeSettings
from config.networks import PRESETS, NetworkName
from config.settings import worker_settings
from devstack.product import worker
from devstack.servers import wait_for
from worker.app import app, start_process
from worker.reading import reader_for
from worker.reading.contract import (
    MAX_WALLETS_BY_REVERT,
    REVERTING_READER,
    decode,
    encode,
    richest,
)
from worker.reading.facts import facts_of
from worker.reading.plausibility import Expected, check
from worker.sync.batch import sync_due

WALLETS = 10_000
ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, and what is wanted of it."""

    name: str
    measured: float
    target: float | None = None
    wanted: Literal["at most", "at least"] = "at most"

    @property
    def met(self) -> bool:
        """Whether it is as wanted; what is only told always is."""
        if self.target is None:
            return True
        return self.measured <= self.target if self.wanted == "at most" else self.measured >= self.target


def figures(tell: Callable[[str], None]) -> Iterator[Figure]:
    """Each figure as soon as it is measured."""
    configure_logging("WARNING", "console")
    tell("building and decoding a full batch …")
    yield Figure("CPU of building and decoding a full batch ÷ a straight loop", codec_ratio(), 2.0)
    with stage(WALLETS) as scene:
        yield from passes(scene, tell)


def codec_ratio() -> float:
    """Building the request, decoding the reply and every check on it, over a loop that does the bytes alone."""
    accounts = [number.to_bytes(20) for number in range(1, MAX_WALLETS_BY_REVERT + 1)]
    request = encode(TOKEN, accounts, bytes(12), reader=REVERTING_READER)
    reply = bytes.fromhex(words(request, "ethereum"))
    expected = Expected(facts_of(NodeSettings(network=PRESETS["ethereum"]).chain(None)), now=time())

    def ours() -> None:
        encode(TOKEN, accounts, bytes(12), reader=REVERTING_READER)
        snapshot = decode(reply, request, wallets=len(accounts))
        check(snapshot, expected)
        richest(snapshot.balances)

    def floor() -> None:
        build(accounts, reverts=True)
        straight_loop(reply)

    def cpu(work: Callable[[], None]) -> float:
        gc.collect()
        started = process_time()
        for _ in range(20):
            work()
        return process_time() - started

    return median(cpu(ours) / cpu(floor) for _ in range(4 * ROUNDS))


def passes(scene: Stage, tell: Callable[[str], None]) -> Iterator[Figure]:
    tell(f"passes of {WALLETS:,} wallets …")
    targets: dict[NetworkName, float] = {"ethereum": 0.5, "tron": 2.2}
    for network, target in targets.items():
        full_pass(scene, network)  # what is learnt once an hour is learnt
        counts = full_pass(scene, network)
        requests = sum(count for name, count in counts.items() if network in name and "bytes" not in name)
        yield Figure(f"requests per 1,000 wallets, {network}", requests * 1000 / WALLETS, target)
        yield Figure(f"requests besides the reads in that pass, {network}", requests - counts[f"{network} reads"], 0)
        if network == "ethereum":
            yield Figure("bytes per wallet on the wire, ethereum", counts["ethereum bytes"] / WALLETS, 110)
    tell("where only RETURN works …")
    yield Figure("requests per 1,000 wallets, ethereum by RETURN", by_return(scene), 1.5)
    tell("beside the floor, turn by turn …")
    start_process()  # what a worker's process does before its first task
    for network in targets:
        ratio = against_the_floor(scene, network, run_product)
        yield Figure(f"throughput ÷ the floor's, {network}, one process", ratio, 0.5, "at least")
    with worker(scene.folder, {**scene.env, "LOG_LEVEL": "INFO"}) as running:
        wait_for(lambda: "ready." in running.log.read_text(), running, what="the worker to be ready")
        for network in targets:
            ratio = against_the_floor(scene, network, by_the_worker(scene))
            yield Figure(f"throughput ÷ the floor's, {network}, the worker and its queue", ratio, 0.5, "at least")


def full_pass(scene: Stage, network: NetworkName) -> dict[str, int]:
    """Every wallet of a network once, in this process; what the nodes were asked for it."""
    scene.all_due()
    scene.counts()
    run_product(network)
    scene.hold(network)
    return scene.counts()


def run_product(network: NetworkName) -> None:
    for _ in range(-(-WALLETS // limit(network))):
        sync_due(network)


def limit(network: NetworkName) -> int:
    return reader_for(network).max_wallets


def by_return(scene: Stage) -> float:
    """Of an endpoint that passes no revert data on."""
    with settings(ETHEREUM_RPC_URLS=f"{scene.nodes.url}/plain"):
        scene.all_due()
        sync_due("ethereum")  # the way is learnt
        counts = full_pass(scene, "ethereum")
    requests = sum(count for name, count in counts.items() if "ethereum" in name and "bytes" not in name)
    return requests * 1000 / WALLETS


@contextmanager
def settings(**changes: str) -> Iterator[None]:
    """Other settings for the block, and whatever is made of them."""
    before = {name: os.environ[name] for name in changes}
    for values in (changes, before):
        os.environ.update(values)
        worker_settings.cache_clear()
        reader_for.cache_clear()
        if values is changes:
            yield


def against_the_floor(scene: Stage, network: NetworkName, run: Callable[[NetworkName], None]) -> float:
    """The floor's seconds over those of `run`, both for a pass over every wallet of a network; the median of rounds."""
    floor = Floor.at(scene.nodes.url, scene.postgres.url)
    wallets, size = scene.wallets(network), limit(network)

    def seconds(work: Callable[[], None]) -> float:
        scene.all_due()
        gc.collect()
        started = perf_counter()
        work()
        return perf_counter() - started

    ratios = []
    for _ in range(ROUNDS):
        least = seconds(lambda: floor.run(network, wallets, size))
        ratios.append(least / seconds(lambda: run(network)))
        scene.hold(network)
    return median(ratios)


def by_the_worker(scene: Stage) -> Callable[[NetworkName], None]:
    """A pass by the worker that runs: its messages sent, and waited for."""

    def run(network: NetworkName) -> None:
        for _ in range(-(-WALLETS // limit(network))):
            app.send_task("worker.tasks.sync_due_wallets", args=[network], queue=sync_queue(network))
        while not scene.done(network):
            sleep(0.005)

    return run
