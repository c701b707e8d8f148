"""The product's own processes, started as the README says, against a devstack."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import jwt
import requests

from db.rights import API as API_ROLE
from db.rights import OPS as OPS_ROLE
from db.rights import OWNER
from db.rights import WORKER as WORKER_ROLE
from devstack.roles import as_role, make_roles
from devstack.servers import HOST, ROOT, SUPERUSER, Server, ServerFailed, free_port, running

WORKER = [sys.executable, "-m", "celery", "-A", "worker", "worker", "--concurrency", "2"]

BEAT = [sys.executable, "-m", "celery", "-A", "worker", "beat"]
GRANIAN = ["--interface", "asgi", "--workers", "1", "--loop", "uvloop", "--http", "1", "--no-ws"]
GRANIAN += ["--http1-buffer-size", "65536", "--http1-header-read-timeout", "10000", "--workers-kill-timeout", "30"]
"""How the endpoint is served; a test compares docker-compose.yml with it."""
API = [sys.executable, "-m", "granian", "api.app:app", *GRANIAN, "--host", HOST, "--port"]
OPS = [sys.executable, "-m", "granian", "ops.app:app", *GRANIAN, "--host", HOST, "--port"]


@dataclass(frozen=True, slots=True)
class Product:
    """The processes that run, with the addresses of the endpoint and of the operator's page."""

    worker: Server
    beat: Server
    api: Server
    ops: Server

    @property
    def processes(self) -> tuple[Server, ...]:
        return (self.worker, self.beat, self.api, self.ops)


DEFAULTS: dict[str, str] = {}
"""Settings of every process that is started here, unless its own environment says otherwise: the tests' are here."""


def environment(env: Mapping[str, str], role: str | None = None) -> dict[str, str]:
    """What a process of the product finds in its environment: the machine's settings, none of the caller's own.

    With a role it gets the database as that one, where the settings name the superuser: none runs as that.
    """
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE") if name in os.environ
    }
    made = {**kept, "PYTHONUNBUFFERED": "1", **DEFAULTS, **env}
    if role and urlsplit(made.get("DATABASE_URL", "")).username == SUPERUSER:
        made["DATABASE_URL"] = as_role(made["DATABASE_URL"], role)
    return made


def migrate(env: Mapping[str, str]) -> None:
    """Make the roles, and bring the schema up to date as the tables' owner. Raises ServerFailed."""
    make_roles(env["DATABASE_URL"])
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=ROOT,
        env=environment(env, OWNER),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerFailed(f"the migration failed:\n{done.stderr[-2000:]}")


def check(env: Mapping[str, str]) -> str:
    """What `celery -A worker check` says. Raises ServerFailed when something is not as the settings say."""
    return _admin(env, "check")


def resync_all(env: Mapping[str, str]) -> str:
    """What `celery -A worker resync --all --wait` says: every wallet has been read anew. Raises ServerFailed."""
    return _admin(env, "resync", "--all", "--wait")


def _admin(env: Mapping[str, str], command: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", command, *options],
        cwd=ROOT,
        env=environment(env, WORKER_ROLE),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerFailed(f"the {command} failed:\n{done.stdout}{done.stderr[-2000:]}")
    return done.stdout


@contextmanager
def worker(folder: Path, env: Mapping[str, str], name: str = "worker") -> Iterator[Server]:
    """A worker that is serving its queues."""
    command = [*WORKER, "--hostname", f"{name}@%h"]
    env = {"TMPDIR": str(folder), **env}  # where its sign of life is, and what a killed one leaves behind
    says = " ready." if env.get("LOG_LEVEL", "INFO") in {"DEBUG", "INFO"} else None
    with running(name, command, folder, env=environment(env, WORKER_ROLE), says=says) as server:
        yield server


@contextmanager
def beat(folder: Path, env: Mapping[str, str], name: str = "beat") -> Iterator[Server]:
    """Beat."""
    with running(name, BEAT, folder, env=environment(env, WORKER_ROLE)) as server:
        yield server


@contextmanager
def api(folder: Path, env: Mapping[str, str]) -> Iterator[Server]:
    """The endpoint, ready to serve."""
    with _served("api", API, "/readyz", folder, environment(env, API_ROLE)) as server:
        yield server


@contextmanager
def ops(folder: Path, env: Mapping[str, str], until: str = "/readyz") -> Iterator[Server]:
    """The process of metrics and of the operator's page, once its path `until` answers well."""
    with _served("ops", OPS, until, folder, environment(env, OPS_ROLE)) as server:
        yield server


@contextmanager
def _served(name: str, command: Sequence[str], until: str, folder: Path, env: dict[str, str]) -> Iterator[Server]:
    port = free_port()
    url = f"http://{HOST}:{port}"

    def ready() -> bool:
        try:
            return requests.get(f"{url}{until}", timeout=3).ok
        except requests.RequestException:
            return False

    with running(name, [*command, str(port)], folder, url=url, ready=ready, env=env) as server:
        yield server


@contextmanager
def product(folder: Path, env: Mapping[str, str]) -> Iterator[Product]:
    """Worker, beat, endpoint and the process of operators, on a migrated database."""
    with ExitStack() as started:
        yield Product(
            started.enter_context(worker(folder, env)),
            started.enter_context(beat(folder, env)),
            started.enter_context(api(folder, env)),
            started.enter_context(ops(folder, env)),
        )


def token(env: Mapping[str, str], user_id: UUID, seconds: float = 3600) -> str:
    """A bearer token of a user."""
    return jwt.encode({"sub": str(user_id), "exp": int(time.time() + seconds)}, env["JWT_SECRET"], "HS256")
