"""The ASGI application of operators: ``/metrics`` and probes for everybody on its port, and the page behind a token.

It is a process of its own, on a port that users never reach.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import structlog
from litestar import Litestar, Response, get
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.response.base import ASGIResponse
from prometheus_client import CONTENT_TYPE_LATEST

from config.logging import configure_logging
from config.ops_settings import OpsSettings, ops_settings
from ops import page
from ops.collector import Collector

log = structlog.get_logger(__name__)

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

TEXT = "text/plain"  # the framework adds the encoding
METRICS_TYPE = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")
HEADERS = {
    # The page has some of its own, which are stricter or allow it its own style and script.
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


@get("/metrics", include_in_schema=False)
async def metrics(state: State) -> ASGIResponse:
    """What Prometheus scrapes: made at the end of a pass, so that a scrape costs nothing."""
    return ASGIResponse(body=state.collector.metrics, media_type=METRICS_TYPE)


@get("/healthz", include_in_schema=False)
async def healthy() -> ASGIResponse:
    """It answers, so it lives."""
    return ASGIResponse(body=b"ok\n", media_type=TEXT)


@get("/readyz", include_in_schema=False)
async def ready(state: State) -> ASGIResponse:
    """Whether it has seen Postgres lately."""
    if wrong := state.collector.wrong():
        return ASGIResponse(body=f"{wrong}\n".encode(), media_type=TEXT, status_code=HTTPStatus.SERVICE_UNAVAILABLE)
    return ASGIResponse(body=b"ok\n", media_type=TEXT)


def told_by_status(_: object, error: HTTPException) -> Response[str]:
    """What the framework refuses: no such path, another method than GET."""
    return Response(f"{HTTPStatus(error.status_code).phrase}\n", status_code=error.status_code, media_type=TEXT)


def told_to_the_log(_: object, error: Exception) -> Response[str]:
    """Faults of ours: the log has them, the client nothing of them."""
    log.error("ops_request_failed", exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return Response(f"{status.phrase}\n", status_code=status, media_type=TEXT)


class Headers:
    """Around the application: every reply has the headers that it does not set itself."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        """Serve a request, or let the application start and stop."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                more = [(name, value) for name, value in HEADERS.items() if name not in own]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self.app(scope, receive, with_headers)


def create_app(settings: OpsSettings) -> Headers:
    """The application for these settings. Connects to nothing before it is started."""
    collector = Collector(settings)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        collector.start()
        try:
            yield
        finally:
            collector.close()

    app = Litestar(
        [metrics, healthy, ready, *page.routes],
        lifespan=[lifespan],
        state=State({"collector": collector, "settings": settings}),
        exception_handlers={HTTPException: told_by_status, Exception: told_to_the_log},
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    return Headers(app)


def __getattr__(name: str) -> Headers:
    """``ops.app:app``, made when it is asked for, so that importing this module needs no settings."""
    if name == "app":
        settings = ops_settings()
        configure_logging(settings.log_level, settings.log_format)
        globals()["app"] = made = create_app(settings)
        return made
    raise AttributeError(f"module 'ops.app' has no attribute {name!r}")
