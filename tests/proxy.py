"""An HTTP proxy before a node, which puts whatever a test says between the worker and it."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from devstack.servers import CAP

Fault = Callable[["Exchange"], None]


class Exchange:
    """One request on its way: what was asked, and every way to answer it well or badly."""

    def __init__(self, handler: "Handler", body: bytes) -> None:
        self.handler, self.body = handler, body
        self.path, self.headers = handler.path, handler.headers
        self.json: Any = json.loads(body) if body else {}

    def upstream(self) -> requests.Response:
        """What the node says."""
        return requests.post(
            self.handler.server.node + self.path,
            data=self.body,
            headers={"Content-Type": "application/json"},
            timeout=CAP,
        )

    def send(self, body: Any = b"", status: int = 200, **headers: str) -> None:
        """A whole and well-formed HTTP reply."""
        raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.start(len(raw), status, **headers)
        self.handler.wfile.write(raw)

    def start(self, length: int, status: int = 200, **headers: str) -> None:
        self.handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.send_header("Content-Length", str(length))
        self.handler.end_headers()

    def write(self, raw: bytes) -> None:
        self.handler.wfile.write(raw)
        self.handler.wfile.flush()

    def end(self) -> None:
        """Close the connection in order."""
        self.handler.close_connection = True

    def reset(self) -> None:
        """Close it with a reset, whatever was under way."""
        self.handler.wfile.flush()
        self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.handler.connection.close()
        self.end()

    def wait(self, seconds: float | None = None) -> bool:
        """Answer nothing, for a while or until the fault is over. True: it is over."""
        return self.handler.server.healed.wait(seconds)


class Proxy(ThreadingHTTPServer):
    """Passes on what is asked, but for what `fault` does with it. Counts the requests."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, node: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.node = node
        self.healed = threading.Event()
        self.fault: Fault | None = None
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @contextmanager
    def faulty(self, fault: Fault) -> Iterator[None]:
        """A fault for the block; what still hangs at its end is let go."""
        self.healed.clear()
        before, self.fault = self.fault, fault
        try:
            yield
        finally:
            self.fault = before
            self.healed.set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away: that is what it is for."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: in two, the second waits for the first's acknowledgement
    disable_nagle_algorithm = True
    server: Proxy

    def do_POST(self) -> None:
        self.server.requests += 1
        exchange = Exchange(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))
        (self.server.fault or passed_on)(exchange)

    do_GET = do_POST  # noqa: N815  the server looks for this name

    def finish(self) -> None:
        """Nothing stays open of a client that went away before it had all."""
        with suppress(OSError):
            super().finish()
        self.rfile.close()

    def log_message(self, *_: Any) -> None:
        """Nothing to the terminal."""


def passed_on(exchange: Exchange) -> None:
    answer = exchange.upstream()
    exchange.send(answer.content, answer.status_code, Content_Type=answer.headers.get("Content-Type", ""))


@contextmanager
def proxy(node: str) -> Iterator[Proxy]:
    """A proxy before the node of this URL, until the end of the block."""
    with Proxy(node) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.healed.set()
        server.shutdown()
