"""Waiting until wallets have been read. All waits of a process look together: one statement, however many wait.

A wait looks once at its beginning, so that what was written before is not missed; then whenever a worker tells of one
of its wallets (``api.listening``); and from time to time in any case, since what is told can be lost.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from api.database import UNAVAILABLE, Database, Statement
from db.requests import LAST_READS

log = structlog.get_logger(__name__)

LOOK_SECONDS = {True: 1.0, False: 0.1}
"""How often all waits look, by whether the process hears of what is written."""
STATEMENT_SECONDS = 2.0

FOREVER = datetime.max.replace(tzinfo=UTC)

_LAST_READS = Statement(LAST_READS)


@dataclass(eq=False, slots=True)
class Wait:
    """Somebody waits for a read of each of these wallets that was claimed at or after `asked_at`."""

    asked_at: datetime
    left: set[UUID]
    over: asyncio.Event


class Waits:
    """Everybody in this process who waits. Nobody is woken unless ``run`` runs."""

    def __init__(self, database: Database, hears: Callable[[], bool]) -> None:
        self._database, self._hears = database, hears
        self._of: dict[UUID, set[Wait]] = {}
        self._woken: set[UUID] = set()
        self._wake = asyncio.Event()

    async def until_read(self, wallet_ids: Iterable[UUID], asked_at: datetime) -> None:
        """Return when every one of these wallets has been read since, well or badly, or is gone. No bound in time."""
        wait = Wait(asked_at, set(wallet_ids), asyncio.Event())
        if not wait.left:
            return
        wallets = frozenset(wait.left)
        for wallet in wallets:
            self._of.setdefault(wallet, set()).add(wait)
        try:
            self._wake_for(wallets)
            await wait.over.wait()
        finally:
            for wallet in wallets:
                self._of[wallet].discard(wait)
                if not self._of[wallet]:
                    del self._of[wallet]

    def heard(self, wallet: UUID | None) -> None:
        """A worker has written what it read of a wallet. None: some may have been missed."""
        self._wake_for(self._of.keys() if wallet is None else self._of.keys() & {wallet})

    def _wake_for(self, wallets: Iterable[UUID]) -> None:
        self._woken.update(wallets)
        if self._woken:
            self._wake.set()

    async def run(self) -> None:
        """Look for whoever waits, for ever."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(last + LOOK_SECONDS[self._hears()]):
                    await self._wake.wait()
            self._wake.clear()
            # What is told while a look is on its way wakes the next one.
            woken, self._woken = self._woken, set()
            if loop.time() >= last + LOOK_SECONDS[self._hears()]:
                woken, last = set(self._of), loop.time()
            if wanted := woken & self._of.keys():
                await self._look(wanted)

    async def _look(self, wallets: Collection[UUID]) -> None:
        try:
            async with asyncio.timeout(STATEMENT_SECONDS):
                found = await self._database.rows(_LAST_READS, {"wallet_ids": list(wallets)}, STATEMENT_SECONDS)
        except UNAVAILABLE as error:
            log.warning("waits_not_looked_after", error=type(error).__name__, wallets=len(wallets))
            return
        reads = {wallet: claimed_at if over else None for wallet, claimed_at, over in found}
        for wallet in wallets:
            self._tell(wallet, reads.get(wallet, FOREVER))

    def _tell(self, wallet: UUID, read: datetime | None) -> None:
        """A wallet's last read that is over was claimed at this moment."""
        for wait in self._of.get(wallet, ()):
            if read is not None and read >= wait.asked_at:
                wait.left.discard(wallet)
                if not wait.left:
                    wait.over.set()
