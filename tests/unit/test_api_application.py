"""The application before the database is asked: what it serves, what it refuses, and what becomes of our own faults."""

import asyncio
from typing import Any

import pytest
from asgi import ask
from litestar.exceptions import InternalServerException, NotFoundException
from structlog.testing import capture_logs
from tokens import USER, settings, signed

from api.app import create_app
from api.problems import told_by_status

ROUTE = f"/api/v1/auth/balances/user/{USER}"
APP = create_app(settings())


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("/", {}, 404),
        ("/nowhere", {}, 404),
        ("/docs", {}, 404),
        ("/schema", {}, 404),
        ("/api/v1/auth/balances/user/", {}, 404),
        (f"{ROUTE}/wallets", {}, 404),
        ("/healthz", {"method": "HEAD"}, 405),
        ("/healthz", {"method": "OPTIONS"}, 405),
        (ROUTE, {"method": "DELETE"}, 405),
        ("/healthz", {"query": b"x" * 4097}, 414),
        (ROUTE, {}, 401),
        ("/healthz", {"host": "not a host"}, 400),
    ],
)
def test_what_is_not_served_is_a_problem(path: str, more: dict[str, Any], status: int) -> None:
    answer = ask(APP, path, **more)
    assert (answer.status, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers.get("allow") == ("GET" if status == 405 else None)


def test_the_process_tells_that_it_is_alive() -> None:
    answer = ask(APP, "/healthz", x_request_id="page-view/7")
    assert (answer.status, answer.json(), answer.headers["x-request-id"]) == (200, {"status": "alive"}, "page-view/7")


def test_a_fault_of_ours_says_nothing_of_the_inside_and_is_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> None:
        raise ValueError("SELECT secret FROM inside")

    monkeypatch.setattr("api.app._for_the_log", broken)
    with capture_logs() as logs:
        answer = ask(APP, ROUTE, authorization=f"Bearer {signed()}")
    assert (answer.status, answer.json()["detail"]) == (500, "Something went wrong here.")
    assert b"secret" not in answer.body
    (line,) = (each for each in logs if each["event"] == "request_failed")
    assert "secret" in str(line["exc_info"])


def test_a_websocket_is_turned_away() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    asyncio.run(APP({"type": "websocket", "path": "/healthz"}, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_metrics_count_requests_by_route_and_status() -> None:
    def counted() -> dict[str, float]:
        lines = ask(APP, "/metrics").body.decode().splitlines()
        return {name: float(number) for name, number in (line.rsplit(" ", 1) for line in lines if "_count{" in line)}

    wanted = {
        'balance_sync_request_seconds_count{route="/healthz",status="200"}': 2.0,
        'balance_sync_request_seconds_count{route="None",status="404"}': 1.0,
        'balance_sync_request_seconds_count{route="/api/v1/auth/balances/user/{user_id}",status="401"}': 1.0,
    }
    before = counted()
    for path in ("/healthz", "/healthz", "/nowhere", ROUTE):
        ask(APP, path)
    after = counted()
    assert {name: after[name] - before.get(name, 0) for name in wanted} == wanted
    assert str(USER) not in str(after), "no label is anybody's"


def test_a_database_url_that_the_driver_cannot_follow_is_no_setting() -> None:
    with pytest.raises(ValueError, match="require_auth"):
        settings(database_url="postgresql://h/d?require_auth=scram-sha-256")


def test_a_fault_of_the_frameworks_own_is_in_the_log_and_not_in_the_answer() -> None:
    with capture_logs() as logs:
        answer = told_by_status(None, InternalServerException("something inside"))
        told_by_status(None, NotFoundException())
    assert (answer.status_code, b"inside" in answer.content) == (500, False)
    assert [line["event"] for line in logs] == ["request_failed"]
