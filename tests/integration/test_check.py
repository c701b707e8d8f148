"""``celery -A worker check``: what is wrong is named, with what to do; what is right passes."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import faults
import psycopg
import pytest
import redis
from environment import forget_settings
from proxy import Proxy, proxy

from config.settings import worker_settings
from db import SCHEMA_VERSION
from devstack.product import environment
from devstack.servers import ROOT, Server
from devstack.stack import LocalChain, settings
from worker.check import Finding, findings

Env = dict[str, str]


@pytest.fixture
def env(
    database_url: str,
    redis_process: Server,
    ethereum: LocalChain,
    tron: LocalChain,
    monkeypatch: pytest.MonkeyPatch,
) -> Env:
    """The settings of the devstack, in which all is well."""
    made = settings(database_url, redis_process.url, ethereum, tron)
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def before_ethereum(ethereum: LocalChain) -> Iterator[Proxy]:
    with proxy(ethereum.node.url) as made:
        yield made


@pytest.fixture
def look(env: Env, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Finding]]:
    """What the check finds with some settings changed."""

    def findings_with(*, with_endpoint: bool = True, **changes: str) -> list[Finding]:
        for name, value in {**env, **changes}.items():
            monkeypatch.setenv(name, value)
        forget_settings()
        return list(findings(worker_settings(), with_endpoint=with_endpoint))

    return findings_with


def failed(found: list[Finding]) -> list[tuple[str, str, str]]:
    return [(each.subject.partition(" ")[0], each.detail, each.to_do) for each in found if not each.ok]


def test_a_sound_configuration_passes_and_tells_what_each_endpoint_can_do(look: Callable[..., list[Finding]]) -> None:
    found = look()
    assert failed(found) == []
    said = {each.subject.partition(" ")[0]: each.detail for each in found}
    assert set(said) == {"database", "redis", "ethereum", "tron", "tokens"}
    assert "chain 1337" in said["ethereum"]
    assert "2447 wallets a request (revert)" in said["ethereum"]
    assert "500 wallets a request (return)" in said["tron"]


NOBODY = "127.0.0.1:1"
HERE = "http://127.0.0.1"


@pytest.mark.parametrize(
    ("changes", "subject", "detail", "to_do"),
    [
        ({"DATABASE_URL": f"postgresql://me:pass-word@{NOBODY}/x"}, "database", "out of reach", "DATABASE_URL"),
        ({"REDIS_URL": f"redis://:pass-word@{NOBODY}/0"}, "redis", "out of reach", "REDIS_URL"),
        ({"ETHEREUM_RPC_URLS": f"http://{NOBODY}/pass-word"}, "ethereum", "unreachable", "ETHEREUM_RPC_URLS"),
        ({"ETHEREUM_CHAIN_ID": "1"}, "ethereum", "chain id 1337 instead of 1", "ETHEREUM_CHAIN_ID"),
        ({"TRON_CHAIN_ID": "728126428"}, "tron", "wrong_chain", "TRON_CHAIN_ID"),
        (
            {"ETHEREUM_USDT_CONTRACT": "0xdAC17F958D2ee523a2206206994597C13D831ec7"},
            "ethereum",
            "no token",
            "ETHEREUM_USDT_CONTRACT",
        ),
        (
            {"TRON_USDT_CONTRACT": "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"},
            "tron",
            "no_token",
            "TRON_USDT_CONTRACT",
        ),
        (
            {"TRON_USDT_CONTRACT": "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6u"},
            "tron",
            "checksum",
            "correct TRON_USDT_CONTRACT",
        ),
        ({"ETHEREUM_USDT_DECIMALS": "18"}, "ethereum", "6 decimals, not 18", "set ETHEREUM_USDT_DECIMALS to 6"),
        ({"TRON_MAX_HEAD_AGE": "0.001"}, "tron", "s old, more than 0", "TRON_MAX_HEAD_AGE"),
        ({"TRON_API_KEYS": "pass-word"}, "tron", "no URL is of a host", "TRON_API_KEY_HOSTS"),
        ({"ETHEREUM_RPC_URLS": "", "TRON_RPC_URLS": ""}, "networks", "no network has a node", "set ETHEREUM_RPC_URLS"),
        ({"JWT_SECRET": "pass-word"}, "tokens", "at least 32 bytes", "JWT_"),
        ({"JWT_SECRET": ""}, "tokens", "JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL must be set", "JWT_"),
        ({"JWT_ALGORITHMS": "RS256"}, "tokens", "JWT_ALGORITHMS must be out of HS256", "JWT_"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_setting_is_named_with_what_to_do(
    look: Callable[..., list[Finding]], changes: Env, subject: str, detail: str, to_do: str
) -> None:
    found = look(**changes)
    ((of, said, advice),) = failed(found)
    assert of == subject
    assert detail in said
    assert to_do in advice
    assert "pass-word" not in str(found), "no secret is told"


def test_a_database_without_its_schema_is_named(look: Callable[..., list[Finding]], env: Env) -> None:
    with psycopg.connect(env["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        assert failed(look())[0][1:] == (f"schema 0001, {SCHEMA_VERSION} is wanted", "run `alembic upgrade head`")
        connection.execute("DROP TABLE alembic_version")
        assert failed(look())[0][1:] == ("without a schema", "run `alembic upgrade head`")


def test_a_redis_that_would_throw_messages_away_is_named(look: Callable[..., list[Finding]], env: Env) -> None:
    client: Any = redis.Redis.from_url(env["REDIS_URL"])
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        ((subject, detail, to_do),) = failed(look())
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    assert (subject, detail) == ("redis", "maxmemory-policy allkeys-lru")
    assert "noeviction" in to_do


@pytest.mark.parametrize(
    ("fault", "detail", "to_do"),
    [
        (faults.said(b"", 401), "unauthorized", "correct the key"),
        (faults.said(b"", 429), "throttled", "ETHEREUM_RPS"),
        (faults.said("<html>", Content_Type="text/html"), "bad_reply", "whole URL, with its path"),
        (faults.said(b"", 404), "unsupported", "use another one"),
        (faults.said(b"", 503), "unavailable", "out of order"),
        (faults.no_deployless, "only wallet by wallet", "use another one"),
    ],
    ids=["unauthorized", "throttled", "no node", "another path", "out of order", "only single calls"],
)
def test_an_endpoint_that_cannot_be_used_is_named(
    look: Callable[..., list[Finding]], before_ethereum: Proxy, fault: Any, detail: str, to_do: str
) -> None:
    with before_ethereum.faulty(fault):
        ((subject, said, advice),) = failed(look(ETHEREUM_RPC_URLS=before_ethereum.url))
    assert subject == "ethereum"
    assert detail in said
    assert to_do in advice


def test_an_endpoint_tells_how_many_wallets_it_takes(
    look: Callable[..., list[Finding]], before_ethereum: Proxy
) -> None:
    limited = faults.when_larger(60_000, faults.said(b"", 413))
    with before_ethereum.faulty(limited):
        found = look(ETHEREUM_RPC_URLS=before_ethereum.url)
    assert failed(found) == []
    (said,) = [each.detail for each in found if each.subject.startswith("ethereum")]
    assert "1223 wallets a request (revert)" in said


def test_a_network_without_nodes_is_told_of_and_is_no_failure(look: Callable[..., list[Finding]]) -> None:
    found = look(TRON_RPC_URLS="")
    assert failed(found) == []
    assert [each.detail for each in found if each.subject == "tron"] == [
        "TRON_RPC_URLS is not set: its wallets are not synced"
    ]


def test_the_endpoints_own_settings_may_be_left_out(look: Callable[..., list[Finding]]) -> None:
    assert failed(look(with_endpoint=False, JWT_SECRET="")) == []


def celery(env: Env, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", "check", *arguments],
        cwd=ROOT,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_prints_a_line_for_each_and_ends_with_0(env: Env) -> None:
    done = celery(env)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", "database:"],
        ["ok", "redis:"],
        ["ok", "ethereum"],
        ["ok", "tron"],
        ["ok", "tokens:"],
    ]
    assert last == "All 5 checks passed."
    assert "\x1b" not in done.stdout, "no colours where no terminal is"


def test_the_command_says_what_to_do_and_ends_with_1(env: Env) -> None:
    done = celery({**env, "ETHEREUM_CHAIN_ID": "1", "JWT_SECRET": "short"})
    assert done.returncode == 1
    assert "FAIL  ethereum 127.0.0.1:" in done.stdout
    assert "→ correct ETHEREUM_RPC_URLS or ETHEREUM_CHAIN_ID" in done.stdout
    assert done.stdout.splitlines()[-1] == "2 of 5 checks failed."


def test_the_command_speaks_json_to_scripts(env: Env) -> None:
    for changes, code in (({}, 0), ({"ETHEREUM_CHAIN_ID": "1"}, 1)):
        done = celery({**env, **changes}, "--json")
        assert done.returncode == code
        told = json.loads(done.stdout)
        assert told["ok"] is (code == 0)
        assert [each["ok"] for each in told["checks"]].count(False) == code
        assert set(told["checks"][0]) == {"ok", "subject", "detail", "to_do"}


def test_the_command_tells_of_a_setting_that_cannot_be_read_at_all(env: Env) -> None:
    done = celery({**env, "TRON_FINALITY": "maybe"})
    assert done.returncode == 1
    assert "TRON_FINALITY" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
