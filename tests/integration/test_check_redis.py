"""What a check says of a Redis that answers and is not what a worker needs, and what a start makes of it."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

import pytest
import redis
import structlog
from forwarding import becomes_a_replica, port_of
from sentinels import SENTINELS_PASSWORD, watched

from devstack.servers import HOST, Server, redis_server, wait_for
from worker.admin.check_redis import broker
from worker.admin.finding import Finding
from worker.admin.redis_at_start import look_at_redis

PATIENCE = 10.0
RIGHTS = "~bal:* resetchannels +@all"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Server]:
    with redis_server(tmp_path) as server:
        yield server
        with closing(redis.Redis.from_url(server.url)) as client:
            client.config_set("save", "")  # one that cannot save does not end when it is told to


def user_of(server: Server, rules: str) -> str:
    with closing(redis.Redis.from_url(server.url)) as client:
        client.execute_command("ACL", "SETUSER", "app", "reset", "on", ">hunter2", *rules.split())
    return f"redis://app:hunter2@{HOST}:{port_of(server)}/0"


def found(url: str) -> list[Finding]:
    return list(broker(url, PATIENCE))


@pytest.mark.parametrize("database", [0, 3])
def test_a_sentinels_own_port_is_named_and_ends_a_start(tmp_path: Path, database: int) -> None:
    with watched(tmp_path) as pair:
        url = f"redis://:{SENTINELS_PASSWORD}@{HOST}:{pair.sentinel_port}/{database}"
        (finding,) = found(url)
        assert finding.detail == "is a Sentinel"
        assert "redis+sentinel://" in finding.to_do
        assert not finding.ok
        with pytest.raises(SystemExit, match="is a Sentinel: write redis\\+sentinel://") as ended:
            look_at_redis(url)
        assert SENTINELS_PASSWORD not in str(ended.value.code)
        assert [each.ok for each in found(pair.url)] == [True], "the way that it names leads to the master"


def is_full(client: Any, _folder: Path) -> None:
    client.config_set("maxmemory", "1")


def has_no_replica(client: Any, _folder: Path) -> None:
    client.config_set("min-replicas-to-write", "1")


def cannot_save(client: Any, folder: Path) -> None:
    (folder / "taken").mkdir()
    client.config_set("dbfilename", "taken")
    client.config_set("save", "3600 1")
    client.bgsave()
    wait_for(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", what="Redis to fail to save")


@pytest.mark.parametrize(
    ("becomes", "why"),
    [
        (is_full, "takes no writes now: it is full"),
        (has_no_replica, "takes no writes now: too few of its replicas are in step"),
        (cannot_save, "takes no writes now: it cannot save to its disk"),
    ],
)
def test_what_takes_no_writes_fails_a_check_and_is_waited_for_at_a_start(
    own_redis: Server, tmp_path: Path, becomes: Callable[[Any, Path], None], why: str
) -> None:
    with closing(redis.Redis.from_url(own_redis.url)) as client:
        becomes(client, tmp_path)
    (finding,) = found(own_redis.url)
    assert (finding.detail, finding.ok) == (why, False)
    with structlog.testing.capture_logs() as lines:
        look_at_redis(own_redis.url)
    assert [(line["event"], why in line["reason"]) for line in lines] == [("redis_awaited", True)]


def test_a_replica_that_does_not_say_what_it_is_takes_no_writes(own_redis: Server, redis_process: Server) -> None:
    url = user_of(own_redis, f"{RIGHTS} -info")
    becomes_a_replica(own_redis, redis_process)
    (finding,) = found(url)
    assert (finding.detail, finding.ok, finding.passing) == ("takes no writes now: it is a replica", False, True)


@pytest.mark.parametrize("command", ["get", "exists", "hincrby", "zremrangebyscore", "eval", "time"])
def test_a_right_that_no_message_needs_is_warned_of_and_stops_no_start(own_redis: Server, command: str) -> None:
    url = user_of(own_redis, f"{RIGHTS} -{command}")
    warning, well = found(url)
    assert warning.detail.startswith(f"its user may not do {command.upper()}, ")
    assert (warning.ok, warning.to_do) == (True, "give it the rights of config/redis.acl")
    assert well.detail.startswith("version")
    with structlog.testing.capture_logs() as lines:
        look_at_redis(url)
    (line,) = lines
    assert (line["event"], command.upper() in line["reason"]) == ("redis_unfit", True)


def test_a_right_that_messages_need_ends_a_start(own_redis: Server) -> None:
    with pytest.raises(SystemExit, match="REDIS_URL: Redis: its user may not do what a worker does: BRPOP: give it"):
        look_at_redis(user_of(own_redis, f"{RIGHTS} -brpop"))


class OfAnotherMake(StreamRequestHandler):
    """A server that speaks Redis' protocol, and whose version nobody else's looks like."""

    def handle(self) -> None:
        while count := self.rfile.readline():
            words = []
            for _ in range(int(count[1:])):
                self.rfile.readline()
                words.append(self.rfile.readline().strip().upper())
            self.wfile.write(self.server.answers.get(words[0], b"-ERR unknown\r\n"))  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", ["unstable", "7", "", "v1.2"])
def test_a_version_that_is_no_number_is_warned_of(version: str) -> None:
    about = f"redis_mode:standalone\r\nrole:master\r\nredis_version:{version}\r\n".encode()
    with ThreadingTCPServer((HOST, 0), OfAnotherMake) as server:
        server.daemon_threads = True
        server.answers = {  # type: ignore[attr-defined]
            b"HELLO": b"%1\r\n$5\r\nproto\r\n:3\r\n",
            b"PING": b"+PONG\r\n",
            b"CLIENT": b"+OK\r\n",
            b"INFO": b"$%d\r\n%s\r\n" % (len(about), about),
        }
        Thread(target=server.serve_forever, daemon=True).start()
        (finding,) = found(f"redis://{HOST}:{server.server_address[1]}/0")
        server.shutdown()
    assert (finding.detail, finding.warning) == ("tells no version that we know", True)
