"""The ASGI application: routes, and what each request passes through."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from time import perf_counter
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import openapi
from api.auth import Verifier, check_may_read
from api.balances import is_complete, reply
from api.parameters import Parameters, parameters_of, user_id_of
from api.problems import Problem, unavailable
from api.refresh import ClientLeft, Refresher
from api.waits import Pool
from config.logging import configure_logging
from config.settings import ApiSettings, api_settings
from db import SCHEMA_VERSION
from db.user_balances import SCHEMA_VERSION_APPLIED, USER_BALANCES, WalletRow

log = structlog.get_logger(__name__)

POOL_SIZE = 10
POOL_WAIT = 2.0  # seconds for which a request waits for a connection
STATEMENT_TIMEOUT = 2000  # milliseconds
DATABASE_SECONDS = 3.0  # for which a request waits for the database in all
HEADERS = {
    "Cache-Control": "private, no-cache",
    "X-Content-Type-Options": "nosniff",
}


class Endpoint:
    """The routes' handlers, over what one process shares."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._verifier = Verifier(settings)
        self._decimals: dict[Any, int] = {
            "ethereum": settings.ethereum_usdt_decimals,
            "tron": settings.tron_usdt_decimals,
        }
        self._intervals = {
            "patience": timedelta(seconds=settings.sync_interval_active),
            "deadline": timedelta(seconds=settings.refresh_deadline),
        }
        self._pool: Pool
        self._refresher: Refresher

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Open what the process shares. The database may be away: it is looked for until it is there."""
        self._pool = database_pool(self._settings)
        await self._pool.open(wait=False)
        self._refresher = Refresher(self._pool, self._settings)
        self._refresher.start()
        try:
            yield
        finally:
            await self._refresher.close()
            await self._pool.close()

    async def balances(self, request: Request) -> Response:
        """The contract's route."""
        caller = self._verifier.caller(request.headers.getlist("authorization"))
        user_id = user_id_of(request.path_params["user_id"])
        structlog.contextvars.bind_contextvars(subject=caller.subject, user=str(user_id))
        check_may_read(caller, user_id)
        parameters = parameters_of(request.query_params.multi_items())
        try:
            rows, asked_at = await self._read(user_id, parameters, request.receive)
        except (psycopg.OperationalError, PoolTimeout, TimeoutError) as error:
            log.warning("database_unavailable", error=type(error).__name__)
            raise unavailable() from error
        now = datetime.now(UTC)
        body = reply(user_id, rows, usdt_decimals=self._decimals, asked_at=asked_at, now=now)
        structlog.contextvars.bind_contextvars(wallets=len(rows), read=sum(not b.is_cached for b in body.balances))
        headers = {**HEADERS, "Balances-Complete": "true" if is_complete(rows) else "false"}
        return Response(msgspec.json.encode(body), headers=headers, media_type="application/json")

    async def _read(
        self, user_id: UUID, parameters: Parameters, receive: Receive
    ) -> tuple[list[WalletRow], datetime | None]:
        """The rows to show, and the moment of the request for a read, if there was one. If not, one statement."""
        rows = await self._rows(user_id, parameters)
        wanted = [row for row in rows if row.awaited or (parameters.refresh and not row.hopeless)]
        if wanted:
            asked_at = await self._refresher.read_now([row.wallet_id for row in wanted], receive)
            return await self._rows(user_id, parameters), asked_at
        if overdue := [row.wallet_id for row in rows if row.overdue]:
            self._refresher.ask_in_background(overdue)
        return rows, None

    async def _rows(self, user_id: UUID, parameters: Parameters) -> list[WalletRow]:
        values = {"user_id": user_id, "networks": list(parameters.networks), **self._intervals}
        # The server's own limit does not help when the server hangs.
        async with asyncio.timeout(DATABASE_SECONDS), self._pool.connection() as connection:
            found = await connection.execute(USER_BALANCES, values)
            return [WalletRow._make(row) for row in await found.fetchall()]

    async def ready(self, _: Request) -> Response:
        """Whether this process can serve: the database answers, and its schema is the one the code knows."""
        try:
            async with asyncio.timeout(DATABASE_SECONDS), self._pool.connection() as connection:
                row = await (await connection.execute(SCHEMA_VERSION_APPLIED)).fetchone()
        except (psycopg.Error, PoolTimeout, TimeoutError) as error:
            raise unavailable() from error
        if row != (SCHEMA_VERSION,):
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The schema is another version: run `alembic upgrade head`.")
        return Response(b'{"status":"ready"}', media_type="application/json")


def database_pool(settings: ApiSettings) -> Pool:
    """Connections that commit each statement by itself. Opens none yet."""
    url = settings.database_url.get_secret_value().replace("postgresql+psycopg://", "postgresql://", 1)
    return AsyncConnectionPool(
        url,
        min_size=1,
        max_size=POOL_SIZE,
        timeout=POOL_WAIT,
        open=False,
        kwargs={
            "autocommit": True,
            "connect_timeout": 2,
            "application_name": "balance-sync-api",
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT}",
        },
    )


async def healthy(_: Request) -> Response:
    """The process is alive; nothing else is asked."""
    return Response(b'{"status":"alive"}', media_type="application/json")


async def described(_: Request) -> Response:
    """The OpenAPI document."""
    return Response(openapi.document(), media_type="application/json")


async def on_problem(_: Request, problem: Exception) -> Response:
    """An error that this code named."""
    assert isinstance(problem, Problem)
    response = problem.response()
    response.headers.update(HEADERS)
    return response


async def on_http_exception(request: Request, error: Exception) -> Response:
    """An error that the router named: no such page, another method."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    return await on_problem(request, Problem(status, status.description or status.phrase, headers=error.headers))


async def on_client_left(_: Request, __: Exception) -> Response:
    """Nobody reads this answer; the number, which nginx made known, is for the log."""
    return Response(status_code=499)


async def on_bug(request: Request, _: Exception) -> Response:
    """Whatever else: the log has it, the client nothing of it."""
    return await on_problem(request, Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here."))


class AccessLog:
    """One line per request: what was asked, what came of it, how long it took; no balances, no token."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        structlog.contextvars.clear_contextvars()
        started, status = perf_counter(), 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            route = scope.get("route")
            log.info(
                "request",
                method=scope["method"],
                route=route.path if route else None,
                status=status,
                duration_ms=round((perf_counter() - started) * 1000, 1),
            )


def create_app(settings: ApiSettings) -> ASGIApp:
    """The application for these settings. Connects to nothing before it is started."""
    configure_logging(settings.log_level, settings.log_format)
    endpoint = Endpoint(settings)
    return AccessLog(
        Starlette(
            routes=[
                Route(openapi.ROUTE, endpoint.balances, methods=["GET"]),
                Route("/healthz", healthy),
                Route("/readyz", endpoint.ready),
                Route("/openapi.json", described),
            ],
            exception_handlers={
                Problem: on_problem,
                HTTPException: on_http_exception,
                ClientLeft: on_client_left,
                Exception: on_bug,
            },
            lifespan=endpoint.lifespan,
        )
    )


def __getattr__(name: str) -> ASGIApp:
    """``api.app:app``, made when it is asked for, so that importing this module needs no settings."""
    if name == "app":
        globals()["app"] = made = create_app(api_settings())
        return made
    raise AttributeError(f"module 'api.app' has no attribute {name!r}")
