"""The least that an endpoint can be: a bare ASGI function on asyncpg's own pool, with token, query and body.

It sends the statement that the endpoint sends, and makes the same bytes of the rows.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import jwt
import msgspec

from api.database import Statement
from config.connections import asyncpg_arguments
from config.settings import ApiSettings, load
from db.user_balances import USER_BALANCES

PLACES = {"ethereum": 10**18, "tron": 10**6}
STATEMENT = Statement(USER_BALANCES)
FIXED = {
    "networks": ["ethereum", "tron"],
    "patience": timedelta(seconds=60),
    "oldest": timedelta(seconds=960),
    "deadline": timedelta(seconds=5),
    "tags": [],
}
SETTINGS = load(ApiSettings)
assert SETTINGS.jwt_secret
SECRET = SETTINGS.jwt_secret.get_secret_value()

Message = MutableMapping[str, Any]
pool: Any = None


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    token = dict(scope["headers"])[b"authorization"].removeprefix(b"Bearer ")
    user_id = scope["path"][-36:]
    if jwt.decode(token, SECRET, ["HS256"])["sub"] != user_id:
        raise PermissionError
    values = {**FIXED, "user_id": UUID(user_id)}
    body = body_of(user_id, await pool.fetch(STATEMENT.text, *STATEMENT.arguments(values)))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def nothing(_: object) -> None:
    pass


async def live(receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
    global pool  # noqa: PLW0603  it is made within the event loop, and there is no object to hold it
    await receive()
    session = {"plan_cache_mode": "force_generic_plan", "timezone": "UTC"}
    where = asyncpg_arguments(SETTINGS.database_url.get_secret_value(), session)
    most = SETTINGS.api_pool_max
    pool = await asyncpg.create_pool(**where, min_size=1, init_size=1, max_size=most, reset=nothing)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await pool.close()
    await send({"type": "lifespan.shutdown.complete"})


def amount(units: int, one: int) -> str:
    return f"{units // one}.{units % one * 10**8 // one:08d}"


def body_of(user_id: str, rows: list[Any]) -> bytes:
    return msgspec.json.encode(
        {
            "user_id": user_id,
            "total_usdt": amount(sum(int(row[4]) for row in rows), 10**6),
            "balances": [
                {
                    "wallet_id": row[1],
                    "wallet_address": row[2],
                    "network": row[3],
                    "usdt_balance": amount(int(row[4]), 10**6),
                    "native_balance": amount(int(row[5]), PLACES[row[3]]),
                    "last_synced": row[6].replace(microsecond=0),
                    "is_cached": True,
                }
                for row in rows
            ],
            "synced_at": datetime.now(UTC).replace(microsecond=0),
        }
    )
