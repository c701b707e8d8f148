"""Two migrations of one database: the second waits, says for whom, and not without end."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from structlog.testing import capture_logs

from db.migration_lock import MIGRATION_LOCK, take_the_lock
from db.session import engine
from devstack.servers import CAP, wait_for


@pytest.fixture
def another(database_url: str) -> Iterator["psycopg.Connection[tuple[int]]"]:
    """Somebody who holds the lock. Another database's lock of the same key is none of ours."""
    with psycopg.connect(database_url.rpartition("/")[0] + "/postgres", autocommit=True) as elsewhere:
        elsewhere.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
            yield connection


def test_whoever_waits_says_again_and_again_for_which_process(another: "psycopg.Connection[tuple[int]]") -> None:
    pid = another.info.backend_pid

    def take() -> None:
        with engine().connect() as connection:
            take_the_lock(connection, CAP, told_each=0)

    with capture_logs() as logs, ThreadPoolExecutor(1) as pool:
        taking = pool.submit(take)
        wait_for(lambda: len(logs) > 1, what="a second line")
        another.execute("SELECT pg_advisory_unlock(%s)", (MIGRATION_LOCK,))
        taking.result(CAP)
    assert {(each["event"], each["pid"]) for each in logs} == {("migration_awaited", pid)}


def test_one_line_is_enough_for_a_minute(another: "psycopg.Connection[tuple[int]]") -> None:
    with engine().connect() as connection, capture_logs() as logs, pytest.raises(SystemExit):
        take_the_lock(connection, 0.6)
    assert [each["pid"] for each in logs] == [another.info.backend_pid]


def test_whoever_waits_in_vain_ends_with_the_process_to_end(another: "psycopg.Connection[tuple[int]]") -> None:
    with engine().connect() as connection, pytest.raises(SystemExit) as ended:
        take_the_lock(connection, 0)
    assert f"SELECT pg_terminate_backend({another.info.backend_pid})" in str(ended.value.code)
