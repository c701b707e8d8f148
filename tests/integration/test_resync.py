"""``celery -A worker resync``: its words and what it does; as a program where that is the point, and on a terminal."""

import base64
import json
import signal
import subprocess
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import redis
from commands import command, command_json
from leases import claim, good, only, write
from running import hung
from tables import Tables
from terminal import CELERY, celery, terminal

from devstack.product import environment
from devstack.servers import CAP, ROOT, Server, stop, wait_for
from worker.admin.resync_command import ASK_ABOVE
from worker.reading import shared_redis

Env = dict[str, str]
NOBODY = "127.0.0.1:1"


@pytest.fixture
def env(database_url: str, redis_process: Server, monkeypatch: pytest.MonkeyPatch) -> Env:
    """Both networks have a node, which nobody is to ask."""
    redis.Redis.from_url(redis_process.url).flushall()
    monkeypatch.setattr(shared_redis, "TIMEOUT", CAP)  # a Redis that is only slow is not out of reach
    urls = {"ETHEREUM_RPC_URLS": f"http://{NOBODY}/pass-word", "TRON_RPC_URLS": f"http://{NOBODY}/pass-word"}
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_process.url, **urls}


@pytest.fixture
def rested(tables: Tables) -> list[UUID]:
    """Two wallets on Tron and one on Ethereum, all of one user, read a moment ago and due far in the future."""
    user = uuid4()
    made = [*tables.add("tron", "T0", "T1", user_id=user), *tables.add("ethereum", "0x0", user_id=user)]
    for network in ("tron", "ethereum"):
        batch = only(claim(network))
        write(batch.token, *(good(wallet.id) for wallet in batch.wallets))
    return made


@pytest.fixture
def many(tables: Tables) -> int:
    """More wallets than are made due without a question, none of them due."""
    count = ASK_ABOVE + 1
    tables.rows(
        "INSERT INTO wallets (user_id, network, address)"
        " SELECT gen_random_uuid(), 'tron', 'T' || i FROM generate_series(1, %s) i",
        count,
    )
    tables.rows("UPDATE sync_schedule SET next_sync_at = '2099-01-01', claimed_at = now()")
    return count


def due(tables: Tables) -> set[UUID]:
    return {row["wallet_id"] for row in tables.rows("SELECT wallet_id FROM sync_schedule WHERE next_sync_at <= now()")}


def messages(env: Env) -> list[tuple[str, Any]]:
    """The tasks that wait, with their arguments."""
    queue: Any = redis.Redis.from_url(env["REDIS_URL"])
    assert not queue.exists("bal:sync.ethereum", "bal:sync.tron")
    raw = [json.loads(each) for name in ("refresh", "ticks") for each in queue.lrange(f"bal:{name}", 0, -1)]
    of_ticks = [json.loads(each)["headers"]["task"] for each in queue.lrange("bal:ticks", 0, -1)]
    assert set(of_ticks) <= {"worker.tasks.dispatch_due_wallets"}
    return [(each["headers"]["task"], json.loads(base64.b64decode(each["body"]))[0]) for each in raw]


def test_few_wallets_are_due_at_once_and_go_before_other_work(env: Env, tables: Tables, rested: list[UUID]) -> None:
    done = celery(env, "resync", "--wallet", str(rested[0]), "--wallet", str(rested[2]))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "ethereum: 1 wallet, 1 request of up to 2,447, about 1 s at 10 requests a second (ETHEREUM_RPS)",
        "tron: 1 wallet, 1 request of up to 500, about 1 s at 10 requests a second (TRON_RPS)",
        "Due now: 2 wallets. `celery -A worker freshness` shows how that goes.",
    ]
    assert due(tables) == {rested[0], rested[2]}
    assert sorted(messages(env)) == [
        ("worker.tasks.sync_wallets", ["ethereum", [str(rested[2])]]),
        ("worker.tasks.sync_wallets", ["tron", [str(rested[0])]]),
    ]


def test_a_users_wallets_are_those_of_the_user(env: Env, tables: Tables, rested: list[UUID]) -> None:
    tables.add("tron", "T9")
    tables.rows("UPDATE sync_schedule SET next_sync_at = '2099-01-01'")
    (row,) = tables.rows("SELECT user_id FROM wallets WHERE id = %s", rested[0])
    assert command(env, "resync", "--user", str(row["user_id"])).exit_code == 0
    assert due(tables) == set(rested)


