"""What both chains' transports share: a session with bounds, and foreign failures in this project's words."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from hashlib import sha256
from socket import SHUT_RDWR, socket
from threading import Event, Timer
from time import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from weakref import WeakSet

import requests
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool

from config.values import overheard
from worker.errors import (
    BadReply,
    ReadFailed,
    Refused,
    Throttled,
    TooMuch,
    Unauthorized,
    Unavailable,
    Unreachable,
    Unsupported,
)

CONNECT_TIMEOUT = 5.0  # seconds
MAX_REPLY = 16 * 2**20  # bytes, decompressed; the largest that is asked for is a fifth of that
MIN_SECRET = 6  # characters; a shorter part of a URL is a version or a network's name

RECURSION_LIMIT = 1000  # Python's own


def keep_recursion_limit() -> None:
    """Undo what web3 and tronpy do when they are loaded, to be called after that.

    py_ecc, of which they make use elsewhere, raises Python's limit a hundredfold: deeply nested JSON from a node would
    then not be an error but the end of the process.
    """
    sys.setrecursionlimit(RECURSION_LIMIT)


# Where the status alone tells. 403 is throttling at TronGrid and behind some firewalls, 402 a quota that is used up.
STATUSES: dict[int, type[ReadFailed]] = {
    401: Unauthorized,
    402: Throttled,
    403: Throttled,
    404: Unsupported,
    405: Unsupported,
    413: TooMuch,
    429: Throttled,
    501: Unsupported,
}

# Where what the body says does not count: a message about the limit may speak of anything.
BY_STATUS_ALONE = {401, 402, 413, 429}

BACKOFF = re.compile(r'"backoff_seconds"\s*:\s*([0-9]+(?:\.[0-9]+)?)', re.ASCII)  # Infura's


class Oversized(requests.RequestException):
    """A reply of more than MAX_REPLY bytes."""


class Adapter(HTTPAdapter):
    """Keeps hold of the sockets that it opens, so that a request can be broken off at its deadline."""

    def __init__(self) -> None:
        self.sockets: WeakSet[socket] = WeakSet()
        self.overdue = Event()  # set at the deadline of the request that is under way
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._keep_sockets_of(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs)
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
            if self.overdue.is_set():  # it was set while there was nothing to break off
                self.break_off()

        kept = type(base.__name__, (base,), {"connect": connect})
        return type(pool.__name__, (pool,), {"ConnectionCls": kept})

    def break_off(self) -> None:
        """End what is being read or written. From another thread."""
        for opened in list(self.sockets):
            try:
                opened.shutdown(SHUT_RDWR)
            except OSError:  # it is closed already
                continue


class NodeSession(requests.Session):
    """A session for one node: its connection is kept alive, a request has a deadline and a reply a bound.

    Follows no redirect: a node that redirects is set up wrongly, and a key must not travel to another host. Opens its
    connection at first use, so it may be made before a fork, but not used. Not for several threads. Proxies and
    certificates are those that the environment names; .netrc is not read.
    """

    def __init__(self, time_limit: float, key_header: str = "") -> None:
        super().__init__()
        self.time_limit = time_limit
        """Seconds that a request may take from its start to the last byte of its reply."""
        self._key_header = key_header
        self.permit: Callable[[], None] = lambda: None
        """Called before each request; raises to prevent it."""
        self._adapter = Adapter()
        self.mount("http://", self._adapter)
        self.mount("https://", self._adapter)

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
        kwargs |= {
            "stream": True,
            "allow_redirects": False,
            "timeout": (min(CONNECT_TIMEOUT, self.time_limit), self.time_limit),
        }
        # A time-out of requests is one of silence: a byte now and then would hold a worker for ever.
        overdue = self._adapter.overdue = Event()

        def break_off() -> None:
            overdue.set()
            self._adapter.break_off()

        deadline = Timer(self.time_limit, break_off)
        deadline.daemon = True
        deadline.start()
        try:
            response = super().send(request, **kwargs)
            response._content = _body(response)  # noqa: SLF001  what requests does itself when it does not stream
        except requests.RequestException:
            if not overdue.is_set():
                raise
        finally:
            deadline.cancel()
        if overdue.is_set():  # what was broken off may look like a short reply
            raise requests.ReadTimeout(request=request)
        if response.is_redirect:
            raise requests.TooManyRedirects(response=response)
        if response.status_code != requests.codes.ok:  # requests itself takes all below 400 for good
            raise requests.HTTPError(response=response)
        return response


def _body(response: Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(2**16):
        body += chunk
        if len(body) > MAX_REPLY:
            response.close()
            raise Oversized(response=response)
    return bytes(body)


@dataclass(frozen=True, slots=True)
class Words:
    """What a node says where only its words tell. A number in the pattern's group is how many seconds to wait."""

    pattern: re.Pattern[str]
    kind: type[ReadFailed]
    example: str
    """As a node said it."""


