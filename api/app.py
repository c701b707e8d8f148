"""The ASGI application: its routes, what their handlers share, and how it is made."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID
from zlib import crc32

import msgspec
from litestar import Litestar, Request, get
from litestar.exceptions import HTTPException, ValidationException
from litestar.response.base import ASGIResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api import openapi
from api.auth import Verifier, check_may_read
from api.balances import is_complete, reply, reply_in_full
from api.conditional import Tagger
from api.database import Database
from api.first_look import look
from api.middleware import Middleware
from api.parameters import (
    Detail,
    IncludePending,
    Networks,
    Parameters,
    Refresh,
    UserId,
    check,
    networks_of,
    told_by_parameter,
    user_id_of,
)
from api.problems import Problem, told_by_status, told_in_full, told_of, told_to_the_log, unavailable
from api.readiness import Readiness
from api.reading import Found, Reading
from api.refresh import Refresher
from config.logging import configure_logging, escaped
from config.networks import NetworkName
from config.settings import ApiSettings, api_settings

ROWS_AT_ONCE: Final = 1000  # the reply of more, some ms of work, is built beside the event loop
METRICS_TYPE: Final = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")  # which the framework adds
MAX_SUBJECT: Final = 128  # characters of it that the log has


class Endpoint:
    """What the handlers of one process share."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._verifier = Verifier(settings)
        # Two of each: at 0 for a request without detail, at 1 for one with ``detail=full``.
        self._replies = (reply, reply_in_full)
        self._taggers = tuple(Tagger(form(settings), detail=detail) for detail in (False, True))
        self._reading: Reading
        self.readiness: Readiness
        # One: big replies wait for each other, and small ones share the processor with no more than one of them.
        self._thread = ThreadPoolExecutor(1, "replies")

    @asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        """Open what the process shares. The database may be away: it is looked for until it is there."""
        database = Database(self._settings)
        await database.open()
        refresher = Refresher(database, self._settings)
        refresher.start()
        self._reading = Reading(self._settings, database, refresher)
        self.readiness = Readiness(self._reading.schema_version)
        self._verifier.look_for_keys()
        looking = asyncio.create_task(look(database))
        try:
            yield
        finally:
            looking.cancel()
            await refresher.close()
            await database.close()
            self._thread.shutdown(wait=False)

    async def check_caller(self, request: Request[Any, Any, Any]) -> None:
        """What comes before a handler: the caller may read this user. Raises Problem: 401, 403, 422 for the id, 503.

        As one of Litestar's guards it would cost a tenth of the request: those get a copy of the handler each time.
        """
        told = told_of(request.scope)
        caller = await self._verifier.caller(_headers(request.scope, b"authorization"))
        told["subject"] = _for_the_log(caller.subject)
        user_id = user_id_of(request.path_params["user_id"])
        told["user"] = str(user_id)
        check_may_read(caller, user_id)
        if caller.admin and not caller.is_user(user_id):
            told["admin"] = True

    async def balances(self, scope: Any, user_id: UUID, parameters: Parameters) -> ASGIResponse:
        """What the contract's route answers, once all is checked."""
        told = told_of(scope)
        tagger = self._taggers[parameters.in_full]
        copies = None if parameters.refresh else tagger.copies(_headers(scope, b"if-none-match"))
        found = await self._reading.read(user_id, parameters, copies, told)
        headers = {"etag": tagger.header(found.tag)}
        if copies and copies.include(found.tag):
            return ASGIResponse(headers=headers, status_code=HTTPStatus.NOT_MODIFIED)
        headers["balances-complete"] = "true" if is_complete(found.rows) else "false"
        if found.beyond:
            told["refresh_limited"] = headers["refresh-limited"] = found.beyond
        if out := sorted({row.network for row in found.rows if row.out_since}):
            headers["networks-out"] = ", ".join(out)
        if len(found.rows) > ROWS_AT_ONCE:
            thread = asyncio.get_running_loop().run_in_executor
            body, refreshed = await thread(self._thread, self._built, user_id, found, parameters.in_full)
        else:
            body, refreshed = self._built(user_id, found, parameters.in_full)
        told.update(wallets=len(found.rows), refreshed=refreshed)
        return ASGIResponse(body=body, headers=headers)

    def _built(self, user_id: UUID, found: Found, detail: bool) -> tuple[bytes, int]:
        """The reply as JSON, and how many of its wallets were read for this request. Its time grows with the rows."""
        body = self._replies[detail](user_id, found.rows, asked_at=found.asked_at, now=datetime.now(UTC))
        return msgspec.json.encode(body), sum(not shown.is_cached for shown in body.balances)


