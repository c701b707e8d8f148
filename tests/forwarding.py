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

    `heard` is what clients sent, after the handshake where there is TLS. At the end of its block it closes every
    connection itself: a client may keep its own for as long as somebody holds an error that came from it.
    """

    def __init__(self, port: int, tls: SSLContext | None = None) -> None:
        self.to = port
        self.heard: list[bytes] = []
        self._tls = tls
        self._lock = threading.Lock()
        self._ending = False
        self._listening = socket.create_server((HOST, 0))
        self._open: list[socket.socket] = [self._listening]
        self.port = self._listening.getsockname()[1]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def _start(self, run: Callable[..., None], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=run, args=arguments)
        self._threads.append(thread)
        thread.start()
        return thread

    def _kept(self, opened: socket.socket) -> socket.socket:
        """Note a connection, so that the end of the block closes it. Raises OSError when that has come."""
        with self._lock:
            self._open.append(opened)
            if self._ending:
                opened.close()
                raise OSError
        return opened

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._start(self._serve, self._kept(client))

    def _serve(self, client: socket.socket) -> None:
        with (
            suppress(OSError),
            self._wrapped(client) as opened,
            self._kept(socket.create_connection((HOST, self.to))) as server,
        ):
            back = self._start(self._pass_on, server, opened)
            self._pass_on(opened, server, self.heard)
            back.join()

    def _wrapped(self, client: socket.socket) -> socket.socket:
        """The connection after its handshake. What wraps a socket takes it over, so the wrap is noted before that."""
        if self._tls is None:
            return client
        wrapped = self._tls.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        self._kept(wrapped)
        try:
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped

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
        with self._lock:
            self._ending = True
            opened = list(self._open)
        for each in opened:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:  # one that begins now ends at once, and is joined too
            thread.join()
        self._listening.close()
