"""config/redis.acl: with just these users the whole path works, and they can do nothing else. On Redis 6.2, and on
the `redis-server` (7, 8) and `valkey-server` that this machine has.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import requests
from redis_users import SERVERS, USERS, program_of, running_redis
from tables import Tables
from terminal import celery

from devstack.product import api, beat, ops, token, worker
from devstack.seed import fund, insert, wallets
from devstack.servers import CAP, Server, wait_for
from devstack.stack import LocalChain, settings

TROUBLE = ("NOPERM", "redis_unavailable", "Traceback", "refresh_not_sent", "refresh_not_counted")


@pytest.fixture(scope="module", params=SERVERS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """A Redis with these users, and its URL for each."""
    program = program_of(request.param)
    if program is None:
        pytest.skip(f"this machine has no {request.param}")
    with running_redis(tmp_path_factory.mktemp("redis"), program) as of:
        yield of


@pytest.fixture
def chains(ethereum: LocalChain, tron: LocalChain) -> tuple[LocalChain, LocalChain]:
    return ethereum, tron


def printed(env: dict[str, str], *words: str) -> str:
    """What an admin command prints."""
    done = celery(env, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "redis_unavailable" not in done.stderr
    return done.stdout


def test_the_whole_path_works_with_these_users_alone(
    url: Callable[[str], str],
    database_url: str,
    tables: Tables,
    chains: tuple[LocalChain, LocalChain],
    tmp_path: Path,
) -> None:
    ethereum, tron = chains
    seeded = wallets(4)
    fund(ethereum, [wallet for wallet in seeded if wallet.network == "ethereum"])
    fund(tron, [wallet for wallet in seeded if wallet.network == "tron"])
    env = settings(database_url, url("worker"), ethereum, tron) | {
        "REFRESH_DEADLINE": str(CAP),
        "REFRESH_COOLDOWN": "0.1",
    }
    as_ops = {**env, "REDIS_URL": url("ops")}

    def all_read(*processes: Server) -> None:
        read = "SELECT FROM balance_cache"
        wait_for(lambda: len(tables.rows(read)) == len(seeded), *processes, what="every wallet to be read")

    insert(database_url, seeded)
    with (
        worker(tmp_path, env) as worked,
        beat(tmp_path, env) as ticked,
        api(tmp_path, {**env, "REDIS_URL": url("api")}) as served,
    ):
        all_read(worked, ticked)
        answer = requests.get(
            f"{served.url}/api/v1/auth/balances/user/{seeded[0].user_id}?refresh=true",
            headers={"Authorization": f"Bearer {token(env, seeded[0].user_id)}"},
            timeout=CAP,
        )
        assert [each["is_cached"] for each in answer.json()["balances"]] == [False, False]
        requests_counted = [
            network["endpoints"][0]["requests"]
            for network in json.loads(printed(as_ops, "freshness", "--json"))["networks"]
        ]
        assert all(requests_counted), "an operator sees what the workers counted"
        assert json.loads(printed(as_ops, "resync", "--all", "--yes", "--json"))["queued"] is True
        forgotten = json.loads(printed(as_ops, "resync", "--network", "tron", "--forget", "--json"))
        assert (forgotten["queued"], forgotten["marked"]) == (True, len(seeded) // 2)
        assert "redis" in printed(env, "check")
        with ops(tmp_path, as_ops) as seen:
            metrics = requests.get(f"{seen.url}/metrics", timeout=CAP).text
            assert [word for word in (*TROUBLE, "collection_failed") if word in seen.log.read_text()] == []
        assert 'balance_sync_batches_total{network="tron",outcome="synced"} ' in metrics
        assert 'outcome="synced"} 0.0' not in metrics
        for name in ("beat_last_dispatch_timestamp_seconds", "worker_last_seen_timestamp_seconds{queue="):
            assert f"\nbalance_sync_{name}" in metrics
        for process in (worked, ticked, served):
            log = process.log.read_text()
            assert not [word for word in TROUBLE if word in log]


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    "command",
    ["FLUSHALL", "KEYS *", "CONFIG GET *", "SCAN 0", "GET another", "SET another 1", "PUBLISH x y", "ACL LIST"],
)
def test_no_user_can_do_what_it_does_not_need(url: Callable[[str], str], user: str, command: str) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        redis.Redis.from_url(url(user)).execute_command(*command.split())


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("api", "MGET bal:chain:x"),
        ("api", "SET bal:chain:x 1"),
        ("api", "LPUSH bal:sync.tron 1"),
        ("registrar", "SET bal:chain:x 1"),
        ("registrar", "LPUSH bal:sync.tron 1"),
        ("registrar", "RPOP bal:refresh"),
        ("registrar", "DEL bal:refresh"),
        ("registrar", "SADD bal:_kombu.binding.refresh x"),
        ("ops", "SET bal:chain:x 1"),
        ("ops", "DEL bal:chain:x"),
        ("ops", "HSET bal:unacked x 1"),
        ("ops", "HINCRBY bal:counts:tron wallets 1"),
        ("ops", "SET bal:ops:dispatched 1"),
        ("api", "HGETALL bal:counts:tron"),
    ],
)
def test_endpoint_and_operators_do_not_write_what_workers_share(
    url: Callable[[str], str], user: str, command: str
) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        redis.Redis.from_url(url(user)).execute_command(*command.split())


def test_nobody_comes_in_without_a_password(url: Callable[[str], str]) -> None:
    anonymous = "redis://" + url("worker").partition("@")[2]
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(anonymous).ping()
