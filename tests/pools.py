"""The endpoint's connections, for as long as some work takes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from api.database import Database
from config.settings import ApiSettings

ENDED = 0.5  # seconds


def run(url: str, work: Callable[[Database], Awaitable[None]], **more: Any) -> None:
    async def with_connections() -> None:
        own = {"api_pool_max": 1, "api_database_timeout": 60, **more}
        database = Database(ApiSettings(database_url=url, redis_url="redis://h", jwt_secret="s" * 32, **own))
        await database.open()
        try:
            await work(database)
        finally:
            await database.close()
            # uvloop ends a refused TLS connection a little later, and complains of a loop that is closed before.
            await asyncio.sleep(ENDED if "ssl" in url else 0)

    uvloop.run(with_connections())
