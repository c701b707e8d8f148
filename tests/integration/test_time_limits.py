"""A request ends at its time limit, whatever its connection is doing then and wherever it leads."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread, Timer
from typing import Any

import pytest
import requests
import urllib3.connection

from devstack.servers import CAP, wait_for
from worker.chains import http
from worker.chains.http import NodeSession

Received = list[bytes]


@contextmanager
def dripping(asked: Event | None = None) -> Iterator[tuple[str, Received, Event]]:
    """A server of one connection that answers a byte at a time: its URL, what it received, and that it was cut off."""
    received, cut_off = Received(), Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            received.append(connection.recv(2**16))
            if asked:
                asked.set()
            connection.settimeout(0.05)
            while True:
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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Event:
    """Set when the request has come to the server: only then the time limit begins, however slow the machine is."""
    came = Event()

    class Begun(Timer):
        def run(self) -> None:
            came.wait(CAP)
            super().run()

    monkeypatch.setattr(http, "Timer", Begun)
    return came


def ends_in_time(session: NodeSession, url: str) -> None:
    with pytest.raises(requests.ReadTimeout):
        session.post(url, data=b"x")


def test_a_drip_through_a_proxy_is_broken_off(monkeypatch: pytest.MonkeyPatch, asked: Event) -> None:
    with dripping(asked) as (url, received, cut_off):
        monkeypatch.setenv("http_proxy", url)
        session = NodeSession(0.3)
        ends_in_time(session, "http://node.invalid/")
        wait_for(cut_off.is_set, what="the proxy to be left")
        assert received[0].startswith(b"POST http://node.invalid/ ")


def test_a_connection_that_is_made_after_the_time_limit_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    session = NodeSession(0.1)
    connect: Callable[[Any], socket.socket] = urllib3.connection.HTTPConnection._new_conn

    def connect_late(connection: Any) -> socket.socket:
        assert session._adapter.overdue.wait(CAP)
        return connect(connection)

    monkeypatch.setattr(urllib3.connection.HTTPConnection, "_new_conn", connect_late)
    with dripping() as (url, received, _):
        ends_in_time(session, url)
        wait_for(lambda: bool(received), what="the connection to be closed")
        assert received[0] == b"", "nothing was asked"


def test_after_a_request_that_was_broken_off_the_next_one_is_as_good_as_any() -> None:
    session = NodeSession(0.1)
    with dripping() as (url, _, cut_off):
        ends_in_time(session, url)
        wait_for(cut_off.is_set, what="the connection to be closed")
    assert session._adapter.overdue.is_set()
    session.time_limit = CAP
    with pytest.raises(requests.ConnectionError):
        session.post(url, data=b"x")
    assert not session._adapter.overdue.is_set()
