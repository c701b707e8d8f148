"""``celery -A worker freshness``: what it counts out of known rows, and the real command with a real worker."""

import json
import random
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from time import time
from typing import Any
from uuid import UUID

import pytest
import redis
from commands import command, command_json
from running import hung
from tables import Tables
from terminal import CELERY, celery, terminal

from config.settings import WorkerSettings
from db import freshness_queries as freshness
from db.freshness_queries import NetworkFreshness
from db.session import transaction
from devstack.product import environment, worker
from devstack.seed import fund, insert, wallets
from devstack.servers import CAP, ROOT, Server
from devstack.stack import LocalChain, settings
from worker.admin.node_states import named_nodes
from worker.errors import LONGEST_WAIT_TOLD
from worker.reading import shared_of, shared_redis
from worker.reading.request_counts import SPAN_SECONDS
from worker.reading.shared import Shared
from worker.reading.shared_entries import SIZE_HOLDS, STRATEGY_HOLDS
from worker.wording import parsed

Env = dict[str, str]
SECRET = "pass-word-in-a-url"
MOST_MODULES = 1700


@pytest.fixture
def env(database_url: str, redis_process: Server, monkeypatch: pytest.MonkeyPatch) -> Env:
    redis.Redis.from_url(redis_process.url).flushall()
    monkeypatch.setattr(shared_redis, "TIMEOUT", CAP)  # a Redis that is only slow is not out of reach
    urls = {
        "ETHEREUM_RPC_URLS": f"http://127.0.0.1:1/{SECRET},http://127.0.0.1:1/{SECRET}-2",
        "TRON_RPC_URLS": f"http://127.0.0.1:2/{SECRET}",
        "TRON_API_KEYS": f"{SECRET}-3,{SECRET}-4",
        "TRON_API_KEY_HOSTS": "127.0.0.1",
        "SYNC_LEASE": "3600",  # from so many seconds on a wallet is overdue
    }
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_process.url, **urls}


def learnt(env: Env, network: Any) -> tuple[Shared, list[Any]]:
    """What workers with these settings know, to be added to."""
    found = WorkerSettings.model_validate({name.lower(): value for name, value in env.items()})
    return shared_of(network, found), named_nodes(found.chain(network))


def seen(grace: float = 60) -> dict[str, NetworkFreshness]:
    with transaction() as connection:
        return {each.network: each for each in freshness.freshness(connection, grace=timedelta(minutes=grace))}


SOURCES = "INSERT INTO sources (network, chain_id, token) SELECT name, 1, 'token' FROM networks"
"""Registered, as by a worker: balances say what they are of, so that each table can be counted by itself."""
OF_NETWORKS = "UPDATE networks AS n SET source = s.id, first_source = s.id FROM sources AS s WHERE s.network = n.name"


@pytest.fixture(params=["registered", "as an older release left them"])
def rows(tables: Tables, request: pytest.FixtureRequest) -> list[UUID]:
    """Wallets on Tron, in every state that a wallet can be in; and one on Ethereum. In minutes, and all at one time."""
    if request.param == "registered":
        tables.rows(SOURCES)
        tables.rows(OF_NETWORKS)

    def put(wallet: UUID, age: float | None, due: float, **more: Any) -> None:
        """Read `age` minutes ago, due in `due` minutes."""
        if age is not None:
            tables.rows(
                "INSERT INTO balance_cache SELECT w.id, 1, 1, 5, now(), 'solid', now() - %s * interval '1 min', true,"
                " n.source FROM wallets w JOIN networks n ON n.name = w.network WHERE w.id = %s",
                age,
                wallet,
            )
        tables.rows(
            "UPDATE sync_schedule SET next_sync_at = now() + %s * interval '1 min',"
            " claimed_at = now() - %s * interval '1 min', failures = %s, last_error = %s WHERE wallet_id = %s",
            due,
            age,
            more.get("failures", 0),
            more.get("error"),
            wallet,
        )
        if "lease" in more:
            tables.rows(
                "INSERT INTO leases (token, lane, network, claimed_at, lease_until, wallet_ids)"
                " VALUES (gen_random_uuid(), 2, 'tron', now(), now() + %s * interval '1 min', ARRAY[%s])",
                more["lease"],
                wallet,
            )

    made = tables.add("tron", *(f"T{at}" for at in range(8)))
    with tables.connection.transaction():
        put(made[0], 100, 800)  # waits: once in 900 minutes
        put(made[1], 20, 1780)  # waits: once in 1800 minutes
        put(made[2], 200, -5)  # due
        put(made[3], 300, -100)  # overdue
        put(made[4], 400, -80, lease=30)  # being read
        put(made[5], 500, 10, failures=2, error="throttled")
        put(made[6], 600, -90, lease=-10)  # its reader is dead
        put(made[7], None, 1e8, failures=1, error="bad_address")
        put(tables.add("ethereum", "0x0")[0], 7, 50)
    tables.rows("UPDATE wallets SET created_at = now() - interval '1 year'")
    return made


