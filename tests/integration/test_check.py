"""``celery -A worker check``: what is wrong is named, with what to do; what is right passes."""

from typing import Any

import faults
import json_rpc_faults
import psycopg
import pytest
import redis
from checking import BY_KEY, Env, Look, failed
from commands import command, command_json
from proxy import Exchange, Proxy, passed_on, proxy
from tables import Tables
from terminal import celery

from db import SCHEMA_VERSION
from devstack.stack import LocalChain
from worker.reading.contact import TOTAL_SUPPLY


def test_a_sound_configuration_passes_and_tells_what_each_endpoint_can_do(look: Look) -> None:
    found = look()
    assert failed(found) == []
    said = {each.subject.partition(" ")[0]: each.detail for each in found}
    assert set(said) == {"database", "redis", "ethereum", "tron", "tokens"}
    assert "chain 1337" in said["ethereum"]
    assert "2447 wallets a request (revert)" in said["ethereum"]
    assert "500 wallets a request (return)" in said["tron"]


NOBODY = "127.0.0.1:1"


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
        ({"ETHEREUM_USDT_DECIMALS": "18"}, "ethereum", "6 decimals, not 18", "set ETHEREUM_USDT_DECIMALS"),
        ({"TRON_MAX_HEAD_AGE": "0.001"}, "tron", "s old", "TRON_MAX_HEAD_AGE"),
        ({"TRON_API_KEYS": "pass-word"}, "tron", "no URL is of a host", "TRON_API_KEY_HOSTS"),
        ({"ETHEREUM_RPC_URLS": "", "TRON_RPC_URLS": ""}, "networks", "no network has a node", "set ETHEREUM_RPC_URLS"),
        ({"OPS_TOKEN": "pass-word"}, "ops", "OPS_TOKEN must have at least 16 characters", "correct these settings"),
        ({"JWT_SECRET": "pass-word"}, "tokens", "at least 32 bytes", "JWT_"),
        ({"JWT_SECRET": ""}, "tokens", "JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL must be set", "JWT_"),
        ({"JWT_ALGORITHMS": "RS256"}, "tokens", "JWT_ALGORITHMS must be out of HS256", "JWT_"),
        ({**BY_KEY, "JWT_PUBLIC_KEY": "nonsense"}, "tokens", "JWT_PUBLIC_KEY: is not a PEM public key", "JWT_"),
        ({**BY_KEY, "JWT_JWKS_URL": f"http://{NOBODY}/pass-word"}, "tokens", "JWT_JWKS_URL: no keys", "correct it"),
        (
            {"API_POOL_MIN": "5", "API_POOL_MAX": "2"},
            "endpoint",
            "API_POOL_MAX must not be smaller",
            "docs/configuration.md",
        ),
        ({"API_DATABASE_TIMEOUT": "abc"}, "endpoint", "API_DATABASE_TIMEOUT", "docs/configuration.md"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_setting_is_named_with_what_to_do(
    look: Look, changes: Env, subject: str, detail: str, to_do: str
) -> None:
    found = look(**changes)
    ((of, said, advice),) = failed(found)
    assert of == subject
    assert detail in said
    assert to_do in advice
    assert "pass-word" not in str(found), "no secret is told"


def test_nodes_of_a_network_that_nobody_knows_are_told_of_and_are_no_failure(look: Look) -> None:
    found = look(ETHERIUM_RPC_URLS="https://node.example/pass-word")
    assert failed(found) == []
    (told,) = [each for each in found if each.subject == "networks"]
    assert told.warning
    assert "ETHERIUM_RPC_URLS gives nodes to a network that is not known" in told.detail
    assert "NETWORKS_FILE" in told.to_do
    assert "pass-word" not in str(found)


def test_a_database_without_its_schema_is_named(look: Look, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        assert failed(look())[0][1:] == (f"schema 0001, {SCHEMA_VERSION} is wanted", "run `alembic upgrade head`")
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        assert failed(look()) == [], "a newer one has all that this release needs"
        connection.execute("DROP TABLE alembic_version")
        assert failed(look())[0][1:] == ("without a schema", "run `alembic upgrade head`")


def test_a_redis_that_would_throw_messages_away_is_named(look: Look, env: Env) -> None:
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
        (faults.said(b"", 404), "unavailable", "whole path"),
        (faults.said(b"", 503), "unavailable", "out of order"),
        (faults.no_deployless, "only wallet by wallet", "use another one"),
    ],
    ids=["unauthorized", "throttled", "no node", "another path", "out of order", "only single calls"],
)
def test_an_endpoint_that_cannot_be_used_is_named(
    look: Look, before_ethereum: Proxy, fault: Any, detail: str, to_do: str
) -> None:
    with before_ethereum.faulty(fault):
        ((subject, said, advice),) = failed(look(ETHEREUM_RPC_URLS=before_ethereum.url))
    assert subject == "ethereum"
    assert detail in said
    assert to_do in advice


