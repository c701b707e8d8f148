"""Readiness is asked of the database once a second, however many ask."""

import asyncio

import pytest

from api import readiness
from api.problems import unavailable
from api.readiness import Readiness
from db import SCHEMA_VERSION


class Database:
    """Says its schema's version, or nothing."""

    def __init__(self) -> None:
        self.version: str | None = SCHEMA_VERSION
        self.away = False
        self.asked = 0

    async def schema_version(self) -> str | None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise unavailable("away")
        return self.version


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(readiness, "monotonic", lambda: now[0])
    return now


def test_strangers_do_not_use_up_the_connections_that_users_need(clock: list[float]) -> None:
    database = Database()

    async def work() -> None:
        ready = Readiness(database.schema_version)
        assert await asyncio.gather(*(ready.wrong() for _ in range(50))) == [None] * 50
        clock[0] += readiness.SECONDS - 0.01
        assert await ready.wrong() is None
        assert database.asked == 1
        clock[0] += 0.01
        await asyncio.gather(*(ready.wrong() for _ in range(50)))
        assert database.asked == 2

    asyncio.run(work())


def test_what_is_wrong_is_known_a_second_later_and_again_when_it_is_over(clock: list[float]) -> None:
    database = Database()

    async def work() -> None:
        ready = Readiness(database.schema_version)
        assert await ready.wrong() is None
        for away, version, said in (
            (True, SCHEMA_VERSION, "away"),
            (False, "0001", "The schema is of an older version: run `alembic upgrade head`."),
            (False, None, "The schema is of an older version: run `alembic upgrade head`."),
            (False, SCHEMA_VERSION, None),
        ):
            database.away, database.version = away, version
            clock[0] += readiness.SECONDS
            assert [await ready.wrong(), await ready.wrong()] == [said, said]
        assert database.asked == 5

    asyncio.run(work())


def test_a_client_that_hangs_up_takes_nobody_else_its_answer(clock: list[float]) -> None:  # noqa: ARG001
    database = Database()

    async def work() -> None:
        ready = Readiness(database.schema_version)
        first, second = asyncio.create_task(ready.wrong()), asyncio.create_task(ready.wrong())
        await asyncio.sleep(0)
        first.cancel()
        assert await second is None
        assert database.asked == 1

    asyncio.run(work())
