"""Hearing from the database what workers have written: LISTEN, on a connection of its own that mends itself.

It only wakes those who wait, sooner than looking again and again would (``api.waits``). Whether it hears is proved, not
assumed: behind a pooler that hands out another connection for each transaction, or over a connection that died
without a word, LISTEN succeeds and hears nothing. So it tells itself something from time to time, and listens for that.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import structlog
from psycopg import AsyncConnection, Error

from config.database import connection_parameters
from db.requests import CHANNEL, LISTEN, TELL

log = structlog.get_logger(__name__)

APPLICATION_NAME = "balance-sync-api-listen"
PROOF_SECONDS = 10.0
"""How often it proves that it hears."""
ANSWER_SECONDS = 3.0
"""How long anything on this connection may take."""
PAUSES = (0.1, 10.0)
"""Seconds from one connection to the next: the first, and the longest, to which it doubles."""


class Deaf(Exception):
    """The connection does not bring what was told on it."""


class Listener:
    """Listens for as long as ``run`` runs, and tells of each wallet. One per process."""

    def __init__(self, database_url: str, heard: Callable[[UUID | None], None]) -> None:
        """`heard` is called with each wallet's id; with None when it hears again, and may have missed some."""
        self._url, self._heard = database_url, heard
        self._proof = uuid4().hex
        self._pause = PAUSES[0]
        self.hears = False

    async def run(self) -> None:
        """Listen, and connect anew whenever that ends. Never returns."""
        while True:
            try:
                await self._listen()
            except (Error, OSError, TimeoutError, Deaf) as error:
                log.warning("not_listening", error=type(error).__name__, again_in_seconds=self._pause)
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, PAUSES[1])

    async def _listen(self) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            connection = await AsyncConnection.connect(
                **(connection_parameters(self._url) | {"autocommit": True, "application_name": APPLICATION_NAME})
            )
        async with connection:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await connection.execute(LISTEN)
                while True:
                    await self._hear(connection)
            finally:
                self.hears = False

    async def _hear(self, connection: "AsyncConnection[Any]") -> None:
        """Tell itself something, and pass on what is heard for some seconds. Raises Deaf."""
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.execute(TELL, {"channel": CHANNEL, "text": self._proof})
        proved = False
        # Read to its end: what a packet still holds is lost with a loop that is left.
        async for told in connection.notifies(timeout=PROOF_SECONDS):
            if told.payload == self._proof:
                proved = True
                self._begin_to_hear()
            else:
                # Anybody may tell anything on a channel; another process's proof is no wallet either, and wakes nobody.
                with suppress(ValueError):
                    self._heard(UUID(told.payload))
        if not proved:
            raise Deaf

    def _begin_to_hear(self) -> None:
        if not self.hears:
            self.hears, self._pause = True, PAUSES[0]
            self._heard(None)
