"""Requests a second, over all processes together: real processes, a real Redis, and a node that looks at its clock."""

import os
import subprocess
import sys
from bisect import bisect_left
from time import monotonic

import pytest
import redis
from proxy import Exchange, passed_on, proxy

from devstack.product import environment
from devstack.servers import ROOT, Server
from devstack.stack import LocalChain, settings

PER_SECOND = 10
WORKERS = 4
READS = 12  # by each of them

WORKER = """
import sys
from time import monotonic, time
from worker.chains import reader_for
reader, done = reader_for("tron"), 0
while done < int(sys.argv[1]):
    (part,) = reader.read([bytes(19) + b"1"], time(), monotonic() + 20)
    done += part.snapshot is not None
"""


@pytest.mark.parametrize("share", [True, False], ids=["one budget", "no budget"])
def test_four_workers_together_never_send_more_than_the_budget_in_any_second(
    redis_process: Server, ethereum: LocalChain, tron: LocalChain, *, share: bool
) -> None:
    redis.Redis.from_url(redis_process.url).flushall()
    times: list[float] = []

    def noted(exchange: Exchange) -> None:
        times.append(monotonic())
        passed_on(exchange)

    with proxy(tron.node.url) as before:
        before.fault = noted
        env = settings("postgresql://127.0.0.1:1/none", redis_process.url, ethereum, tron)
        env |= {"TRON_RPC_URLS": before.url, "TRON_RPS": str(PER_SECOND if share else 0), "PATH": os.environ["PATH"]}
        command = [sys.executable, "-c", WORKER, str(READS)]
        workers = [subprocess.Popen(command, cwd=ROOT, env=environment(env)) for _ in range(WORKERS)]
        assert [worker.wait(90) for worker in workers] == [0] * WORKERS
    assert len(times) >= WORKERS * READS
    most = max(bisect_left(times, at + 1.0) - number for number, at in enumerate(times))
    assert (most <= PER_SECOND) == share, f"{most} requests within a second"
