"""The ASGI application: its routes, what their handlers share, and how it is made."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus

import msgspec

from api import openapi
from api.access_log import access_log
from api.auth import Verifier, check_may_read
from api.balances import is_complete, reply, reply_in_full
from api.conditional import Tagger
from api.frame import Frame, Request, Route
from api.parameters import parameters_of, user_id_of
from api.problems import unavailable
from api.reading import Reading, database_pool
from api.refresh import Refresher
from api.replies import JSON_TYPE, Reply
from config.logging import configure_logging
from config.settings import ApiSettings, Network, api_settings
from db import SCHEMA_VERSION

COMPLETE = (b"balances-complete", b"true")
INCOMPLETE = (b"balances-complete", b"false")
MAX_SUBJECT = 128  # characters of it that the log has


class Endpoint:
    """The routes' handlers, over what one process shares."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._verifier = Verifier(settings)
        decimals: Mapping[Network, int] = {
            "ethereum": settings.ethereum_usdt_decimals,
            "tron": settings.tron_usdt_decimals,
        }
        # By whether detail is asked for.
        self._replies = tuple(partial(build, usdt_decimals=decimals) for build in (reply, reply_in_full))
        self._taggers = tuple(Tagger(*decimals.values(), detail=detail) for detail in (False, True))
        self._reading: Reading

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open what the process shares. The database may be away: it is looked for until it is there."""
        pool = database_pool(self._settings)
        await pool.open(wait=False)
        refresher = Refresher(pool, self._settings)
        refresher.start()
        self._reading = Reading(self._settings, pool, refresher)
        self._verifier.look_for_keys()
        try:
            yield
        finally:
            await refresher.close()
            await pool.close()

    async def balances(self, request: Request) -> Reply:
        """The contract's route."""
        caller = await self._verifier.caller(request.header(b"authorization"))
        request.told["subject"] = _for_the_log(caller.subject)
        user_id = user_id_of(request.parameter)
        request.told["user"] = str(user_id)
        check_may_read(caller, user_id)
        parameters = parameters_of(request.query)
        tagger = self._taggers[parameters.detail == "full"]
        copies = None if parameters.refresh else tagger.copies(request.header(b"if-none-match"))
        found = await self._reading.read(user_id, parameters, copies, request.told)
        etag = (b"etag", tagger.header(found.tag))
        if copies and copies.include(found.tag):
            return Reply(b"", (etag,), HTTPStatus.NOT_MODIFIED)
        build = self._replies[parameters.detail == "full"]
        body = build(user_id, found.rows, asked_at=found.asked_at, now=datetime.now(UTC))
        request.told.update(wallets=len(body.balances), refreshed=sum(not shown.is_cached for shown in body.balances))
        complete = COMPLETE if is_complete(found.rows) else INCOMPLETE
        return Reply(msgspec.json.encode(body), (JSON_TYPE, etag, complete))

    async def ready(self, _: Request) -> Reply:
        """Whether this process can serve: the database answers, and its schema is the one the code knows."""
        if await self._reading.schema_version() != SCHEMA_VERSION:
            raise unavailable("The schema is another version: run `alembic upgrade head`.")
        return Reply(b'{"status":"ready"}')


def _for_the_log(subject: str) -> str:
    """A subject is whatever its token's maker put there: of any length, and of characters that no encoding has."""
    return subject[:MAX_SUBJECT].encode("ascii", "backslashreplace").decode()


async def healthy(_: Request) -> Reply:
    """The process is alive; nothing else is asked."""
    return Reply(b'{"status":"alive"}')


async def described(_: Request) -> Reply:
    """The OpenAPI document."""
    return Reply(openapi.document())


def create_app(settings: ApiSettings) -> Frame:
    """The application for these settings. Connects to nothing before it is started."""
    configure_logging(settings.log_level, settings.log_format)
    # The pool tells of each connection that it lends.
    logging.getLogger("psycopg.pool").setLevel(max(logging.WARNING, logging.getLogger().level))
    endpoint = Endpoint(settings)
    routes = [
        Route(openapi.ROUTE, endpoint.balances),
        Route("/healthz", healthy),
        Route("/readyz", endpoint.ready),
        Route("/openapi.json", described),
    ]
    return Frame(routes, endpoint.lifespan, access_log(settings))


def __getattr__(name: str) -> Frame:
    """``api.app:app``, made when it is asked for, so that importing this module needs no settings."""
    if name == "app":
        globals()["app"] = made = create_app(api_settings())
        return made
    raise AttributeError(f"module 'api.app' has no attribute {name!r}")