def test_many_wallets_travel_as_work_like_any_other(env: Env, tables: Tables, many: int) -> None:
    told = command_json(env, "resync", "--network", "tron", "--yes")
    assert (told["marked"], told["queued"], told["wallets"]) == (many, True, many)
    assert told["networks"] == {"tron": {"wallets": many, "requests": 21, "seconds": 2.1}}
    assert len(due(tables)) == many
    assert messages(env) == [("worker.tasks.dispatch_due_wallets", [])]
    (row,) = tables.rows("SELECT count(DISTINCT xmin::text) AS transactions FROM sync_schedule")
    assert row["transactions"] == 6, "bounded transactions"


def test_a_dry_run_changes_nothing_and_tells_what_it_would_come_to(env: Env, tables: Tables, many: int) -> None:
    before = tables.rows("SELECT * FROM sync_schedule ORDER BY wallet_id")
    done = command(env | {"TRON_RPS": "2"}, "resync", "--all", "--dry-run")
    assert (done.exit_code, done.stderr) == (0, "")
    assert (
        done.stdout
        == "tron: 10,001 wallets, 21 requests of up to 500, at least 10 s at 2 requests a second (TRON_RPS)\n"
    )
    told = command_json(env | {"TRON_RPS": "0"}, "resync", "--all", "--dry-run")
    assert (told["dry_run"], told["marked"], told["queued"], told["outcome"]) == (True, 0, None, None)
    assert (told["wallets"], told["seconds_at_least"]) == (many, None)
    assert tables.rows("SELECT * FROM sync_schedule ORDER BY wallet_id") == before
    assert messages(env) == []


