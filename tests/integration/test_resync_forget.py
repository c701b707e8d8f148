"""``celery -A worker resync --forget``: what a node has lied does not stay because its block is newer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from commands import command, command_json
from tables import Tables

from config.settings import WorkerSettings
from devstack.product import worker
from devstack.seed import fund, insert, wallets
from devstack.servers import CAP, Server
from devstack.stack import LocalChain, settings
from worker.reading import shared_of, shared_redis
from worker.reading.shared import Shared
from worker.reading.shared_entries import NEWEST_HOLDS

Env = dict[str, str]
LIE = 10**9
"""A block that the chain is not at for long, and an amount that nobody has."""


@pytest.fixture
def scene(
    database_url: str,
    redis_process: Server,
    ethereum: LocalChain,
    tron: LocalChain,
    monkeypatch: pytest.MonkeyPatch,
) -> Env:
    """Wallets of both networks that a node has lied of: their balances are of a block far ahead."""
    redis.Redis.from_url(redis_process.url).flushall()
    monkeypatch.setattr(shared_redis, "TIMEOUT", CAP)
    seeded = wallets(3)
    for chain, network in ((ethereum, "ethereum"), (tron, "tron")):
        fund(chain, [wallet for wallet in seeded if wallet.network == network])
    insert(database_url, seeded)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO balance_cache (wallet_id, usdt_balance, native_balance, block_number, block_time, finality,"
            " last_synced) SELECT id, %(lie)s, %(lie)s, %(lie)s, now(),"
            " CASE network WHEN 'tron' THEN 'solid' ELSE 'latest' END, now() FROM wallets",
            {"lie": LIE},
        )
        connection.execute("UPDATE sync_schedule SET next_sync_at = '2099-01-01', claimed_at = now()")
    quiet = {"SYNC_INTERVAL_ACTIVE": "3600", "SYNC_INTERVAL_IDLE": "3600"}
    return settings(database_url, redis_process.url, ethereum, tron) | quiet


def lies(tables: Tables, network: str) -> int:
    (row,) = tables.rows(
        "SELECT count(*) AS lies FROM balance_cache JOIN wallets ON id = wallet_id"
        " WHERE network = %s AND usdt_balance = %s",
        network,
        LIE,
    )
    return int(row["lies"])


def forgotten(tables: Tables) -> set[str]:
    return {row["network"] for row in tables.rows("SELECT network FROM sync_schedule WHERE forgotten_at IS NOT NULL")}


def shared(env: Env, network: str) -> Shared:
    """What another worker knows of a network."""
    return shared_of(network, WorkerSettings.model_validate({name.lower(): value for name, value in env.items()}))


@pytest.fixture
def working(scene: Env, tmp_path: Path) -> Iterator[Server]:
    with worker(tmp_path, scene) as server:
        yield server


@pytest.mark.usefixtures("working")
def test_a_scopes_balances_are_overwritten_by_older_blocks_and_those_of_others_stay(scene: Env, tables: Tables) -> None:
    there = lies(tables, "tron")
    held_up = command_json(scene, "resync", "--network", "tron", "--wait", code=1)
    assert held_up["outcome"]["errors"] == {"older_block": there}
    assert lies(tables, "tron") == there, "the newer block is believed, until somebody says otherwise"
    told = command_json(scene, "resync", "--network", "tron", "--forget", "--wait")
    assert (told["forget"], told["outcome"]["read"]) == (True, there)
    assert (lies(tables, "tron"), lies(tables, "ethereum")) == (0, there)


def test_what_it_does_is_told_and_logged_and_the_balances_are_shown_until_then(scene: Env, tables: Tables) -> None:
    there = lies(tables, "tron")
    marks: dict[str, Any] = {network: [LIE, 1] for network in ("ethereum", "tron")}
    for network, mark in marks.items():
        shared(scene, network).put("newest", mark, NEWEST_HOLDS)
    done = command(scene, "resync", "--network", "tron", "--forget")
    assert done.exit_code == 0
    assert "What was read of them until now may be overwritten by an older block, once." in done.stdout
    assert "forgotten" in done.stderr
    assert "tron" in done.stderr
    assert forgotten(tables) == {"tron"}
    assert lies(tables, "tron") == there
    left = {network: shared(scene, network).get(["newest"]) for network in marks}
    assert left == {"ethereum": {"newest": marks["ethereum"]}, "tron": {}}


def test_a_dry_run_forgets_nothing(scene: Env, tables: Tables) -> None:
    shared(scene, "tron").put("newest", [LIE, 1], NEWEST_HOLDS)
    done = command(scene, "resync", "--network", "tron", "--forget", "--dry-run")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "may be overwritten by an older block" in done.stdout
    assert forgotten(tables) == set()
    assert shared(scene, "tron").get(["newest"]) != {}


def test_it_is_not_for_every_wallet_at_once(scene: Env, tables: Tables) -> None:
    done = command(scene, "resync", "--all", "--forget", "--yes")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--forget is not for every wallet at once: say which" in done.stderr
    assert forgotten(tables) == set()


def test_a_resync_without_it_forgets_nothing(scene: Env, tables: Tables) -> None:
    shared(scene, "tron").put("newest", [LIE, 1], NEWEST_HOLDS)
    assert command_json(scene, "resync", "--network", "tron")["forget"] is False
    assert forgotten(tables) == set()
    assert shared(scene, "tron").get(["newest"]) != {}
