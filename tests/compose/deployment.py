"""A deployment by docker-compose.yml in a folder of its own, as somebody makes one who follows docs/operations.md."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from compose.daemon import CommandFailedError, Docker, said

from devstack.servers import ROOT

PROJECT = "balance-sync-test"
OVERRIDE = Path(__file__).parent / "override.yml"
CAP = 300.0
"""Seconds after which a wait has failed: only a run that fails waits for so long."""
TOKEN = (
    "import jwt, sys, time; secret = open('/run/secrets/jwt_secret').read().strip();"
    " print(jwt.encode({'sub': sys.argv[1], 'exp': int(time.time()) + 3600}, secret))"
)
"""The docs have it in these words."""


def check_out(revision: str | None, tree: Path) -> None:
    """Put a revision of the project into a folder, over what is there; None: the working tree as it is."""
    tree.mkdir(parents=True, exist_ok=True)
    if revision:
        archive = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", str(tree)], input=archive, check=True)
        return
    listed = said(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], {**_PATH}, ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)


_PATH = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def images_of(tree: Path) -> dict[str, set[str]]:
    """The images of others that a tree names, by what they are."""
    services = yaml.safe_load((tree / "docker-compose.yml").read_text())["services"]
    found = {name: {service["image"]} for name, service in services.items() if "build" not in service}
    dockerfile = (tree / "Dockerfile").read_text()
    return {**found, "python": {base_of(dockerfile)}}


def base_of(dockerfile: str) -> str:
    """What a Dockerfile begins with."""
    found = re.search(r"^(?:ARG BASE=|FROM )(\S+)", dockerfile, re.MULTILINE)
    assert found, "the Dockerfile names a base"
    return found[1]


@dataclass
class Deployment:
    """The containers of one tree."""

    docker: Docker
    tree: Path
    base: str
    anvil: Path
    chain_port: int
    tag: str = "local"
    profiles: tuple[str, ...] = field(default=())

    def compose(self, *words: str, given: str | None = None) -> str:
        """What `docker compose …` prints. Raises CommandFailedError."""
        profiles = [word for name in self.profiles for word in ("--profile", name)]
        files = ["-f", "docker-compose.yml", "-f", str(OVERRIDE)]
        env = {
            **self.docker.env,
            "BALANCE_SYNC_TAG": self.tag,
            "BASE_IMAGE": self.base,
            "ANVIL": str(self.anvil),
            "CHAIN_PORT": str(self.chain_port),
        }
        return said(["docker", "compose", "-p", PROJECT, *files, *profiles, *words], env, self.tree, given)

    def sql(self, statement: str, role: str = "postgres") -> str:
        """What psql answers, as the docs say to call it."""
        words = ["exec", "-T", "postgres", "psql", "-U", role, "-At", "-v", "ON_ERROR_STOP=1", "balances"]
        return self.compose(*words, given=statement).strip()

    def token(self, user: str) -> str:
        """A token of a user, made as the docs say."""
        return self.compose("exec", "-T", "api", "python", "-c", TOKEN, user).strip()

    def containers(self) -> dict[str, dict[str, Any]]:
        """What docker knows of each service's container."""
        ids = self.compose("ps", "--all", "--quiet").split()
        found = json.loads(self.docker("inspect", *ids)) if ids else []
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in found}

    def unwell(self) -> list[str]:
        """Services that do not run, or are not healthy; of migrate, that it has not ended well."""
        return [name for name, each in self.containers().items() if not _well(name, each["State"])]

    def wait_until_well(self) -> float:
        """Until all are; how long it took."""
        return wait_for(lambda: not self.unwell(), "every container to be healthy", self.unwell)

    def starts(self) -> dict[str, str]:
        """When each service's process was started."""
        return {name: each["State"]["StartedAt"] for name, each in self.containers().items()}

    def end(self) -> None:
        """Remove all of it, data too."""
        self.profiles = ("monitoring",)
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")


def _well(name: str, state: dict[str, Any]) -> bool:
    if name == "migrate":
        return bool(state["Status"] == "exited" and state["ExitCode"] == 0)
    return bool(state["Running"] and state.get("Health", {"Status": "healthy"})["Status"] == "healthy")


def wait_for(done: Callable[[], bool], what: str, why: Callable[[], object] = lambda: "") -> float:
    """Wait for a condition; how many seconds it took. Raises CommandFailedError."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > CAP:
            raise CommandFailedError(f"waited {CAP:.0f} s for {what}: {why()}")
        time.sleep(0.5)
    return time.monotonic() - began
