"""The example of an API on top of balance-sync (``examples/api``), against real workers and a real endpoint.

It has the rights of a backend, and no others: the role of Postgres and the user of Redis that are for it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
import requests
from redis_users import running_redis
from scene import NEVER
from tables import Tables

from db.rights import REGISTRAR
from devstack.product import api, beat, environment, token, worker
from devstack.seed import SeededWallet
from devstack.servers import CAP, ROOT, Server, free_port, running, wait_for
from devstack.stack import LocalChain, settings


@contextmanager
def example(folder: Path, env: dict[str, str]) -> Iterator[Server]:
    """The example alone, with this environment."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(f"{url}/openapi.json", timeout=3).ok
        except requests.RequestException:
            return False

    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT / "examples" / "api"), "main:app"]
    command += ["--port", str(port)]
    with running("shop", command, folder, url=url, ready=answers, env=environment(env, REGISTRAR)) as server:
        yield server


@pytest.fixture
def shop(
    tmp_path: Path, database_url: str, chains: dict[str, LocalChain], tables: Tables
) -> Iterator[tuple[Server, dict[str, str]]]:
    """The example, with the whole product behind it."""
    assert tables.rows("SELECT FROM wallets") == []
    with running_redis(tmp_path) as user:
        env = settings(database_url, user("worker"), **chains) | NEVER | {"REFRESH_COOLDOWN": "0.001"}
        with (
            worker(tmp_path, env),
            beat(tmp_path, env),
            api(tmp_path, {**env, "REDIS_URL": user("api")}) as endpoint,
            example(tmp_path, {**env, "REDIS_URL": user("registrar"), "BALANCES_URL": endpoint.url or ""}) as server,
        ):
            yield server, env


@pytest.fixture
def alone(tmp_path: Path, database_url: str, chains: dict[str, LocalChain]) -> Iterator[tuple[Server, dict[str, str]]]:
    """The example without a worker, before an endpoint that is not there."""
    env = settings(database_url, "redis://127.0.0.1:1/0", **chains)
    with example(tmp_path, {**env, "BALANCES_URL": f"http://127.0.0.1:{free_port()}"}) as server:
        yield server, env


def test_the_example_registers_a_wallet_shows_its_balance_in_both_ways_and_has_it_read_anew(
    shop: tuple[Server, dict[str, str]], funded: list[SeededWallet]
) -> None:
    server, env = shop
    user = uuid4()
    headers = {"Authorization": f"Bearer {token(env, user)}"}
    wallet = next(each for each in funded if each.network == "tron" and each.usdt)

    def get(path: str) -> Any:
        return requests.get(f"{server.url}{path}", headers=headers, timeout=CAP).json()

    made = requests.post(
        f"{server.url}/wallets",
        json={"network": wallet.network, "address": wallet.address},
        headers=headers,
        timeout=CAP,
    )
    assert made.status_code == 201
    wait_for(lambda: get("/balances/rows")[0]["block_number"] is not None, server, what="a worker to read it")
    (row,) = get("/balances/rows")
    assert (row["id"], int(row["usdt_balance"]), int(row["native_balance"])) == (
        made.json()["id"],
        wallet.usdt,
        wallet.native,
    )
    shown = get("/balances")
    assert shown["total_usdt"].replace(".", "").lstrip("0") == str(wallet.usdt * 100)
    assert [entry["wallet_id"] for entry in shown["balances"]] == [row["id"]]

    asked = requests.post(f"{server.url}/balances/refresh", headers=headers, timeout=CAP)
    assert (asked.status_code, asked.json()) == (202, {"status": "asked for"})
    wait_for(lambda: get("/balances/rows")[0]["last_synced"] > row["last_synced"], server, what="it to be read anew")


def test_the_example_tells_nobody_of_anybody_elses(shop: tuple[Server, dict[str, str]]) -> None:
    server, env = shop
    assert requests.get(f"{server.url}/balances", headers={"Authorization": "Bearer x"}, timeout=CAP).status_code == 401
    stranger = {"Authorization": f"Bearer {token(env, uuid4())}"}
    assert requests.get(f"{server.url}/balances/rows", headers=stranger, timeout=CAP).json() == []


