"""An ASGI application, asked without a server."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What an application sent for a request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(app: Any, path: str, query: bytes = b"", *, method: str = "GET", **headers: str) -> Answer:
    """The answer of an application that has not been started, and whose database nobody asks."""
    return asyncio.run(answer(app, path, query, method=method, **headers))


async def answer(app: Any, path: str, query: bytes = b"", *, method: str = "GET", **headers: str) -> Answer:
    """What an application answers."""
    sent: list[Any] = []
    encoded = [(name.lower().replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "raw_path": path.encode()}
    scope |= {"query_string": query, "headers": encoded, "client": ("198.51.100.9", 4711), "root_path": ""}

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *bodies = sent
    found = {name.decode().lower(): text.decode() for name, text in start["headers"]}
    return Answer(start["status"], found, b"".join(each["body"] for each in bodies))


@asynccontextmanager
async def started(app: Any) -> AsyncIterator[None]:
    """The application as a server starts it and lets it end."""
    ends, said = asyncio.Event(), asyncio.Queue[Any]()
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        message = next(messages)
        if message["type"] == "lifespan.shutdown":
            await ends.wait()
        return message

    living = asyncio.create_task(app({"type": "lifespan", "state": {}}, receive, said.put))
    assert (await said.get())["type"] == "lifespan.startup.complete"
    try:
        yield
    finally:
        ends.set()
        await living
        assert (await said.get())["type"] == "lifespan.shutdown.complete"
