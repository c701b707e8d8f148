"""Refreshes with real workers, two endpoint processes and real nodes: what they cost, and what comes of them."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
import requests
from running import send, sender
from scene import LONG_LEASE, NEVER
from tables import Tables

from devstack.product import api, beat, token, worker
from devstack.seed import fund_all, insert, wallets
from devstack.servers import CAP, Server, wait_for
from devstack.stack import LocalChain, base58_address, node_reads, settings

CROWD = 50
CONTACT = 2
"""Calls by which a process verifies a node at its first contact: the token's supply and its decimals."""
COUNT_CLAIMS = """
CREATE TABLE claims (network text NOT NULL);
GRANT INSERT ON claims TO bal_worker;
CREATE FUNCTION note_claim() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO claims VALUES (NEW.network); RETURN NEW; END $$;
CREATE TRIGGER note_claim AFTER INSERT ON leases FOR EACH ROW EXECUTE FUNCTION note_claim();
"""
PATIENT = {"REFRESH_DEADLINE": f"{CAP:g}", "REFRESH_COOLDOWN": "3600"}

Chains = dict[str, LocalChain]


@pytest.fixture
def env(database_url: str, redis_process: Server, chains: Chains) -> dict[str, str]:
    """The processes' settings: nothing is due by itself while a test runs."""
    redis.Redis.from_url(redis_process.url).flushall()
    return settings(database_url, redis_process.url, **chains) | NEVER | LONG_LEASE | PATIENT


@pytest.fixture
def worked(env: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    with worker(tmp_path, env) as server:
        yield server


def read_once(env: dict[str, str], tables: Tables, worked: Server) -> None:
    """Every wallet was read, longer ago than any cool-down."""
    with beat(worked.log.parent, env) as ticked:
        unread = "SELECT FROM sync_schedule LEFT JOIN balance_cache USING (wallet_id) WHERE last_synced IS NULL"
        wait_for(lambda: not tables.rows(unread), worked, ticked, what="every wallet to have been read")
    wait_for(lambda: not tables.rows("SELECT FROM leases"), worked, what="rest")
    tables.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 day'")
    tables.rows("UPDATE balance_cache SET last_synced = now() - interval '1 day'")


def test_a_crowd_that_refreshes_one_user_at_two_processes_costs_one_read_of_each_network_or_two(
    env: dict[str, str], tables: Tables, chains: Chains, worked: Server, tmp_path: Path
) -> None:
    seeded = wallets(0)
    fund_all(chains, seeded)
    insert(env["DATABASE_URL"], seeded)
    read_once(env, tables, worked)
    headers = {"Authorization": f"Bearer {token(env, seeded[0].user_id, seconds=86_400)}"}
    with ExitStack() as started, ThreadPoolExecutor(CROWD) as pool:
        started.enter_context(beat(tmp_path / "ticks", env))
        urls = [started.enter_context(api(tmp_path / name, env)).url for name in ("one", "two")]
        tables.connection.execute(COUNT_CLAIMS)
        before = node_reads(chains)

        def ask(number: int) -> Any:
            url = f"{urls[number % 2]}/api/v1/auth/balances/user/{seeded[0].user_id}?refresh=true"
            return requests.get(url, headers=headers, timeout=2 * CAP).json()["balances"]

        answers = list(pool.map(ask, range(CROWD)))
    cost = {network: count - before[network] for network, count in node_reads(chains).items()}
    made = {
        row["network"]: row["count"] for row in tables.rows("SELECT network, count(*) FROM claims GROUP BY network")
    }
    assert set(made.values()) <= {1, 2}, made
    # A claim is one read. The pool's other process may have read this network for the first time.
    assert {cost[network] - reads for network, reads in made.items()} <= {0, CONTACT}, (cost, made)
    fresh = [entry for entries in answers for entry in entries if not entry["is_cached"]]
    assert {entry["network"] for entry in fresh} == {"ethereum", "tron"}
    assert {tuple(entry["usdt_balance"] for entry in entries) for entries in answers} == {
        ("977.00000000", "0.00000000")
    }


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
    with sender(env["REDIS_URL"]) as app:
        send(app, "refresh_user", str(user))
    fresh = "SELECT network, count(*) FROM balance_cache JOIN wallets ON id = wallet_id"
    fresh += " WHERE last_synced > now() - interval '1 hour' GROUP BY network ORDER BY network"
    one_batch_each = [{"network": "ethereum", "count": 20}, {"network": "tron", "count": 500}]
    wait_for(lambda: tables.rows(fresh) == one_batch_each, worked, what="a batch of each network to be read")
    wait_for(lambda: not tables.rows("SELECT FROM leases"), worked, what="nothing to be under way")
    lines = [line for line in worked.log.read_text()[seen:].splitlines() if "batch_synced" in line]
    assert len({found[1] for line in lines if (found := re.search(r"task_id=(\S+)", line))}) == len(lines) == 2
    due = "SELECT count(*) FROM sync_schedule WHERE next_sync_at <= now() AND lane = 1"
    assert tables.rows(due) == [{"count": 600}], "the others are due with the masses"


def test_a_message_with_the_wrong_arguments_is_refused_in_a_line(env: dict[str, str], worked: Server) -> None:
    with sender(env["REDIS_URL"]) as app:
        send(app, "refresh_user")
        send(app, "sync_wallet", str(uuid4()), "more")
        send(app, "sync_wallet", kwargs={"wallet": str(uuid4())})
        send(app, "sync_wallets", "tron", "all")
    wait_for(lambda: worked.log.read_text().count("task_refused") >= 4, worked, what="all to be refused")
    log = worked.log.read_text()
    assert "refresh_user() missing 1 required positional argument: 'user_id'" in log
    assert "sync_wallet() got an unexpected keyword argument 'wallet'" in log
    assert "a list is asked for, not 'all'" in log
    assert "Traceback" not in log
    assert redis.Redis.from_url(env["REDIS_URL"]).llen("bal:refresh") == 0
