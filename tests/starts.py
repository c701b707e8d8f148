"""The product's processes as the README starts them, in any environment: each runs, or says in a sentence why not."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import requests

from devstack.product import API, BEAT, environment
from devstack.servers import CAP, HOST, ROOT, free_port, stop, wait_for

CELERY = [sys.executable, "-m", "celery", "-A", "worker"]
COMMANDS: dict[str, Sequence[str]] = {
    "alembic": [sys.executable, "-m", "alembic", "upgrade", "head"],
    "worker": [*CELERY, "worker", "--concurrency", "1", "--hostname", "w@%h"],
    "beat": BEAT,
    "endpoint": API,
    "check": [*CELERY, "check"],
    "freshness": [*CELERY, "freshness"],
    "resync": [*CELERY, "resync", "--dry-run", "--all"],
}
ROLES = {"alembic": "bal_owner", "endpoint": "bal_api"}
"""Whom a process comes to the database as; the others come as the worker."""
LIVE = ("worker", "beat", "endpoint")


@dataclass(frozen=True)
class Expected:
    """What becomes of a process: whether it goes on (or, of a command, does what it is for), and what it says."""

    runs: bool
    says: str = ""


def runs(says: str = "") -> Expected:
    return Expected(runs=True, says=says)


def ends(says: str) -> Expected:
    return Expected(runs=False, says=says)


class Started:
    """A process of the product, and what it has said until now."""

    def __init__(
        self, name: str, env: Mapping[str, str], folder: Path, prefix: Sequence[str] = (), **more: Any
    ) -> None:
        self.name, self._log = name, folder / f"{name}.log"
        port = free_port()
        self._url = f"http://{HOST}:{port}"
        command = [*prefix, *COMMANDS[name], *([str(port)] if name == "endpoint" else [])]
        own = {"LIFE_SIGN_DIR": str(folder / f"signs-of-{name}"), **env}
        self._signs = Path(own["LIFE_SIGN_DIR"])
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env=environment({key: value for key, value in own.items() if value}),
                **{"cwd": ROOT, **more},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def becomes(self, expected: Expected) -> None:
        """Wait until it is so with this process, and end it. Fails when it ends otherwise, or after a time."""
        deadline = time.monotonic() + CAP / 2
        while not self._is(expected):
            ended = self._process.poll()
            assert ended is None or self._is(expected), f"{self.name} ended with code {ended}:\n{self.said}"
            assert time.monotonic() < deadline, f"{self.name} did not come to {expected}:\n{self.said}"
            time.sleep(0.05)
        assert "Traceback" not in self.said, self.said

    def says(self, words: str) -> None:
        """Wait until it has said so, whatever it does then."""
        wait_for(lambda: words in self.said, what=f"{self.name} to say {words!r}")

    def _is(self, expected: Expected) -> bool:
        code = self._process.poll()
        if expected.says not in self.said:
            return False
        if self.name in LIVE and expected.runs:
            return code is None and (bool(expected.says) or self._ready())
        return code == 0 if expected.runs else bool(code)

    def _ready(self) -> bool:
        ready: dict[str, Callable[[], bool]] = {
            "worker": lambda: " ready." in self.said,
            "beat": (self._signs / "beat").exists,
            "endpoint": self._serves,
        }
        return ready[self.name]()

    def _serves(self) -> bool:
        with suppress(requests.RequestException):
            return requests.get(f"{self._url}/readyz", timeout=3).ok
        return False

    def stop(self) -> None:
        stop(self._process)


def contents(database_url: str) -> str:
    """Every row of every table, as text."""
    with psycopg.connect(database_url) as connection:
        tables = connection.execute("SELECT relname FROM pg_stat_user_tables ORDER BY relname").fetchall()
        rows = [connection.execute(f'SELECT t::text FROM "{name}" AS t'.encode()).fetchall() for (name,) in tables]
    return str(rows)
