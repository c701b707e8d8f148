"""A load generator: keeps connections busy with one request, in a process of its own; tells what came of it as JSON.

It does the least that a client can do, so that it is not what is measured.
"""

import argparse
import asyncio
import json
import re
import sys
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import uvloop

NOT_MODIFIED = 304
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class Client(asyncio.Protocol):
    """One connection. Sends a request as soon as it may, and waits for the whole reply."""

    def __init__(self, requests: list[bytes], told: "Told", interval: float) -> None:
        self._requests, self._told, self._interval = requests, told, interval
        self._received = b""
        self._began = 0.0
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._due = perf_counter()

    def send(self) -> None:
        """The next request. With an interval, what counts is when it was due, not when it could be sent."""
        now = perf_counter()
        if now >= self._told.ends:
            self._transport.close()
            return
        self._began = self._due if self._interval else now
        self._transport.write(self._requests[self._told.sent % len(self._requests)])
        self._told.sent += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank:
            return
        status, length = int(head[9:12]), _LENGTH.search(head + b"\r\n")
        if length is None and status != NOT_MODIFIED:
            raise SystemExit("a reply says nothing of its length")
        if length and len(body) < int(length[1]):
            return
        self._told.note(status, perf_counter() - self._began)
        self._received = b""
        self._next()

    def _next(self) -> None:
        self._due += self._interval
        wait = self._due - perf_counter() if self._interval else 0
        if wait > 0:
            self._loop.call_later(wait, self.send)
        else:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the name is asyncio's
        self._told.open -= 1
        if not self._told.open:
            self._told.over.set()


class Told:
    """What is counted, for all connections together."""

    def __init__(self, connections: int, seconds: float) -> None:
        self.sent = 0
        self.open, self.over = connections, asyncio.Event()
        self.ends = perf_counter() + seconds
        self.statuses: dict[int, int] = {}
        self.latencies: list[float] = []

    def note(self, status: int, seconds: float) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.latencies.append(seconds)


async def load(url: str, requests: list[bytes], connections: int, seconds: float, rate: float) -> dict[str, object]:
    """As many requests as can be served, or `rate` a second, over some connections for some seconds."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    told = Told(connections, seconds)
    interval = connections / rate if rate else 0.0
    clients = [
        (
            await loop.create_connection(
                lambda: Client(requests, told, interval), parts.hostname or "", parts.port or 80
            )
        )[1]
        for _ in range(connections)
    ]
    began = perf_counter()
    told.ends = began + seconds
    for number, client in enumerate(clients):
        # At a rate, they take turns instead of coming together.
        client._due = began + interval * number / connections  # noqa: SLF001  it is of this module
        loop.call_later(interval * number / connections, client.send)
    await told.over.wait()
    took = perf_counter() - began
    return {"seconds": took, "statuses": told.statuses, "latencies": sorted(told.latencies)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0: as many as can be served")
    arguments = parser.parse_args()
    requests = [text.encode() for text in json.load(sys.stdin)]  # whole requests, used in turn
    told = uvloop.run(load(arguments.url, requests, arguments.connections, arguments.seconds, arguments.rate))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
