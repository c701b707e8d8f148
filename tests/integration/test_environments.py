"""The servers that people have: what a check says of each, and that every client gets on with it or none does."""

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from clusters import redis_cluster
from environment import forget_settings
from forwarding import Forwarder, becomes_a_replica, port_of
from kombu import Connection as KombuConnection
from pools import run
from sentinels import watched
from sqlalchemy import text
from terminal import CELERY

import worker.app  # noqa: F401  its transport
from api.database import Database, Statement
from config.broker import location, transport_options
from db.session import transaction
from devstack.product import environment
from devstack.servers import CAP, HOST, ROOT, Server, redis_server
from worker.admin import check_connections, check_redis

PASSWORD = "hunter2-of-a-user"
PATIENCE = 10.0  # seconds; a server without TLS waits as long for more of what it takes for a command
ALL = "~bal:* resetchannels"
WORKERS = (ROOT / "config" / "redis.acl").read_text().split("user worker on >WORKER_PASSWORD ")[1].splitlines()[0]

Said = list[tuple[str, str, bool]]


def said_of_redis(url: str) -> Said:
    found = list(check_redis.broker(url, PATIENCE))
    assert "hunter2" not in str(found)
    return [(each.detail, each.to_do, each.ok) for each in found]


def said_of_postgres() -> Said:
    with transaction() as connection:
        return [(each.detail, each.to_do, each.ok) for each in check_connections.postgres(connection)]


def user_of(server: Server, rules: str) -> str:
    """The URL of a user with these rights."""
    with closing(redis.Redis.from_url(server.url)) as client:
        client.execute_command("ACL", "SETUSER", "app", "reset", "on", f">{PASSWORD}", *rules.split())
    return f"redis://app:{PASSWORD}@{HOST}:{port_of(server)}/0"


def reached_by_kombu(url: str) -> None:
    broker_url, tls = location(url)
    options = transport_options(20, 20, url)
    with KombuConnection(broker_url, ssl=tls, transport_options=options) as connection:
        connection.connect()
        connection.Producer().publish("{}", routing_key="refresh")


@pytest.mark.parametrize(
    ("rules", "detail", "to_do", "ok"),
    [
        (WORKERS, "version 6.2.14, noeviction", "", True),
        (f"{ALL} +@all", "version 6.2.14, noeviction", "", True),
        (f"{ALL} +@all -@dangerous", "its user may not ask INFO", "config/redis.acl", True),
        (f"{ALL} +@all -info", "its user may not ask INFO", "config/redis.acl", True),
        (f"{ALL} +@all -@blocking", "its user may not do what a worker does: BRPOP", "config/redis.acl", False),
        (f"{ALL} +@all -zadd -hset", "its user may not do what a worker does: HSET, ZADD", "config/redis.acl", False),
        ("~other:* +@all", "its user may not do what a worker does: SET", "config/redis.acl", False),
        ("-@all +auth +hello +select +client", "its user may do next to nothing", "config/redis.acl", False),
    ],
)
def test_each_right_that_a_worker_needs_is_tried(
    redis_process: Server, rules: str, detail: str, to_do: str, *, ok: bool
) -> None:
    ((said, what, fine),) = said_of_redis(user_of(redis_process, rules))
    assert said.startswith(detail)
    assert to_do in what
    assert fine is ok


def test_a_user_with_the_rights_that_are_documented_can_send(redis_process: Server) -> None:
    reached_by_kombu(user_of(redis_process, WORKERS))


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda url: url.replace(PASSWORD, "hunter2"), "its user or password is refused"),
        (lambda url: url.replace("app:", "hunter2:"), "its user or password is refused"),
        (lambda url: url[:-1] + "99", "it has no database of that number"),
        (lambda url: url.replace("redis:", "rediss:"), "out of reach"),
        (lambda _: f"redis://:hunter2@{HOST}:1/0", "out of reach (ConnectionError)"),
        (lambda _: "redis://:hunter2@no-such-host.invalid:6379/0", "out of reach (ConnectionError)"),
        (lambda _: f"redis+sentinel://:hunter2@{HOST}:1/m", "no Sentinel tells of that master"),
        (lambda _: "unix:///no/such/socket", "out of reach (ConnectionError)"),
    ],
)
def test_a_redis_that_cannot_be_reached_is_told_of_in_words(
    redis_process: Server, change: Callable[[str], str], detail: str
) -> None:
    ((said, what, ok),) = said_of_redis(change(user_of(redis_process, WORKERS)))
    assert said.startswith(detail)
    assert "REDIS_URL" in what
    assert not ok


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    with redis_cluster(tmp_path) as url:
        yield url


