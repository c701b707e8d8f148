"""The endpoint when things go wrong: a slow database, clients that hang up, odd requests."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from endpoint import TRON, Endpoint, StartEndpoint, log_line, log_lines, processes
from running import await_lock_wait
from tables import Tables

from devstack.product import worker
from devstack.seed import USER
from devstack.servers import CAP, Server, wait_for

ROUTE = f"/api/v1/auth/balances/user/{USER}"
API = "balance-sync-api"


@contextmanager
def locked(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Nobody can read balances for the block, or until it is rolled back."""
    with psycopg.connect(database_url) as connection:
        connection.execute("LOCK TABLE balance_cache")
        yield connection
        connection.rollback()


def running_statements(tables: Tables) -> int:
    active = "SELECT FROM pg_stat_activity WHERE application_name = %s AND state = 'active' AND datname = %s"
    return len(tables.rows(active, API, tables.connection.info.dbname))


def connections(tables: Tables) -> int:
    found = "SELECT FROM pg_stat_activity WHERE application_name = %s AND datname = %s"
    return len(tables.rows(found, API, tables.connection.info.dbname))


def test_a_slow_database_is_waited_for_within_a_bound(start_endpoint: StartEndpoint, database_url: str) -> None:
    with start_endpoint(API_DATABASE_TIMEOUT="0.5") as endpoint:
        endpoint.read_all()
        with locked(database_url):  # until there is an answer
            response = endpoint.get()
            assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
            assert response.headers["Content-Type"] == "application/problem+json"
        wait_for(lambda: endpoint.get().status_code == 200, endpoint.server, what="the endpoint to recover")


def test_many_requests_share_few_connections_and_no_more(
    start_endpoint: StartEndpoint, database_url: str, tables: Tables
) -> None:
    with start_endpoint(API_POOL_MAX="2") as endpoint, ThreadPoolExecutor(20) as pool:
        endpoint.read_all()
        with locked(database_url) as lock:
            asking = [pool.submit(endpoint.get) for _ in range(20)]
            await_lock_wait(tables.rows, endpoint.server, statements=2, application=API)
            assert connections(tables) == 2
            lock.rollback()
            assert [each.result().status_code for each in asking] == [200] * 20
        assert connections(tables) == 2


def test_whoever_finds_no_connection_free_is_told_to_come_again(
    start_endpoint: StartEndpoint, database_url: str, tables: Tables
) -> None:
    with start_endpoint(API_POOL_MAX="2", API_DATABASE_TIMEOUT="0.5") as endpoint, ThreadPoolExecutor(20) as pool:
        endpoint.read_all()
        with locked(database_url):
            asking = [pool.submit(endpoint.get) for _ in range(20)]
            assert {each.result().status_code for each in asking} == {503}
            assert connections(tables) <= 2
        assert '"NoConnectionFree"' in endpoint.server.log.read_text(), "it was not the statement that took too long"
        wait_for(lambda: endpoint.get().status_code == 200, endpoint.server, what="the endpoint to recover")


