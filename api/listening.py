"""Hearing from the database what workers have written: LISTEN, on a connection of its own that mends itself.

It only wakes those who wait, sooner than looking again and again would (``api.waits``). Whether it hears is proved, not
assumed: behind a pooler that hands out another connection for each transaction, or over a connection that died
without a word, LISTEN succeeds and hears nothing. So it tells itself something from time to time, and listens for that.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID, uuid4

import asyncpg
import structlog

from api.database import UNAVAILABLE, Statement
from db.endpoint_connections import Connector
from db.reasons import reason
from db.requests import CHANNEL, TELL

log = structlog.get_logger(__name__)

APPLICATION_NAME = "balance-sync-api-listen"
PROOF_SECONDS = 10.0
"""How often it proves that it hears."""
ANSWER_SECONDS = 3.0
"""How long anything on this connection may take."""
PAUSES = (0.1, 10.0)
"""Seconds from one connection to the next: the first, and the longest, to which it doubles."""

_TELL = Statement(TELL)


class Deaf(Exception):
    """The connection does not bring what was told on it."""


class Listener:
    """Listens for as long as ``run`` runs, and tells of each wallet. One per process."""

    def __init__(self, database_url: str, heard: Callable[[UUID | None], None]) -> None:
        """`heard` is called with each wallet's id; with None when it hears again, and may have missed some."""
        self._connector, self._heard = Connector(database_url, {}, APPLICATION_NAME), heard
        self._proof = uuid4().hex
        self._proved = False
        self._pause = PAUSES[0]
        self.hears = False

    async def run(self) -> None:
        """Listen, and connect anew whenever that ends. Never returns."""
        while True:
            try:
                await self._listen()
            except (*UNAVAILABLE, Deaf) as error:
                what = {"error": type(error).__name__, "reason": reason(error)}
                log.warning("not_listening", **what, again_in_seconds=self._pause)
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, PAUSES[1])

    async def _listen(self) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            connection = await self._connector.connect()
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.add_listener(CHANNEL, self._told)
            while True:
                await self._hear(connection, ended)
        finally:
            self.hears = False
            connection.terminate()

    async def _hear(self, connection: asyncpg.Connection, ended: asyncio.Event) -> None:
        """Tell itself something, and hear for some seconds. Raises Deaf, and what a connection raises that ended."""
        self._proved = False
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.execute(_TELL.text, *_TELL.arguments({"channel": CHANNEL, "text": self._proof}))
        with suppress(TimeoutError):
            async with asyncio.timeout(PROOF_SECONDS):
                await ended.wait()
        if ended.is_set():
            raise ConnectionError
        if not self._proved:
            raise Deaf

    def _told(self, _connection: object, _process: int, _channel: str, payload: str) -> None:
        if payload == self._proof:
            self._proved = True
            self._begin_to_hear()
            return
        # Anybody may tell anything on a channel; another process's proof is no wallet either, and wakes nobody.
        with suppress(ValueError):
            self._heard(UUID(payload))

    def _begin_to_hear(self) -> None:
        if not self.hears:
            self.hears, self._pause = True, PAUSES[0]
            self._heard(None)
