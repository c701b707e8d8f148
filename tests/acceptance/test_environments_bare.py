"""Bare machines, as containers are: each process starts there, or says in a sentence what it lacks."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from starts import ROLES, Expected, Started, ends, runs

from db.rights import WORKER
from devstack.roles import as_role
from devstack.servers import ROOT, Server

SETTINGS = {"JWT_SECRET": "s" * 32, "ETHEREUM_RPC_URLS": "http://127.0.0.1:1", "SYNC_LEASE": "6"}
ALL = dict.fromkeys(("alembic", "worker", "beat", "endpoint"), runs())
READ_ONLY = ("unshare", "--mount", "sh", "-c", 'mount -o remount,ro,bind / && cd "$PWD" && exec "$@"', "sh")
"""The root file system takes no writes for this process and what it starts, and neither does anything on it."""
OF_NOBODY = ("unshare", "--user", "--map-user", "54321")
NO_TIME_ZONES = ("env", "PYTHONTZPATH=")
FOLDER = "LIFE_SIGN_DIR: is not a folder of this user's alone ("

LINES: dict[str, tuple[Sequence[str], dict[str, str], Mapping[str, Expected]]] = {
    "no home, and no language": (
        ("env", "-u", "HOME", "LANG=C", "LC_ALL=C", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0"),
        {},
        ALL,
    ),
    "no time zones": (NO_TIME_ZONES, {}, ALL),
    "a user id without a name": (OF_NOBODY, {"LIFE_SIGN_DIR": "{shm}"}, ALL),
    "a root file system that takes no writes": (READ_ONLY, {"LIFE_SIGN_DIR": "{shm}"}, ALL),
    "the same, and no folder to write to is named": (
        READ_ONLY,
        {"LIFE_SIGN_DIR": ""},
        {"worker": ends(FOLDER), "beat": ends(FOLDER), "endpoint": runs(), "check": ends("1 of 4 checks failed")},
    ),
}
"""How a process is started, what is set, and what becomes of it."""


def needs(prefix: Sequence[str]) -> None:
    """Skips the test where this machine does not let us start a process so."""
    if prefix[0] == "env":
        return
    if os.geteuid() != 0 or not shutil.which(prefix[0]):
        pytest.skip(f"needs root, and {prefix[0]}")
    tried = [*prefix, sys.executable, "-c", "import celery, redis"]
    done = subprocess.run(tried, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot be started so here: {done.stderr.strip().splitlines()[-1]}")


@pytest.fixture
def memory() -> str:
    """A folder in memory, which a root file system without writes leaves as it is; everybody may make one in it."""
    shm = Path("/dev/shm")
    if not shm.is_mount():
        pytest.skip("needs /dev/shm")
    return str(shm)


@pytest.mark.parametrize("line", LINES)
def test_every_process_starts_or_says_what_it_lacks(
    line: str, database_url: str, redis_process: Server, tmp_path: Path, memory: str
) -> None:
    prefix, more, expected = LINES[line]
    needs(prefix)
    with ExitStack() as stack:
        processes = []
        for name in expected:
            signs = Path(memory, f"balance-sync-{tmp_path.name}-{os.getpid()}-{name}")
            stack.callback(shutil.rmtree, signs, ignore_errors=True)
            own = {key: value.format(shm=signs) for key, value in more.items()}
            url = as_role(database_url, ROLES.get(name, WORKER))
            env = {**SETTINGS, "REDIS_URL": redis_process.url, "DATABASE_URL": url, **own}
            processes.append(Started(name, env, tmp_path, prefix=prefix))
            stack.callback(processes[-1].stop)
        for each in processes:
            each.becomes(expected[each.name])