def hanging_request(endpoint: Endpoint, query: str, request_id: str) -> socket.socket:
    """A client that has asked and does not wait."""
    client = socket.create_connection(("127.0.0.1", endpoint.port))
    headers = {**endpoint.authorization, "Host": "localhost", "X-Request-ID": request_id}
    lines = [f"GET {ROUTE}{query} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    client.sendall("\r\n".join([*lines, "", ""]).encode())
    return client


def test_a_client_that_hangs_up_has_its_statement_cancelled(endpoint: Endpoint, postgres_server: Server) -> None:
    cancelled = "canceling statement due to user request"
    before = postgres_server.log.read_text().count(cancelled)
    with locked(endpoint.database_url):
        client = hanging_request(endpoint, "", "hung-up-on-postgres")
        await_lock_wait(endpoint.tables.rows, endpoint.server, application=API)
        client.close()
        assert log_line(endpoint, "hung-up-on-postgres")["status"] == 499
        wait_for(lambda: running_statements(endpoint.tables) == 0, endpoint.server, what="it to be cancelled")
        assert postgres_server.log.read_text().count(cancelled) > before


def test_a_client_that_hangs_up_does_not_wait_for_its_refresh(endpoint: Endpoint) -> None:
    endpoint.read_all()
    client = hanging_request(endpoint, "?refresh=true", "hung-up-on-a-refresh")
    for _ in range(2):
        endpoint.await_message()
    client.close()
    line = log_line(endpoint, "hung-up-on-a-refresh")
    assert (line["status"], line["bytes"]) == (499, 0)
    assert not log_lines(endpoint, "hung-up-on-a-refresh", "refresh_deadline_passed")
    assert endpoint.tables.schedule(TRON)["requested_at"] is not None, "what it asked for is still to be done"


def test_a_shutdown_finishes_the_requests_in_flight(
    start_endpoint: StartEndpoint, database_url: str, tables: Tables
) -> None:
    with start_endpoint() as endpoint, ThreadPoolExecutor(1) as pool:
        endpoint.read_all()
        with locked(database_url) as lock:
            asking = pool.submit(endpoint.get)
            await_lock_wait(tables.rows, endpoint.server, application=API)
            endpoint.server.process.terminate()
            wait_for(lambda: "Shutting down" in endpoint.server.log.read_text(), what="the shutdown to begin")
            lock.rollback()
            assert asking.result().status_code == 200
        assert endpoint.server.process.wait(CAP) == 0
        assert "Traceback" not in endpoint.server.log.read_text()


ODD = {
    "a query of 10 kB": (f"GET {ROUTE}?x={'y' * 10_000} HTTP/1.1", 414),
    "a path of 10 kB": (f"GET {ROUTE}{'0' * 10_000} HTTP/1.1", 422),
    "a NUL in the id": (f"GET {ROUTE[:-1]}%00 HTTP/1.1", 422),
    "a raw NUL": (f"GET {ROUTE}\0 HTTP/1.1", 400),
    "full-width digits": (f"GET {ROUTE[:-1]}%EF%BC%95 HTTP/1.1", 422),
    "full-width digits, unescaped": (f"GET {ROUTE[:-1]}\uff15 HTTP/1.1", 422),
    "invalid UTF-8": (f"GET {ROUTE[:-1]}%ff HTTP/1.1", 422),
    "a slash in the id": (f"GET {ROUTE[:-1]}%2f HTTP/1.1", 422),
    "no id": ("GET /api/v1/auth/balances/user/ HTTP/1.1", 404),
    "a parameter twice": (f"GET {ROUTE}?refresh=false&refresh=false HTTP/1.1", 422),
    "a network of bytes": (f"GET {ROUTE}?networks=%ff%00 HTTP/1.1", 422),
    "half an escape": (f"GET {ROUTE}?networks=tron% HTTP/1.1", 422),
    "another route's case": (f"GET {ROUTE.upper()} HTTP/1.1", 404),
    "no HTTP": ("hello", 400),
}


@pytest.mark.parametrize("request_", ODD)
def test_an_odd_request_is_the_clients_error(shared: Endpoint, request_: str) -> None:
    line, status = ODD[request_]
    with socket.create_connection(("127.0.0.1", shared.port), timeout=CAP) as client:
        authorization = shared.authorization["Authorization"]
        client.sendall(
            f"{line}\r\nHost: localhost\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b""
        while more := client.recv(65536):
            answer += more
    assert int(answer[9:12]) == status, answer[:200]
    head, _, body = answer.partition(b"\r\n\r\n")
    if status == 400:  # the server's own: nobody has seen a request yet
        assert body == b""
    else:
        assert b"application/problem+json" in head
        assert b"\r\nx-request-id: " in head
        assert json.loads(body)["status"] == status
    assert shared.get().status_code == 200


def answer_to(endpoint: Endpoint, *parts: bytes) -> bytes:
    """What the endpoint says to these bytes, until it has read and written enough."""
    answer = b""
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=CAP) as client, suppress(ConnectionError):
        for part in parts:
            client.sendall(part)
        while more := client.recv(65536):
            answer += more
    return answer


LONG = b"y" * 5_000_000
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        (HEALTH + b"X: ", LONG),
        (HEALTH, LONG + b": y\r\n\r\n"),
        (HEALTH, b"".join(b"X-%d: y\r\n" % number for number in range(500_000)) + b"\r\n"),
        (b"GET /healthz?", LONG),
    ],
)
def test_a_head_without_end_is_not_read_to_its_end(shared: Endpoint, parts: tuple[bytes, ...]) -> None:
    taken = bytes_taken(shared)
    answer = answer_to(shared, *parts)
    # The client may have been cut off before it has heard why; hyper says 414 of a line, 431 of headers.
    assert answer[9:12] in (b"431", b"414", b"")
    assert bytes_taken(shared) - taken < len(LONG) / 2


