"""The frame on bare ASGI: routes, errors, and the server's messages."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api.frame import Frame, Request, Route
from api.replies import Reply


class Served:
    """A frame around two handlers, and what it said."""

    def __init__(self, *, starts: bool = True) -> None:
        self.sent: list[Any] = []
        self.told: list[Mapping[str, Any]] = []
        self.starts = starts
        routes = [Route("/fixed", self.fixed), Route("/open/{name}", self.open), Route("/broken", self.broken)]
        self.frame = Frame(routes, self.lifespan, self.told.append)

    async def fixed(self, _: Request) -> Reply:
        return Reply(b'"fixed"')

    async def open(self, request: Request) -> Reply:
        return Reply(request.parameter.encode())

    async def broken(self, _: Request) -> Reply:
        raise ValueError("SELECT secret FROM inside")

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        if not self.starts:
            raise ValueError("no start")
        yield

    def handle(self, scope: dict[str, Any], *messages: dict[str, Any]) -> list[Any]:
        async def run() -> None:
            left = list(messages)

            async def receive() -> Any:
                return left.pop(0)

            async def send(message: Any) -> None:
                self.sent.append(message)

            await self.frame(scope, receive, send)

        asyncio.run(run())
        return self.sent

    def get(self, path: str, **more: Any) -> tuple[int, bytes]:
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], **more}
        start, body = self.handle(scope)
        return start["status"], body["body"]


@pytest.mark.parametrize(
    ("path", "more", "reply"),
    [
        ("/fixed", {}, (200, b'"fixed"')),
        ("/open/x", {}, (200, b"x")),
        ("/open/", {}, (200, b"")),
        ("/open/x/y", {}, (200, b"x/y")),
        ("/behind/fixed", {"root_path": "/behind"}, (200, b'"fixed"')),
        ("/behind/open/x", {"root_path": "/behind"}, (200, b"x")),
    ],
)
def test_a_path_leads_to_its_handler(path: str, more: dict[str, Any], reply: tuple[int, bytes]) -> None:
    assert Served().get(path, **more) == reply


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("/", {}, 404),
        ("/fixed/", {}, 404),
        ("/open", {}, 404),
        ("/fixed", {"method": "HEAD"}, 405),
        ("/open/x", {"method": "DELETE"}, 405),
        ("/fixed", {"query_string": b"x" * 4097}, 414),
    ],
)
def test_what_is_not_served_is_a_problem(path: str, more: dict[str, Any], status: int) -> None:
    served = Served()
    found, body = served.get(path, **more)
    assert (found, json.loads(body)["status"]) == (status, status)
    assert served.told[0]["status"] == status


def test_a_fault_of_ours_says_nothing_of_the_inside() -> None:
    status, body = Served().get("/broken")
    assert status == 500
    assert b"secret" not in body
    assert json.loads(body)["detail"] == "Something went wrong here."


def test_a_websocket_is_turned_away() -> None:
    assert Served().handle({"type": "websocket", "path": "/fixed"}) == [{"type": "websocket.close"}]


@pytest.mark.parametrize(
    ("starts", "said"),
    [
        (True, ["lifespan.startup.complete", "lifespan.shutdown.complete"]),
        (False, ["lifespan.startup.failed"]),
    ],
)
def test_the_server_is_told_how_start_and_stop_went(said: list[str], *, starts: bool) -> None:
    messages = ({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    sent = Served(starts=starts).handle({"type": "lifespan"}, *messages)
    assert [message["type"] for message in sent] == said
