"""A worker's first connection: what it waits for, for how long, and with which words it ends. `hunter2` is a secret."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from environment import forget_settings
from forwarding import Forwarder
from structlog.testing import capture_logs

from db.rights import WORKER
from devstack.roles import as_role
from devstack.servers import CAP, HOST, free_port, wait_for
from worker.sync.first_connection import await_database

OUT = "DATABASE_URL: the database is out of reach: "
Use = Callable[[str], None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Use]:
    """Sets DATABASE_URL."""

    def set_url(url: str) -> None:
        monkeypatch.setenv("DATABASE_URL", url)
        forget_settings()

    yield set_url
    forget_settings()


def by(port: int, url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}").geturl()


def last_words(patience: float) -> str:
    with pytest.raises(SystemExit) as ended:
        await_database(patience)
    assert "hunter2" not in str(ended.value.code)
    return str(ended.value.code)


@contextmanager
def a_start() -> Iterator[tuple["Future[None]", list[Any]]]:
    """One that waits for the database meanwhile, and what it logs."""
    with capture_logs() as logs, ThreadPoolExecutor(1) as pool:
        yield pool.submit(await_database, CAP), logs


def waits(logs: list[Any], reason: str) -> None:
    wait_for(lambda: f"{OUT}{reason}" in str(logs), what=f"a start that waits because {reason}")


def test_a_worker_waits_for_a_database_that_comes_up(database_url: str, use: Use) -> None:
    elsewhere, there = free_port(), urlsplit(database_url).port or 0
    with Forwarder(elsewhere) as port:
        use(by(port.port, as_role(database_url, WORKER)))
        with a_start() as (start, logs):
            waits(logs, "it ends the connection at once")
            port.to = there
            start.result(CAP)
        assert [each["event"] for each in logs] == ["database_awaited"], "told once"
        forget_settings()


def test_a_worker_ends_where_no_database_comes_up(use: Use) -> None:
    use(f"postgresql://app:hunter2@{HOST}:1/name")
    with capture_logs() as logs:
        assert last_words(2.0) == f"{OUT}nobody listens there. Correct it, or start PostgreSQL"
    assert len(logs) <= 1, "told once, and not at each try"


def test_a_database_that_is_made_after_its_port_is_open_is_waited_for(database_url: str, use: Use) -> None:
    name = "made_later"
    use(as_role(database_url.rpartition("/")[0] + f"/{name}", WORKER))
    with psycopg.connect(database_url.rpartition("/")[0] + "/postgres", autocommit=True) as superuser:
        try:
            with a_start() as (start, logs):
                waits(logs, "it has no such database")
                superuser.execute(f"CREATE DATABASE {name} TEMPLATE template_migrated")
                start.result(CAP)
        finally:
            forget_settings()
            superuser.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def test_a_database_that_nobody_makes_ends_the_start(database_url: str, use: Use) -> None:
    use(as_role(database_url.rpartition("/")[0] + "/hunter2", WORKER))
    assert last_words(0.3).startswith(f"{OUT}it has no such database")


def test_a_wrong_password_is_not_waited_for(database_url: str, use: Use) -> None:
    parts = urlsplit(database_url)
    use(parts._replace(netloc=f"{WORKER}:hunter2@{HOST}:{parts.port}").geturl())
    with capture_logs() as logs:
        assert last_words(CAP).startswith(f"{OUT}its user or password is refused")
    assert logs == []


def test_a_database_that_takes_a_statement_and_does_not_answer_is_not_waited_for_without_end(
    database_url: str, use: Use
) -> None:
    """As a pooler does whose server is away: no limit of the server's holds there."""
    use(as_role(database_url, WORKER) + "?options=-clock_timeout%3D0%20-cstatement_timeout%3D0")
    with psycopg.connect(database_url) as another:
        another.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        assert last_words(0.5).startswith(f"{OUT}it does not answer")


def test_what_a_command_alone_may_is_not_asked_of_a_workers_role(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as superuser:
        superuser.execute(f"REVOKE UPDATE (forgotten_at) ON sync_schedule FROM {WORKER}")
    await_database(CAP)


def test_rights_on_every_column_are_as_good_as_one_on_the_table(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as superuser:
        columns = superuser.execute(
            "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute"
            " WHERE attrelid = 'wallets'::regclass AND attnum > 0 AND NOT attisdropped"
        ).fetchone()
        assert columns
        superuser.execute(f"REVOKE SELECT ON wallets FROM {WORKER}")
        superuser.execute(f"GRANT SELECT ({columns[0]}) ON wallets TO {WORKER}")
        await_database(CAP)
        superuser.execute(f"REVOKE SELECT (address) ON wallets FROM {WORKER}")
    assert "its role lacks SELECT ON wallets" in last_words(CAP)


def test_a_right_that_is_missing_is_named_with_what_grants_it(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as superuser:
        superuser.execute(f"REVOKE DELETE ON leases FROM {WORKER}")
    said = last_words(CAP)
    assert said.startswith("DATABASE_URL: its role lacks DELETE ON leases: ")
    assert "run `alembic upgrade head`" in said


def test_an_older_schema_is_told_of_before_the_rights_that_its_migration_gives(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as superuser:
        superuser.execute("UPDATE alembic_version SET version_num = '0006'")
        superuser.execute(f"REVOKE DELETE ON leases FROM {WORKER}")
    assert last_words(CAP) == "The database's schema is older than this release: run `alembic upgrade head` first."