@pytest.mark.usefixtures("rows")
def test_every_state_of_a_wallet_is_counted_as_what_it_is() -> None:
    tron = seen()["tron"]
    assert (tron.wallets, tron.read, tron.due, tron.overdue, tron.claimed) == (8, 7, 3, 2, 1)
    assert (tron.failed, tron.errors, tron.hopeless) == (2, {"throttled": 1, "bad_address": 1}, 1)
    assert tron.fresh == 4, "read well, and not overdue"
    assert (tron.stale, tron.failing, tron.never_synced) == (2, 1, 1)
    assert (tron.without_schedule, tron.lost, tron.doubted) == (0, 1, 0)
    assert (tron.waiting, round(tron.reads_per_hour * 60)) == (2, 4 + 2)
    median, *later = tron.ages
    assert [round(age - median) for age in later] == [60 * (600 - 300)] * 3
    assert median >= 60 * 300
    ethereum = seen()["ethereum"]
    assert (ethereum.wallets, ethereum.fresh, ethereum.errors) == (1, 1, {})


def test_the_moments_are_those_of_the_rows(tables: Tables, rows: list[UUID]) -> None:
    def moment(query: str, *wallets: UUID) -> datetime:
        (row,) = tables.rows(query, list(wallets))
        found: datetime = row["found"]
        return found

    synced, due = (
        f"SELECT {column} AS found FROM {table} WHERE wallet_id = ANY(%s)"
        for column, table in (("last_synced", "balance_cache"), ("next_sync_at", "sync_schedule"))
    )
    tron = seen()["tron"]
    assert tron.oldest_read == moment(synced, rows[6])
    assert tron.last_read == moment(synced, rows[1])
    assert tron.block_time == moment(
        "SELECT max(block_time) AS found FROM balance_cache WHERE wallet_id = ANY(%s)", *rows
    )
    assert tron.overdue_since == moment(due, rows[3])
    assert tron.unread_since is None


def test_a_wallet_is_overdue_since_it_was_made_at_the_most(tables: Tables) -> None:
    """Those that an older release or a bulk load made are due since the beginning of time."""
    made = tables.add("tron", "T0", "T1")
    tables.rows("UPDATE wallets SET created_at = now() - interval '2 hours'")
    tables.rows("UPDATE sync_schedule SET next_sync_at = to_timestamp(0)")
    since = tables.rows("SELECT min(created_at) AS found FROM wallets")[0]["found"]
    assert (seen()["tron"].overdue_since, seen()["tron"].unread_since) == (since, since)
    tables.rows("DELETE FROM sync_schedule WHERE wallet_id = %s", made[0])
    tron = seen()["tron"]
    assert (tron.overdue, tron.without_schedule, tron.overdue_since, tron.never_synced) == (2, 1, since, 2)


@pytest.mark.parametrize(
    ("deaths", "until", "is_lost"),
    [(1, None, True), (12, None, True), (3, -5, True), (0, -5, False)],
    ids=["put aside", "alone, and killing on", "died again just now", "ran out, and nobody put it aside"],
)
def test_a_wallet_that_goes_on_killing_its_workers_is_not_what_a_network_is_late_by(
    tables: Tables, rows: list[UUID], deaths: int, until: int | None, is_lost: bool
) -> None:
    """Its due time never moves. Where no worker is left to put a batch aside, its wallets are overdue as all others."""
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() - interval '1 day' WHERE wallet_id = %s", rows[6])
    tables.rows(
        "UPDATE leases SET deaths = %s, lease_until = now() + %s * interval '1 min' WHERE %s = ANY(wallet_ids)",
        deaths,
        until,
        rows[6],
    )
    tron = seen()["tron"]
    assert (tron.overdue, tron.overdue_free, tron.lost) == (2, 1 if is_lost else 2, 1)
    late_by = rows[3] if is_lost else rows[6]
    (due,) = tables.rows("SELECT next_sync_at AS found FROM sync_schedule WHERE wallet_id = %s", late_by)
    assert tron.overdue_since == due["found"]


