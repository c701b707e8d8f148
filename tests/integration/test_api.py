"""The endpoint as a real process: the contract, its errors, and what its log says."""

import re
import subprocess
import sys
import time
from typing import Any
from uuid import uuid4

import jwt
import pytest
from endpoint import ENV, Endpoint, StartEndpoint, log_line
from tables import Tables

from db import SCHEMA_VERSION
from devstack.seed import TRON_ADDRESS, USER
from devstack.servers import ROOT, Server, wait_for


def test_one_network_is_shown_alone(endpoint: Endpoint) -> None:
    endpoint.read_all()
    body = endpoint.get("?networks=ethereum&include_pending=true").json()
    assert [entry["network"] for entry in body["balances"]] == ["ethereum"]
    assert body["total_usdt"] == "0.00000000"


def test_a_plain_read_is_one_statement(start_endpoint: StartEndpoint, tables: Tables, postgres_server: Server) -> None:
    tables.rows(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %%I SET log_statement = ''all''', current_database()); END $$"
    )
    with start_endpoint() as endpoint:
        endpoint.read_all()
        assert endpoint.get().status_code == 200
        before = len(statements(postgres_server))
        for _ in range(5):
            assert endpoint.get().status_code == 200
        found = statements(postgres_server)[before:]
    assert len(found) == 5, found


def statements(server: Server) -> list[str]:
    """Postgres' log, without what the endpoint tells itself from time to time to prove that it hears."""
    return re.findall(r"LOG:  (?:statement|execute \S+): (?!SELECT pg_notify).*", server.log.read_text())


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
    shared: Endpoint, request_: dict[str, Any], status: int, names: list[str]
) -> None:
    response = shared.get(**request_)
    body = response.json()
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
    assert list(body) == ["type", "title", "status", "detail", "errors"]
    assert (body["type"], body["status"]) == ("about:blank", status)
    assert [error["parameter"] for error in body["errors"]] == names
    assert ("WWW-Authenticate" in response.headers) == (status == 401)


def test_an_unknown_parameter_is_ignored(shared: Endpoint) -> None:
    assert shared.get("?page=7&page=8").json()["balances"] == shared.get().json()["balances"] != []


def test_it_is_not_ready_on_an_older_schema(endpoint: Endpoint) -> None:
    assert endpoint.get(path="/readyz").json() == {"status": "ready"}
    version = "UPDATE alembic_version SET version_num = %s"
    endpoint.tables.rows(version, "0001")
    try:
        wait_for(lambda: endpoint.get(path="/readyz").status_code == 503, what="the copy of the answer to be old")
        response = endpoint.get(path="/readyz")
    finally:
        endpoint.tables.rows(version, SCHEMA_VERSION)
    wait_for(lambda: endpoint.get(path="/readyz").ok, what="the next copy")
    assert (response.status_code, "alembic upgrade head" in response.json()["detail"]) == (503, True)
    assert response.headers["Retry-After"] == "2"


def test_the_log_has_a_line_for_each_request_and_no_token_or_balance(endpoint: Endpoint) -> None:
    endpoint.read_all()
    written = len(endpoint.server.log.read_text())
    first = endpoint.get(headers={**endpoint.authorization, "X-Request-ID": "page-view/7"})
    unchanged = {**endpoint.authorization, "X-Request-ID": "again", "If-None-Match": first.headers["ETag"]}
    assert endpoint.get(headers=unchanged).status_code == 304
    endpoint.get(headers={"X-Request-ID": "nobody"})
    assert endpoint.get(path="/nowhere", headers={"X-Request-ID": "nowhere"}).status_code == 404
    plain, again, nobody, nowhere = (log_line(endpoint, name) for name in ("page-view/7", "again", "nobody", "nowhere"))
    who = {"subject": str(USER), "user": str(USER)}
    assert plain.pop("sql_ms") > 0
    assert plain.pop("ms") > 0
    assert {**plain, "timestamp": "…"} == {
        **who,
        "event": "request",
        "level": "info",
        "logger": "api",
        "client": "127.0.0.1",
        "method": "GET",
        "route": "/api/v1/auth/balances/user/{user_id}",
        "status": 200,
        "wallets": 2,
        "refreshed": 0,
        "bytes": len(first.content),
        "request_id": "page-view/7",
        "timestamp": "…",
    }
    assert (again["status"], again["bytes"]) == (304, 0)
    assert again.items() >= who.items()
    assert (nobody["status"], nobody["reason"], "user" in nobody) == (401, "no_token", False)
    assert (nowhere["status"], nowhere["route"]) == (404, None)
    # Without how long it took, which may be any number.
    text = re.sub(r'ms":[\d.]+', "", endpoint.server.log.read_text()[written:])
    assert text.count('"event":"request"') == 4
    for secret in (
        *endpoint.authorization["Authorization"].split("."),
        "977.0",
        "1993.8",
        ENV["JWT_SECRET"],
        TRON_ADDRESS,
    ):
        assert secret not in text


@pytest.mark.parametrize(
    ("subject", "shown"),
    [("\ud800", r"\ud800"), ("é\n", r"\xe9\n"), ("x" * 129, "x" * 128), ("\U0001f600" * 200, r"\U0001f600" * 128)],
)
def test_a_subject_of_any_kind_has_its_line_in_the_log(shared: Endpoint, subject: str, shown: str) -> None:
    request_id = uuid4().hex
    token = jwt.encode({"sub": subject, "exp": int(time.time()) + 86_400}, ENV["JWT_SECRET"], "HS256")
    headers = {"Authorization": f"Bearer {token}", "X-Request-ID": request_id}
    assert shared.get(headers=headers).status_code == 403
    assert log_line(shared, request_id)["subject"] == shown


def test_importing_the_endpoint_loads_nothing_heavy() -> None:
    code = (
        "import sys, api.app; "
        "print([m for m in ('web3', 'tronpy', 'worker', 'celery', 'kombu', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
