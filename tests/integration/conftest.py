"""The endpoint as a real process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from endpoint import ENV, Endpoint
from tables import Tables

from devstack.product import api
from devstack.seed import insert, wallets
from devstack.servers import Server


@pytest.fixture
def endpoint(database_url: str, tables: Tables, redis_process: Server, tmp_path: Path) -> Iterator[Endpoint]:
    redis.Redis.from_url(redis_process.url).flushall()
    insert(database_url, wallets(0))
    env = {**ENV, "DATABASE_URL": database_url, "REDIS_URL": redis_process.url}
    with api(tmp_path, env) as server:
        yield Endpoint(server, tables, redis_process.url)
