"""Real worker, beat and API processes on real servers: the main job, and what other programs ask of them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from running import hung, send, sender
from scene import LONG_LEASE, NEVER, OFTEN, Scene
from tables import Tables

from devstack.product import api, environment, worker
from devstack.servers import CAP, ROOT, Server, wait_for
from devstack.stack import LocalChain, settings

Start = Callable[..., Scene]


@pytest.fixture
def env(database_url: str, redis_process: Server, chains: dict[str, LocalChain]) -> dict[str, str]:
    return settings(database_url, redis_process.url, **chains) | LONG_LEASE


def test_wallets_stay_fresh_and_the_endpoint_shows_them(start: Start, tables: Tables) -> None:
    scene = start(**OFTEN, **LONG_LEASE)
    user = scene.wallets[0].user_id
    (late,) = tables.add("tron", "no address at all", user_id=user)
    since = scene.now()
    read = "SELECT count(*) FROM balance_cache WHERE last_synced > %s"
    scene.wait_for(lambda: bool(scene.value(read, since) == len(scene.wallets)), "all others to be read")
    scene.check_balances()
    scene.wait_for(lambda: tables.schedule(late)["failures"] > 0, "the bad address to be told of")
    assert tables.schedule(late)["last_error"] == "bad_address"
    with api(scene.folder, scene.env) as served:
        response = scene.ask(served)
        assert response.status_code == 200
        assert response.headers["Balances-Complete"] == "false"
        assert [entry["usdt_balance"] for entry in response.json()["balances"]] == ["977.00000000", "0.00000000", None]
        assert scene.ask(served, user=uuid4()).status_code == 403


def test_a_refresh_reads_the_chain_and_says_so_truly(start: Start) -> None:
    scene = start(**NEVER, **LONG_LEASE, REFRESH_DEADLINE=f"{CAP:g}", REFRESH_COOLDOWN="3600")
    with api(scene.folder, scene.env) as served:
        scene.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 day'")
        assert [entry["is_cached"] for entry in scene.ask(served).json()["balances"]] == [True, True]
        fresh = scene.ask(served, "?refresh=true&networks=tron").json()
        assert [(entry["network"], entry["is_cached"]) for entry in fresh["balances"]] == [("tron", False)]
        cooling = scene.ask(served, "?refresh=true").json()
        assert [entry["is_cached"] for entry in cooling["balances"]] == [True, False], "tron was read a moment ago"


def test_other_programs_send_tasks_by_name_and_a_bad_argument_does_no_harm(start: Start) -> None:
    scene = start(**NEVER, **LONG_LEASE, REFRESH_COOLDOWN="3600")
    scene.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 day'")
    since = scene.now()
    with sender(scene.env["REDIS_URL"]) as app:
        send(app, "sync_wallet", "no id at all")
        send(app, "refresh_user", str(scene.wallets[0].user_id), ["doge"])
        send(app, "refresh_user", str(scene.wallets[0].user_id), ["ethereum"])
        send(app, "sync_wallet", str(scene.wallets[5].id))
    wanted = {scene.wallets[1].id, scene.wallets[5].id}
    read = "SELECT wallet_id FROM balance_cache WHERE last_synced > %s"
    scene.wait_for(lambda: len(scene.rows(read, since)) >= 2, "both to be read")
    assert {row["wallet_id"] for row in scene.rows(read, since)} == wanted
    scene.await_words("an id is a UUID, not 'no id at all'")
    scene.await_words("tron-shasta, not 'doge'")
    assert scene.said("Traceback") == 0


def test_a_worker_that_was_killed_loses_nothing_and_its_leases_run_out_by_themselves(start: Start) -> None:
    """By the database's clock: the one test that waits for it."""
    scene = start(**OFTEN, SYNC_LEASE="12")
    rows = "SELECT * FROM balance_cache ORDER BY 1"
    with scene.batches_in_hand(2) as leases:
        before = scene.rows(rows)
        scene.worker.kill()
        assert set(scene.tokens()) == set(leases), "it was in the middle of both"
    assert scene.rows(rows) == before
    scene.env |= LONG_LEASE  # which is the second worker's own
    scene.worker.start()
    ends = scene.value("SELECT min(lease_until) FROM leases WHERE token = ANY(%s)", leases)
    scene.await_all_fresh(since=ends)
    scene.check_balances()


def test_a_worker_shows_that_it_lives_and_stops_to_when_it_hangs(env: dict[str, str], tmp_path: Path) -> None:
    sign, sign_of_other = (tmp_path / name / "worker" for name in ("one", "other"))
    with worker(tmp_path, {**env, "LIFE_SIGN_DIR": str(sign.parent)}) as worked:
        wait_for(sign.exists, worked, what="the first sign of life")
        first = sign.stat().st_mtime_ns
        wait_for(lambda: sign.stat().st_mtime_ns > first, worked, what="another sign of life")
        with hung(worked):
            # What another process does in its time, a stopped worker does not.
            last = sign.stat().st_mtime_ns
            with worker(tmp_path, {**env, "LIFE_SIGN_DIR": str(sign_of_other.parent)}, "other") as other:
                wait_for(sign_of_other.exists, other, what="the other to live")
            assert sign.stat().st_mtime_ns == last


@pytest.mark.parametrize(
    ("command", "change", "sentence"),
    [
        ("worker", {"ETHEREUM_RPC_URLS": "", "TRON_RPC_URLS": ""}, "Set ETHEREUM_RPC_URLS"),
        ("worker", {"TRON_USDT_CONTRACT": "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6u"}, "TRON_USDT_CONTRACT: the checksum"),
        ("api", {"JWT_SECRET": "short"}, "JWT_SECRET must have at least 32 bytes"),
    ],
)
def test_a_process_with_bad_settings_does_not_start_and_says_why(
    env: dict[str, str], command: str, change: dict[str, str], sentence: str
) -> None:
    programs = {
        "worker": ["celery", "-A", "worker", "worker"],
        "api": ["granian", "--interface", "asgi", "api.app:app", "--port", "0"],
    }
    done = subprocess.run(
        [sys.executable, "-m", *programs[command]],
        cwd=ROOT,
        env=environment({**env, **change}),
        capture_output=True,
        text=True,
        timeout=CAP,
        check=False,
    )
    assert done.returncode != 0
    assert sentence in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
