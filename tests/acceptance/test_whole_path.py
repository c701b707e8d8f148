"""Real worker, beat and API processes on real servers: the main job, and what dies in the middle of it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import redis
import requests
from celery import Celery
from tables import Tables

from config.settings import NETWORKS, Network
from devstack import demo
from devstack.product import api, beat, token, worker
from devstack.seed import SeededWallet, fund, insert, wallets
from devstack.servers import Server, wait_for
from devstack.stack import LocalChain, settings

LEASE = 6
INTERVAL = 2
# What a wallet may be delayed by at the most: a lease, an interval, and starting a process on a busy machine.
RECOVERY = LEASE + INTERVAL + 30.0


class Scene:
    """Wallets on both chains, and the environment of the processes that are to keep them fresh."""

    def __init__(self, folder: Path, env: dict[str, str], tables: Tables, seeded: list[SeededWallet]) -> None:
        self.folder, self.env, self.tables, self.seeded = folder, env, tables, seeded
        self.user = seeded[0].user_id

    def now(self) -> object:
        return self.tables.rows("SELECT clock_timestamp() AS now")[0]["now"]

    def await_all_fresh(self, *processes: Server, seconds: float = RECOVERY) -> None:
        """Wait until every wallet has been read after now, and check that every balance is the chain's."""
        since = self.now()

        def fresh() -> bool:
            (row,) = self.tables.rows("SELECT count(*) FROM balance_cache WHERE last_synced > %s", since)
            return bool(row["count"] == len(self.seeded))

        wait_for(fresh, *processes, what="every wallet to be fresh", seconds=seconds)
        cached = self.tables.rows("SELECT wallet_id, usdt_balance, native_balance FROM balance_cache")
        assert {row["wallet_id"]: (row["usdt_balance"], row["native_balance"]) for row in cached} == {
            wallet.id: (wallet.usdt, wallet.native) for wallet in self.seeded
        }

    def ask(self, server: Server, query: str = "", user: UUID | None = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {token(self.env, self.user)}"}
        url = f"{server.url}/api/v1/auth/balances/user/{user or self.user}{query}"
        return requests.get(url, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def funded(ethereum: LocalChain, tron: LocalChain) -> list[SeededWallet]:
    seeded = wallets(40)
    fund(ethereum, [wallet for wallet in seeded if wallet.network == "ethereum"])
    fund(tron, [wallet for wallet in seeded if wallet.network == "tron"])
    return seeded


@pytest.fixture
def env(database_url: str, redis_process: Server, ethereum: LocalChain, tron: LocalChain) -> dict[str, str]:
    """The processes' settings, with a lease and intervals of seconds."""
    redis.Redis.from_url(redis_process.url).flushall()
    short = {"SYNC_LEASE": str(LEASE), "SYNC_INTERVAL_ACTIVE": str(INTERVAL), "SYNC_INTERVAL_IDLE": str(INTERVAL)}
    return settings(database_url, redis_process.url, ethereum, tron) | short


@pytest.fixture
def scene(env: dict[str, str], tables: Tables, funded: list[SeededWallet], tmp_path: Path) -> Scene:
    insert(env["DATABASE_URL"], funded)
    return Scene(tmp_path, env, tables, funded)


@contextmanager
def stopped(*servers: Server) -> Iterator[None]:
    """Servers that hang: they take connections and answer nothing."""
    for server in servers:
        server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for server in servers:
            server.process.send_signal(signal.SIGCONT)


def kill_9(server: Server) -> None:
    """The process and its pool, at once and without a word."""
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()


def test_the_demo_runs_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.demo(tmp_path / "demo")
    out = capsys.readouterr().out
    assert "all 2,002 balances are those that the chains have" in out
    assert "equal to the contract's example, but for the times" in out
    table = {
        line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith(("  ethereum", "  tron"))
    }
    for network, batches in (("ethereum", 1), ("tron", 3)):
        count, requests_made = table[network]
        assert count == "1,001"
        # The batches, the token's supply, the refresh, and a pass more on a slow machine: never one per wallet.
        assert batches <= int(requests_made) <= 4 * batches + 2
    assert "All 5 checks passed." in out


def test_wallets_stay_fresh_and_the_endpoint_shows_them(scene: Scene) -> None:
    with worker(scene.folder, scene.env) as worked, beat(scene.folder, scene.env) as ticked:
        scene.await_all_fresh(worked, ticked)
        (late,) = scene.tables.add("tron", "no address at all", user_id=scene.user)
        scene.await_all_fresh(worked, ticked)
        wait_for(lambda: scene.tables.schedule(late)["failures"] > 0, worked, what="the bad address to be told of")
        assert scene.tables.schedule(late)["last_error"] == "bad_address"
        with api(scene.folder, scene.env) as served:
            response = scene.ask(served)
            assert response.status_code == 200
            assert response.headers["Balances-Complete"] == "false"
            assert [entry["usdt_balance"] for entry in response.json()["balances"]] == [
                "977.00000000",
                "0.00000000",
                None,
            ]
            assert scene.ask(served, user=uuid4()).status_code == 403


def test_a_refresh_reads_the_chain_and_says_so_truly(scene: Scene) -> None:
    scene.env |= {"SYNC_INTERVAL_ACTIVE": "600", "SYNC_INTERVAL_IDLE": "600", "REFRESH_DEADLINE": "20"}
    with (
        worker(scene.folder, scene.env) as worked,
        beat(scene.folder, scene.env) as ticked,
        api(scene.folder, scene.env) as served,
    ):
        scene.await_all_fresh(worked, ticked)
        scene.tables.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 minute'")
        assert [entry["is_cached"] for entry in scene.ask(served).json()["balances"]] == [True, True]
        fresh = scene.ask(served, "?refresh=true&networks=tron").json()
        assert [(entry["network"], entry["is_cached"]) for entry in fresh["balances"]] == [("tron", False)]
        cooling = scene.ask(served, "?refresh=true").json()
        assert [entry["is_cached"] for entry in cooling["balances"]] == [True, False], "tron was read a moment ago"


def test_a_worker_shows_that_it_lives_and_stops_to_when_it_hangs(scene: Scene) -> None:
    scene.env["LIFE_SIGN_DIR"] = str(scene.folder / "signs")
    sign = scene.folder / "signs" / "worker"
    with worker(scene.folder, scene.env) as worked:
        wait_for(sign.exists, worked, what="the first sign of life")
        first = sign.stat().st_mtime_ns
        wait_for(lambda: sign.stat().st_mtime_ns > first, worked, what="another sign of life")
        with stopped(worked):
            # What another process does in its time, a stopped worker does not.
            last = sign.stat().st_mtime_ns
            others = scene.folder / "others"
            with worker(scene.folder, {**scene.env, "LIFE_SIGN_DIR": str(others)}, "another") as other:
                wait_for((others / "worker").exists, other, what="the other to live")
            assert sign.stat().st_mtime_ns == last


def test_other_programs_send_tasks_by_name_and_a_bad_argument_does_no_harm(scene: Scene) -> None:
    scene.env |= {"SYNC_INTERVAL_ACTIVE": "600", "SYNC_INTERVAL_IDLE": "600", "REFRESH_COOLDOWN": "1"}
    with worker(scene.folder, scene.env) as worked, beat(scene.folder, scene.env) as ticked:
        scene.await_all_fresh(worked, ticked)
        scene.tables.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 minute'")
        other = Celery(broker=scene.env["REDIS_URL"], set_as_current=False)
        other.conf.broker_transport_options = {"global_keyprefix": "bal:"}

        def send(task: str, *arguments: object) -> None:
            other.send_task(f"worker.tasks.{task}", args=arguments, queue="refresh", ignore_result=True)

        since = scene.now()
        send("sync_wallet", "no id at all")
        send("refresh_user", str(scene.user), ["doge"])
        send("refresh_user", str(scene.user), ["ethereum"])
        send("sync_wallet", str(scene.seeded[5].id))
        wanted = {scene.seeded[1].id, scene.seeded[5].id}
        read = "SELECT wallet_id FROM balance_cache WHERE last_synced > %s"
        wait_for(lambda: len(scene.tables.rows(read, since)) >= 2, worked, what="both to be read")
        assert {row["wallet_id"] for row in scene.tables.rows(read, since)} == wanted
        log = worked.log.read_text()
        assert "an id is a UUID, not 'no id at all'" in log
        assert "a network is one of ethereum, tron, not 'doge'" in log
        assert "Traceback" not in log


@pytest.mark.parametrize("network", NETWORKS)
def test_a_worker_killed_in_the_middle_of_a_batch_loses_nothing(
    scene: Scene, ethereum: LocalChain, tron: LocalChain, network: Network
) -> None:
    lease = 2 * LEASE  # and as much more time for a request to a node that hangs
    scene.env["SYNC_LEASE"] = str(lease)
    node = ethereum.node if network == "ethereum" else tron.evm
    held = "SELECT lease_token FROM sync_schedule WHERE network = %s AND claimed_at > %s AND lease_until > now()"
    balances = "SELECT b.* FROM balance_cache b JOIN sync_schedule USING (wallet_id) WHERE network = %s ORDER BY 1"
    with worker(scene.folder, scene.env, "first") as first, beat(scene.folder, scene.env) as ticked:
        scene.await_all_fresh(first, ticked)
        with stopped(node):
            since = scene.now()
            wait_for(lambda: bool(scene.tables.rows(held, network, since)), first, what="a batch to be in hand")
            before = scene.tables.rows(balances, network)
            kill_9(first)
            assert scene.tables.rows(held, network, since), "it was in the middle of it"
        assert scene.tables.rows(balances, network) == before
        with worker(scene.folder, scene.env, "second") as second:
            scene.await_all_fresh(second, ticked, seconds=RECOVERY + lease)


def test_a_flushed_redis_loses_nothing(scene: Scene, redis_process: Server) -> None:
    with worker(scene.folder, scene.env) as worked, beat(scene.folder, scene.env) as ticked:
        scene.await_all_fresh(worked, ticked)
        redis.Redis.from_url(redis_process.url).flushall()
        scene.await_all_fresh(worked, ticked)


def test_a_second_beat_and_a_second_worker_do_no_harm(scene: Scene) -> None:
    with (
        worker(scene.folder, scene.env, "one") as one,
        worker(scene.folder, scene.env, "two") as two,
        beat(scene.folder, scene.env, "beat-one") as beat_one,
        beat(scene.folder, scene.env, "beat-two") as beat_two,
    ):
        scene.await_all_fresh(one, two, beat_one, beat_two)
        scene.await_all_fresh(one, two, beat_one, beat_two)
        client = redis.Redis.from_url(scene.env["REDIS_URL"])
        for queue in ("refresh", "sync.ethereum", "sync.tron"):
            assert client.llen(f"bal:{queue}") <= 20, "messages do not pile up"


def test_a_node_that_answers_nothing_changes_no_balance_and_the_other_network_goes_on(
    scene: Scene, ethereum: LocalChain
) -> None:
    with worker(scene.folder, scene.env) as worked, beat(scene.folder, scene.env) as ticked:
        scene.await_all_fresh(worked, ticked)
        before = scene.tables.rows("SELECT count(*) FROM balance_cache")
        with stopped(ethereum.node):
            failing = "SELECT FROM sync_schedule WHERE network = 'ethereum' AND last_error = 'unreachable'"
            wait_for(lambda: bool(scene.tables.rows(failing)), worked, what="the failure to be recorded")
            since = scene.now()
            tron = (
                "SELECT FROM balance_cache JOIN sync_schedule USING (wallet_id)"
                " WHERE network = 'tron' AND last_synced > %s"
            )
            wait_for(lambda: bool(scene.tables.rows(tron, since)), worked, what="Tron to be read all the same")
            assert scene.tables.rows("SELECT count(*) FROM balance_cache") == before
        scene.await_all_fresh(worked, ticked)


@pytest.mark.parametrize(
    ("command", "change", "sentence"),
    [
        ("worker", {"REDIS_URL": ""}, "REDIS_URL: is required"),
        ("worker", {"ETHEREUM_RPC_URLS": "", "TRON_RPC_URLS": ""}, "Set ETHEREUM_RPC_URLS or TRON_RPC_URLS"),
        ("worker", {"TRON_USDT_CONTRACT": "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6u"}, "TRON_USDT_CONTRACT: the checksum"),
        ("api", {"JWT_SECRET": "short"}, "JWT_SECRET must have at least 32 bytes"),
    ],
)
def test_a_process_with_bad_settings_does_not_start_and_says_why(
    scene: Scene, command: str, change: dict[str, str], sentence: str
) -> None:
    import subprocess
    import sys

    from devstack.product import environment
    from devstack.servers import ROOT

    programs = {"worker": ["celery", "-A", "worker", "worker"], "api": ["uvicorn", "api.app:app", "--port", "0"]}
    done = subprocess.run(
        [sys.executable, "-m", *programs[command]],
        cwd=ROOT,
        env=environment({**scene.env, **change}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert sentence in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