def words(pattern: str, kind: type[ReadFailed], example: str) -> Words:
    return Words(re.compile(pattern, re.IGNORECASE), kind, example)


def by_words(text: str, known: Iterable[Words], detail: str) -> ReadFailed | None:
    """The failure that the first fitting pattern stands for."""
    for each in known:
        if found := each.pattern.search(text):
            wait = float(found[1]) if found.groups() else None
            return each.kind(detail, retry_after=wait)
    return None


def endpoint_name(url: str) -> str:
    """Host and port: enough to know an endpoint by, and no secret."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def takes_keys(url: str, hosts: Iterable[str]) -> bool:
    """Whether a URL is of one of `hosts` or below one: only there may an API key be sent, and never in the clear."""
    name = "" if overheard(url) else urlsplit(url).hostname or ""
    return any(name == host.lower() or name.endswith("." + host.lower().lstrip(".")) for host in hosts)


def digest(secret: str) -> str:
    """A name for something secret, the same in every process, that does not give it away."""
    return sha256(secret.encode()).hexdigest()[:16]


def secrets_in(url: str) -> tuple[str, ...]:
    """The parts of a node's URL that may be its key: user, password, path segments, values of the query."""
    parts = urlsplit(url)
    values = [parts.username, parts.password, *parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    return tuple(value for value in values if value and len(value) >= MIN_SECRET)


@contextmanager
def translated(known: Sequence[Words]) -> Iterator[None]:
    """Turn what requests and a JSON decoder raise into errors of this project.

    requests' own messages are left out and not chained: they quote the whole URL.
    """
    try:
        yield
    except requests.HTTPError as error:
        raise _for_status(error.response, known) from None
    except requests.Timeout:
        raise Unreachable("no answer in time") from None
    except requests.TooManyRedirects:
        raise Refused("a redirect, which is not followed") from None
    except Oversized:
        raise BadReply(f"a reply of more than {MAX_REPLY} bytes") from None
    except requests.exceptions.ContentDecodingError:
        raise BadReply("a compressed reply that cannot be read") from None
    except (ValueError, RecursionError) as error:  # every JSON decoder's error is one; or it is nested too deeply
        raise BadReply(f"not JSON ({type(error).__name__})") from None
    except (requests.RequestException, OSError) as error:
        raise Unreachable(type(error).__name__) from None


def _for_status(response: Response, known: Sequence[Words]) -> ReadFailed:
    """By the status first. Words tell more only of 403, other 4xx and 5xx, where several things have one status."""
    status, detail = response.status_code, f"HTTP {response.status_code}"
    # Not `response.text`: it would guess the encoding of megabytes, character by character.
    text = response.content[:4096].decode(errors="replace")
    told = by_words(text, known, detail)
    wait = told.retry_after if told else None
    if wait is None:
        wait = _wait_in(text, response.headers.get("Retry-After", ""))
    kind = STATUSES.get(status, Unavailable if status >= 500 else Refused)  # noqa: PLR2004  RFC 9110 §15.6
    if told and status not in BY_STATUS_ALONE and (wait is None or not isinstance(told, TooMuch)):
        kind = type(told)
    elif kind is Unavailable and wait is not None:
        # Whoever says when to come back wants to be left alone until then, be the status 429 or 503.
        kind = Throttled
    return kind(detail, retry_after=wait)


def _wait_in(text: str, header: str) -> float | None:
    """The seconds that a body, or else a Retry-After, asks for."""
    if found := BACKOFF.search(text):
        return float(found[1])
    if header.isdecimal():
        return float(header)
    try:
        seconds = parsedate_to_datetime(header).timestamp() - time()
    except ValueError:
        return None
    return seconds if seconds > 0 else None