def bytes_taken(endpoint: Endpoint) -> int:
    """What the endpoint's processes have read in their lives, as the kernel counts it."""
    try:
        return sum(each.io_counters().read_chars for each in processes(endpoint.server))
    except (AttributeError, NotImplementedError, psutil.AccessDenied):
        pytest.skip("this kernel does not tell what a process has read")


def test_a_head_too_large_is_told_so(shared: Endpoint) -> None:
    answer = answer_to(shared, HEALTH + b"X: ", b"y" * 65_536)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_two_requests_in_one_read_are_counted_each_for_itself(shared: Endpoint) -> None:
    one = HEALTH.replace(b"close", b"keep-alive") + b"X: " + b"y" * 40_000 + b"\r\n\r\n"
    last = HEALTH + b"X: " + b"y" * 40_000
    assert answer_to(shared, one + one + last, b"\r\n\r\n").count(b"HTTP/1.1 200 OK") == 3


def test_a_large_body_is_no_large_head(shared: Endpoint) -> None:
    head = HEALTH.replace(b"close", b"keep-alive") + b"Content-Length: 300000\r\n\r\n"
    assert answer_to(shared, head, b"y" * 300_000).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("given", ["a b", "", "x" * 129, "<script>", "\u00e9", "-flag", "a,b"])
def test_a_request_id_that_could_harm_a_log_is_replaced(shared: Endpoint, given: str) -> None:
    made = shared.get(headers={"X-Request-ID": given.encode()}).headers["X-Request-ID"]
    assert made != given
    assert len(made) == 32


def test_a_thousand_wallets_are_served_whole(endpoint: Endpoint) -> None:
    endpoint.read_all()
    endpoint.tables.add("tron", *(f"T{number}" for number in range(998)), user_id=USER)
    endpoint.tables.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '1 day', claimed_at = now()")
    endpoint.tables.rows(
        "INSERT INTO balance_cache SELECT id, 1000000, 1, 5, now(), 'solid', now() FROM wallets ON CONFLICT DO NOTHING"
    )
    response = endpoint.get()
    assert len(response.json()["balances"]) == 1000
    assert response.json()["total_usdt"] == f"{977 + 998}.00000000"
    full = endpoint.get("?detail=full").json()
    assert (len(full["balances"]), full["complete"], full["excluded"]) == (1000, True, [])
    again = endpoint.get(headers={**endpoint.authorization, "If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304


def test_a_requests_id_goes_with_its_message_into_the_workers_log(
    endpoint: Endpoint, redis_process: Server, tmp_path: Path
) -> None:
    endpoint.read_all()
    # It serves another network alone, and says of which request it refuses the wallet.
    env = {"DATABASE_URL": endpoint.database_url, "REDIS_URL": redis_process.url}
    env |= {"ETHEREUM_RPC_URLS": "http://127.0.0.1:1", "LOG_FORMAT": "json"}
    with worker(tmp_path, env) as refusing, endpoint.asked("?refresh=true&networks=tron", "page-view/8"):
        wait_for(lambda: "task_refused" in refusing.log.read_text(), refusing, what="the worker to refuse")
        lines = [json.loads(line) for line in refusing.log.read_text().splitlines() if '"task_refused"' in line]
    assert [(line["task"], line["request_id"]) for line in lines] == [("sync_wallets", "page-view/8")]


def test_a_statement_that_is_wrong_is_a_fault_of_ours_and_does_not_look_like_an_outage(
    start_endpoint: StartEndpoint, tables: Tables
) -> None:
    with start_endpoint() as endpoint:
        endpoint.read_all()
        assert endpoint.get().status_code == 200
        tables.rows("ALTER TABLE balance_cache RENAME COLUMN usdt_balance TO renamed")
        answer = endpoint.get(headers={**endpoint.authorization, "X-Request-ID": "a-fault-of-ours"})
        tables.rows("ALTER TABLE balance_cache RENAME COLUMN renamed TO usdt_balance")
        assert (answer.status_code, answer.json()["detail"]) == (500, "Something went wrong here.")
        assert b"usdt_balance" not in answer.content
        (line,) = log_lines(endpoint, "a-fault-of-ours", "request_failed")
        assert "UndefinedColumnError" in line["exception"]
        assert endpoint.get().status_code == 200
