"""A prepared statement on the driver's own connections: what becomes of them when things go wrong."""

import asyncio
import gc
import logging
from collections.abc import Callable

import psycopg
import pytest
from pools import run
from tables import Tables

from db.prepared import Connection, Pool, Prepared
from devstack.servers import CAP

SELECT = Prepared("selected", "SELECT %(a)s::int, %(b)s::text, %(a)s::int + 1")
DIVIDE = Prepared("divided", "SELECT 1 / %(a)s::int")
SLEEP = Prepared("slept", "SELECT pg_sleep(%(a)s::float8)")
READ = Prepared("read", "SELECT * FROM changing")
FOREVER = b"3600"  # seconds


def test_rows_come_typed_and_parameters_may_be_null_and_used_twice(database_url: str) -> None:
    async def work(pool: Pool) -> None:
        for _ in range(3):
            assert await SELECT.rows(pool, {"a": b"7", "b": "ä".encode()}, CAP) == [(7, "ä", 8)]
        assert await SELECT.rows(pool, {"a": None, "b": None}, CAP) == [(None, None, None)]

    run(database_url, work)


def test_an_error_of_the_server_is_the_drivers_and_the_next_statement_works(database_url: str) -> None:
    async def work(pool: Pool) -> None:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await DIVIDE.rows(pool, {"a": b"0"}, CAP)
        assert await DIVIDE.rows(pool, {"a": b"1"}, CAP) == [(1,)]

    run(database_url, work)


def test_a_connection_that_the_server_closed_costs_nobody_an_answer(database_url: str, tables: Tables) -> None:
    async def work(pool: Pool) -> None:
        for _ in range(25):
            tables.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'balance-sync-api'"
                " AND datname = current_database()"
            )
            assert await SELECT.rows(pool, {"a": b"7", "b": b"x"}, CAP) == [(7, "x", 8)]

    run(database_url, work)


def test_a_statement_that_takes_too_long_is_given_up_by_the_server(database_url: str) -> None:
    async def work(pool: Pool) -> None:
        with pytest.raises(psycopg.errors.QueryCanceled):
            await SLEEP.rows(pool, {"a": FOREVER}, CAP)
        assert pool.get_stats()["connections_num"] == 1
        # The connection is as good as before. What follows is not to be given up because the machine is slow.
        async with pool.connection(CAP) as connection:
            await connection.execute("SELECT set_config('statement_timeout', '0', false)")
        assert await SELECT.rows(pool, {"a": b"7", "b": b"x"}, CAP) == [(7, "x", 8)]
        assert pool.get_stats()["connections_num"] == 1

    run(database_url, work, api_database_timeout=1)


def sleeping(tables: Tables) -> bool:
    active = "SELECT FROM pg_stat_activity WHERE state = 'active' AND datname = %s AND query LIKE '%%pg_sleep($1%%'"
    return bool(tables.rows(active + " AND pid <> pg_backend_pid()", tables.connection.info.dbname))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(CAP):
        while not condition():  # noqa: ASYNC110  what is waited for is in another process
            await asyncio.sleep(0.02)


async def stopped(pool: Pool, tables: Tables) -> None:
    """Ask, and stop waiting while the server is at it."""
    task = asyncio.create_task(SLEEP.rows(pool, {"a": FOREVER}, CAP))
    await until(lambda: sleeping(tables))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_whoever_stops_waiting_stops_at_once_and_the_statement_is_cancelled(database_url: str, tables: Tables) -> None:
    async def work(pool: Pool) -> None:
        await stopped(pool, tables)
        with pytest.raises(TimeoutError):
            await SLEEP.rows(pool, {"a": FOREVER}, 0.2)
        assert await SELECT.rows(pool, {"a": b"7", "b": b"x"}, CAP) == [(7, "x", 8)]
        await until(lambda: not sleeping(tables))

    run(database_url, work)


def test_tables_that_change_under_prepared_statements_cost_nobody_an_answer(database_url: str, tables: Tables) -> None:
    tables.rows("CREATE TABLE changing AS SELECT 1 AS a")

    async def work(pool: Pool) -> None:
        await pool.wait(CAP)
        for _ in range(3):  # by turns each of them prepares it
            assert await READ.rows(pool, {}, CAP) == [(1,)]
        tables.rows("ALTER TABLE changing ADD COLUMN b text")
        assert await READ.rows(pool, {}, CAP) == [(1, None)]

    run(database_url, work, api_pool_min=3, api_pool_max=3)


@pytest.mark.parametrize("change", ["DEALLOCATE ALL", "PREPARE read AS SELECT 7"])
def test_a_statement_that_is_gone_or_there_already_is_prepared_elsewhere(
    database_url: str, tables: Tables, change: str
) -> None:
    tables.rows("CREATE TABLE changing AS SELECT 1 AS a")

    async def work(pool: Pool) -> None:
        if change.startswith("DEALLOCATE"):
            assert await READ.rows(pool, {}, CAP) == [(1,)]
        async with pool.connection() as connection:
            await connection.execute(change)
        assert await READ.rows(pool, {}, CAP) == [(1,)]

    run(database_url, work)


def test_an_error_that_stays_is_told_in_the_end(database_url: str) -> None:
    unsupported = Prepared("unsupported", "SELECT 1 FROM pg_class FOR UPDATE OF nobody")
    never = Prepared("never", "DO $$ BEGIN RAISE SQLSTATE '0A000'; END $$")

    async def work(pool: Pool) -> None:
        with pytest.raises(psycopg.Error):
            await unsupported.rows(pool, {}, CAP)
        with pytest.raises(psycopg.OperationalError):
            await never.rows(pool, {}, CAP)
        assert await SELECT.rows(pool, {"a": b"7", "b": b"x"}, CAP) == [(7, "x", 8)]

    run(database_url, work)


def test_nothing_is_left_of_connections_that_were_given_up(
    database_url: str, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        logging.getLogger("psycopg.pool"), "disabled", True
    )  # pytest keeps what it tells, with its objects

    def there() -> int:
        gc.collect()
        return sum(isinstance(each, Connection) for each in gc.get_objects())

    async def work(pool: Pool) -> None:
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await SLEEP.rows(pool, {"a": FOREVER}, 0.01)
            await stopped(pool, tables)
            with pytest.raises(psycopg.errors.DivisionByZero):
                await DIVIDE.rows(pool, {"a": b"0"}, CAP)
            tables.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'balance-sync-api'"
                " AND datname = current_database()"
            )
        assert await SELECT.rows(pool, {"a": b"7", "b": b"x"}, CAP) == [(7, "x", 8)]
        await until(lambda: there() <= 1)  # what was given up last is being cancelled

    run(database_url, work)
