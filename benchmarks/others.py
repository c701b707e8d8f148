"""Endpoints as others would write them, over the same tables: FastAPI on asyncpg, and FastAPI on SQLAlchemy.

``on_asyncpg`` has the endpoint's duties: its statement, typed parameters and replies, a request's id, a line of JSON in
the log, problems, the tag and 304 before a body is built, tokens checked. ``on_sqlalchemy`` is what most would write:
an async session, a query of rows, pydantic's reply; of the duties it has the token, the parameters and the reply.
"""

import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import asyncpg
import jwt
import structlog
from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from api.balances import amount
from api.conditional import Tagger
from api.database import Statement
from config.connections import asyncpg_arguments
from config.settings import ApiSettings, load
from db.user_balances import USER_BALANCES

SETTINGS = load(ApiSettings)
assert SETTINGS.jwt_secret
SECRET = SETTINGS.jwt_secret.get_secret_value()
URL = SETTINGS.database_url.get_secret_value()
ROUTE = "/api/v1/auth/balances/user/{user_id}"
STATEMENT = Statement(USER_BALANCES)
TAGGER = Tagger(6, 6, detail=False)
NATIVE_DECIMALS = {"ethereum": 18, "tron": 6}
INTERVALS = {"patience": timedelta(seconds=60), "oldest": timedelta(seconds=960), "deadline": timedelta(seconds=5)}


class WalletBalance(BaseModel):
    """A wallet of the user, with its balances."""

    wallet_id: UUID
    wallet_address: str
    network: str
    usdt_balance: str | None
    native_balance: str | None
    last_synced: datetime | None
    is_cached: bool


class UserBalances(BaseModel):
    """Every wallet of a user, and their USDT total."""

    user_id: UUID
    total_usdt: str
    balances: list[WalletBalance]
    synced_at: datetime


def caller(authorization: Annotated[str, Header()]) -> str:
    """Whom the token speaks for."""
    try:
        subject: str = jwt.decode(
            authorization.removeprefix("Bearer "), SECRET, ["HS256"], options={"require": ["exp", "sub"]}
        )["sub"]
    except jwt.PyJWTError:
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"}) from None
    return subject


def own(user_id: UUID, subject: Annotated[str, Depends(caller)]) -> UUID:
    """The user, who asks for their own balances."""
    if subject != str(user_id):
        raise HTTPException(403)
    return user_id


Own = Annotated[UUID, Depends(own)]
Networks = Annotated[str, Query(pattern=r"^(tron|ethereum)(,(tron|ethereum))*$")]


def reply(user_id: UUID, rows: list[Any]) -> UserBalances:
    """The reply of rows that have names."""
    return UserBalances(
        user_id=user_id,
        total_usdt=amount(sum(int(row.usdt) for row in rows if row.usdt is not None), 6),
        balances=[
            WalletBalance(
                wallet_id=row.wallet_id,
                wallet_address=row.address,
                network=row.network,
                usdt_balance=None if row.usdt is None else amount(int(row.usdt), 6),
                native_balance=None if row.native is None else amount(int(row.native), NATIVE_DECIMALS[row.network]),
                last_synced=row.last_synced and row.last_synced.replace(microsecond=0),
                is_cached=True,
            )
            for row in rows
        ],
        synced_at=datetime.now(UTC).replace(microsecond=0),
    )


class Named(asyncpg.Record):  # type: ignore[misc]  # asyncpg publishes no types
    """A row whose columns are attributes too."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


async def nothing(_: object) -> None:
    pass


@asynccontextmanager
async def with_pool(app: FastAPI) -> AsyncIterator[None]:
    """The pool, as the endpoint has it."""
    session = {"plan_cache_mode": "force_generic_plan", "timezone": "UTC"}
    most = SETTINGS.api_pool_max
    async with asyncpg.create_pool(
        **asyncpg_arguments(URL, session), min_size=1, init_size=1, max_size=most, reset=nothing, record_class=Named
    ) as it:
        app.state.pool = it
        yield


on_asyncpg = FastAPI(lifespan=with_pool)
log = structlog.wrap_logger(
    structlog.PrintLogger(sys.stderr),
    processors=[structlog.processors.TimeStamper("iso"), structlog.processors.JSONRenderer()],
    wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
)


@on_asyncpg.middleware("http")
async def observed(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    """The request's id, and its line in the log."""
    began = perf_counter()
    request_id = request.headers.get("x-request-id") or uuid4().hex
    response = await call(request)
    response.headers["x-request-id"] = request_id
    response.headers["cache-control"] = "private, no-cache"
    route = request.scope.get("route")
    log.info(
        "request",
        method=request.method,
        route=getattr(route, "path", None),
        status=response.status_code,
        ms=round((perf_counter() - began) * 1000, 1),
        request_id=request_id,
    )
    return response


@on_asyncpg.exception_handler(HTTPException)
async def problem(_: Request, error: HTTPException) -> JSONResponse:
    body = {"type": "about:blank", "title": error.detail, "status": error.status_code, "detail": error.detail}
    return JSONResponse(body, error.status_code, error.headers, media_type="application/problem+json")


@on_asyncpg.get(ROUTE, response_model=UserBalances)
async def balances_on_asyncpg(
    *,
    user_id: Own,
    request: Request,
    response: Response,
    networks: Networks = "ethereum,tron",
    refresh: bool = False,  # noqa: ARG001  checked, as the endpoint's
    detail: Literal["full"] | None = None,  # noqa: ARG001
) -> Any:
    copies = TAGGER.copies([value.encode() for value in request.headers.getlist("if-none-match")])
    values = {**INTERVALS, "user_id": user_id, "networks": networks.split(","), "tags": copies.tags if copies else ()}
    rows = await on_asyncpg.state.pool.fetch(STATEMENT.text, *STATEMENT.arguments(values))
    tag = rows[0]["tag"] if rows else 0
    if copies and copies.include(tag):
        return Response(status_code=304, headers={"etag": TAGGER.header(tag)})
    response.headers["etag"] = TAGGER.header(tag)
    response.headers["balances-complete"] = "true"
    return reply(user_id, rows)


on_sqlalchemy = FastAPI()
engine = create_async_engine(URL.replace("postgresql://", "postgresql+asyncpg://", 1), pool_size=SETTINGS.api_pool_max)
sessions = async_sessionmaker(engine)
QUERY = text(
    "SELECT w.id AS wallet_id, w.address, w.network, b.usdt_balance AS usdt, b.native_balance AS native, b.last_synced"
    " FROM wallets w LEFT JOIN balance_cache b ON b.wallet_id = w.id"
    " WHERE w.user_id = :user_id AND w.network = ANY(:networks) ORDER BY w.created_at, w.id"
)


async def session() -> AsyncIterator[AsyncSession]:
    """A session for a request."""
    async with sessions() as made:
        yield made


@on_sqlalchemy.get(ROUTE)
async def balances_on_sqlalchemy(
    user_id: Own,
    session: Annotated[AsyncSession, Depends(session)],
    networks: Networks = "ethereum,tron",
    refresh: bool = False,  # noqa: ARG001  checked, as the endpoint's
) -> UserBalances:
    found = await session.execute(QUERY, {"user_id": user_id, "networks": networks.split(",")})
    return reply(user_id, list(found.all()))
