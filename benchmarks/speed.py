"""Requests that a program serves for a second of its processor time, under the load generator (``benchmarks.load``)."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import psutil

from benchmarks.stage import Unsound
from devstack.servers import Server

CONNECTIONS = 16
SECONDS = 1.0  # of each measurement


class Speed(NamedTuple):
    """Requests a second: of the process's own processor time, and by the clock."""

    of_its_time: float
    by_the_clock: float


def speed(server: Server, url: str, headers: Sequence[dict[str, str]], status: int = 200) -> Speed:
    """Of a program under as much load as it can bear. Raises Unsound when it answers with another status."""
    before = cpu_seconds(server)
    told = load(url, headers)
    used = cpu_seconds(server) - before
    if set(told["statuses"]) != {str(status)}:
        raise Unsound(f"{url} answered {told['statuses']}")
    served = len(told["latencies"])
    return Speed(served / used, served / float(told["seconds"]))


def processes(server: Server) -> list[psutil.Process]:
    """A server's own, and those that it has started to serve."""
    started = psutil.Process(server.process.pid)
    return [started, *started.children(recursive=True)]


def cpu_seconds(server: Server) -> float:
    """Of all of a server's processes so far."""
    return sum(each.user + each.system for each in (process.cpu_times() for process in processes(server)))


def load(url: str, headers: Sequence[dict[str, str]], rate: float = 0) -> dict[str, Any]:
    """What the load generator tells."""
    path = url.partition("//")[2].partition("/")[2]
    texts = [
        f"GET /{path} HTTP/1.1\r\nHost: localhost\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in each.items())
        + "\r\n"
        for each in headers
    ]
    command = [sys.executable, "-m", "benchmarks.load", url, "--connections", str(CONNECTIONS)]
    command += ["--seconds", str(SECONDS), "--rate", str(rate)]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True, timeout=60)
    told: dict[str, Any] = json.loads(done.stdout)
    return told
