"""How a provider's published keys (JWKS) are fetched: one request, within a bound of time and of bytes. I/O.

What comes in is the address of the settings; what goes out is the JSON that stands there. ``config.keys`` knows what in
it may be believed.
"""

import http.client
import json
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Timer
from time import monotonic
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from config.proxies import pythons_context

FETCH_SECONDS = 5.0  # for which a provider may take to give its keys, from the first connection to the last byte
MAX_SET_BYTES = 1 << 20  # of a published set of keys; a large provider's has some tens of kB

NOT_FETCHED = (OSError, ValueError, http.client.HTTPException, zlib.error)
"""What a fetch raises when a provider is out of reach, or answers something else."""

HEADERS = {"User-Agent": "balance-sync", "Accept": "application/json", "Accept-Encoding": "identity"}
"""Firewalls before providers refuse Python's own name."""


class Provider:
    """The address where a provider publishes its keys (JWKS)."""

    def __init__(self, url: str) -> None:
        self._url = url

    def fetch_data(self) -> Any:
        """What is published there now. I/O; raises NOT_FETCHED, a TimeoutError after FETCH_SECONDS among them.

        The time that the system's resolver takes for the host's name comes on top: nothing here can break it off.
        """
        # The settings allow no other scheme than http and https.
        asked = Request(self._url, headers=HEADERS)  # noqa: S310
        deadline = _Deadline()
        opener = build_opener(_NoRedirects, _Http(deadline), _Https(deadline))
        with deadline.of(FETCH_SECONDS):
            try:
                with opener.open(asked, timeout=FETCH_SECONDS) as reply:
                    published = _body(reply)
            except HTTPError as error:
                error.close()
                raise
        return json.loads(published)


def why_not(error: Exception) -> str:
    """Why keys were not fetched, for logs: the provider's status, or the kind of error. Nothing of the address."""
    if isinstance(error, HTTPError):
        return f"HTTP {error.code}"
    inner = error.reason if isinstance(error, URLError) else error
    return type(inner if isinstance(inner, Exception) else error).__name__


def _body(reply: Any) -> bytes:
    published: bytes = reply.read(MAX_SET_BYTES + 1)
    if reply.headers.get("Content-Encoding", "").lower() in {"gzip", "x-gzip"}:  # from whom compresses unasked
        published = zlib.decompressobj(wbits=31).decompress(published, MAX_SET_BYTES + 1)
    if len(published) > MAX_SET_BYTES:
        raise ValueError("too large for a set of keys")
    return published


class _Deadline:
    """Ends the connections that it is told of when the time is over.

    A time-out of a socket's is one of silence: whoever sends a byte now and then would hold a fetch for ever.
    """

    def __init__(self) -> None:
        self._opened: list[socket.socket] = []
        self._over = Event()
        self._until = 0.0

    @contextmanager
    def of(self, seconds: float) -> Iterator[None]:
        """The block's own end. Raises TimeoutError where that came too late, whatever the block has made of it."""
        self._until = monotonic() + seconds
        timer = Timer(seconds, self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except NOT_FETCHED as error:
            raise TimeoutError("no whole answer in time") if self._over.is_set() else error from None
        finally:
            timer.cancel()
            for each in self._opened:
                each.close()
        if self._over.is_set():  # what came until then may look whole
            raise TimeoutError("no whole answer in time")

    def _end(self) -> None:
        self._over.set()
        for each in self._opened:
            with suppress(OSError):  # it is closed already
                each.shutdown(socket.SHUT_RDWR)

    def noting(self, connection: Any) -> Any:
        """A connection of urllib's that tells of its socket as soon as that is open.

        It is a second descriptor of it: TLS takes the first one over, before its handshake, which may hang too.
        """
        connect = connection._create_connection  # noqa: SLF001  there is no public place for it

        def connect_and_note(address: tuple[str, int], silence: float, *more: Any) -> socket.socket:
            made = self._connected(connect, address, *more)
            made.settimeout(silence)
            self._opened.append(made.dup())
            if self._over.is_set():
                made.close()
                raise TimeoutError("no connection in time")
            return made

        connection._create_connection = connect_and_note  # noqa: SLF001
        return connection

    def _connected(self, connect: Callable[..., socket.socket], address: tuple[str, int], *more: Any) -> socket.socket:
        """A connection to the first of a host's addresses that takes one. Each may take an equal part of what is left.

        Python's own way gives each of them the whole time. Raises OSError.
        """
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        refused: OSError = TimeoutError("no connection in time")
        for tried, (*_, at) in enumerate(found):
            left = self._until - monotonic()
            if left <= 0:
                break
            try:
                return connect(at[:2], left / (len(found) - tried), *more)
            except OSError as error:
                refused = error
        raise refused


class _Http(HTTPHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: Request) -> Any:
        def connection(*args: Any, **more: Any) -> Any:
            return self._deadline.noting(http.client.HTTPConnection(*args, **more))

        return self.do_open(connection, req)


class _Https(HTTPSHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def https_open(self, req: Request) -> Any:
        context = pythons_context()

        def connection(*args: Any, **more: Any) -> Any:
            return self._deadline.noting(http.client.HTTPSConnection(*args, context=context, **more))

        return self.do_open(connection, req)


class _NoRedirects(HTTPRedirectHandler):
    """The settings say whose keys are believed, and not whoever is named there."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None
