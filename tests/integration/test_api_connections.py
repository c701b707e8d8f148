"""The endpoint's connections to Postgres: what becomes of them, and of who waits, when things go wrong."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import asyncpg
import pytest
from pools import run
from tables import Tables

from api.database import Connection, Database, NoConnectionFree, Statement
from devstack.servers import CAP

SELECT = Statement("SELECT %(a)s::int, %(b)s::text, %(a)s::int + 1")
DIVIDE = Statement("SELECT 1 / %(a)s::int")
SLEEP = Statement("SELECT pg_sleep(%(a)s::float8)")
READ = Statement("SELECT * FROM changing")
SETTING = Statement("SELECT current_setting(%(name)s::text)")
PROCESS = Statement("SELECT pg_backend_pid()")
FOREVER = 3600.0  # seconds
SEVEN = {"a": 7, "b": "x"}

END_ALL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'balance-sync-api'"
    " AND datname = current_database()"
)


async def selected(database: Database) -> tuple[object, ...]:
    (row,) = await database.rows(SELECT, SEVEN, CAP)
    return tuple(row)


def test_rows_come_typed_and_parameters_may_be_null_and_used_twice(database_url: str) -> None:
    async def work(database: Database) -> None:
        for _ in range(3):
            assert await selected(database) == (7, "x", 8)
        (row,) = await database.rows(SELECT, {"a": None, "b": None}, CAP)
        assert tuple(row) == (None, None, None)

    run(database_url, work)


def test_an_error_of_the_server_is_raised_and_the_next_statement_works(database_url: str) -> None:
    async def work(database: Database) -> None:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await database.rows(DIVIDE, {"a": 0}, CAP)
        assert await selected(database) == (7, "x", 8)

    run(database_url, work)


def test_a_connection_that_the_server_closed_costs_nobody_an_answer(database_url: str, tables: Tables) -> None:
    async def work(database: Database) -> None:
        for _ in range(25):
            await asyncio.gather(*(selected(database) for _ in range(9)))
            tables.rows(END_ALL)
            assert await asyncio.gather(*(selected(database) for _ in range(9))) == [(7, "x", 8)] * 9

    run(database_url, work, api_pool_max=3)


def test_a_statement_that_takes_too_long_is_given_up_by_the_server_and_its_connection_stays(database_url: str) -> None:
    async def work(database: Database) -> None:
        process = await database.rows(PROCESS, {}, CAP)
        with pytest.raises(asyncpg.QueryCanceledError):
            await database.rows(SLEEP, {"a": FOREVER}, CAP)
        assert await database.rows(PROCESS, {}, CAP) == process

    run(database_url, work, api_database_timeout=1)


def sleeping(tables: Tables) -> bool:
    active = "SELECT FROM pg_stat_activity WHERE state = 'active' AND datname = %s AND query LIKE '%%pg_sleep($1%%'"
    return bool(tables.rows(active + " AND pid <> pg_backend_pid()", tables.connection.info.dbname))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(CAP):
        while not condition():  # noqa: ASYNC110  what is waited for is in another process
            await asyncio.sleep(0.02)


def test_whoever_stops_waiting_stops_at_once_and_the_statement_is_cancelled(database_url: str, tables: Tables) -> None:
    async def work(database: Database) -> None:
        asking = asyncio.create_task(database.rows(SLEEP, {"a": FOREVER}, CAP))
        await until(lambda: sleeping(tables))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        with pytest.raises(TimeoutError):
            await database.rows(SLEEP, {"a": FOREVER}, 0.2)
        assert await selected(database) == (7, "x", 8)
        await until(lambda: not sleeping(tables))

    run(database_url, work)


def test_whoever_finds_no_connection_free_is_told_so_and_when_too_many_wait_at_once(
    database_url: str, tables: Tables
) -> None:
    async def work(database: Database) -> None:
        asking = asyncio.create_task(database.rows(SLEEP, {"a": FOREVER}, CAP))
        await until(lambda: sleeping(tables))
        waiting = [asyncio.create_task(selected(database)) for _ in range(50)]
        await asyncio.sleep(0)
        assert not any(each.done() for each in waiting)
        with pytest.raises(NoConnectionFree):
            await selected(database)
        assert not any(each.done() for each in waiting), "it was told at once, and they wait"
        asking.cancel()
        assert await asyncio.gather(*waiting) == [(7, "x", 8)] * 50

    run(database_url, work)


def test_nobody_waits_for_a_connection_longer_than_the_settings_say(database_url: str) -> None:
    async def work(database: Database) -> None:
        taken = await database._acquired()
        with pytest.raises(NoConnectionFree):
            await selected(database)
        await database._pool.release(taken)
        assert await selected(database) == (7, "x", 8)

    run(database_url, work, api_database_timeout=0.5)


def test_tables_that_change_under_prepared_statements_cost_nobody_an_answer(database_url: str, tables: Tables) -> None:
    tables.rows("CREATE TABLE changing AS SELECT 1 AS a")
    tables.rows("GRANT SELECT ON changing TO PUBLIC")

    async def read(database: Database) -> list[tuple[object, ...]]:
        return [tuple(row) for row in await database.rows(READ, {}, CAP)]

    async def work(database: Database) -> None:
        for _ in range(3):
            assert await asyncio.gather(*(read(database) for _ in range(6))) == [[(1,)]] * 6
        tables.rows("ALTER TABLE changing ADD COLUMN b text")
        assert await asyncio.gather(*(read(database) for _ in range(6))) == [[(1, None)]] * 6

    run(database_url, work, api_pool_max=3)


@pytest.mark.parametrize("change", ["DEALLOCATE ALL", "DISCARD ALL"])
def test_a_statement_that_is_gone_is_prepared_elsewhere(database_url: str, change: str) -> None:
    async def work(database: Database) -> None:
        assert await selected(database) == (7, "x", 8)
        await database.rows(Statement(change), {}, CAP)
        assert await selected(database) == (7, "x", 8)

    run(database_url, work)


def test_a_statement_of_another_process_is_never_taken_for_ones_own(database_url: str) -> None:
    """A pooler lends a server's connection to several processes, each of which counts its statements from one."""
    names = Statement("SELECT name FROM pg_prepared_statements")

    async def work(database: Database) -> None:
        assert await selected(database) == (7, "x", 8)
        found = [str(row[0]) for row in await database.rows(names, {}, CAP)]
        assert found
        assert all(Connection._process in name for name in found), "no other process gives these names"
        assert len(set(found)) == len(found)

    run(database_url, work)