def test_the_size_of_a_request_is_what_the_workers_have_learnt(env: Env, many: int) -> None:
    from config.settings import WorkerSettings
    from worker.admin.node_states import named_nodes
    from worker.reading import shared_of
    from worker.reading.shared_entries import SIZE_HOLDS

    found = WorkerSettings.model_validate({name.lower(): value for name, value in env.items()})
    (node,) = named_nodes(found.chain("tron"))
    shared_of("tron", found).put(f"size:{node.id}", 100, SIZE_HOLDS)
    told = command_json(env, "resync", "--all", "--dry-run")
    assert told["networks"]["tron"] == {"wallets": many, "requests": 101, "seconds": 10.1}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "Say which wallets: --wallet, --user, --network, --older-than or --failed; or --all"),
        (["--wallet", "5c81c005"], "'5c81c005' is not a valid UUID"),
        (["--user", "me"], "'me' is not a valid UUID"),
        (["--network", "bitcoin"], "'bitcoin' is not one of 'ethereum', 'tron'"),
        (["--older-than", "10"], "'10' is not a duration: write numbers with their units, as 90s, 10m"),
        (["--all", "--dry-run", "--wait"], "leave one of them out"),
        (
            ["--wallet", "5c81c005-1c52-4e0d-85e2-862ee1cdd4d0"],
            "there is no wallet 5c81c005-1c52-4e0d-85e2-862ee1cdd4d0",
        ),
        (["--user", "5c81c005-1c52-4e0d-85e2-862ee1cdd4d0"], "user 5c81c005-1c52-4e0d-85e2-862ee1cdd4d0 has no wallet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_do_not_do_end_with_2_and_a_sentence(
    env: Env, tables: Tables, rested: list[UUID], options: list[str], sentence: str
) -> None:
    done = command(env, "resync", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert (due(tables), messages(env)) == (set(), [])
    assert rested


def test_no_wallet_in_scope_is_no_failure(env: Env, rested: list[UUID]) -> None:
    done = command(env, "resync", "--failed", "--wait")
    assert (done.exit_code, done.stdout) == (0, "No wallet to be read.\n")
    assert command_json(env, "resync", "--failed")["wallets"] == 0
    assert rested


def test_what_cannot_be_read_is_left_out_and_told(env: Env, tables: Tables, rested: list[UUID]) -> None:
    tables.rows("UPDATE sync_schedule SET failures = 1, last_error = 'bad_address' WHERE wallet_id = %s", rested[0])
    without = env | {"ETHEREUM_RPC_URLS": ""}
    done = command(without, "resync", "--all")
    assert done.exit_code == 0
    assert "Left out: 1 wallet without a valid address. Corrected, it is due by itself." in done.stdout
    assert "Left out: 1 wallet of ethereum, which has no node. Set ETHEREUM_RPC_URLS." in done.stdout
    assert due(tables) == {rested[1]}
    told = command_json(without, "resync", "--all")
    assert told["left_out"] == {"bad_address": 1, "not_synced": {"ethereum": 1}}


def test_more_than_ten_thousand_are_not_made_due_where_nobody_can_be_asked(env: Env, tables: Tables, many: int) -> None:
    done = command(env, "resync", "--all")
    assert done.exit_code == 2
    assert f"{many:,} wallets are more than 10,000" in done.stderr
    assert "Say --yes" in done.stderr
    assert (due(tables), messages(env)) == (set(), [])


def test_on_a_terminal_a_person_is_asked_first(env: Env, tables: Tables, many: int) -> None:
    with terminal(env, "resync", "--all") as asked:
        asked.expect(r"Read 10,001 wallets anew\? \[y/N\]")
        asked.type("n\n")
        assert asked.end() == 1
        assert "Nothing was marked." in asked.text
    assert due(tables) == set()
    with terminal(env, "resync", "--all") as asked:
        asked.expect(r"\[y/N\]")
        asked.type("y\n")
        assert asked.end() == 0
        assert "Due now: 10,001 wallets." in asked.text
    assert len(due(tables)) == many


def test_ten_thousand_are_not_asked_about(env: Env, tables: Tables, many: int) -> None:
    tables.rows("DELETE FROM wallets WHERE address = 'T1'")
    with terminal(env, "resync", "--all") as asked:
        assert asked.end() == 0
        assert "[y/N]" not in asked.text
    assert len(due(tables)) == many - 1


def test_a_row_that_is_being_written_is_marked_when_it_is_free(env: Env, tables: Tables, rested: list[UUID]) -> None:
    with psycopg.connect(tables.dsn) as writer:
        writer.execute("SELECT FROM sync_schedule WHERE wallet_id = %s FOR UPDATE", [rested[0]])
        started = subprocess.Popen([*CELERY, "resync", "--all"], cwd=ROOT, env=environment(env), stdout=subprocess.PIPE)
        wait_for(lambda: due(tables) == set(rested[1:]), what="the others to be marked")
        assert started.poll() is None
        writer.rollback()
        output, _ = started.communicate(timeout=CAP)
    assert started.returncode == 0
    assert b"Due now: 3 wallets." in output
    assert due(tables) == set(rested)


@pytest.mark.parametrize("state", ["refused", "hung"])
def test_without_redis_the_wallets_are_due_all_the_same(
    env: Env, tables: Tables, redis_process: Server, rested: list[UUID], state: str
) -> None:
    if state == "refused":
        done = command(env | {"REDIS_URL": f"redis://:pass-word@{NOBODY}/0"}, "resync", "--all")
    else:
        with hung(redis_process):
            done = command(env, "resync", "--all", redis_patience=0.5)
    assert done.exit_code == 0
    assert done.stderr == "Redis is out of reach: the wallets are due all the same, and beat's next tick has them.\n"
    assert "Due now: 3 wallets." in done.stdout
    assert due(tables) == set(rested)


@pytest.mark.parametrize(("name", "options"), [("resync", ["--all"]), ("freshness", [])])
def test_a_database_that_cannot_be_used_is_one_sentence(
    env: Env, tables: Tables, name: str, options: list[str]
) -> None:
    done = command(env | {"DATABASE_URL": f"postgresql://me:pass-word@{NOBODY}/x"}, name, *options)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "The database is out of reach: nobody listens there: correct DATABASE_URL, or start PostgreSQL.\n"
    )
    tables.rows("UPDATE alembic_version SET version_num = '0001'")
    done = command(env, name, *options, "--json")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "schema 0001" in done.stderr
    assert "run `alembic upgrade head`" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_while_marking_says_how_far_it_came(env: Env, tables: Tables, rested: list[UUID]) -> None:
    with psycopg.connect(tables.dsn) as writer:
        writer.execute("SELECT FROM sync_schedule WHERE wallet_id = %s FOR UPDATE", [rested[2]])
        started = subprocess.Popen(
            [*CELERY, "resync", "--all", "--wait", "--json"],
            cwd=ROOT,
            env=environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_for(lambda: due(tables) == set(rested[:2]), what="the others to be marked")
            started.send_signal(signal.SIGINT)
            output, said = started.communicate(timeout=CAP)
        finally:
            stop(started)  # type: ignore[arg-type]  # it writes text
    assert started.returncode == 130
    assert "Traceback" not in said
    told = json.loads(output)
    assert (told["interrupted"], told["wallets"], told["marked"], told["outcome"]) == (True, 3, 2, None)
    assert "Due, and to be read: 2 of 3 wallets. For the others run it again." in said
