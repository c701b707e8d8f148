"""A running endpoint and the tables behind it; the test stands in for the worker."""

import base64
import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import redis
import requests
from tables import Tables

from devstack.product import token
from devstack.seed import USER, wallets
from devstack.servers import CAP, Server, wait_for

if TYPE_CHECKING:
    import psutil

ENV = {
    "LOG_FORMAT": "json",
    "JWT_SECRET": "s" * 32,
    # A slow machine meets none of these. Whoever sits out the deadline without need says so in the log (`waited`).
    "REFRESH_DEADLINE": "100",
    "REFRESH_COOLDOWN": "600",
    "API_DATABASE_TIMEOUT": "60",
    "SYNC_INTERVAL_ACTIVE": "3600",
    "SYNC_INTERVAL_IDLE": "86400",
}
DEADLINE = float(ENV["REFRESH_DEADLINE"])
IMPATIENT = {**ENV, "REFRESH_DEADLINE": "0.3"}
"""The settings of an endpoint that nobody is to answer."""
TRON, ETHEREUM = (wallet.id for wallet in wallets(0))


class Endpoint:
    """A running endpoint, and the tables behind it."""

    def __init__(self, server: Server, tables: Tables, database_url: str, redis_url: str) -> None:
        self.server, self.tables, self.database_url = server, tables, database_url
        self.redis = redis.Redis.from_url(redis_url, socket_timeout=None)  # a message is waited for for long

    @property
    def port(self) -> int:
        return int(self.server.url.rpartition(":")[2])

    @property
    def authorization(self) -> dict[str, str]:
        """The header of the contract's user."""
        return {"Authorization": f"Bearer {token(ENV, USER)}"}

    def get(self, query: str = "", *, user: Any = USER, path: str | None = None, **more: Any) -> requests.Response:
        more.setdefault("headers", self.authorization)
        return requests.get(
            self.server.url + (path or f"/api/v1/auth/balances/user/{user}{query}"), timeout=CAP, **more
        )

    def read(self, wallet: UUID, usdt: int, native: int = 0, block: int = 5) -> None:
        """Do what a worker does: claim, read, write. Nobody sees the wallet in between."""
        with self.tables.connection.transaction():
            self.tables.rows("SELECT FROM sync_schedule WHERE wallet_id = %s FOR UPDATE", wallet)
            self.tables.rows("UPDATE sync_schedule SET claimed_at = clock_timestamp() WHERE wallet_id = %s", wallet)
            self.tables.rows(
                "INSERT INTO balance_cache"
                " SELECT wallet_id, %s, %s, %s, clock_timestamp(), 'solid', clock_timestamp()"
                " FROM sync_schedule WHERE wallet_id = %s ON CONFLICT (wallet_id) DO UPDATE SET"
                " usdt_balance = EXCLUDED.usdt_balance, last_synced = EXCLUDED.last_synced",
                usdt,
                native,
                block,
                wallet,
            )
            self.tables.rows(
                "UPDATE sync_schedule SET next_sync_at = now() + interval '1 day' WHERE wallet_id = %s", wallet
            )
            self.tables.rows("DELETE FROM leases WHERE %s = ANY(wallet_ids)", wallet)

    def read_all(self) -> None:
        """Every wallet of the contract's user read an hour ago, and not due for a day."""
        self.read(TRON, 977_000_000, 1_993_893_600)
        self.read(ETHEREUM, 0)
        self.tables.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 hour'")
        self.tables.rows("UPDATE balance_cache SET last_synced = now() - interval '1 hour'")

    def await_asked(self, wallet: UUID) -> None:
        """Wait until a wallet has been asked for since it was claimed last."""
        asked = "SELECT FROM sync_schedule WHERE requested_at > coalesce(claimed_at, '-infinity') AND wallet_id = %s"
        wait_for(lambda: bool(self.tables.rows(asked, wallet)), self.server, what="the wallet to be asked for")

    def await_message(self) -> "Message":
        """The next message on the refresh queue."""
        found = self.redis.blpop(["bal:refresh"], timeout=CAP)
        assert found, "no message came"
        return Message(found[1].decode())

    def settle(self) -> None:
        """Wait until nothing is asked of the database any more by requests that were answered."""
        self.get(path="/healthz")  # whatever an answered request left to be done in the background has begun by then
        active = (
            "SELECT FROM pg_stat_activity WHERE state = 'active' AND application_name = 'balance-sync-api'"
            " AND datname = current_database()"
        )
        wait_for(lambda: not self.tables.rows(active), self.server, what="the last statement to end", pause=0.005)

    @contextmanager
    def asked(self, query: str, request_id: str = "") -> Iterator[None]:
        """A request that is on its way for the block. Its client takes no answer, and goes away at the end."""
        connection = http.client.HTTPConnection(urlsplit(self.server.url).netloc)
        headers = {**self.authorization, "X-Request-ID": request_id or uuid4().hex}
        connection.request("GET", f"/api/v1/auth/balances/user/{USER}{query}", headers=headers)
        try:
            yield
        finally:
            connection.close()

    def waited(self, query: str = "") -> tuple[requests.Response, bool]:
        """The answer to a request, and whether it came only when the deadline had passed."""
        request_id = uuid4().hex
        response = self.get(query, headers={**self.authorization, "X-Request-ID": request_id})
        log_line(self, request_id)
        return response, bool(log_lines(self, request_id, "refresh_deadline_passed"))


class Message:
    """A task on its way to a worker."""

    def __init__(self, text: str) -> None:
        made = json.loads(text)
        self.headers: dict[str, Any] = made["headers"]
        self.body = base64.b64decode(made["body"]).decode()
        self.text = json.dumps({**made, "body": self.body})
        """All of it, with nothing encoded."""

    @property
    def task(self) -> str:
        return str(self.headers["task"])

    @property
    def arguments(self) -> list[Any]:
        found: list[Any] = json.loads(self.body)[0]
        return found


StartEndpoint = Callable[..., AbstractContextManager[Endpoint]]
"""Starts an endpoint of the test's own for a block, with the settings that are given."""


def processes(server: Server) -> "list[psutil.Process]":
    """The processes of a server: one that was started, and those that it has started to serve."""
    import psutil

    started = psutil.Process(server.process.pid)
    return [started, *started.children(recursive=True)]


def waiting_requests(endpoint: Endpoint) -> int:
    """Requests that the endpoint has taken and not answered, as the kernel counts connections to it."""
    connections = [found for process in processes(endpoint.server) for found in process.net_connections("tcp")]
    return sum(found.laddr.port == endpoint.port and found.status == "ESTABLISHED" for found in connections)


def log_lines(endpoint: Endpoint, request_id: str, event: str) -> list[dict[str, Any]]:
    """What the log has by now of an event in a request."""
    lines = [
        line for line in endpoint.server.log.read_text().splitlines() if line.startswith("{") and request_id in line
    ]
    found = map(json.loads, lines)
    return [line for line in found if (line.get("request_id"), line["event"]) == (request_id, event)]


def log_line(endpoint: Endpoint, request_id: str) -> dict[str, Any]:
    """The access log's line of a request, once it is there."""
    wait_for(
        lambda: bool(log_lines(endpoint, request_id, "request")), endpoint.server, what=f"the line of {request_id}"
    )
    (line,) = log_lines(endpoint, request_id, "request")
    return line
