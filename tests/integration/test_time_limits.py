"""A request ends at its time limit, whatever its connection is doing then and wherever it leads."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest
import requests
import urllib3.connection

from devstack.servers import wait_for
from worker.chains.http import NodeSession

Received = list[bytes]


@contextmanager
def dripping() -> Iterator[tuple[str, Received, Event]]:
    """A server of one connection that answers a byte at a time: its URL, what it received, and that it was cut off."""
    received, cut_off = Received(), Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            received.append(connection.recv(2**16))
            connection.settimeout(0.05)
            for _ in range(400):
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX: " if len(received) < 2 else b"a")
                    received.append(connection.recv(2**16))
                    if not received[-1]:
                        cut_off.set()
                        return
                except TimeoutError:
                    received.append(b"-")
                except OSError:
                    cut_off.set()
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Thread(target=serve, daemon=True)
        server.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", received, cut_off


def ends_in_time(session: NodeSession, url: str) -> None:
    with pytest.raises(requests.ReadTimeout):
        session.post(url, data=b"x")


def test_a_drip_through_a_proxy_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with dripping() as (url, received, cut_off):
        monkeypatch.setenv("http_proxy", url)
        session = NodeSession(0.3)
        ends_in_time(session, "http://node.invalid/")
        wait_for(cut_off.is_set, what="the proxy to be left", seconds=10)
        assert received[0].startswith(b"POST http://node.invalid/ ")


def test_a_connection_that_is_made_after_the_time_limit_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    session = NodeSession(0.1)
    connect: Callable[[Any], socket.socket] = urllib3.connection.HTTPConnection._new_conn

    def connect_late(connection: Any) -> socket.socket:
        assert session._adapter.overdue.wait(10)
        return connect(connection)

    monkeypatch.setattr(urllib3.connection.HTTPConnection, "_new_conn", connect_late)
    with dripping() as (url, received, _):
        ends_in_time(session, url)
        wait_for(lambda: bool(received), what="the connection to be closed", seconds=10)
        assert received[0] == b"", "nothing was asked"


def test_after_a_request_that_was_broken_off_the_next_one_is_as_good_as_any() -> None:
    session = NodeSession(0.1)
    with dripping() as (url, _, cut_off):
        ends_in_time(session, url)
        wait_for(cut_off.is_set, what="the connection to be closed", seconds=10)
    assert session._adapter.overdue.is_set()
    session.time_limit = 10
    with pytest.raises(requests.ConnectionError):
        session.post(url, data=b"x")
    assert not session._adapter.overdue.is_set()
