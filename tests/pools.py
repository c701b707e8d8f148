"""The endpoint's pool, for as long as some work takes."""

from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from api.reading import database_pool
from config.settings import ApiSettings
from db.prepared import Pool
from devstack.servers import CAP


def run(url: str, work: Callable[[Pool], Awaitable[None]], **more: Any) -> None:
    async def with_pool() -> None:
        own = {"api_pool_max": 1, "api_database_timeout": 60, **more}
        settings = ApiSettings(database_url=url, redis_url="redis://h", jwt_secret="s" * 32, **own)
        pool = database_pool(settings)
        await pool.open(wait=True, timeout=CAP)
        try:
            await work(pool)
        finally:
            await pool.close()

    uvloop.run(with_pool())
