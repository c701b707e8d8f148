"""A connection that the database has ended, or that takes no writes since a failover; and what errors show."""

from time import monotonic
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from endpoint import StartEndpoint
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs
from tables import Tables

from db.session import OPTIONS, transaction, until_done
from devstack.servers import CAP, wait_for

PID = text("SELECT pg_backend_pid()")


def becomes_read_only() -> int:
    """The connection that the next transaction uses takes no writes, as after a failover. Returns its process."""
    with transaction() as connection:
        connection.exec_driver_sql("SET default_transaction_read_only = on")
        return int(connection.scalar(PID))


def write(connection: Any) -> int:
    connection.exec_driver_sql("UPDATE sync_schedule SET failures = failures")
    return int(connection.scalar(PID))


def test_a_connection_that_the_server_ended_meanwhile_is_not_used(tables: Tables) -> None:
    with transaction() as connection:
        ended = connection.scalar(PID)
    tables.rows("SELECT pg_terminate_backend(%s, 60000)", ended)
    with transaction() as connection:
        assert connection.scalar(PID) != ended


@pytest.mark.usefixtures("database_url")
def test_a_connection_that_takes_no_writes_is_given_up() -> None:
    read_only = becomes_read_only()
    with pytest.raises(DBAPIError, match="read-only"), transaction() as connection:
        write(connection)
    with transaction() as connection:
        assert write(connection) != read_only


def test_a_write_goes_on_until_the_database_takes_it(tables: Tables) -> None:
    """Connections that are refused, that are cut off in the middle, and a replica: all in one failover."""
    becomes_read_only()
    tried: list[int] = []

    def work(connection: Any) -> int:
        tried.append(connection.scalar(PID))
        if len(tried) == 2:
            tables.rows("SELECT pg_terminate_backend(%s, 60000)", tried[-1])
        if len(tried) == 3:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        return write(connection)

    with capture_logs() as logs:
        assert until_done(work, monotonic() + CAP) == tried[-1]
    assert [line["event"] for line in logs] == ["transaction_repeated"] * 3
    assert len(set(tried)) == 4


def test_a_mistake_of_ours_is_not_repeated(tables: Tables) -> None:  # noqa: ARG001
    with capture_logs() as logs, pytest.raises(DBAPIError):
        until_done(lambda connection: connection.exec_driver_sql("SELECT FROM nowhere"), monotonic() + CAP)
    assert logs == []


@pytest.mark.usefixtures("database_url")
def test_no_error_shows_what_a_statement_was_given() -> None:
    balance = "7700123456789"
    with pytest.raises(DBAPIError) as caught, transaction() as connection:
        connection.exec_driver_sql("SELECT 1 / (%(balance)s::numeric - %(balance)s::numeric)", {"balance": balance})
    assert "division by zero" in str(caught.value)
    assert balance not in str(caught.value)


def test_the_endpoint_says_when_to_come_back_and_finds_the_new_primary(
    start_endpoint: StartEndpoint, tables: Tables
) -> None:
    """Whoever asks for a read is told so; what can be read from a replica is answered."""
    read_only = "ALTER DATABASE {} SET default_transaction_read_only = {}"
    (database,) = tables.rows("SELECT current_database() AS name")
    with start_endpoint(API_POOL_MAX="2", REFRESH_DEADLINE="10") as endpoint:
        endpoint.read_all()
        assert endpoint.get().status_code == 200
        with psycopg.connect(tables.dsn, autocommit=True) as connection:
            connection.execute(read_only.format(database["name"], "on"))
            others = "application_name LIKE 'balance-sync-api%' AND datname = current_database()"
            connection.execute(f"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE {others}")
            assert endpoint.get().status_code == 200
            refused = endpoint.get("?refresh=true")
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
            assert refused.headers["Content-Type"] == "application/problem+json"
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(read_only.format(database["name"], "off"))
        statuses = set()

        def recovered() -> bool:
            statuses.add(endpoint.get("?refresh=true").status_code)
            return 200 in statuses

        wait_for(recovered, endpoint.server, what="the endpoint to recover")
        assert statuses <= {200, 503}


def test_options_of_the_url_hold_beside_ours(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from environment import forget_settings

    monkeypatch.setenv("DATABASE_URL", f"{database_url}?options=-csearch_path%3D{(name := 'x' + uuid4().hex)}")
    forget_settings()
    with transaction() as connection:
        assert connection.scalar(text("SHOW search_path")) == name
        assert connection.scalar(text("SHOW plan_cache_mode")) == OPTIONS["plan_cache_mode"]
