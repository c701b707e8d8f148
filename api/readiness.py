"""Whether this process can serve, for whoever asks: the database is asked once a second at the most.

Nobody has to say who they are here, and the statement takes one of the connections that users wait for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

from api.problems import Problem
from db import schema_serves

SECONDS: Final = 1.0
"""For which an answer is given again."""


class Readiness:
    """One per process."""

    def __init__(self, schema_version: Callable[[], Awaitable[str | None]]) -> None:
        """`schema_version` asks the database for it, and raises Problem when there is no answer."""
        self._schema_version = schema_version
        self._asking: asyncio.Task[str | None] | None = None
        self._answered_at = float("-inf")

    async def wrong(self) -> str | None:
        """What is wrong, if anything is; as it was found within the last second. All who ask at once ask together."""
        if self._asking is None or (self._asking.done() and monotonic() - self._answered_at >= SECONDS):
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> str | None:
        try:
            version = await self._schema_version()
        except Problem as problem:
            return problem.detail
        finally:
            self._answered_at = monotonic()
        return None if schema_serves(version) else "The schema is of an older version: run `alembic upgrade head`."
