"""A statement whose parameters are more than the socket has room for."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from select import select
from threading import Event, Thread
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from pools import run

from api.database import Database, Statement
from devstack.servers import CAP

SMALL = 4096  # bytes; a network's connection begins with some tens of kB, where loopback has megabytes
IDS = [uuid4() for _ in range(5000)]
UNNEST = Statement("SELECT id::text FROM unnest(%(ids)s::uuid[]) AS ids (id)")


class Narrow:
    """A way to a server that has little room, and none while `open` is not set. Counts the connections.

    `holds` is set while it has something in hand that it does not pass on, and takes no more.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self._listening = socket.socket()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen()
        self.port: int = self._listening.getsockname()[1]
        self.open = Event()
        self.open.set()
        self.holds = Event()
        self.connections = 0
        self._sockets: list[socket.socket] = []
        self._threads: list[Thread] = []
        self._begin(self._accept)

    def _begin(self, work: Callable[..., None], *args: object) -> None:
        thread = Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self.connections += 1
                server = socket.create_connection(self._server)
                self._sockets += (client, server)
                self._begin(self._pass, client, server, self.open)
                self._begin(self._pass, server, client, None)

    def _pass(self, one: socket.socket, other: socket.socket, gate: Event | None) -> None:
        with suppress(OSError):
            while data := one.recv(SMALL):
                if gate and not gate.is_set():
                    self.holds.set()
                    gate.wait(CAP)
                    self.holds.clear()
                other.sendall(data)
        end(one, other)

    def break_off(self) -> None:
        """Every connection that there is."""
        end(*self._sockets)

    def close(self) -> None:
        self.open.set()
        end(self._listening, *self._sockets)
        for thread in self._threads:
            thread.join(CAP)
        for each in (self._listening, *self._sockets):
            each.close()


def end(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def narrow(url: str) -> Iterator[tuple[Narrow, str]]:
    """Such a way, and the database's URL over it."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    made = Narrow(parts.hostname, parts.port)
    user = parts.netloc.rpartition("@")[0]
    try:
        yield made, parts._replace(netloc=f"{user}@127.0.0.1:{made.port}").geturl()
    finally:
        made.close()


async def unnested(database: Database, ids: list[UUID], seconds: float = CAP) -> bool:
    """Whether the ids come back as they were sent."""
    return [row[0] for row in await database.rows(UNNEST, {"ids": ids}, seconds)] == list(map(str, ids))


async def make_narrow(database: Database) -> int:
    """The pool's one connection has little room too, and has the statement, so that parameters are sent at once.

    Returns its socket's number.
    """
    assert await unnested(database, IDS[:1])
    connection = await database._acquired()
    transport = connection._con._transport
    number: int = transport.get_extra_info("socket").fileno()
    transport.set_write_buffer_limits(high=SMALL)
    with socket.socket(fileno=os.dup(number)) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    await database._pool.release(connection)
    return number


async def await_full(way: Narrow, ours: int, asking: "asyncio.Task[object]") -> None:
    """Wait until nobody takes anything out of a socket that has no room left, unless all is over before."""
    async with asyncio.timeout(CAP):
        while not asking.done() and not (way.holds.is_set() and no_room(ours)):  # noqa: ASYNC110  the kernel tells nobody
            await asyncio.sleep(0.01)


def no_room(number: int) -> bool:
    return not select([], [number], [], 0)[1]


def test_a_socket_that_is_full_is_waited_for(database_url: str) -> None:
    with narrow(database_url) as (way, url):

        async def work(database: Database) -> None:
            ours = await make_narrow(database)
            for _ in range(2):
                way.open.clear()
                asking = asyncio.create_task(unnested(database, IDS))
                await await_full(way, ours, asking)
                assert not asking.done(), "there is no room for it, and it waits"
                way.open.set()
                assert await asking

        run(url, work, api_database_timeout=60)
        assert way.connections == 1, "none was given up"


def test_a_socket_that_stays_full_is_waited_for_no_longer_than_any_answer(database_url: str) -> None:
    with narrow(database_url) as (way, url):

        async def work(database: Database) -> None:
            await make_narrow(database)
            way.open.clear()
            with pytest.raises(TimeoutError):
                await unnested(database, IDS, 0.3)
            way.open.set()
            assert await unnested(database, IDS[:1])

        run(url, work, api_database_timeout=60)


def test_a_connection_that_is_lost_while_it_is_sent_to_costs_nobody_an_answer(database_url: str) -> None:
    with narrow(database_url) as (way, url):

        async def work(database: Database) -> None:
            ours = await make_narrow(database)
            way.open.clear()
            asking = asyncio.create_task(unnested(database, IDS))
            await await_full(way, ours, asking)
            way.break_off()
            way.open.set()
            assert await asking

        run(url, work, api_database_timeout=60)
        assert way.connections == 2
