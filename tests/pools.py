"""The endpoint's pool, for as long as some work takes."""

from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from api.reading import database_pool
from config.settings import ApiSettings
from db.prepared import Pool


def run(url: str, work: Callable[[Pool], Awaitable[None]], **more: Any) -> None:
    async def with_pool() -> None:
        more.setdefault("api_pool_max", 1)
        settings = ApiSettings(database_url=url, redis_url="redis://h", jwt_secret="s" * 32, **more)
        pool = database_pool(settings)
        await pool.open(wait=True)
        try:
            await work(pool)
        finally:
            await pool.close()

    uvloop.run(with_pool())
