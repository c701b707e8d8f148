"""Poolers that take no session settings at the start: each transaction has them all the same, and nobody else's has."""

import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from environment import forget_settings
from poolers import REFUSALS, Manner, pooler, real_pgbouncer
from pools import run
from sqlalchemy import text
from structlog.testing import capture_logs

from api.database import Database, Statement
from db.session import OPTIONS, engine, transaction
from devstack.product import environment
from devstack.servers import CAP, ROOT

ALEMBIC = [sys.executable, "-m", "alembic", "upgrade", "head"]
MANNERS = pytest.mark.parametrize("manner", [*REFUSALS, "in silence"])
SETTING = text("SELECT setting FROM pg_settings WHERE name = :name")


def settings_of_a_transaction() -> dict[str, str]:
    with transaction() as connection:
        return {name: str(connection.scalar(SETTING, {"name": name})) for name in OPTIONS}


def use(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    forget_settings()


@MANNERS
def test_each_transaction_has_the_settings_that_a_pooler_does_not_take_at_the_start(
    database_url: str, monkeypatch: pytest.MonkeyPatch, manner: Manner
) -> None:
    with pooler(database_url, manner) as before:
        use(before.url + "?options=-csearch_path%3Dpublic,pg_temp", monkeypatch)
        with capture_logs() as logs:
            assert settings_of_a_transaction() == {name: str(value) for name, value in OPTIONS.items()}
            with transaction() as connection:
                assert connection.scalar(text("SHOW search_path")) == "public,pg_temp", "the operator's own too"
            engine().dispose()
            assert settings_of_a_transaction() == {name: str(value) for name, value in OPTIONS.items()}
        engine().dispose()
        said = [line["event"] for line in logs]
        assert said == ["settings_in_each_transaction"], "it is tried once, and told once"
        assert "options" not in before.started[-1]


def test_a_url_that_says_there_is_a_pooler_is_believed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pooler(database_url, "in silence") as before:
        use(f"{before.url}?pgbouncer=true", monkeypatch)
        assert settings_of_a_transaction() == {name: str(value) for name, value in OPTIONS.items()}
        engine().dispose()
        assert not [each for each in before.started if "options" in each]


@MANNERS
def test_nothing_is_migrated_through_a_pooler(database_url: str, manner: Manner) -> None:
    with pooler(database_url, manner) as before:
        env = environment({"DATABASE_URL": before.url})
        done = subprocess.run(ALEMBIC, cwd=ROOT, env=env, capture_output=True, text=True, timeout=CAP, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "DATABASE_URL: leads to a pooler" in said
    assert "Traceback" not in said


@pytest.fixture
def pgbouncer(database_url: str) -> Iterator[str]:
    with real_pgbouncer(database_url) as url:
        yield url


def test_pgbouncer_in_its_transaction_mode_is_worked_through(pgbouncer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(pgbouncer, monkeypatch)
    for _ in range(20):  # more often than it takes until a driver prepares a statement
        assert settings_of_a_transaction() == {name: str(value) for name, value in OPTIONS.items()}
    engine().dispose()
    with psycopg.connect(pgbouncer, prepare_threshold=None) as another:
        kept = another.execute("SELECT setting FROM pg_settings WHERE name = 'lock_timeout'").fetchone()
    assert kept == ("0",), "nobody else is left with our settings"


WHAT_HOLDS = Statement("SELECT setting FROM pg_settings WHERE name = %(name)s::text")


def assert_the_endpoint_reads_through(url: str, more: dict[str, str]) -> None:
    """Each statement has the endpoint's settings and the operator's."""

    async def work(database: Database) -> None:
        for name, value in {"plan_cache_mode": "force_generic_plan", "statement_timeout": "60000", **more}.items():
            for _ in range(3):
                (row,) = await database.rows(WHAT_HOLDS, {"name": name}, CAP)
                assert row[0] == value, name

    run(url, work)


@MANNERS
def test_the_endpoint_reads_through_a_pooler_too(database_url: str, manner: Manner) -> None:
    with pooler(database_url, manner) as before, capture_logs() as logs:
        assert_the_endpoint_reads_through(
            f"{before.url}?options=-csearch_path%3Dpublic,pg_temp", {"search_path": "public,pg_temp"}
        )
        assert "options" not in before.started[-1]
    assert [line["event"] for line in logs] == ["settings_in_each_transaction"]


def test_the_endpoint_reads_through_pgbouncer_in_its_transaction_mode(pgbouncer: str) -> None:
    assert_the_endpoint_reads_through(pgbouncer, {})


def test_without_a_pooler_nothing_is_set_anew(database_url: str) -> None:
    with capture_logs() as logs:
        assert_the_endpoint_reads_through(f"{database_url}?application_name=my%20own%20%C3%A9{'x' * 80}", {})
        assert settings_of_a_transaction() == {name: str(value) for name, value in OPTIONS.items()}
    assert logs == []
