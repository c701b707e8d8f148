"""Refreshes with real workers, two endpoint processes and real nodes: what they cost, and what comes of them."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
import requests
from celery import Celery
from tables import Tables

from devstack.product import api, beat, token, worker
from devstack.seed import fund, insert, wallets
from devstack.servers import Server, wait_for
from devstack.stack import LocalChain, base58_address, settings

CROWD = 50
OFTEN_ENOUGH = {"SYNC_INTERVAL_ACTIVE": "600", "SYNC_INTERVAL_IDLE": "600", "REFRESH_DEADLINE": "30"}


Chains = dict[str, LocalChain]


@pytest.fixture
def chains(ethereum: LocalChain, tron: LocalChain) -> Chains:
    return {"ethereum": ethereum, "tron": tron}


@pytest.fixture
def env(database_url: str, redis_process: Server, chains: Chains) -> dict[str, str]:
    """The processes' settings: nothing is due by itself while a test runs."""
    redis.Redis.from_url(redis_process.url).flushall()
    return settings(database_url, redis_process.url, chains["ethereum"], chains["tron"]) | OFTEN_ENOUGH


def reads(chains: Chains) -> dict[str, int]:
    """How often each chain's node was asked for what a read is."""
    calls = sum(line.strip() == "eth_call" for line in chains["ethereum"].node.log.read_text().splitlines())
    asked = requests.get(f"{chains['tron'].node.url}/devstack/requests", timeout=5).json()
    return {"ethereum": calls, "tron": asked.get("triggerconstantcontract", 0)}


@pytest.fixture
def worked(env: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    with worker(tmp_path, env) as server:
        yield server


def read_once(env: dict[str, str], tables: Tables, worked: Server) -> None:
    """Every wallet was read, longer ago than any cool-down."""
    with beat(worked.log.parent, env) as ticked:
        unread = "SELECT FROM sync_schedule LEFT JOIN balance_cache USING (wallet_id) WHERE last_synced IS NULL"
        wait_for(lambda: not tables.rows(unread), worked, ticked, what="every wallet to have been read")
    wait_for(lambda: not tables.rows("SELECT FROM sync_schedule WHERE lease_token IS NOT NULL"), worked, what="rest")
    tables.rows("UPDATE sync_schedule SET claimed_at = now() - interval '2 minutes'")
    tables.rows("UPDATE balance_cache SET last_synced = now() - interval '2 minutes'")


def test_a_crowd_that_refreshes_one_user_at_two_processes_costs_one_read_of_each_network_or_two(
    env: dict[str, str], tables: Tables, chains: Chains, worked: Server, tmp_path: Path
) -> None:
    env["REFRESH_COOLDOWN"] = "60"
    seeded = wallets(0)
    for network, chain in chains.items():
        fund(chain, [wallet for wallet in seeded if wallet.network == network])
    insert(env["DATABASE_URL"], seeded)
    read_once(env, tables, worked)
    headers = {"Authorization": f"Bearer {token(env, seeded[0].user_id)}"}
    with ExitStack() as started, ThreadPoolExecutor(CROWD) as pool:
        started.enter_context(beat(tmp_path / "ticks", env))
        urls = [started.enter_context(api(tmp_path / name, env)).url for name in ("one", "two")]
        before = reads(chains)

        def ask(number: int) -> Any:
            url = f"{urls[number % 2]}/api/v1/auth/balances/user/{seeded[0].user_id}?refresh=true"
            return requests.get(url, headers=headers, timeout=60).json()["balances"]

        answers = list(pool.map(ask, range(CROWD)))
    cost = {network: count - before[network] for network, count in reads(chains).items()}
    assert set(cost.values()) <= {1, 2}, cost
    fresh = [entry for entries in answers for entry in entries if not entry["is_cached"]]
    assert {entry["network"] for entry in fresh} == {"ethereum", "tron"}
    assert {tuple(entry["usdt_balance"] for entry in entries) for entries in answers} == {
        ("977.00000000", "0.00000000")
    }


def sender(env: dict[str, str]) -> Celery:
    other = Celery(broker=env["REDIS_URL"], set_as_current=False)
    other.conf.broker_transport_options = {"global_keyprefix": "bal:"}
    return other


def test_a_user_of_a_thousand_wallets_is_read_batch_by_batch_by_whoever_is_free(
    env: dict[str, str], tables: Tables, worked: Server
) -> None:
    user = uuid4()
    addresses = {
        "tron": [base58_address((10**6 + number).to_bytes(20)) for number in range(1100)],
        "ethereum": ["0x" + (10**6 + number).to_bytes(20).hex() for number in range(20)],
    }
    for network, each in addresses.items():
        tables.add(network, *each, user_id=user)
    read_once(env, tables, worked)
    seen = len(worked.log.read_text())
    sender(env).send_task("worker.tasks.refresh_user", args=[str(user)], queue="refresh", ignore_result=True)
    late = "SELECT FROM balance_cache WHERE last_synced < now() - interval '1 minute'"
    wait_for(lambda: not tables.rows(late), worked, what="all to be read")
    done = "SELECT FROM sync_schedule WHERE lease_token IS NOT NULL OR requested_at > claimed_at"
    wait_for(lambda: not tables.rows(done), worked, what="nothing to be under way")
    lines = [line for line in worked.log.read_text()[seen:].splitlines() if "batch_synced" in line]
    batches = [
        (int(found[2]), UUID(found[1])) for line in lines if (found := re.search(r"task_id=(\S+) wallets=(\d+)", line))
    ]
    # On a slow machine the node's limit may be found to be lower, or a tick of the beat before take some along.
    assert sum(size for size, _ in batches) >= 1120
    assert max(size for size, _ in batches) <= 500
    assert len({task for _, task in batches}) == len(batches) >= 4, "no task reads more than a batch"


def test_a_message_with_the_wrong_arguments_is_refused_in_a_line(env: dict[str, str], worked: Server) -> None:
    queue = sender(env)
    queue.send_task("worker.tasks.refresh_user", args=[], queue="refresh", ignore_result=True)
    queue.send_task("worker.tasks.sync_wallet", args=[str(uuid4()), "more"], queue="refresh", ignore_result=True)
    queue.send_task("worker.tasks.sync_wallet", kwargs={"wallet": str(uuid4())}, queue="refresh", ignore_result=True)
    queue.send_task("worker.tasks.sync_wallets", args=["tron", "all"], queue="refresh", ignore_result=True)
    wait_for(lambda: worked.log.read_text().count("task_refused") >= 4, worked, what="all to be refused")
    log = worked.log.read_text()
    assert "refresh_user() missing 1 required positional argument: 'user_id'" in log
    assert "sync_wallet() got an unexpected keyword argument 'wallet'" in log
    assert "a list is asked for, not 'all'" in log
    assert "Traceback" not in log
    assert redis.Redis.from_url(env["REDIS_URL"]).llen("bal:refresh") == 0
