"""The example of an API on top of balance-sync (``examples/api``), against real workers and a real endpoint."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from scene import NEVER
from tables import Tables

from db.rights import REGISTRAR
from devstack.product import api, beat, environment, token, worker
from devstack.seed import SeededWallet
from devstack.servers import CAP, ROOT, Server, free_port, running, wait_for
from devstack.stack import LocalChain, settings


@pytest.fixture
def shop(
    tmp_path: Path, database_url: str, redis_process: Server, chains: dict[str, LocalChain], tables: Tables
) -> Iterator[tuple[Server, dict[str, str]]]:
    """The example, with the whole product behind it."""
    assert tables.rows("SELECT FROM wallets") == []
    env = settings(database_url, redis_process.url, **chains) | NEVER | {"REFRESH_COOLDOWN": "0.001"}
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(f"{url}/openapi.json", timeout=3).ok
        except requests.RequestException:
            return False

    with worker(tmp_path, env), beat(tmp_path, env), api(tmp_path, env) as endpoint:
        own = environment({**env, "BALANCES_URL": endpoint.url or ""}, REGISTRAR)
        command = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT / "examples" / "api"), "main:app"]
        command += ["--port", str(port)]
        with running("shop", command, tmp_path, url=url, ready=answers, env=own) as server:
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