def test_wallets_without_a_valid_address_are_waited_for_by_nobody(tables: Tables) -> None:
    tables.add("tron", "T0")
    tables.rows(
        "UPDATE sync_schedule SET next_sync_at = now() + interval '1 day', failures = 1, last_error = 'bad_address'"
    )
    assert seen()["tron"].unread_since is None


@pytest.mark.usefixtures("rows")
def test_a_connection_can_be_asked_again_and_again() -> None:
    """The driver prepares what it is given often: that must be one statement at a time."""
    with transaction() as connection:
        for _ in range(8):
            assert freshness.freshness(connection, grace=timedelta(hours=1))


@pytest.mark.usefixtures("rows")
def test_the_grace_says_from_when_on_a_wallet_is_overdue() -> None:
    assert [seen(grace)["tron"].overdue for grace in (0, 95, 1000)] == [3, 1, 0]


def test_an_empty_database_has_no_network(tables: Tables) -> None:
    assert seen() == {}
    tables.add("tron", "T0")
    never = seen()["tron"]
    assert (never.wallets, never.read, never.fresh, never.ages) == (1, 0, 0, ())


def test_it_is_one_pass_over_each_table(tables: Tables) -> None:
    tables.rows(
        "INSERT INTO wallets (user_id, network, address) SELECT gen_random_uuid(), 'tron', 'T' || i"
        " FROM generate_series(1, 5000) i"
    )
    tables.rows("ANALYZE")
    query = re.sub(r"%\((\w+)\)s", "%s", freshness._OF_EACH_WALLET)
    plan = tables.rows(f"EXPLAIN {query}", timedelta(0), list(freshness.AGE_SHARES))
    text = "\n".join(line["QUERY PLAN"] for line in plan)
    assert len(re.findall(r"Scan.* on sync_schedule", text)) == len(re.findall(r"Scan.* on balance_cache", text)) == 1


@pytest.mark.usefixtures("rows")
def test_a_person_reads_how_it_is(env: Env) -> None:
    (memory, (first, second)), (tron, (node,)) = learnt(env, "ethereum"), learnt(env, "tron")
    memory.put(f"way:{first.id}", ["return", "refused: \x1b[31mno\x07"], STRATEGY_HOLDS)
    memory.put(f"rest:{second.id}", [time() + LONGEST_WAIT_TOLD, 3, "throttled"], LONGEST_WAIT_TOLD)
    memory.requests.add(first.id, 30)
    tron.put(f"size:{node.id}", 200, SIZE_HOLDS)
    tron.put(f"key:{node.keys[0]}", [time() + LONGEST_WAIT_TOLD, 1, "unauthorized"], LONGEST_WAIT_TOLD)
    done = command(env, "freshness", "--daily-quota", "100000")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "ethereum: 1 wallet, 100% fresh"
    assert re.fullmatch(r"  age        p50 .+, p95 .+, p99 .+, oldest .+", lines[1])
    assert lines[2] == "  now        0 due, 0 overdue, 0 being read"
    assert lines[3] == "  cadence    1 reads of wallets an hour"
    requests = r"  requests   (\d+) an hour \(counted since .+ ago\), ([\d,]+) a day, ([\d.]+)% of the quota"
    hour, day, share = (float(each.replace(",", "")) for each in re.findall(requests, lines[4])[0])
    assert 0 < hour <= 30 * 3600 / SPAN_SECONDS, "the longer ago they were counted, the fewer in an hour"
    assert day == pytest.approx(24 * hour, abs=24)
    assert share == pytest.approx(day / 1000, abs=0.1)
    assert lines[5] == (
        "  endpoint   127.0.0.1:1: ready, by return (refused: …[31mno…), 764 wallets a request,"
        " 30 requests in the past hour"
    )
    assert re.fullmatch(
        r"  endpoint   127\.0\.0\.1:1#2: resting for \d+ \w+( \d+ \w+)?, throttled, 3 in a row, not read yet,"
        r" 2,447 wallets a request, 0 requests in the past hour",
        lines[6],
    )
    assert lines[7] == "tron: 8 wallets, 50% fresh, 1 never read"
    assert lines[8] == "  lost       1 wallet whose worker never came back: tried apart from others"
    assert lines[11] == "  failing    2: bad_address 1, throttled 1"
    assert "by the cadence, at the least" in lines[13]
    assert lines[14].endswith(
        "127.0.0.1:2: ready, not read yet, 200 wallets a request, 2 keys, 1 of them resting,"
        " 0 requests in the past hour"
    )
    assert SECRET not in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.usefixtures("rows")