def test_a_token_that_does_not_tell_its_supply_is_named(look: Look, before_ethereum: Proxy) -> None:
    """A worker would refuse the endpoint: it has nothing to hold a balance against."""
    asks = faults.of(lambda exchange: faults.calldata(exchange) == TOTAL_SUPPLY, json_rpc_faults.result("0x"))
    with before_ethereum.faulty(asks):
        ((subject, detail, to_do),) = failed(look(ETHEREUM_RPC_URLS=before_ethereum.url))
    assert subject == "ethereum"
    assert "total supply is 0 bytes" in detail
    assert "ETHEREUM_USDT_CONTRACT" in to_do


def test_of_several_keys_the_bad_ones_are_named_by_their_places(look: Look, tron: LocalChain) -> None:
    def refuses(exchange: Exchange) -> None:
        bad = exchange.headers.get("TRON-PRO-API-KEY") in {"bad-word-one", "bad-word-two"}
        (faults.said({"Error": "ApiKey not exists"}, 401) if bad else passed_on)(exchange)

    with proxy(tron.node.url) as before_tron, before_tron.faulty(refuses):
        several = {"TRON_RPC_URLS": before_tron.url, "TRON_API_KEY_HOSTS": "127.0.0.1"}
        found = look(**several, TRON_API_KEYS="bad-word-one,good-word,bad-word-two")
        sound = look(**several, TRON_API_KEYS="good-word,better-word")
    ((subject, detail, to_do),) = failed(found)
    assert subject == "tron"
    assert detail == "key 1 of 3: HTTP 401; key 3 of 3: HTTP 401"
    assert "TRON_API_KEYS" in to_do
    assert "word" not in str(found), "no secret is told"
    assert failed(sound) == []


def test_an_endpoint_tells_how_many_wallets_it_takes(look: Look, before_ethereum: Proxy) -> None:
    limited = faults.when_larger(60_000, faults.said(b"", 413))
    with before_ethereum.faulty(limited):
        found = look(ETHEREUM_RPC_URLS=before_ethereum.url)
    assert failed(found) == []
    (said,) = [each.detail for each in found if each.subject.startswith("ethereum")]
    assert "1223 wallets a request (revert)" in said


def test_a_network_without_nodes_is_told_of_if_it_has_wallets_and_is_no_failure(look: Look, tables: Tables) -> None:
    tables.add("tron", "T0")
    tables.rows("INSERT INTO networks (name, family) VALUES ('of-a-file', 'evm')")
    tables.add("of-a-file", "0x0")
    found = look(TRON_RPC_URLS="")
    assert failed(found) == []
    assert {each.subject: (each.detail, each.to_do) for each in found if each.warning} == {
        "tron": ("TRON_RPC_URLS is not set: its wallets are not synced", "set TRON_RPC_URLS"),
        "of-a-file": (
            "wallets of it are in the database, and no network of this name is known",
            "add it to NETWORKS_FILE",
        ),
    }
    assert {each.subject.partition(" ")[0] for each in found} == {
        *("database", "redis", "ethereum", "tron", "of-a-file", "tokens")
    }, "and of others nothing is said"


def test_a_variable_that_is_no_setting_of_its_network_is_told_of_and_is_no_failure(look: Look) -> None:
    found = look(BSC_FINALTY="latest", ETHEREUM_API_KEYS="pass-word")
    assert failed(found) == []
    assert [each.detail for each in found if each.subject == "networks"] == [
        "BSC_FINALTY: its network has no setting of this name",
        "ETHEREUM_API_KEYS: its network has no setting of this name",
    ]
    assert "pass-word" not in str(found)


def test_a_network_with_a_dash_in_its_name_is_told_of_by_the_names_of_its_settings(look: Look) -> None:
    found = look(BSC_TESTNET_RPC_URLS=f"http://{NOBODY}")
    ((subject, _, to_do),) = failed(found)
    assert subject == "bsc-testnet"
    assert "BSC_TESTNET_RPC_URLS" in to_do


def test_the_endpoints_own_settings_may_be_left_out(look: Look) -> None:
    assert failed(look(with_endpoint=False, JWT_SECRET="")) == []


def test_the_command_prints_a_line_for_each_and_ends_with_0(env: Env) -> None:
    done = celery(env, "check")
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
    done = command({**env, "ETHEREUM_CHAIN_ID": "1", "JWT_SECRET": "short"}, "check")
    assert done.exit_code == 1
    assert "FAIL  ethereum 127.0.0.1:" in done.stdout
    assert "→ correct ETHEREUM_RPC_URLS or ETHEREUM_CHAIN_ID" in done.stdout
    assert done.stdout.splitlines()[-1] == "2 of 5 checks failed."


def test_the_command_speaks_json_to_scripts(env: Env) -> None:
    for changes, code in (({}, 0), ({"ETHEREUM_CHAIN_ID": "1"}, 1)):
        told = command_json({**env, **changes}, "check", code=code)
        assert told["ok"] is (code == 0)
        assert [each["ok"] for each in told["checks"]].count(False) == code
        assert set(told["checks"][0]) == {"ok", "subject", "detail", "to_do", "warning"}


def test_the_command_tells_of_a_setting_that_cannot_be_read_at_all(env: Env) -> None:
    done = celery({**env, "TRON_FINALITY": "maybe"}, "check")
    assert done.returncode == 1
    assert "TRON_FINALITY" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
