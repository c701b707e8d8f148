"""Every process refuses a URL that it cannot read, says which setting it is, and does not show it."""

import subprocess
import sys

import pytest

from devstack.product import API, BEAT, WORKER, environment
from devstack.servers import CAP, ROOT

PROCESSES = {
    "worker": WORKER,
    "beat": BEAT,
    "endpoint": [*API, "1"],
    "alembic": [sys.executable, "-m", "alembic", "upgrade", "head"],
    "check": [sys.executable, "-m", "celery", "-A", "worker", "check"],
    "resync": [sys.executable, "-m", "celery", "-A", "worker", "resync", "--all"],
}


@pytest.mark.parametrize("command", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("password", ["S3cr%et", "S3cr@et", "1/S3cret"])
def test_a_password_that_breaks_the_url_is_not_shown(command: list[str], password: str) -> None:
    env = {
        "DATABASE_URL": f"postgresql://app:{password}@127.0.0.1:1/name",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "JWT_SECRET": "s" * 32,
        "ETHEREUM_RPC_URLS": "http://127.0.0.1:1",
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment(env), capture_output=True, text=True, check=False, timeout=CAP
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "DATABASE_URL: " in said
    assert "as %XX" in said or "as %40" in said
    assert "S3cr" not in said
    assert "et@" not in said
    assert "Traceback" not in said