def test_a_script_reads_the_same(env: Env) -> None:
    told = command_json(env, "freshness", "--daily-quota", "1000")
    assert told["redis"] is True
    ethereum, tron = told["networks"]
    assert [ethereum["network"], tron["network"]] == ["ethereum", "tron"]
    assert (tron["wallets"], tron["fresh"], tron["share_fresh"], tron["overdue"]) == (8, 4, 0.5, 2)
    assert tron["errors"] == {"throttled": 1, "bad_address": 1}
    assert tron["age_seconds"]["oldest"] >= 60 * 600
    # Seven wallets that are read once in twenty hours each, at up to 500 in a request.
    assert tron["reads_per_hour"] == pytest.approx(7 / 20, rel=0.05)
    assert tron["requests"]["basis"] == "cadence"
    assert tron["requests"]["per_day"] == pytest.approx(tron["reads_per_hour"] / 500 * 24)
    assert tron["requests"]["share_of_quota"] == pytest.approx(tron["requests"]["per_day"] / 1000)
    assert [each["name"] for each in ethereum["endpoints"]] == ["127.0.0.1:1", "127.0.0.1:1#2"]
    assert SECRET not in str(told)


@pytest.mark.usefixtures("rows")
def test_each_network_has_the_quota_of_its_settings_unless_the_command_is_told_another(env: Env) -> None:
    env |= {"TRON_DAILY_QUOTA": "1000"}
    for options, expected in (([], [None, 1000]), (["--daily-quota", "7"], [7, 7])):
        networks = command_json(env, "freshness", *options)["networks"]
        assert [each["daily_quota"] for each in networks] == expected
        for each in networks:
            day, share = each["requests"]["per_day"], each["requests"]["share_of_quota"]
            assert share == (None if each["daily_quota"] is None else pytest.approx(day / each["daily_quota"]))


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(("most", "late"), [("5990", ["tron"]), ("99m", ["tron"]), ("101m", []), ("2h", [])], ids=str)
def test_cron_is_told_by_the_exit_code_and_a_sentence_that_a_network_is_late(
    env: Env, most: str, late: list[str]
) -> None:
    """The wallet that has been overdue for the longest is so for a hundred minutes."""
    told = command_json(env, "freshness", "--max-overdue", most, code=3 if late else 0)
    assert (told["late"], told["max_overdue"]) == (late, pytest.approx(parsed_seconds(most)))
    assert [each["overdue_seconds"] for each in told["networks"]] == [None, pytest.approx(6000, abs=60)]
    done = command(env, "freshness", "--max-overdue", most)
    assert done.exit_code == (3 if late else 0)
    assert done.stderr.startswith("tron is late: a wallet has been overdue for 1 h 40 min; at most") == bool(late)
    assert "tron: 8 wallets" in done.stdout


def parsed_seconds(text: str) -> float:
    return parsed(f"{text}s" if text.isdigit() else text).total_seconds()


