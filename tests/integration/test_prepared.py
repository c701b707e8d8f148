"""A prepared statement on the driver's own connections: what becomes of them when things go wrong."""

import asyncio
import gc
import logging

import psycopg
import pytest
from pools import run
from tables import Tables

from db.prepared import Connection, Pool, Prepared

SELECT = Prepared("selected", "SELECT %(a)s::int, %(b)s::text, %(a)s::int + 1")
DIVIDE = Prepared("divided", "SELECT 1 / %(a)s::int")
SLEEP = Prepared("slept", "SELECT pg_sleep(%(a)s::float8)")
READ = Prepared("read", "SELECT * FROM changing")


def test_rows_come_typed_and_parameters_may_be_null_and_used_twice(database_url: str) -> None:
    async def work(pool: Pool) -> None:
        for _ in range(3):
            assert await SELECT.rows(pool, {"a": b"7", "b": "ä".encode()}, 5) == [(7, "ä", 8)]
        assert await SELECT.rows(pool, {"a": None, "b": None}, 5) == [(None, None, None)]

    run(database_url, work)


def test_an_error_of_the_server_is_the_drivers_and_the_next_statement_works(database_url: str) -> None:
    async def work(pool: Pool) -> None:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await DIVIDE.rows(pool, {"a": b"0"}, 5)
        assert await DIVIDE.rows(pool, {"a": b"1"}, 5) == [(1,)]

    run(database_url, work)


def test_a_connection_that_the_server_closed_costs_nobody_an_answer(database_url: str, tables: Tables) -> None:
    async def work(pool: Pool) -> None:
        for _ in range(25):
            tables.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'balance-sync-api'"
                " AND datname = current_database()"
            )
            assert await SELECT.rows(pool, {"a": b"7", "b": b"x"}, 5) == [(7, "x", 8)]

    run(database_url, work)


def test_a_statement_that_takes_too_long_is_given_up_by_the_server(database_url: str) -> None:
    async def work(pool: Pool) -> None:
        with pytest.raises(psycopg.errors.QueryCanceled):
            await SLEEP.rows(pool, {"a": b"30"}, 30)
        assert await SELECT.rows(pool, {"a": b"7", "b": b"x"}, 5) == [(7, "x", 8)]

    run(database_url, work, api_database_timeout=0.2)


def test_whoever_stops_waiting_stops_at_once_and_the_statement_is_cancelled(database_url: str, tables: Tables) -> None:
    def sleeping() -> int:
        active = "SELECT query FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
        return sum("pg_sleep($1" in row["query"] for row in tables.rows(active))

    async def work(pool: Pool) -> None:
        task = asyncio.create_task(SLEEP.rows(pool, {"a": b"30"}, 30))
        while not sleeping():  # noqa: ASYNC110  what is waited for is in another process
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            await SLEEP.rows(pool, {"a": b"30"}, 0.2)
        assert await SELECT.rows(pool, {"a": b"7", "b": b"x"}, 5) == [(7, "x", 8)]
        assert not sleeping()

    run(database_url, work, api_database_timeout=40)


def test_tables_that_change_under_prepared_statements_cost_nobody_an_answer(database_url: str, tables: Tables) -> None:
    tables.rows("CREATE TABLE changing AS SELECT 1 AS a")

    async def work(pool: Pool) -> None:
        await pool.wait()
        for _ in range(3):  # by turns each of them prepares it
            assert await READ.rows(pool, {}, 5) == [(1,)]
        tables.rows("ALTER TABLE changing ADD COLUMN b text")
        assert await READ.rows(pool, {}, 5) == [(1, None)]

    run(database_url, work, api_pool_min=3, api_pool_max=3)


@pytest.mark.parametrize("change", ["DEALLOCATE ALL", "PREPARE read AS SELECT 7"])
def test_a_statement_that_is_gone_or_there_already_is_prepared_elsewhere(
    database_url: str, tables: Tables, change: str
) -> None:
    tables.rows("CREATE TABLE changing AS SELECT 1 AS a")

    async def work(pool: Pool) -> None:
        if change.startswith("DEALLOCATE"):
            assert await READ.rows(pool, {}, 5) == [(1,)]
        async with pool.connection() as connection:
            await connection.execute(change)
        assert await READ.rows(pool, {}, 5) == [(1,)]

    run(database_url, work)


def test_an_error_that_stays_is_told_in_the_end(database_url: str) -> None:
    unsupported = Prepared("unsupported", "SELECT 1 FROM pg_class FOR UPDATE OF nobody")
    never = Prepared("never", "DO $$ BEGIN RAISE SQLSTATE '0A000'; END $$")

    async def work(pool: Pool) -> None:
        with pytest.raises(psycopg.Error):
            await unsupported.rows(pool, {}, 5)
        with pytest.raises(psycopg.OperationalError):
            await never.rows(pool, {}, 5)
        assert await SELECT.rows(pool, {"a": b"7", "b": b"x"}, 5) == [(7, "x", 8)]

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
                await SLEEP.rows(pool, {"a": b"30"}, 0.01)
            task = asyncio.create_task(SLEEP.rows(pool, {"a": b"30"}, 30))
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            del task  # and with it the frames of its exception
            with pytest.raises(psycopg.errors.DivisionByZero):
                await DIVIDE.rows(pool, {"a": b"0"}, 5)
            tables.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'balance-sync-api'"
                " AND datname = current_database()"
            )
        assert await SELECT.rows(pool, {"a": b"7", "b": b"x"}, 5) == [(7, "x", 8)]
        async with asyncio.timeout(30):
            while there() > 1:  # noqa: ASYNC110  what was given up last is being cancelled
                await asyncio.sleep(0.02)

    run(database_url, work, api_database_timeout=40)
