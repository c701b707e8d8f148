"""A port before a server of a test, which may lead elsewhere one day, and may speak TLS."""

import socket
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from ssl import SSLContext
from typing import Any, Self

import redis

from devstack.servers import HOST, Server


def port_of(server: Server) -> int:
    """Of a Redis."""
    return int(server.url.removesuffix("/0").rpartition(":")[2])


def becomes_a_replica(server: Server, of: Server) -> None:
    """A Redis follows another one, and its connections stay."""
    with closing(redis.Redis.from_url(server.url)) as client:
        client.replicaof(HOST, port_of(of))


class Forwarder:
    """A port that leads to a server, and new connections to another one once `to` is changed; old ones stay.

    `heard` is what clients sent, after the handshake where there is TLS.
    """

    def __init__(self, port: int, tls: SSLContext | None = None) -> None:
        self.to = port
        self.heard: list[bytes] = []
        self._tls = tls
        self._open: list[socket.socket] = [socket.create_server((HOST, 0))]
        self.port = self._open[0].getsockname()[1]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def _start(self, run: Callable[..., None], *arguments: Any) -> threading.Thread:
        self._threads.append(threading.Thread(target=run, args=arguments))
        self._threads[-1].start()
        return self._threads[-1]

    def _accept(self) -> None:
        with self._open[0] as listening, suppress(OSError):
            while True:
                client, _ = listening.accept()
                self._open.append(client)
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with (
            suppress(OSError),
            self._tls.wrap_socket(client, server_side=True) if self._tls else client as opened,
            socket.create_connection((HOST, self.to)) as server,
        ):
            back = self._start(self._pass_on, server, opened)
            self._pass_on(opened, server, self.heard)
            back.join()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket, heard: list[bytes] | None = None) -> None:
        with suppress(OSError):
            while sent := source.recv(65536):
                if heard is not None:
                    heard.append(sent)
                target.sendall(sent)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *_: object) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