def test_a_network_in_which_nobody_was_ever_read_is_late_after_as_long(env: Env, tables: Tables) -> None:
    tables.add("tron", "T0", "T1")
    tables.rows(
        "UPDATE sync_schedule SET next_sync_at = now() + interval '1 hour', failures = 9, last_error = 'reverted'"
    )
    assert command_json(env, "freshness", "--max-overdue", "3600")["late"] == []
    tables.rows("UPDATE wallets SET created_at = now() - interval '2 hours' WHERE address = 'T0'")
    assert command_json(env, "freshness", "--max-overdue", "3600", code=3)["late"] == ["tron"]
    tables.rows("UPDATE sync_schedule SET last_error = 'bad_address'")
    assert command_json(env, "freshness", "--max-overdue", "3600")["late"] == [], "no read would help"


def test_wallets_of_a_network_without_a_node_are_late_too(env: Env, tables: Tables) -> None:
    tables.add("bsc", "0x0")
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() - interval '2 hours'")
    tables.rows("UPDATE wallets SET created_at = now() - interval '3 hours'")
    assert command_json(env, "freshness", "--max-overdue", "3600", code=3)["late"] == ["bsc"]


@pytest.mark.parametrize("most", ["0", "3599", "soon", "-1"])
def test_what_would_call_a_wallet_overdue_that_is_only_being_read_is_refused(env: Env, most: str) -> None:
    done = command(env, "freshness", "--max-overdue", most)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--max-overdue" in done.stderr


def test_an_empty_database_and_a_network_without_nodes_are_told_of(env: Env, tables: Tables) -> None:
    done = command(env | {"ETHEREUM_RPC_URLS": ""}, "freshness")
    assert done.exit_code == 0
    assert done.stdout.startswith("tron: 0 wallets\n  endpoint   127.0.0.1:2: ready, not read yet")
    tables.add("ethereum", "0x0")
    done = command(env | {"ETHEREUM_RPC_URLS": ""}, "freshness")
    assert done.stdout.startswith(
        "ethereum: 1 wallet, 0% fresh, 1 never read, not synced: ETHEREUM_RPC_URLS is not set\n"
    )
    tables.rows("DELETE FROM wallets")
    none = command(env | {"ETHEREUM_RPC_URLS": "", "TRON_RPC_URLS": ""}, "freshness")
    assert (none.exit_code, none.stdout) == (0, "There is no wallet, and no network has a node.\n")


def test_an_empty_list_is_a_list(env: Env, tables: Tables) -> None:
    tables.add("ethereum", "0x0")
    none = command(env | {"ETHEREUM_RPC_URLS": "", "TRON_RPC_URLS": ""}, "freshness", "--json")
    assert [each["synced"] for each in json.loads(none.stdout)["networks"]] == [False]


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("state", ["refused", "hung"])
def test_without_redis_it_tells_what_the_database_knows(env: Env, redis_process: Server, state: str) -> None:
    if state == "refused":
        env = env | {"REDIS_URL": f"redis://:{SECRET}@127.0.0.1:1/0"}
        done = command(env, "freshness", "--json")
    else:
        with hung(redis_process):
            done = command(env, "freshness", "--json", redis_patience=0.5)
    assert done.exit_code == 0
    assert done.stderr == "Redis is out of reach: how the endpoints do is not known. Correct REDIS_URL, or start it.\n"
    assert '"redis": false' in done.stdout
    assert '"endpoints": null' in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_an_option_that_does_not_do_ends_with_2(env: Env) -> None:
    done = command(env, "freshness", "--daily-quota", "0")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--daily-quota" in done.stderr


def test_requests_are_those_that_the_workers_sent(
    database_url: str, redis_process: Server, ethereum: LocalChain, tron: LocalChain, tmp_path: Path
) -> None:
    redis.Redis.from_url(redis_process.url).flushall()
    seeded = wallets(5)
    fund(ethereum, [wallet for wallet in seeded if wallet.network == "ethereum"])
    fund(tron, [wallet for wallet in seeded if wallet.network == "tron"])
    insert(database_url, seeded)
    scene = settings(database_url, redis_process.url, ethereum, tron)
    scene |= {"SYNC_INTERVAL_ACTIVE": "3600", "SYNC_INTERVAL_IDLE": "3600"}
    with worker(tmp_path, scene):
        assert command(scene, "resync", "--all", "--wait").exit_code == 0
    told = command_json(scene, "freshness")
    assert [(each["wallets"], each["share_fresh"]) for each in told["networks"]] == [(6, 1.0), (6, 1.0)]
    # The read, and the first contact: the token's supply and decimals, and an EVM node's own number of the block. One
    # of Ethereum's wallets is empty, and a zero is read twice. What a process has not sent before, it sends at its end.
    for network, strategy, requests in zip(told["networks"], ("revert", "return"), (5, 3), strict=True):
        (endpoint,) = network["endpoints"]
        assert (endpoint["way"], endpoint["resting_seconds"]) == (strategy, 0)
        assert endpoint["requests"] == network["requests"]["counted"] == requests
        assert network["requests"]["basis"] == "counted"


