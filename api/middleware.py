"""Around the application: a request's id, its line in the log, its metrics, and the end of it when its client hangs up.

Plain ASGI, before the framework, so that it sees what the framework refuses as well.
"""

import asyncio
import logging
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from random import getrandbits
from time import perf_counter
from typing import Any, Final

import msgspec
import structlog
from prometheus_client import Histogram

from api.client import Peers
from api.problems import Problem
from config.settings import ApiSettings

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Tell = Callable[[Mapping[str, Any]], None]
"""Says what came of a request."""

MAX_QUERY: Final = 4096  # bytes
PATIENCE: Final = 0.1  # seconds after which a request is slow, and its client is watched for hanging up
HUNG_UP: Final = 499  # told to the log alone: nobody is there to be answered
_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")

HEADERS: Final = (
    # Nothing that this API says may be kept by anyone but the client it was said to, nor be taken for a page.
    (b"cache-control", b"private, no-cache"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
)

SECONDS = Histogram("balance_sync_request_seconds", "How long requests took.", ["route", "status"])


class Middleware:
    """The ASGI application, observed. Only GET is served."""

    def __init__(self, app: Any, settings: ApiSettings) -> None:
        self._app = app
        self._access_log = access_log(settings)
        self._client_of = Peers(settings.trusted_proxies).client_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or let the application start and stop."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000, "reason": None})
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        told: dict[str, Any] = {}
        scope["told"] = told  # handlers add to it
        given = [value for name, value in scope["headers"] if name == b"x-request-id"]
        known = len(given) == 1 and _REQUEST_ID.fullmatch(given[0])
        request_id = given[0].decode() if known else f"{getrandbits(128):032x}"
        structlog.contextvars.bind_contextvars(request_id=request_id)
        reply = Reply(send, request_id)
        watch = Watch(receive)
        try:
            if problem := refused(scope):
                await problem.send(reply)
            else:
                await self._app(scope, receive, reply)
        except asyncio.CancelledError:
            if not watch.hung_up:
                raise
            reply.status, reply.bytes = HUNG_UP, 0
        finally:
            watch.end()
        seconds = perf_counter() - began
        route = scope.get("path_template") or None
        SECONDS.labels(route, reply.status).observe(seconds)
        peer = scope.get("client")
        self._access_log(
            {
                "client": self._client_of(peer[0] if peer else None, scope["headers"]),
                "method": scope["method"],
                "route": route,
                "status": reply.status,
                **told,
                "ms": round(seconds * 1000, 1),
                "bytes": reply.bytes,
                "request_id": request_id,
            }
        )


def refused(scope: Scope) -> Problem | None:
    """What is refused before anybody looks at it."""
    if scope["method"] != "GET":
        return Problem(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET is served.", headers={"Allow": "GET"})
    if len(scope["query_string"]) > MAX_QUERY:
        return Problem(HTTPStatus.REQUEST_URI_TOO_LONG, f"The query may have {MAX_QUERY} bytes.")
    return None


class Reply:
    """Sends the application's reply with the headers that each has, and notes what it was."""

    __slots__ = ("_request_id", "_send", "bytes", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._request_id = send, request_id.encode()
        self.status, self.bytes = 0, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *HEADERS, (b"x-request-id", self._request_id)]
        elif message["type"] == "http.response.body":
            self.bytes += len(message["body"])
        await self._send(message)


class Watch:
    """Cancels the task that made it, should the client hang up. Most requests are over before anybody looks."""

    __slots__ = ("_receive", "_request", "_timer", "_watcher", "hung_up")

    def __init__(self, receive: Receive) -> None:
        self.hung_up = False
        self._receive = receive
        self._request = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._begin)

    def _begin(self) -> None:
        self._watcher = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # a body, which a GET has no use for
        self.hung_up = True
        if self._request:
            self._request.cancel()

    def end(self) -> None:
        """The request is over."""
        self._timer.cancel()
        if self._watcher and not self.hung_up:
            self._watcher.cancel()


def access_log(settings: ApiSettings) -> Tell:
    """The log of requests as the settings want it. Above INFO there is none.

    As JSON its lines are made by msgspec and go to stderr at once: the way of all other events, through the standard
    library's records and handlers, would cost as much again as the query.
    """
    if logging.getLevelNamesMapping()[settings.log_level] > logging.INFO:
        return lambda _: None
    if settings.log_format != "json":
        return lambda fields: structlog.get_logger("api").info("request", **fields)
    logger = structlog.wrap_logger(
        structlog.BytesLogger(sys.stderr.buffer),
        processors=[structlog.processors.TimeStamper("iso", utc=True), lambda _, __, event: msgspec.json.encode(event)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind(level="info", logger="api")
    return lambda fields: logger.info("request", **fields)
