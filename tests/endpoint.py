"""A running endpoint and the tables behind it; the test stands in for the worker."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import redis
import requests
from tables import Tables

from devstack.product import token
from devstack.seed import USER, wallets
from devstack.servers import Server, wait_for

ENV = {"LOG_FORMAT": "json", "JWT_SECRET": "s" * 32, "REFRESH_DEADLINE": "3", "REFRESH_COOLDOWN": "1"}
TRON, ETHEREUM = (wallet.id for wallet in wallets(0))


class Endpoint:
    """A running endpoint, and the tables behind it."""

    def __init__(self, server: Server, tables: Tables, redis_url: str) -> None:
        self.server, self.tables, self.redis = server, tables, redis.Redis.from_url(redis_url)

    @property
    def authorization(self) -> dict[str, str]:
        """The header of the contract's user."""
        return {"Authorization": f"Bearer {token(ENV, USER)}"}

    def get(self, query: str = "", *, user: Any = USER, path: str | None = None, **more: Any) -> requests.Response:
        more.setdefault("headers", self.authorization)
        return requests.get(self.server.url + (path or f"/api/v1/auth/balances/user/{user}{query}"), timeout=30, **more)

    def read(self, wallet: UUID, usdt: int, native: int = 0, block: int = 5) -> None:
        """Do what a worker does: claim, read, write."""
        self.tables.rows("UPDATE sync_schedule SET claimed_at = clock_timestamp() WHERE wallet_id = %s", wallet)
        self.tables.rows(
            "INSERT INTO balance_cache SELECT wallet_id, %s, %s, %s, now(), 'solid', claimed_at"
            " FROM sync_schedule WHERE wallet_id = %s ON CONFLICT (wallet_id) DO UPDATE SET"
            " usdt_balance = EXCLUDED.usdt_balance, last_synced = EXCLUDED.last_synced",
            usdt,
            native,
            block,
            wallet,
        )
        self.tables.rows(
            "UPDATE sync_schedule SET lease_token = NULL, lease_until = NULL, next_sync_at = now() + interval '1 h'"
            " WHERE wallet_id = %s",
            wallet,
        )

    def read_all(self) -> None:
        """Every wallet of the contract's user read some time ago."""
        self.read(TRON, 977_000_000, 1_993_893_600)
        self.read(ETHEREUM, 0)
        self.tables.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 minute'")
        self.tables.rows("UPDATE balance_cache SET last_synced = now() - interval '1 minute'")

    def await_message(self) -> str:
        """The next message on the refresh queue."""
        found = self.redis.blpop(["bal:refresh"], timeout=20)
        assert found
        return str(found[1].decode())


def waiting_requests(endpoint: Endpoint) -> int:
    """Requests that the endpoint has taken and not answered, as the kernel counts connections to it."""
    import psutil

    port = int(endpoint.server.url.rpartition(":")[2])
    connections = psutil.Process(endpoint.server.process.pid).net_connections("tcp")
    return sum(found.laddr.port == port and found.status == "ESTABLISHED" for found in connections)


@contextmanager
def hung(server: Server) -> Iterator[None]:
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


def log_line(endpoint: Endpoint, request_id: str) -> dict[str, Any]:
    """The access log's line of a request."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        lines = [line for line in endpoint.server.log.read_text().splitlines() if line.startswith("{")]
        found[:] = [
            line
            for line in map(json.loads, lines)
            if (line.get("request_id"), line["event"]) == (request_id, "request")
        ]
        return bool(found)

    wait_for(there, endpoint.server, what=f"the line of {request_id}")
    (line,) = found
    return line
