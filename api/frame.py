"""The frame around the handlers, on bare ASGI: routes, errors, a request's id and its line in the log, hanging up.

A framework would cost as much as the route's query, and this is all of it that is needed here
(docs/decisions/0012-no-framework-no-cursor.md).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from random import getrandbits
from time import perf_counter
from typing import Any, NamedTuple

import structlog

from api.access_log import Tell
from api.problems import Problem
from api.replies import HEADERS, Reply

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]
Lifespan = Callable[[], AbstractAsyncContextManager[None]]
ClientOf = Callable[[str | None, Headers], str | None]
"""The client's address, out of the peer's and the request's headers (``api.client``)."""

log = structlog.get_logger(__name__)

MAX_QUERY = 4096  # bytes
PATIENCE = 0.1  # seconds after which a request is slow, and its client is watched for hanging up
HUNG_UP = 499  # told to the log alone: nobody is there to be answered
_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")


class Request:
    """A request, and what its line in the log is going to say."""

    __slots__ = ("headers", "id", "parameter", "query", "told")

    def __init__(self, scope: Scope, parameter: str) -> None:
        self.headers: Headers = scope["headers"]
        self.query: bytes = scope["query_string"]
        self.parameter = parameter
        self.told: dict[str, Any] = {}
        given = self.header(b"x-request-id")
        known = len(given) == 1 and _REQUEST_ID.fullmatch(given[0])
        self.id = given[0].decode() if known else f"{getrandbits(128):032x}"

    def header(self, name: bytes) -> list[bytes]:
        """Each value of a header, named in small letters."""
        return [value for found, value in self.headers if found == name]


Handler = Callable[[Request], Awaitable[Reply]]


class Route(NamedTuple):
    """A path and who answers it. A path that ends in a parameter takes whatever follows, to be checked."""

    path: str
    handler: Handler

    @property
    def prefix(self) -> str | None:
        """What comes before the parameter, if there is one."""
        before, brace, _ = self.path.partition("{")
        return before if brace else None


def _peer(peer: str | None, _: Headers) -> str | None:
    return peer


class Frame:
    """The ASGI application over some routes. Only GET is served."""

    def __init__(
        self, routes: Sequence[Route], lifespan: Lifespan, access_log: Tell, client_of: ClientOf = _peer
    ) -> None:
        self._fixed = {route.path: route for route in routes if route.prefix is None}
        self._open = [(route.prefix, route) for route in routes if route.prefix is not None]
        self._lifespan, self._access_log, self._client_of = lifespan, access_log, client_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        route, parameter = self._route(scope)
        request = Request(scope, parameter)
        structlog.contextvars.bind_contextvars(request_id=request.id)
        reply: Reply | None = None
        watch = Watch(receive)
        try:
            reply = await _answer(scope["method"], route, request)
        except asyncio.CancelledError:
            if not watch.hung_up:
                raise
        finally:
            watch.end()
        if reply:
            await _send(reply, request.id, send)
        self._tell(scope, route, request, reply, perf_counter() - began)

    def _route(self, scope: Scope) -> tuple[Route | None, str]:
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        for prefix, route in self._open:
            if path.startswith(prefix):
                return route, path[len(prefix) :]
        return self._fixed.get(path), ""

    def _tell(self, scope: Scope, route: Route | None, request: Request, reply: Reply | None, seconds: float) -> None:
        peer = scope.get("client")
        self._access_log(
            {
                "client": self._client_of(peer[0] if peer else None, request.headers),
                "method": scope["method"],
                "route": route.path if route else None,
                "status": reply.status if reply else HUNG_UP,
                **request.told,
                "ms": round(seconds * 1000, 1),
                "bytes": len(reply.body) if reply else 0,
                "request_id": request.id,
            }
        )

    async def _live(self, receive: Receive, send: Send) -> None:
        """Start and stop with the server."""
        await receive()
        started = False
        try:
            async with self._lifespan():
                started = True
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception:
            log.exception("shutdown_failed" if started else "startup_failed")
            await send({"type": "lifespan.shutdown.failed" if started else "lifespan.startup.failed"})
        else:
            await send({"type": "lifespan.shutdown.complete"})


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


async def _answer(method: str, route: Route | None, request: Request) -> Reply:
    if route is None:
        return Problem(HTTPStatus.NOT_FOUND, "There is nothing here.").reply()
    if method != "GET":
        return Problem(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET is served.", headers={"Allow": "GET"}).reply()
    if len(request.query) > MAX_QUERY:
        return Problem(HTTPStatus.REQUEST_URI_TOO_LONG, f"The query may have {MAX_QUERY} bytes.").reply()
    try:
        return await route.handler(request)
    except Problem as problem:
        if problem.reason:
            request.told["reason"] = problem.reason
        return problem.reply()
    except Exception:
        # The log has it, the client nothing of it.
        log.exception("request_failed")
        return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here.").reply()


async def _send(reply: Reply, request_id: str, send: Send) -> None:
    headers = [*HEADERS, *reply.headers, (b"x-request-id", request_id.encode())]
    if reply.status != HTTPStatus.NOT_MODIFIED:
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
