"""The process of metrics over a real Postgres and Redis: what it serves, and what it says of servers that are away."""

from pathlib import Path

import pytest
import redis
import requests
from tables import Tables

from devstack.product import ops
from devstack.servers import CAP, Server

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


def test_metrics_and_probes_answer(env: Env, tables: Tables, tmp_path: Path) -> None:
    tables.add("tron", "TAVFvX9tToo1UJ2h7j47jVkgQjZa8LarY8")
    with ops(tmp_path, env) as server:
        replies = {
            path: requests.get(f"{server.url}{path}", timeout=CAP) for path in ("/metrics", "/healthz", "/readyz")
        }
        assert [reply.status_code for reply in replies.values()] == [200, 200, 200]
        assert 'balance_sync_wallets{network="tron",state="never_synced"} 1.0' in replies["/metrics"].text