def test_a_cluster_is_refused_in_words(cluster: str) -> None:
    ((said, what, ok),) = said_of_redis(cluster)
    assert "Redis Cluster" in said
    assert "use one server" in what
    assert not ok


def test_a_worker_of_a_cluster_ends_with_a_sentence(cluster: str, database_url: str, tmp_path: Path) -> None:
    env = environment({"DATABASE_URL": database_url, "REDIS_URL": cluster, "ETHEREUM_RPC_URLS": "http://127.0.0.1:1"})
    log = ended([*CELERY, "worker", "-c", "1"], env, tmp_path)
    assert "REDIS_URL names a Redis Cluster, on which Celery cannot work" in log
    assert "Traceback" not in log


def ended(command: list[str], env: dict[str, str], folder: Path) -> str:
    """What a process says that ends by itself, with a code that tells of it."""
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=CAP, check=False)
    (folder / "log").write_text(done.stdout + done.stderr)
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_a_replica_is_named(redis_process: Server, tmp_path: Path) -> None:
    with redis_server(tmp_path) as second:
        becomes_a_replica(second, redis_process)
        ((said, what, ok),) = said_of_redis(second.url)
    assert said == "a replica, which takes no writes"
    assert "Sentinels" in what
    assert not ok


def test_sentinels_are_found_good_by_the_same_check(tmp_path: Path) -> None:
    with watched(tmp_path) as pair:
        assert said_of_redis(pair.url) == [("version 6.2.14, noeviction", "", True)]
        ((said, _, ok),) = said_of_redis(pair.url.replace("/balances/", "/others/"))
        assert (said, ok) == ("no Sentinel tells of that master", False)


def use(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    forget_settings()


def test_a_database_that_takes_no_writes_is_named(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(f"{database_url}?options=-cdefault_transaction_read_only%3Don", monkeypatch)
    ((said, what, ok),) = said_of_postgres()
    assert said == "one that takes no writes"
    assert "target_session_attrs=read-write" in what
    assert not ok


def test_a_database_that_checks_no_text_is_warned_of(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "of_any_text"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        try:
            use(database_url.rpartition("/")[0] + f"/{name}", monkeypatch)
            assert said_of_postgres() == [
                ("of encoding SQL_ASCII", "make it anew with ENCODING 'UTF8': PostgreSQL checks no text in it", True)
            ]
            with transaction() as own:
                assert own.scalar(text("SELECT 'x'")) == "x"
        finally:
            forget_settings()
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_endpoints_driver_is_tried_too(database_url: str) -> None:
    assert list(check_connections.endpoints_way(database_url)) == []
    wrong = database_url.replace("postgres:", "postgres:hunter2-", 1)
    (found,) = check_connections.endpoints_way(wrong)
    assert found.detail == "out of the endpoint's reach: its user or password is refused"
    assert not found.ok


def test_both_drivers_find_the_host_that_takes_writes(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing-over pair: nobody listens at the first host, or it only takes reads."""
    parts: Any = psycopg.conninfo.conninfo_to_dict(database_url)
    hosts = f"{HOST}:1,{HOST}:{parts['port']}"
    url = database_url.replace(f"{HOST}:{parts['port']}", hosts) + "?target_session_attrs=read-write"
    use(url, monkeypatch)
    with transaction() as connection:
        assert connection.scalar(text("SELECT 1")) == 1

    async def work(database: Database) -> None:
        (row,) = await database.rows(Statement("SELECT 1"), {}, CAP)
        assert row[0] == 1

    run(url, work)


def test_a_host_that_hangs_keeps_nobody_from_the_next(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: Any = psycopg.conninfo.conninfo_to_dict(database_url)
    with silent() as port:
        hosts = f"{HOST}:{port},{HOST}:{parts['port']}"
        url = database_url.replace(f"{HOST}:{parts['port']}", hosts)
        use(f"{url}?connect_timeout=2", monkeypatch)
        with transaction() as connection:
            assert connection.scalar(text("SELECT 1")) == 1

        async def work(database: Database) -> None:
            (row,) = await database.rows(Statement("SELECT 1"), {}, CAP)
            assert row[0] == 1

        run(f"{url}?connect_timeout=1", work)


class silent:  # noqa: N801  used as a word
    """A port where connections are taken and nothing is ever said."""

    def __enter__(self) -> int:
        self._listening = socket.create_server((HOST, 0))
        port: int = self._listening.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._listening.close()


def test_a_url_through_a_forwarder_is_as_good(redis_process: Server) -> None:
    with Forwarder(port_of(redis_process)) as forwarder:
        reached_by_kombu(f"redis://{HOST}:{forwarder.port}/0")
