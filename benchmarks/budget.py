"""A budget that is scarce: several processes that always have a next batch, and a few requests a second for all.

One of the processes, by itself: ``python -m benchmarks.budget SECONDS``, with the settings in its environment.
"""

import subprocess
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep, time
from typing import Any

from requests import Response
from requests.adapters import HTTPAdapter

from benchmarks.reading import Figure
from benchmarks.stage import nodes
from config.settings import worker_settings
from devstack.product import environment
from devstack.servers import ROOT, redis_server
from worker.reading import reader_for

READERS = 8
PER_SECOND = 3.0
SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Contest:
    """What came of it: wallets, and the moments of the requests by the clock that all processes share."""

    read: int
    failed: int
    requests: list[float]

    def used(self, per_second: float) -> float:
        """The part of the budget that was used from the first request to the last."""
        spaces = len(self.requests) - 1
        return spaces / (self.requests[-1] - self.requests[0]) / per_second

    def most_in_a_second(self) -> int:
        return max(bisect_left(self.requests, at + 1.0) - number for number, at in enumerate(self.requests))


def figures(tell: Callable[[str], None]) -> Iterator[Figure]:
    """Each figure as soon as it is measured."""
    tell(f"{READERS} processes read back to back under a budget of {PER_SECOND:g} requests a second …")
    with TemporaryDirectory() as folder, redis_server(Path(folder)) as queue, nodes(Path(folder)) as node:
        found = contest(queue.url, node.url)
    yield Figure("wallets failed by our own budget, 8 readers, 3 requests a second", found.failed, 0)
    yield Figure("the budget that they use ÷ what it allows", found.used(PER_SECOND), 0.95, "at least")
    yield Figure("most requests in any second ÷ what the budget allows", found.most_in_a_second() / PER_SECOND, 1)


def contest(
    redis_url: str,
    node_url: str,
    *,
    readers: int = READERS,
    per_second: float = PER_SECOND,
    seconds: float = SECONDS,
    **more: str,
) -> Contest:
    """Let processes that share a Redis read from one node for some seconds. `more` are settings."""
    env = {
        "DATABASE_URL": "postgresql://127.0.0.1:1/none",
        "REDIS_URL": redis_url,
        "TRON_RPC_URLS": node_url,
        "TRON_RPS": f"{per_second:g}",
        "LOG_LEVEL": "ERROR",
        **more,
    }
    command = [sys.executable, "-m", "benchmarks.budget", str(seconds)]
    started = [
        subprocess.Popen(command, cwd=ROOT, env=environment(env), stdout=subprocess.PIPE, text=True)
        for _ in range(readers)
    ]
    said = [each.communicate(timeout=20 * seconds + 300)[0].splitlines()[-1].split() for each in started]
    if any(each.returncode for each in started):
        raise RuntimeError("a reader failed")
    return Contest(
        read=sum(int(words[0]) for words in said),
        failed=sum(int(words[1]) for words in said),
        requests=sorted(float(word) for words in said for word in words[2:]),
    )


def reader(seconds: float) -> None:
    """Read whenever the budget has room. Prints the wallets read and failed, and when each request was sent."""
    known, settings = reader_for("tron"), worker_settings()
    batches, read, failed, sent = count(1), 0, 0, list[float]()
    send = HTTPAdapter.send

    def noted(*given: Any, **more: Any) -> Response:
        sent.append(time())
        return send(*given, **more)

    HTTPAdapter.send = noted  # type: ignore[method-assign]
    end = monotonic() + seconds
    while monotonic() < end:
        deadline = monotonic() + settings.read_limit
        if refusal := known.may_read(deadline):
            sleep(min(refusal.retry_after or 0.1, max(end - monotonic(), 0)))
            continue
        first = next(batches) * known.max_wallets
        accounts = [(0x10_0000 + first + place).to_bytes(20) for place in range(known.max_wallets)]
        for part in known.read(accounts, time(), deadline):
            read += len(part.wallets) if part.snapshot else 0
            failed += 0 if part.snapshot else len(part.wallets)
    print(read, failed, *sent)


if __name__ == "__main__":
    reader(float(sys.argv[1]))
