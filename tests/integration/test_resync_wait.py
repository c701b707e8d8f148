"""``celery -A worker resync --wait``: until real workers have read real chains, or somebody presses Ctrl-C."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import redis
from commands import command, command_json
from leases import claim_ids, good, only, write
from tables import Tables
from terminal import terminal

from db.resync_queries import Bundle, Scope, mark, slice_of
from db.session import transaction
from devstack.product import worker
from devstack.seed import fund, insert, wallets
from devstack.servers import CAP, Server, wait_for
from devstack.stack import LocalChain, settings
from worker.admin import progress, resync
from worker.admin.progress import Progress
from worker.admin.resync import Result

Env = dict[str, str]


@pytest.fixture
def scene(database_url: str, redis_process: Server, ethereum: LocalChain, tron: LocalChain) -> Env:
    """Wallets with balances on both chains, that are due far in the future."""
    redis.Redis.from_url(redis_process.url).flushall()
    seeded = wallets(20)
    fund(ethereum, [wallet for wallet in seeded if wallet.network == "ethereum"])
    fund(tron, [wallet for wallet in seeded if wallet.network == "tron"])
    insert(database_url, seeded)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE sync_schedule SET next_sync_at = '2099-01-01'")
    quiet = {"SYNC_INTERVAL_ACTIVE": "3600", "SYNC_INTERVAL_IDLE": "3600"}
    return settings(database_url, redis_process.url, ethereum, tron) | quiet


@pytest.fixture
def working(scene: Env, tmp_path: Path) -> Iterator[Server]:
    """A worker; no beat, so that it has only what it is sent."""
    with worker(tmp_path, scene) as server:
        yield server


def test_waiting_ends_when_every_wallet_was_read(
    scene: Env, tables: Tables, working: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "OCCASION", CAP)
    monkeypatch.setattr(resync, "STALLED", CAP)
    (before,) = tables.rows("SELECT now() AS now")
    done = command(scene, "resync", "--all", "--wait")
    assert done.exit_code == 0, done.stderr
    assert "Read: 42 of 42 wallets, in" in done.stdout
    assert done.stderr == "", "too short for a line"
    (row,) = tables.rows("SELECT count(*) AS read FROM balance_cache WHERE last_synced >= %s", before["now"])
    assert row["read"] == 42
    assert working.process.poll() is None


def test_failed_wallets_are_summed_up_by_error_and_end_with_1(scene: Env, tables: Tables, working: Server) -> None:
    (bad,) = tables.add("tron", "no address at all")
    tables.rows("UPDATE sync_schedule SET next_sync_at = '2099-01-01' WHERE wallet_id = %s", bad)
    done = command(scene, "resync", "--all", "--wait")
    assert done.exit_code == 1
    assert "Read: 42 of 43 wallets, in" in done.stdout
    assert "Failed: 1. They keep their balances and are tried again:\n  bad_address: 1\n" in done.stdout
    told = command_json(scene, "resync", "--wallet", str(bad), "--wait", code=1)
    assert {**told["outcome"], "seconds": 0} == {
        "read": 0,
        "failed": 1,
        "errors": {"bad_address": 1},
        "deleted": 0,
        "open": 0,
        "seconds": 0,
    }
    assert working.process.poll() is None


def test_on_a_terminal_progress_is_drawn_with_rate_and_what_is_left(scene: Env, tables: Tables, tmp_path: Path) -> None:
    with terminal(scene, "resync", "--all", "--wait") as watched:
        watched.expect(r"read 0 of 42 wallets, 0%")
        tables.rows("DELETE FROM wallets WHERE network = 'tron'")  # nobody has to read these
        watched.expect(r"read 21 of 42 wallets, 50%, [\d,.]+ a (second|minute), .+ left")
        with worker(tmp_path, scene):
            assert watched.end() == 0
    assert "Read: 21 of 42 wallets, in" in watched.text
    assert "Deleted meanwhile: 21." in watched.text
    last = watched.text.rsplit("\r\x1b[K", 1)[-1]
    assert "read 21 of 42 wallets, 50%" not in last, "the line that was drawn is taken away"


def test_ctrl_c_ends_the_waiting_and_not_the_resync(scene: Env, tables: Tables, tmp_path: Path) -> None:
    (before,) = tables.rows("SELECT now() AS now")
    with terminal(scene, "resync", "--all", "--wait") as watched:
        watched.expect(r"read 0 of 42 wallets")
        watched.type("\x03")
        assert watched.end() == 130
    assert "The resync goes on: 0 of 42 wallets done so far." in watched.text
    assert "Traceback" not in watched.text

    def all_read() -> bool:
        (row,) = tables.rows("SELECT count(*) AS read FROM balance_cache WHERE last_synced >= %s", before["now"])
        return bool(row["read"] == 42)

    with worker(tmp_path, scene) as working:
        wait_for(all_read, working, what="the wallets to be read all the same")


@pytest.fixture
def marked(tables: Tables) -> list[Bundle]:
    """Three wallets that are due, each in a bundle of its own."""
    bundles = []
    for wallet in tables.add("tron", "T0", "T1", "T2"):
        with transaction() as connection:
            (bundle,) = slice_of(connection, Scope(wallet_ids=(wallet,)), UUID(int=0)).bundles
            due, _ = mark(connection, bundle)
        assert due
        bundles.append(due)
    return bundles


def read(*bundles: Bundle) -> None:
    """Do for these wallets what a worker does."""
    for bundle in bundles:
        wallet = UUID(bundle.ids.strip("{}"))
        write(only(claim_ids([wallet])).token, good(wallet))


class Heard(Progress):
    """Progress that somebody listens to, who then starts a worker."""

    def __init__(self, marked: list[Bundle]) -> None:
        self.marked, self.said = marked, list[str]()

    def show(self, line: str) -> None:
        pass

    def say(self, line: str) -> None:
        self.said.append(line)
        read(*self.marked)

    def clear(self) -> None:
        pass


def test_where_nothing_is_read_a_person_is_told_what_to_look_at(
    marked: list[Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resync, "STALLED", 0)
    monkeypatch.setattr(resync, "LOOK_PAUSE", 0)
    heard, result = Heard(marked), Result(3)
    resync.wait(marked, result, heard)
    assert len(heard.said) == 1
    assert "is a worker running, and beat?" in heard.said[0]
    assert (result.read, result.done) == (3, 3)


def test_a_look_ends_where_work_has_not_come_to(marked: list[Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = marked
    queue, result = deque(marked), Result(3)
    monkeypatch.setattr(resync, "LOOK_AHEAD", 1)
    resync.look_along(queue, result)
    assert (list(queue), result.done) == ([first, second, third], 0)
    read(third)
    resync.look_along(queue, result)
    assert (list(queue), result.done) == ([first, second, third], 0), "nobody looked as far"
    monkeypatch.setattr(resync, "LOOK_AHEAD", 8)
    resync.look_along(queue, result)
    assert (list(queue), result.done) == ([first, second], 1)
