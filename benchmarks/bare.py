"""The least that an endpoint can be: an ASGI function with one query through the driver's pool. No token, no checks.

It sends the statement that the endpoint sends, and makes the same bytes of the rows.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg import AsyncRawCursor
from psycopg_pool import AsyncConnectionPool

from api.frame import Receive, Scope, Send
from api.reading import database_pool
from config.settings import ApiSettings, load
from db.user_balances import USER_BALANCES

PLACES = {"ethereum": 10**18, "tron": 10**6}
FIXED = {"networks": "{ethereum,tron}", "patience": "60 s", "oldest": "960 s", "deadline": "5 s", "tags": "{}"}

pool: AsyncConnectionPool[Any] = database_pool(load(ApiSettings))


def amount(units: int, one: int) -> str:
    return f"{units // one}.{units % one * 10**8 // one:08d}"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await pool.open(wait=True)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await pool.close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    user_id = scope["path"][-36:]
    values = {**FIXED, "user_id": user_id}
    async with pool.connection() as connection:
        cursor = AsyncRawCursor(connection)
        await cursor.execute(USER_BALANCES.text, [values[name] for name in USER_BALANCES.parameters])
        rows = await cursor.fetchall()
    body = msgspec.json.encode(
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
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