def test_a_heading_stands_out_on_a_terminal(env: Env) -> None:
    with terminal(env, "freshness") as shown:
        assert shown.end() == 0
    assert "\x1b[1methereum: 0 wallets\x1b[0m" in shown.text


def test_both_commands_are_listed_with_what_they_do() -> None:
    listed = celery({}, "--help").stdout
    assert re.search(
        r"^  freshness +Show how fresh the balances are, and how the endpoints do\.$", listed, re.MULTILINE
    )
    assert re.search(r"^  resync +Have wallets read from their chains anew, now\.$", listed, re.MULTILINE)


@pytest.mark.parametrize("arguments", [["resync", "--all"], ["freshness"]], ids=" ".join)
def test_a_command_starts_with_few_modules_and_no_chains_library(env: Env, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *CELERY[1:], *arguments],
        cwd=ROOT,
        env=environment(env),
        capture_output=True,
        text=True,
        check=True,
    )
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    loaded = {module.partition(".")[0] for module in modules}
    assert {"click", "worker"} <= loaded
    assert loaded & {"web3", "tronpy", "eth_account"} == set()
    # Nearly all of a start is loading modules: there are about 1,300 here, and each chain's library has as many again.
    assert len(modules) < MOST_MODULES


STATES = [
    "UPDATE sync_schedule SET failures = 1, last_error = 'reverted' WHERE wallet_id = ANY(%s)",
    "UPDATE sync_schedule SET failures = 1, last_error = 'bad_address' WHERE wallet_id = ANY(%s)",
    "UPDATE sync_schedule SET next_sync_at = now() - interval '2 hours' WHERE wallet_id = ANY(%s)",
    "UPDATE sync_schedule SET next_sync_at = now() + interval '2 hours', claimed_at = now() WHERE wallet_id = ANY(%s)",
    "UPDATE sync_schedule SET next_sync_at = to_timestamp(0) WHERE wallet_id = ANY(%s)",
    "DELETE FROM sync_schedule WHERE wallet_id = ANY(%s)",
    "DELETE FROM balance_cache WHERE wallet_id = ANY(%s)",
    "UPDATE balance_cache SET source = NULL WHERE wallet_id = ANY(%s)",
    "UPDATE balance_cache SET source = (SELECT max(id) FROM sources) WHERE wallet_id = ANY(%s)",
    "UPDATE balance_cache SET last_synced = now() - interval '3 hours' WHERE wallet_id = ANY(%s)",
    "INSERT INTO leases (token, lane, network, claimed_at, wallet_ids, lease_until)"  # noqa: ISC004  one of the list
    " VALUES (gen_random_uuid(), 2, 'tron', now(), %s, now() + interval '1 hour')",
    "INSERT INTO leases (token, lane, network, claimed_at, wallet_ids, deaths)"  # noqa: ISC004  one of the list
    " VALUES (gen_random_uuid(), 2, 'tron', now(), %s, 2)",
]


@pytest.fixture
def made(tables: Tables) -> list[UUID]:
    """Wallets of two networks, read a minute ago, by a release that notes what balances are of."""
    tables.rows(SOURCES)
    tables.rows(OF_NETWORKS)
    tables.rows("INSERT INTO sources (network, chain_id, token) VALUES ('tron', 2, 'of before')")
    made = [*tables.add("tron", *(f"T{at}" for at in range(12))), *tables.add("bsc", "0x1", "0x2", "0x3")]
    tables.rows(
        "INSERT INTO balance_cache SELECT w.id, 1, 1, 5, now(), 'solid', now() - interval '1 min', true, n.source"
        " FROM wallets w JOIN networks n ON n.name = w.network"
    )
    return made


