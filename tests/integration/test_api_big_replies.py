"""A big reply does not hold up small ones: it is built beside the event loop."""

import asyncio
from collections.abc import Callable
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest
import uvloop
from tables import Tables
from tokens import settings, signed

from api import app
from api.app import Endpoint
from api.frame import Request
from devstack.servers import CAP


def request(user: UUID) -> Request:
    token = signed(sub=str(user)).encode()
    return Request({"headers": [(b"authorization", b"Bearer " + token)], "query_string": b""}, str(user))


@pytest.mark.parametrize("detail", [b"", b"detail=full"])
def test_a_small_reply_is_made_while_a_big_one_is_being_built(
    database_url: str, tables: Tables, monkeypatch: pytest.MonkeyPatch, detail: bytes
) -> None:
    monkeypatch.setattr(app, "ROWS_AT_ONCE", 3)
    big, small = uuid4(), uuid4()
    tables.add("tron", *(f"T{number}" for number in range(4)), user_id=big)
    tables.add("tron", *(f"T{number}" for number in range(3)), user_id=small)
    # So that nobody waits for a first read.
    tables.rows("UPDATE sync_schedule SET last_error = 'bad_address', failures = 1")
    endpoint = Endpoint(settings(database_url=database_url, api_database_timeout=60))
    began, answered = Event(), Event()

    def holding_up(build: Callable[..., Any]) -> Callable[..., Any]:
        def built(user_id: UUID, rows: Any, **more: Any) -> Any:
            if user_id == big:
                began.set()
                assert answered.wait(CAP), "nobody else was answered meanwhile"
            return build(user_id, rows, **more)

        return built

    made: Any = tuple(holding_up(build) for build in endpoint._replies)
    endpoint._replies = made

    def asked(user: UUID) -> Request:
        asking = request(user)
        asking.query = detail
        return asking

    async def work() -> None:
        async with endpoint.lifespan():
            building = asyncio.create_task(endpoint.balances(asked(big)))
            while not began.is_set():  # noqa: ASYNC110  it is set in another thread
                await asyncio.sleep(0.01)
            reply = await endpoint.balances(asked(small))
            assert reply.body.count(b"wallet_id") == 3
            assert not building.done()
            answered.set()
            assert (await building).body.count(b"wallet_id") == 4

    uvloop.run(work())