def form(settings: ApiSettings) -> int:
    """A number for what the settings do to the reply, beside the rows: the decimals that no worker has registered."""
    decimals = [
        (name, settings.usdt_decimals(name), settings.native_decimals(name)) for name in settings.known_networks
    ]
    return crc32(repr(decimals).encode())


def _headers(scope: Any, name: bytes) -> list[bytes]:
    return [value for found, value in scope["headers"] if found == name]


def _for_the_log(subject: str) -> str:
    """A subject is whatever its token's maker put there: of any length, and of characters that no encoding has."""
    subject = subject[:MAX_SUBJECT]
    if subject.isascii() and subject.isprintable():
        return subject
    return escaped(subject).encode("ascii", "backslashreplace").decode()


def routes(endpoint: Endpoint, known: Sequence[NetworkName]) -> list[Any]:
    """The handlers, for wallets on these networks."""

    @get(openapi.PATH, before_request=endpoint.check_caller, **openapi.BALANCES)
    async def balances(
        *,
        request: Request[Any, Any, Any],
        user_id: UserId,
        networks: Networks = None,
        refresh: Refresh = "false",
        include_pending: IncludePending = "false",  # noqa: ARG001  reserved
        detail: Detail = None,
    ) -> ASGIResponse:
        query = request.scope["query_string"]
        if query:
            check(query, known)
        asked = Parameters(networks_of(networks), refresh == "true", detail == "full")
        return await endpoint.balances(request.scope, user_id, asked)

    @get("/healthz", **openapi.HEALTH)
    async def healthy() -> openapi.Alive:
        return openapi.Alive()

    @get("/readyz", **openapi.READINESS)
    async def ready() -> openapi.Ready:
        if wrong := await endpoint.readiness.wrong():
            raise unavailable(wrong)
        return openapi.Ready()

    @get("/metrics", include_in_schema=False)
    async def metrics() -> ASGIResponse:
        return ASGIResponse(body=generate_latest(), media_type=METRICS_TYPE)

    handlers = [balances, healthy, ready]
    document = openapi.document(handlers, known)

    @get("/openapi.json", include_in_schema=False)
    async def described() -> ASGIResponse:
        return ASGIResponse(body=document)

    return [*handlers, metrics, described]


def create_app(settings: ApiSettings) -> Middleware:
    """The application for these settings. Connects to nothing before it is started."""
    endpoint, known = Endpoint(settings), tuple(settings.known_networks)
    app = Litestar(
        routes(endpoint, known),
        lifespan=[endpoint.lifespan],
        exception_handlers={
            Problem: told_in_full,
            ValidationException: partial(told_by_parameter, known=known),
            HTTPException: told_by_status,
            Exception: told_to_the_log,
        },
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    return Middleware(app, settings)


def __getattr__(name: str) -> Middleware:
    """``api.app:app``, made when it is asked for, so that importing this module needs no settings."""
    if name == "app":
        settings = api_settings()
        configure_logging(settings.log_level, settings.log_format)  # of the process, whose application this is
        globals()["app"] = made = create_app(settings)
        return made
    raise AttributeError(f"module 'api.app' has no attribute {name!r}")
