"""The endpoint as a real process on a real PostgreSQL and Redis; the test stands in for the worker."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import redis
import requests
from tables import Tables

from devstack.demo import EXAMPLE, without_times
from devstack.product import api, token
from devstack.seed import USER, insert, wallets
from devstack.servers import ROOT, Server, postgres, wait_for

ENV = {"JWT_SECRET": "s" * 32, "REFRESH_DEADLINE": "3", "REFRESH_COOLDOWN": "1"}
TRON, ETHEREUM = (wallet.id for wallet in wallets(0))


class Endpoint:
    """A running endpoint, and the tables behind it."""

    def __init__(self, server: Server, tables: Tables, redis_url: str) -> None:
        self.server, self.tables, self.redis = server, tables, redis.Redis.from_url(redis_url)

    def get(self, query: str = "", *, user: Any = USER, path: str | None = None, **more: Any) -> requests.Response:
        more.setdefault("headers", {"Authorization": f"Bearer {token(ENV, USER)}"})
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
            "UPDATE sync_schedule SET lease_token = NULL, next_sync_at = now() + interval '1 h' WHERE wallet_id = %s",
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


@pytest.fixture
def endpoint(database_url: str, tables: Tables, redis_process: Server, tmp_path: Path) -> Iterator[Endpoint]:
    redis.Redis.from_url(redis_process.url).flushall()
    insert(database_url, wallets(0))
    env = {**ENV, "DATABASE_URL": database_url, "REDIS_URL": redis_process.url}
    with api(tmp_path, env) as server:
        yield Endpoint(server, tables, redis_process.url)


def test_a_plain_read_is_the_contracts_example(endpoint: Endpoint) -> None:
    endpoint.read_all()
    response = endpoint.get()
    assert response.status_code == 200
    assert without_times(response.json()) == without_times(EXAMPLE)
    assert list(response.json()) == list(EXAMPLE)
    assert [list(entry) for entry in response.json()["balances"]] == [list(entry) for entry in EXAMPLE["balances"]]
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Balances-Complete"] == "true"
    assert response.headers["Cache-Control"] == "private, no-cache"


def test_one_network_is_shown_alone(endpoint: Endpoint) -> None:
    endpoint.read_all()
    body = endpoint.get("?networks=ethereum&include_pending=true").json()
    assert [entry["network"] for entry in body["balances"]] == ["ethereum"]
    assert body["total_usdt"] == "0.00000000"


def test_a_plain_read_is_one_statement(endpoint: Endpoint, postgres_server: Server) -> None:
    endpoint.read_all()
    endpoint.tables.rows(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %%I SET log_statement = ''all''', current_database()); END $$"
    )
    endpoint.tables.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'balance-sync-api' AND datname = current_database()"
    )
    wait_for(lambda: endpoint.get().status_code == 200, what="the endpoint to have connected anew")
    before = len(statements(postgres_server))
    for _ in range(5):
        assert endpoint.get().status_code == 200
    found = statements(postgres_server)[before:]
    assert len(found) == 5, found


def statements(server: Server) -> list[str]:
    return re.findall(r"LOG:  (?:statement|execute \S+): .*", server.log.read_text())


@pytest.mark.parametrize(
    ("request_", "status", "names"),
    [
        ({"headers": {}}, 401, []),
        ({"headers": {"Authorization": "Bearer nonsense"}}, 401, []),
        ({"user": uuid4()}, 403, []),
        ({"user": "no-uuid"}, 422, ["user_id"]),
        ({"user": f"{USER}%00"}, 422, ["user_id"]),
        ({"user": "%ff%fe"}, 422, ["user_id"]),
        ({"user": "%EF%BC%95c81c005-1c52-4e0d-85e2-862ee1cdd4d0"}, 422, ["user_id"]),
        ({"query": "?networks=doge"}, 422, ["networks"]),
        ({"query": "?refresh=maybe&networks="}, 422, ["refresh", "networks"]),
        ({"query": "?refresh=true&refresh=false"}, 422, ["refresh"]),
        ({"query": "?networks=tron%00"}, 422, ["networks"]),
        ({"path": "/nowhere"}, 404, []),
    ],
)
def test_an_error_is_a_problem_that_says_nothing_of_the_inside(
    endpoint: Endpoint, request_: dict[str, Any], status: int, names: list[str]
) -> None:
    response = endpoint.get(**request_)
    body = response.json()
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
    assert list(body) == ["type", "title", "status", "detail", "errors"]
    assert (body["type"], body["status"]) == ("about:blank", status)
    assert [error["parameter"] for error in body["errors"]] == names
    assert ("WWW-Authenticate" in response.headers) == (status == 401)


def test_another_method_is_refused_and_the_right_one_named(endpoint: Endpoint) -> None:
    response = requests.post(f"{endpoint.server.url}/api/v1/auth/balances/user/{USER}", timeout=10)
    assert (response.status_code, response.headers["Content-Type"]) == (405, "application/problem+json")
    assert "GET" in response.headers["Allow"]


def test_an_unknown_parameter_is_ignored(endpoint: Endpoint) -> None:
    endpoint.read_all()
    assert endpoint.get("?page=7&page=8").status_code == 200


def test_a_refresh_waits_for_the_read_that_it_asked_for(endpoint: Endpoint) -> None:
    endpoint.read_all()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(endpoint.get, "?refresh=true&networks=tron")
        assert "worker.tasks.sync_wallets" in endpoint.await_message()
        endpoint.read(TRON, 1_000_000_000)
        (entry,) = asking.result().json()["balances"]
    assert (entry["usdt_balance"], entry["is_cached"]) == ("1000.00000000", False)


def test_a_message_holds_ids_and_nothing_else(endpoint: Endpoint) -> None:
    endpoint.read_all()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(endpoint.get, "?refresh=true&networks=tron")
        message = endpoint.await_message()
        asking.result()
    for secret in (ENV["JWT_SECRET"], "Bearer", "977", "postgresql", "redis://"):
        assert secret not in message


def test_a_refresh_that_nobody_answers_is_served_from_the_cache_at_its_deadline(endpoint: Endpoint) -> None:
    endpoint.read_all()
    began = time.monotonic()
    body = endpoint.get("?refresh=true").json()
    assert 3 <= time.monotonic() - began < 10
    assert [(entry["usdt_balance"], entry["is_cached"]) for entry in body["balances"]] == [
        ("977.00000000", True),
        ("0.00000000", True),
    ]


def test_many_refreshes_at_once_ask_for_one_read_of_each_network(endpoint: Endpoint) -> None:
    endpoint.read_all()
    with ThreadPoolExecutor(12) as pool:
        asking = [pool.submit(endpoint.get, "?refresh=true") for _ in range(12)]
        messages = sorted(endpoint.await_message() for _ in range(2))
        wait_for(lambda: waiting_requests(endpoint) >= 12, what="all to be waiting")
        endpoint.read(TRON, 1)
        endpoint.read(ETHEREUM, 2)
        answers = [each.result().json()["balances"] for each in asking]
    assert len(messages) == 2
    assert endpoint.redis.llen("bal:refresh") == 0
    assert {tuple((entry["usdt_balance"], entry["is_cached"]) for entry in entries) for entries in answers} == {
        (("0.00000100", False), ("0.00000200", False))
    }


def waiting_requests(endpoint: Endpoint) -> int:
    """Requests that the endpoint has taken and not answered, as the kernel counts connections to it."""
    import psutil

    port = int(endpoint.server.url.rpartition(":")[2])
    connections = psutil.Process(endpoint.server.process.pid).net_connections("tcp")
    return sum(found.laddr.port == port and found.status == "ESTABLISHED" for found in connections)


def test_a_wallet_never_read_is_waited_for_on_a_plain_read_and_null_if_nobody_reads_it(endpoint: Endpoint) -> None:
    endpoint.read(ETHEREUM, 0)
    response = endpoint.get()
    assert [entry["usdt_balance"] for entry in response.json()["balances"]] == [None, "0.00000000"]
    assert response.headers["Balances-Complete"] == "false"
    endpoint.tables.rows("UPDATE sync_schedule SET requested_at = NULL")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(endpoint.get)
        wait_for(lambda: waiting_requests(endpoint) >= 1, what="the request to have come")
        endpoint.read(TRON, 5_000_000)
        (tron, ethereum) = asking.result().json()["balances"]
    assert tron["usdt_balance"] == "5.00000000"
    assert ethereum["is_cached"]


def test_a_wallet_that_nobody_reads_or_that_failed_makes_one_request_wait_and_not_each(endpoint: Endpoint) -> None:
    endpoint.read(ETHEREUM, 0)
    assert endpoint.get().headers["Balances-Complete"] == "false"
    endpoint.tables.rows("UPDATE sync_schedule SET requested_at = requested_at - interval '1 second'")
    for change in ("SELECT 1", "UPDATE sync_schedule SET claimed_at = now(), failures = 1, last_error = 'unreachable'"):
        endpoint.tables.rows(change)
        began = time.monotonic()
        assert endpoint.get().json()["balances"][0]["usdt_balance"] is None
        assert time.monotonic() - began < 2


def test_a_wallet_with_a_bad_address_makes_nobody_wait(endpoint: Endpoint) -> None:
    endpoint.read_all()
    (bad,) = endpoint.tables.add("tron", "no address", user_id=USER)
    endpoint.tables.rows("UPDATE sync_schedule SET last_error = 'bad_address', failures = 1 WHERE wallet_id = %s", bad)
    began = time.monotonic()
    assert endpoint.get().json()["balances"][2]["usdt_balance"] is None
    assert time.monotonic() - began < 2


def test_an_overdue_wallet_is_asked_for_without_waiting(endpoint: Endpoint) -> None:
    endpoint.read_all()
    endpoint.tables.rows("UPDATE sync_schedule SET next_sync_at = now() - interval '1 hour'")
    began = time.monotonic()
    assert endpoint.get().json()["balances"][0]["is_cached"]
    assert time.monotonic() - began < 2
    assert {"tron" in endpoint.await_message(), "tron" in endpoint.await_message()}
    assert endpoint.tables.schedule(TRON)["requested_at"] is not None


@contextmanager
def hung(server: Server) -> Iterator[None]:
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


def test_with_redis_hung_plain_reads_go_on_and_a_refresh_answers_from_the_cache(
    endpoint: Endpoint, redis_process: Server
) -> None:
    endpoint.read_all()
    with hung(redis_process):
        for _ in range(3):
            began = time.monotonic()
            assert endpoint.get("?refresh=true").json()["balances"][0]["is_cached"]
            assert time.monotonic() - began < 10
        began = time.monotonic()
        assert endpoint.get().status_code == 200
        assert time.monotonic() - began < 2


def test_with_the_database_away_it_says_when_to_come_back_and_recovers(
    redis_process: Server, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    from conftest import migrate

    folder = tmp_path_factory.mktemp("own")
    for parent in [folder, *folder.parents][:3]:
        parent.chmod(0o755)
    with postgres(folder) as own:
        migrate(own.url)
        env = {**ENV, "DATABASE_URL": own.url, "REDIS_URL": redis_process.url}
        with api(tmp_path, env) as server, psycopg.connect(own.url, autocommit=True) as connection:
            endpoint = Endpoint(server, Tables(connection), redis_process.url)
            assert endpoint.get().json()["balances"] == []
            with hung(own):
                # Its postmaster hangs: no new connection. The backend of the pool is a process of its own.
                subprocess.run(["pkill", "-STOP", "-P", str(own.process.pid)], check=True)
                response = endpoint.get()
                assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
                assert response.headers["Content-Type"] == "application/problem+json"
                assert endpoint.get(path="/readyz").status_code == 503
                assert endpoint.get(path="/healthz").status_code == 200
                subprocess.run(["pkill", "-CONT", "-P", str(own.process.pid)], check=True)
            wait_for(lambda: endpoint.get().status_code == 200, server, what="the endpoint to recover")


def test_it_is_not_ready_on_another_schema(endpoint: Endpoint) -> None:
    assert endpoint.get(path="/readyz").json() == {"status": "ready"}
    endpoint.tables.rows("UPDATE alembic_version SET version_num = 'older'")
    response = endpoint.get(path="/readyz")
    assert (response.status_code, "alembic upgrade head" in response.json()["detail"]) == (503, True)


def test_the_document_is_served(endpoint: Endpoint) -> None:
    assert endpoint.get(path="/openapi.json").json()["openapi"] == "3.1.0"


def test_the_log_has_a_line_for_each_request_and_no_token_or_balance(endpoint: Endpoint) -> None:
    endpoint.read_all()
    endpoint.get()
    wait_for(lambda: "request" in endpoint.server.log.read_text(), what="the line")
    text = endpoint.server.log.read_text()
    assert f"user={USER}" in text
    assert "status=200" in text
    for secret in (token(ENV, USER).split(".")[2], "977", ENV["JWT_SECRET"]):
        assert secret not in text


def test_importing_the_endpoint_loads_nothing_heavy() -> None:
    code = (
        "import sys, api.app; "
        "print([m for m in ('web3', 'tronpy', 'worker', 'celery', 'kombu', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
