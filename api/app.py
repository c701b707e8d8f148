"""The ASGI application: its routes, what their handlers share, and how it is made."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from api import openapi
from api.access_log import access_log
from api.auth import Verifier, check_may_read
from api.balances import is_complete, reply, reply_in_full
from api.client import Peers
from api.conditional import Tagger
from api.database import Database
from api.frame import Frame, Request, Route
from api.parameters import parameters_of, user_id_of
from api.problems import unavailable
from api.readiness import Readiness
from api.reading import Found, Reading
from api.refresh import Refresher
from api.replies import JSON_TYPE, Headers, Reply
from config.logging import configure_logging, escaped
from config.settings import ApiSettings, api_settings

if TYPE_CHECKING:
    from config.networks import NetworkName

COMPLETE = (b"balances-complete", b"true")
INCOMPLETE = (b"balances-complete", b"false")
ROWS_AT_ONCE = 1000  # the reply of more, some ms of work, is built beside the event loop
MAX_SUBJECT = 128  # characters of it that the log has


class Endpoint:
    """The routes' handlers, over what one process shares."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._verifier = Verifier(settings)
        decimals: Mapping[NetworkName, int] = {
            "ethereum": settings.ethereum_usdt_decimals,
            "tron": settings.tron_usdt_decimals,
        }
        # By whether detail is asked for.
        self._replies = tuple(partial(build, usdt_decimals=decimals) for build in (reply, reply_in_full))
        self._taggers = tuple(Tagger(*decimals.values(), detail=detail) for detail in (False, True))
        self._reading: Reading
        self._readiness: Readiness
        # One: big replies wait for each other, and small ones share the processor with no more than one of them.
        self._thread = ThreadPoolExecutor(1, "replies")

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open what the process shares. The database may be away: it is looked for until it is there."""
        database = Database(self._settings)
        await database.open()
        refresher = Refresher(database, self._settings)
        refresher.start()
        self._reading = Reading(self._settings, database, refresher)
        self._readiness = Readiness(self._reading.schema_version)
        self._verifier.look_for_keys()
        try:
            yield
        finally:
            await refresher.close()
            await database.close()
            self._thread.shutdown(wait=False)

    async def balances(self, request: Request) -> Reply:
        """The contract's route."""
        caller = await self._verifier.caller(request.header(b"authorization"))
        request.told["subject"] = _for_the_log(caller.subject)
        user_id = user_id_of(request.parameter)
        request.told["user"] = str(user_id)
        check_may_read(caller, user_id)
        if caller.admin and not caller.is_user(user_id):
            request.told["admin"] = True
        parameters = parameters_of(request.query)
        tagger = self._taggers[parameters.detail == "full"]
        copies = None if parameters.refresh else tagger.copies(request.header(b"if-none-match"))
        found = await self._reading.read(user_id, parameters, copies, request.told)
        etag = (b"etag", tagger.header(found.tag))
        if copies and copies.include(found.tag):
            return Reply(b"", (etag,), HTTPStatus.NOT_MODIFIED)
        headers: Headers = (JSON_TYPE, etag, COMPLETE if is_complete(found.rows) else INCOMPLETE)
        if found.beyond:
            request.told["refresh_limited"] = found.beyond
            headers += ((b"refresh-limited", found.beyond.encode()),)
        if out := sorted({row.network for row in found.rows if row.out_since}):
            headers += ((b"networks-out", ", ".join(out).encode()),)
        full = parameters.detail == "full"
        if len(found.rows) > ROWS_AT_ONCE:
            thread = asyncio.get_running_loop().run_in_executor
            body, refreshed = await thread(self._thread, self._built, user_id, found, full)
        else:
            body, refreshed = self._built(user_id, found, full)
        request.told.update(wallets=len(found.rows), refreshed=refreshed)
        return Reply(body, headers)

    def _built(self, user_id: UUID, found: Found, detail: bool) -> tuple[bytes, int]:
        """The reply as JSON, and how many of its wallets were read for this request. Its time grows with the rows."""
        body = self._replies[detail](user_id, found.rows, asked_at=found.asked_at, now=datetime.now(UTC))
        return msgspec.json.encode(body), sum(not shown.is_cached for shown in body.balances)

    async def ready(self, _: Request) -> Reply:
        """Whether this process can serve: the database answers, and its schema is the one the code knows."""
        if wrong := await self._readiness.wrong():
            raise unavailable(wrong)
        return Reply(b'{"status":"ready"}')


def _for_the_log(subject: str) -> str:
    """A subject is whatever its token's maker put there: of any length, and of characters that no encoding has."""
    subject = subject[:MAX_SUBJECT]
    if subject.isascii() and subject.isprintable():
        return subject
    return escaped(subject).encode("ascii", "backslashreplace").decode()


async def healthy(_: Request) -> Reply:
    """The process is alive; nothing else is asked."""
    return Reply(b'{"status":"alive"}')


async def described(_: Request) -> Reply:
    """The OpenAPI document."""
    return Reply(openapi.document())


def create_app(settings: ApiSettings) -> Frame:
    """The application for these settings. Connects to nothing before it is started."""
    configure_logging(settings.log_level, settings.log_format)
    endpoint = Endpoint(settings)
    routes = [
        Route(openapi.ROUTE, endpoint.balances),
        Route("/healthz", healthy),
        Route("/readyz", endpoint.ready),
        Route("/openapi.json", described),
    ]
    return Frame(routes, endpoint.lifespan, access_log(settings), Peers(settings.trusted_proxies).client_of)


def __getattr__(name: str) -> Frame:
    """``api.app:app``, made when it is asked for, so that importing this module needs no settings."""
    if name == "app":
        globals()["app"] = made = create_app(api_settings())
        return made
    raise AttributeError(f"module 'api.app' has no attribute {name!r}")
