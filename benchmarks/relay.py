"""A relay between a program and its Postgres, which counts how often the program waits for an answer."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(slots=True)
class Relay:
    """Where it listens, and the round trips since it was last asked: whatever was sent at once, and its answer."""

    url: str
    round_trips: int = 0

    def count(self) -> int:
        """The round trips since the last look."""
        counted, self.round_trips = self.round_trips, 0
        return counted


@contextmanager
def relay(database_url: str) -> Iterator[Relay]:
    """Stand before a database, for the block."""
    parts = urlsplit(database_url)
    counts = Relay("")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            answered = threading.Event()
            answered.set()
            with socket.create_connection((parts.hostname or "", parts.port or 0)) as server:
                back = threading.Thread(target=pump, args=(server, self.request, answered), daemon=True)
                back.start()
                while data := receive(self.request):
                    if answered.is_set():
                        counts.round_trips += 1
                    answered.clear()
                    server.sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        user = parts.netloc.rpartition("@")[0]
        counts.url = parts._replace(netloc=f"{user}@127.0.0.1:{listening.server_address[1]}").geturl()
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        try:
            yield counts
        finally:
            listening.shutdown()


def pump(source: socket.socket, sink: socket.socket, answered: threading.Event) -> None:
    """Pass the server's answers on."""
    while data := receive(source):
        answered.set()
        with suppress(OSError):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def receive(source: socket.socket) -> bytes:
    """What comes next; nothing at the end."""
    try:
        return source.recv(65536)
    except OSError:
        return b""