def by_table_and_by_wallet(monkeypatch: pytest.MonkeyPatch) -> tuple[list[NetworkFreshness], list[NetworkFreshness]]:
    """What the two statements count at one moment."""
    with transaction() as connection:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        by_table = freshness.freshness(connection, grace=timedelta(hours=1))
        monkeypatch.setattr(freshness, "_BY_TABLE", "SELECT false AS sure")
        return by_table, freshness.freshness(connection, grace=timedelta(hours=1))


@pytest.mark.parametrize("seed", range(25))
def test_counted_by_table_and_counted_by_wallet_are_the_same_whatever_the_tables_hold(
    tables: Tables, made: list[UUID], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    for state in chance.choices(STATES, k=chance.randrange(6)):
        tables.rows(state, chance.sample(made, chance.randrange(1, 9)))
    by_table, by_wallet = by_table_and_by_wallet(monkeypatch)
    assert by_table == by_wallet
    for each in by_wallet:
        assert each.fresh + each.stale + each.failing + each.never_synced == each.wallets


REVERTED, HOPELESS, OVERDUE, READ_LONG_AGO, UNREAD, HELD = (STATES[at] for at in (0, 1, 2, 9, 6, 10))


@pytest.mark.parametrize(
    "states",
    [(REVERTED, OVERDUE), (HOPELESS, READ_LONG_AGO), (UNREAD, OVERDUE), (OVERDUE, HELD), (REVERTED, UNREAD)],
    ids=[
        "failed and overdue",
        "without an address, and the oldest",
        "unread and overdue",
        "overdue and held",
        "no read",
    ],
)
def test_they_are_the_same_where_two_things_are_true_of_a_wallet(
    tables: Tables, made: list[UUID], monkeypatch: pytest.MonkeyPatch, states: tuple[str, str]
) -> None:
    for state in states:
        tables.rows(state, made[:5])
    by_table, by_wallet = by_table_and_by_wallet(monkeypatch)
    assert by_table == by_wallet


def test_above_some_number_ages_and_cadence_are_those_of_a_sample_and_nothing_else_is(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.rows(SOURCES)
    tables.rows(OF_NETWORKS)
    tables.rows(
        "INSERT INTO wallets (user_id, network, address) SELECT gen_random_uuid(), 'tron', 'T' || i"
        " FROM generate_series(1, 3000) i"
    )
    tables.rows(
        "UPDATE sync_schedule SET claimed_at = now(), next_sync_at = now() + (900 + random()) * interval '1 s',"
        " failures = (random() < 0.2)::int"
    )
    few = tables.add("bsc", "0x1", "0x2")
    tables.rows(
        "INSERT INTO balance_cache SELECT w.id, 1, 1, 5, now(), 'solid', now() - random() * interval '1000 s', true,"
        " n.source FROM wallets w JOIN networks n ON n.name = w.network"
    )
    exact = seen()
    assert (exact["tron"].ages_estimated, exact["tron"].read, exact["bsc"].read) == (False, 3000, len(few))
    monkeypatch.setattr(freshness, "_BY_TABLE", freshness._BY_TABLE.replace("100000", "100"))
    monkeypatch.setattr(freshness, "_BY_TABLE", freshness._BY_TABLE.replace(str(freshness._SAMPLED), "200000.0"))
    about = seen()
    assert (about["tron"].ages_estimated, about["bsc"].ages_estimated) == (True, False)
    assert about["tron"].ages == pytest.approx(exact["tron"].ages, abs=200)
    assert about["bsc"].ages == pytest.approx(exact["bsc"].ages, abs=100)
    assert (about["tron"].oldest_read, about["tron"].read) == (exact["tron"].oldest_read, 3000)
    assert about["tron"].waiting < exact["tron"].waiting
    assert about["tron"].reads_per_hour / about["tron"].waiting == pytest.approx(4, abs=0.1)
    counts = ("wallets", "read", "fresh", "stale", "failing", "never_synced", "failed", "errors", "due", "overdue")
    for name in counts:
        assert getattr(about["tron"], name) == getattr(exact["tron"], name)
    assert (about["bsc"].waiting, about["bsc"].reads_per_hour) == (exact["bsc"].waiting, exact["bsc"].reads_per_hour)
