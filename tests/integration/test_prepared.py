"""A prepared statement on the driver's own connections: what becomes of them when things go wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
import uvloop
from tables import Tables

from api.reading import database_pool
from config.settings import ApiSettings
from db.prepared import Pool, Prepared

SELECT = Prepared("selected", "SELECT %(a)s::int, %(b)s::text, %(a)s::int + 1")
DIVIDE = Prepared("divided", "SELECT 1 / %(a)s::int")
SLEEP = Prepared("slept", "SELECT pg_sleep(%(a)s::float8)")
READ = Prepared("read", "SELECT * FROM changing")


def run(url: str, work: Callable[[Pool], Awaitable[None]], **more: Any) -> None:
    async def with_pool() -> None:
        settings = ApiSettings(database_url=url, redis_url="redis://h", jwt_secret="s" * 32, api_pool_max=1, **more)
        pool = database_pool(settings)
        await pool.open(wait=True)
        try:
            await work(pool)
        finally:
            await pool.close()

    uvloop.run(with_pool())


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


def test_a_table_that_changed_under_a_prepared_statement_is_read_anew(database_url: str, tables: Tables) -> None:
    tables.rows("CREATE TABLE changing AS SELECT 1 AS a")

    async def work(pool: Pool) -> None:
        assert await READ.rows(pool, {}, 5) == [(1,)]
        tables.rows("ALTER TABLE changing ADD COLUMN b text")
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            await READ.rows(pool, {}, 5)
        assert await READ.rows(pool, {}, 5) == [(1, None)]

    run(database_url, work)
