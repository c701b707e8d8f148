"""A request ends at its time limit, whatever it is doing then and wherever it leads, and the next one is its own."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from threading import Event, Thread
from time import monotonic
from typing import Any

import pytest
import requests
import urllib3.connection

from devstack.servers import CAP, wait_for
from worker.nodes.http import MOST_ABANDONED, Adapter, NodeSession

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


def ends_in_time(session: NodeSession, url: str) -> None:
    with pytest.raises(requests.ReadTimeout):
        session.post(url, data=b"x")


def test_a_drip_through_a_proxy_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with dripping() as (url, received, cut_off):
        monkeypatch.setenv("http_proxy", url)
        session = NodeSession(2)
        ends_in_time(session, "http://node.invalid/")
        wait_for(cut_off.is_set, what="the proxy to be left")
        assert received[0].startswith(b"POST http://node.invalid/ ")


def test_a_name_that_is_not_resolved_in_time_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved, resolve = Event(), socket.getaddrinfo

    def hang(host: Any, *more: Any, **others: Any) -> Any:
        if host == "slow.invalid":
            assert resolved.wait(CAP)
            host = "127.0.0.1"
        return resolve(host, *more, **others)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with dripping() as (url, received, _):
        session, port = NodeSession(0.2), url.rpartition(":")[2]
        for _ in range(MOST_ABANDONED + 3):
            ends_in_time(session, f"http://slow.invalid:{port}/")
        assert len(session._abandoned) == MOST_ABANDONED, "no more threads than that"
        resolved.set()
        wait_for(lambda: not any(thread.is_alive() for thread in session._abandoned), what="the threads to end")
        assert not any(received), "what was given up is not asked later"


def test_a_connection_that_is_made_after_the_time_limit_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    session, given_up = NodeSession(0.1), Event()
    connect: Callable[[Any], socket.socket] = urllib3.connection.HTTPConnection._new_conn

    def connect_late(connection: Any) -> socket.socket:
        assert given_up.wait(CAP)
        return connect(connection)

    monkeypatch.setattr(urllib3.connection.HTTPConnection, "_new_conn", connect_late)
    with dripping() as (url, received, _):
        ends_in_time(session, url)
        given_up.set()
        wait_for(lambda: bool(received), what="the connection to be closed")
        assert received[0] == b"", "nothing was asked"


def test_what_is_given_up_late_breaks_off_no_other_request() -> None:
    """The connection of the request before is what may be shut down, and the next request has another."""
    session = NodeSession(0.3)
    with dripping() as (url, _, cut_off):
        before = session.get_adapter("http://")
        assert isinstance(before, Adapter)
        ends_in_time(session, url)
        wait_for(cut_off.is_set, what="the connection to be closed")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        session.time_limit = CAP
        answered = Event()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(2**16)
                before.break_off()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                answered.wait(CAP)

        server = Thread(target=answer, daemon=True)
        server.start()
        assert session.post(f"http://127.0.0.1:{listener.getsockname()[1]}", data=b"x").content == b"{}"
        answered.set()


def test_whoever_waits_is_interrupted_at_once_and_the_request_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a task's soft limit is: an exception in the thread that waits."""
    session = NodeSession(CAP)
    with dripping() as (url, received, cut_off):

        def interrupted(_seconds: float) -> None:
            wait_for(lambda: bool(received), what="the request to be on its way")
            raise KeyboardInterrupt

        monkeypatch.setattr("worker.nodes.http.Future.result", lambda _self, seconds: interrupted(seconds))
        began = monotonic()
        with pytest.raises(KeyboardInterrupt):
            session.post(url, data=b"x")
        wait_for(cut_off.is_set, what="the connection to be closed")
        assert monotonic() - began < CAP
