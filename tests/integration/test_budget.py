"""Requests a second, over all processes together: real processes, a real Redis, and a node that counts.

What counts is the moment of each permission by the clock that all processes share. When a request then reaches the
node is up to the machine.
"""

import os
import subprocess
import sys
from bisect import bisect_left
from pathlib import Path
from typing import Any

import pytest
import redis
from faults import only_single
from proxy import proxy

from benchmarks.budget import contest
from benchmarks.stage import nodes
from devstack.product import environment
from devstack.servers import CAP, ROOT, Server
from devstack.stack import LocalChain, settings

PER_SECOND = 10
WORKERS = 4
READS = 6  # by each of them

# Prints the moment of each slot in which it was permitted to send.
WORKER = f"""
import sys
from time import monotonic, sleep, time
from worker.reading import reader_for
from worker.reading import budget
from worker.reading import shared_redis

shared_redis.TIMEOUT = {CAP}  # a Redis that is only slow is not out of reach
reader, done, slots = reader_for("tron"), 0, []
wait = budget.Budget.wait

def noted(self, *given, **more):
    wait(self, *given, **more)
    if slots:
        print(slots.pop())

def slept(seconds):
    slots[:] = [time() + seconds]
    sleep(seconds)

budget.sleep, budget.Budget.wait = slept, noted
while done < int(sys.argv[1]):
    (part,) = reader.read([bytes(19) + b"1"], time(), monotonic() + {CAP})
    done += part.snapshot is not None
"""


@pytest.mark.parametrize("share", [True, False], ids=["one budget", "no budget"])
def test_four_workers_together_never_send_more_than_the_budget_in_any_second(
    redis_process: Server, ethereum: LocalChain, tron: LocalChain, *, share: bool
) -> None:
    client: Any = redis.Redis.from_url(redis_process.url)
    client.flushall()
    client.config_resetstat()
    with proxy(tron.node.url) as before:
        env = settings("postgresql://127.0.0.1:1/none", redis_process.url, ethereum, tron)
        env |= {"TRON_RPC_URLS": before.url, "TRON_RPS": str(PER_SECOND if share else 0), "PATH": os.environ["PATH"]}
        command = [sys.executable, "-c", WORKER, str(READS)]
        workers = [
            subprocess.Popen(command, cwd=ROOT, env=environment(env), stdout=subprocess.PIPE, text=True)
            for _ in range(WORKERS)
        ]
        said = [worker.communicate(timeout=CAP)[0] for worker in workers]
        assert [worker.returncode for worker in workers] == [0] * WORKERS
        assert before.requests >= WORKERS * READS
    permitted = sorted(float(line) for each in said for line in each.splitlines())
    assert len(permitted) == (before.requests if share else 0), "no request without a permission"
    most = max((bisect_left(permitted, at + 0.9) - number for number, at in enumerate(permitted)), default=0)
    assert most <= PER_SECOND, f"{most} requests within nine tenths of a second: no two processes measure time alike"
    # The bucket is a sorted set in Redis: without a bound nothing asks for it.
    assert ("cmdstat_zremrangebyscore" in client.info("commandstats")) == share


def test_no_wallet_fails_by_a_budget_that_is_scarce(redis_process: Server, tmp_path: Path) -> None:
    """Eight processes always have a next batch, and there are three requests a second for all of them."""
    redis.Redis.from_url(redis_process.url).flushall()
    with nodes(tmp_path) as node:
        found = contest(redis_process.url, node.url, seconds=6)
    assert found.failed == 0
    assert found.read > 0


def test_nor_where_each_wallet_takes_requests_of_its_own(
    redis_process: Server, ethereum: LocalChain, tron: LocalChain
) -> None:
    redis.Redis.from_url(redis_process.url).flushall()
    env = settings("postgresql://127.0.0.1:1/none", redis_process.url, ethereum, tron)
    more = {name: env[name] for name in env if name.startswith("TRON_") and name not in {"TRON_RPC_URLS", "TRON_RPS"}}
    more["SYNC_LEASE"] = "48"  # a read has twenty seconds
    with proxy(tron.node.url) as before, before.faulty(only_single):
        # The first batch is as large as the best way takes: how the node is read shows only then.
        contest(redis_process.url, before.url, readers=1, per_second=10, seconds=0.1, **more)
        found = contest(redis_process.url, before.url, readers=4, per_second=10, seconds=14, **more)
    assert found.failed == 0
    assert found.read > 0
