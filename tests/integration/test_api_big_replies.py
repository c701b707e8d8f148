"""A big reply does not hold up small ones: it is built beside the event loop."""

import asyncio
from threading import Event
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
import uvloop
from asgi import Answer, answer, started
from tables import Tables
from tokens import settings, signed

from api import app
from devstack.servers import CAP

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(("detail", "built"), [(b"", "reply"), (b"detail=full", "reply_in_full")])
def test_a_small_reply_is_made_while_a_big_one_is_being_built(
    database_url: str, tables: Tables, monkeypatch: pytest.MonkeyPatch, detail: bytes, built: str
) -> None:
    monkeypatch.setattr(app, "ROWS_AT_ONCE", 3)
    big, small = uuid4(), uuid4()
    tables.add("tron", *(f"T{number}" for number in range(4)), user_id=big)
    tables.add("tron", *(f"T{number}" for number in range(3)), user_id=small)
    # So that nobody waits for a first read.
    tables.rows("UPDATE sync_schedule SET last_error = 'bad_address', failures = 1")
    began, answered = Event(), Event()
    build: Callable[..., Any] = getattr(app, built)

    def holding_up(user_id: UUID, rows: Any, **more: Any) -> Any:
        if user_id == big:
            began.set()
            assert answered.wait(CAP), "nobody else was answered meanwhile"
        return build(user_id, rows, **more)

    monkeypatch.setattr(app, built, holding_up)
    made = app.create_app(settings(database_url=database_url, api_database_timeout=60))

    async def asked(user: UUID) -> Answer:
        path = f"/api/v1/auth/balances/user/{user}"
        return await answer(made, path, detail, authorization=f"Bearer {signed(sub=str(user))}")

    async def work() -> None:
        async with started(made):
            building = asyncio.create_task(asked(big))
            while not began.is_set():  # noqa: ASYNC110  it is set in another thread
                await asyncio.sleep(0.01)
            assert (await asked(small)).body.count(b"wallet_id") == 3
            assert not building.done()
            answered.set()
            assert (await building).body.count(b"wallet_id") == 4

    uvloop.run(work())
