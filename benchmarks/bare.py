"""The least that an endpoint can be: an ASGI function with one query, no token, no checks.

It sends the statement that the endpoint sends, and makes the same bytes of the rows. There are two, by their way to the
database: the driver's own cursor, and the endpoint's path beside it (``db.prepared``).
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg import AsyncRawCursor

from api.frame import Receive, Scope, Send
from api.reading import database_pool
from config.settings import ApiSettings, load
from db.user_balances import USER_BALANCES

PLACES = {"ethereum": 10**18, "tron": 10**6}
FIXED = {"networks": "{ethereum,tron}", "patience": "60 s", "oldest": "960 s", "deadline": "5 s", "tags": "{}"}
FIXED_BYTES = {name: value.encode() for name, value in FIXED.items()}
SECONDS = 2.5

Rows = Callable[[str], Awaitable[list[Any]]]
Program = Callable[[Scope, Receive, Send], Awaitable[None]]

pool = database_pool(load(ApiSettings))


def amount(units: int, one: int) -> str:
    return f"{units // one}.{units % one * 10**8 // one:08d}"


async def by_cursor(user_id: str) -> list[Any]:
    """As one uses the driver: its pool, its cursor."""
    values = {**FIXED, "user_id": user_id}
    async with pool.connection() as connection:
        cursor = AsyncRawCursor(connection)
        await cursor.execute(USER_BALANCES.text, [values[name] for name in USER_BALANCES.parameters])
        return await cursor.fetchall()


async def prepared(user_id: str) -> list[Any]:
    """As the endpoint does."""
    return await USER_BALANCES.rows(pool, {**FIXED_BYTES, "user_id": user_id.encode()}, SECONDS)


def serving(rows_of: Rows) -> Program:
    """The program, with one way to its rows."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
            return
        user_id = scope["path"][-36:]
        body = body_of(user_id, await rows_of(user_id))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


app, app_prepared = serving(by_cursor), serving(prepared)


async def live(receive: Receive, send: Send) -> None:
    await receive()
    await pool.open(wait=True)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await pool.close()
    await send({"type": "lifespan.shutdown.complete"})


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