def added_source(tables: Tables, token: str, decimals: int) -> int:
    add = "INSERT INTO sources (network, chain_id, token, decimals) VALUES ('tron', 1, %s, %s) RETURNING id"
    (row,) = tables.rows(add, token, decimals)
    return int(row["id"])


def bearer(env: dict[str, str], user: UUID) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(env, user)}"}


def test_the_example_shows_no_balance_of_another_token_than_the_network_has_now(
    alone: tuple[Server, dict[str, str]], tables: Tables
) -> None:
    server, env = alone
    user = uuid4()
    before, now = (added_source(tables, token, decimals) for token, decimals in (("before", 6), ("now", 18)))
    tables.rows("UPDATE networks SET source = %s, first_source = %s WHERE name = 'tron'", before, before)
    body = {"network": "tron", "address": "TAVFvX9tToo1UJ2h7j47jVkgQjZa8LarY8"}
    made = requests.post(f"{server.url}/wallets", json=body, headers=bearer(env, user), timeout=CAP).json()
    tables.rows(
        "INSERT INTO balance_cache (wallet_id, usdt_balance, native_balance, block_number, block_time, finality,"
        " last_synced, source) VALUES (%s, 977000000, 5, 1, now(), 'solid', now(), NULL)",
        made["id"],
    )

    def row() -> Any:
        (found,) = requests.get(f"{server.url}/balances/rows", headers=bearer(env, user), timeout=CAP).json()
        return found["usdt_balance"], found["usdt_decimals"], found["native_balance"], found["last_synced"] is None

    assert row() == ("977000000", 6, "5", False)
    tables.rows("UPDATE networks SET source = %s WHERE name = 'tron'", now)
    assert row() == (None, 18, None, True)
    tables.rows("UPDATE balance_cache SET source = %s", now)
    assert row() == ("977000000", 18, "5", False)


def test_the_example_says_that_a_wallet_is_there_already_or_cannot_be(alone: tuple[Server, dict[str, str]]) -> None:
    server, env = alone
    headers = bearer(env, uuid4())

    def status(network: str, address: str) -> int:
        body = {"network": network, "address": address}
        return requests.post(f"{server.url}/wallets", json=body, headers=headers, timeout=CAP).status_code

    assert status("ethereum", "0x" + "ab" * 20) == 201
    assert status("ethereum", "0x" + "AB" * 20) == 409
    assert status("no-network", "0x" + "ab" * 20) == 422
    assert status("ethereum", "") == 422


def test_the_example_says_502_where_the_endpoint_is_away_or_answers_without_a_body(
    alone: tuple[Server, dict[str, str]], tmp_path: Path
) -> None:
    server, env = alone
    headers = bearer(env, uuid4())
    assert requests.get(f"{server.url}/balances", headers=headers, timeout=CAP).status_code == 502
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]  # it answers, but never in JSON
    folder = tmp_path / "other"
    folder.mkdir()

    def answers() -> bool:
        try:
            return requests.head(url, timeout=3).ok
        except requests.RequestException:
            return False

    with (
        running("other", command, folder, url=url, ready=answers),
        example(folder, {**env, "BALANCES_URL": url}) as shop,
    ):
        assert requests.get(f"{shop.url}/balances", headers=headers, timeout=CAP).status_code == 502


@pytest.mark.parametrize("left_out", ["exp", "sub", "nothing"])
def test_the_example_takes_no_token_without_a_user_or_an_end(
    alone: tuple[Server, dict[str, str]], left_out: str
) -> None:
    server, env = alone
    claims = {"sub": str(uuid4()), "exp": datetime.now(UTC) + timedelta(hours=1)}
    claims.pop(left_out, None)
    headers = {"Authorization": f"Bearer {jwt.encode(claims, env['JWT_SECRET'], 'HS256')}"}
    told = requests.get(f"{server.url}/balances/rows", headers=headers, timeout=CAP).status_code
    assert told == (200 if left_out == "nothing" else 401)
