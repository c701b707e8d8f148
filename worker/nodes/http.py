"""The HTTP of both chains' transports: a session for one node, each of whose requests ends in time."""

import logging
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from socket import SHUT_RDWR, socket
from threading import Event, Thread
from time import monotonic
from typing import Any
from weakref import WeakSet

import requests
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3.util.ssl_ import create_urllib3_context

from config.proxies import OF_PYTHON, authorities, trust_also

CONNECT_TIMEOUT = 5.0  # seconds
MAX_REPLY = 16 * 2**20  # bytes, decompressed; the largest that is asked for is a fifth of that
UNKNOWN_PACE = 0.1  # seconds
MOST_ABANDONED = 8  # requests of a node that were given up and still hang, in a name's resolution for instance

RECURSION_LIMIT = 1000  # Python's own

QUOTE_URLS = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry", "web3.providers.HTTPProvider")
"""The loggers of libraries that put whole URLs into their lines, and a node's URL may hold its key."""


def keep_recursion_limit() -> None:
    """Undo what web3 and tronpy do when they are loaded, to be called after that.

    py_ecc, of which they make use elsewhere, raises Python's limit a hundredfold: deeply nested JSON from a node would
    then not be an error but the end of the process.
    """
    sys.setrecursionlimit(RECURSION_LIMIT)


def without_values(record: logging.LogRecord) -> bool:
    """Keep a library's line, without the values in it and without its traceback."""
    if isinstance(record.args, tuple):
        record.args = tuple("…" if isinstance(value, str | BaseException) else value for value in record.args)
    elif record.args:
        record.args = dict.fromkeys(record.args, "…")
    record.exc_info = record.exc_text = None
    return True


for _name in QUOTE_URLS:
    logging.getLogger(_name).addFilter(without_values)


class Oversized(requests.RequestException):
    """A reply of more than MAX_REPLY bytes."""


class Adapter(HTTPAdapter):
    """Keeps hold of the sockets that it opens, so that what it is doing can be broken off, for good."""

    def __init__(self) -> None:
        self.sockets: WeakSet[socket] = WeakSet()
        self.ended = Event()
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs | _also_trusted())
        self._keep_sockets_of(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs | _also_trusted(proxy))
        if new:
            self._keep_sockets_of(manager)
        return manager

    def _keep_sockets_of(self, manager: Any) -> None:
        of = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {scheme: self._keeping(pool) for scheme, pool in of.items()}

    def _keeping(self, pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
        base = pool.ConnectionCls

        def connect(connection: Any) -> None:
            base.connect(connection)
            self.sockets.add(connection.sock)
            if self.ended.is_set():  # while it was being made: nothing may be asked any more
                self.break_off()

        kept = type(base.__name__, (base,), {"connect": connect})
        return type(pool.__name__, (pool,), {"ConnectionCls": kept})

    def break_off(self) -> None:
        """End what is being read or written, and whatever is begun later. From another thread."""
        self.ended.set()
        for opened in list(self.sockets):
            try:
                opened.shutdown(SHUT_RDWR)
            except OSError:  # it is closed already
                continue


class NodeSession(requests.Session):
    """A session for one node: its connection is kept alive, a request has a deadline and a reply a bound.

    Follows no redirect and keeps no cookie: a node that redirects is set up wrongly, and a key must not travel to
    another host. Opens its connection at first use, so it may be made before a fork, but not used. Not for several
    threads. Proxies and certificates are those that the environment names; .netrc is not read.
    """

    def __init__(self, time_limit: float, key_header: str = "") -> None:
        super().__init__()
        self.time_limit = time_limit
        """Seconds that a request may take from its start to the last byte of its reply."""
        self.pace = UNKNOWN_PACE
        """Seconds in which a request is usually answered, and a half more."""
        self._key_header = key_header
        self.permit: Callable[[], None] = lambda: None
        """Called before each request; raises to prevent it."""
        self._abandoned: list[Thread] = []
        self._begin_anew()

    def _begin_anew(self) -> None:
        adapter = Adapter()
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def use(self, key: str | None) -> None:
        """Send this key with the requests that follow, or none."""
        self.headers.pop(self._key_header, None)
        if key is not None:
            self.headers[self._key_header] = key

    def prepare_request(self, request: requests.Request) -> PreparedRequest:
        self.trust_env = False  # here that is .netrc: a node's credentials are those in its URL
        try:
            return super().prepare_request(request)
        finally:
            self.trust_env = True

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        self.permit()
        response = self._answered(request, kwargs)
        if response.is_redirect:
            raise requests.TooManyRedirects(response=response)
        if response.status_code != requests.codes.ok:  # requests itself takes all below 400 for good
            raise requests.HTTPError(response=response)
        return response

    def _answered(self, request: PreparedRequest, kwargs: Mapping[str, Any]) -> Response:
        """The reply with its whole body, within the time limit, whatever the request hangs in.

        A time-out of requests is one of silence, and there is none for the resolution of a name. So the request has a
        thread, which is left to itself when the time is over; what it may still do is broken off, and the next request
        begins with connections of its own.
        """
        self._abandoned = [thread for thread in self._abandoned if thread.is_alive()]
        if len(self._abandoned) >= MOST_ABANDONED:
            raise requests.ReadTimeout(request=request)
        adapter = self.get_adapter(url=request.url or "")
        options: dict[str, Any] = {name: kwargs[name] for name in ("verify", "cert", "proxies") if name in kwargs}
        options |= {"stream": True, "timeout": (min(CONNECT_TIMEOUT, self.time_limit), self.time_limit)}
        answer: Future[Response] = Future()

        def ask() -> None:
            try:
                response = adapter.send(request, **options)
                response._content = _body(response)  # noqa: SLF001  what requests does itself when it does not stream
                answer.set_result(response)
            except BaseException as error:  # noqa: BLE001  raised where the answer is waited for
                answer.set_exception(error)

        thread, began = Thread(target=ask, daemon=True), monotonic()
        try:
            thread.start()
        except RuntimeError:  # this machine has no more threads: that is no endpoint's reply
            raise requests.ConnectionError(request=request) from None
        try:
            response = answer.result(self.time_limit)
            self.pace += (1.5 * (monotonic() - began) - self.pace) / 4
            return response
        except TimeoutError:
            raise requests.ReadTimeout(request=request) from None
        finally:  # whatever ended the wait
            if not answer.done():
                self._abandoned.append(thread)
                if isinstance(adapter, Adapter):
                    adapter.break_off()
                    self._begin_anew()


def _also_trusted(proxy: str = "") -> dict[str, Any]:
    """What makes urllib3 trust those of SSL_CERT_FILE too. requests adds whom it trusts by itself to each connection.

    A file that is gone since the start adds nobody.
    """
    options: dict[str, Any] = {}
    if path := authorities(OF_PYTHON):
        with suppress(OSError):
            options["ssl_context"] = trust_also(create_urllib3_context(), path)
            if proxy.lower().startswith("https"):  # which is spoken to over TLS itself
                options["proxy_ssl_context"] = trust_also(create_urllib3_context(), path)
    return options


def _body(response: Response) -> bytes:
    body = bytearray()
    if response.is_redirect:  # which is not followed, and says no more than that
        response.close()
        return b""
    for chunk in response.iter_content(2**16):
        body += chunk
        if len(body) > MAX_REPLY:
            response.close()
            raise Oversized(response=response)
    return bytes(body)