def test_a_fault_of_ours_is_not_tried_again_and_an_error_that_stays_is_told_in_the_end(
    database_url: str, tables: Tables
) -> None:
    never = Statement("SELECT refuse()")
    tables.rows("CREATE SEQUENCE tried")
    tables.rows(
        "CREATE FUNCTION refuse() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$ BEGIN PERFORM nextval('tried'); RAISE SQLSTATE '0A000'; END $$"
    )

    async def work(database: Database) -> None:
        with pytest.raises(asyncpg.UndefinedTableError):
            await database.rows(Statement("SELECT FROM nowhere"), {}, CAP)
        with pytest.raises(asyncpg.FeatureNotSupportedError):
            await database.rows(never, {}, CAP)
        assert await selected(database) == (7, "x", 8)

    run(database_url, work)
    assert tables.rows("SELECT last_value AS tries FROM tried") == [{"tries": 3}]


def test_options_of_the_url_hold_beside_the_endpoints_own(database_url: str) -> None:
    schema = f"x{uuid4().hex}"

    async def work(database: Database) -> None:
        for name, value in (("search_path", schema), ("plan_cache_mode", "force_generic_plan"), ("TimeZone", "UTC")):
            (row,) = await database.rows(SETTING, {"name": name}, CAP)
            assert row[0] == value

    run(f"{database_url}?options=-csearch_path%3D{schema}", work)
