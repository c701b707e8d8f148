"""The process of metrics over a real Postgres and Redis: what it serves, and what it says of servers that are away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import requests
from prometheus_client.parser import text_string_to_metric_families
from tables import Tables

from devstack.product import ops
from devstack.servers import Server

Env = dict[str, str]


@pytest.fixture
def env(database_url: str, redis_process: Server) -> Env:
    redis.Redis.from_url(redis_process.url).flushall()
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_process.url,
        "ETHEREUM_RPC_URLS": "http://127.0.0.1:1/a-secret-path,http://127.0.0.1:1/another-secret",
        "TRON_RPC_URLS": "http://127.0.0.1:2/a-third-secret",
        "COLLECT_INTERVAL": "5",
    }


def test_it_serves(env: Env, tables: Tables, tmp_path: Path) -> None:
    tables.add("tron", "TAVFvX9tToo1UJ2h7j47jVkgQjZa8LarY8")
    with ops(tmp_path, env) as server:
        print(requests.get(f"{server.url}/metrics").text)
        for path in ("/metrics", "/healthz", "/readyz", "/nothing"):
            r = requests.get(f"{server.url}{path}")
            print(r.status_code, r.headers, r.text[:100])
        print(server.log.read_text())
    assert 0
