"""Metrics over a million wallets: what a pass costs, how long a scrape takes, and how many series there are."""

from collections.abc import Callable, Iterator
from statistics import quantiles
from time import perf_counter

import psutil
import requests
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.reading import Figure
from benchmarks.scale import LARGE, SHARED_BUFFERS, tree_cpu
from benchmarks.stage import Stage, stage
from config.logging import configure_logging
from config.ops_settings import OpsSettings
from config.settings import worker_settings
from db.networks import source_of_first_balances
from db.session import transaction
from devstack.product import ops
from devstack.servers import Server, wait_for
from worker.sync.registration import register_networks

PASSES = 4
SCRAPES = 500

_SCHEDULED = """
UPDATE sync_schedule AS s SET lane = 0, next_sync_at = now() + random() * interval '1 day' - interval '10 seconds',
       claimed_at = now() - random() * interval '10 minutes', failures = failed::int,
       last_error = CASE WHEN failed THEN 'throttled' END
  FROM (SELECT id, random() < 0.01 AS failed FROM wallets) AS w WHERE id = wallet_id
"""
_READ = """
INSERT INTO balance_cache
       (wallet_id, usdt_balance, native_balance, block_number, block_time, finality, last_synced, source)
SELECT wallet_id, 1, 1, 1, claimed_at, 'latest', claimed_at, source FROM sync_schedule JOIN networks ON name = network
"""


def figures(tell: Callable[[str], None]) -> Iterator[Figure]:
    """Each figure as soon as it is measured. Takes some minutes."""
    configure_logging("WARNING", "console")
    with stage(LARGE // 2, shared_buffers=SHARED_BUFFERS) as scene:
        tell(f"{LARGE:,} wallets, each read within the past minutes …")
        settings = worker_settings()
        register_networks(settings)
        with transaction() as connection:
            for network in settings.networks:
                source_of_first_balances(connection, settings.chain(network))
        for statement in (_SCHEDULED, _READ, "VACUUM ANALYZE"):
            scene.database.execute(statement)
        with ops(scene.folder, scene.env) as server:
            tell(f"{PASSES} passes …")
            yield from passes(scene, server)
            tell(f"{SCRAPES} scrapes …")
            yield from scrapes(server)


def passes(scene: Stage, server: Server) -> Iterator[Figure]:
    """What one costs, of Postgres and of its own process, by their CPU."""
    running = {name: psutil.Process(each.process.pid) for name, each in (("ops", server), ("postgres", scene.postgres))}
    await_pass(server, passed(server))
    before = {name: tree_cpu(process) for name, process in running.items()}
    for _ in range(PASSES):
        await_pass(server, passed(server))
    cpu = {name: (tree_cpu(process) - before[name]) / PASSES for name, process in running.items()}
    interval = float(OpsSettings.model_fields["collect_interval"].default)
    for name, seconds in cpu.items():
        yield Figure(f"CPU seconds of a pass over {LARGE:,} wallets, {name}", seconds)
    share = 100 * sum(cpu.values()) / interval
    yield Figure(f"per cent of a core for a pass each {interval:.0f} s", share, 5)


def passed(server: Server) -> float:
    """When the last pass began."""
    return sample(server, "balance_sync_collected_timestamp_seconds")


def await_pass(server: Server, last: float) -> None:
    wait_for(lambda: passed(server) > last, server, what="the next pass", pause=0.2)


def scrapes(server: Server) -> Iterator[Figure]:
    """How long each takes, over one connection, while passes go on."""
    took = []
    with requests.Session() as session:
        for _ in range(SCRAPES):
            began = perf_counter()
            text = session.get(f"{server.url}/metrics", timeout=60).text
            took.append(perf_counter() - began)
    yield Figure("milliseconds of a scrape, 99th percentile", 1000 * quantiles(took, n=100)[98], 50)
    series = sum(len(family.samples) for family in text_string_to_metric_families(text))
    yield Figure("series with two networks and two endpoints", series, 400)


def sample(server: Server, name: str) -> float:
    text = requests.get(f"{server.url}/metrics", timeout=60).text
    found = next(line for line in text.splitlines() if line.startswith(f"{name} "))
    return float(found.rpartition(" ")[2])
