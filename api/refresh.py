"""Asking workers for a read, and waiting for it, within a bound. The only place here that knows Celery: it only sends.

The request itself is in Postgres (``db.requests``): it makes the wallets due. The message only makes it quick, so with
Redis out of reach nothing is lost, and a plain read never waits for it.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cached_property
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import structlog
from structlog.contextvars import get_contextvars

from api.database import Database, Statement
from api.limits import Bound, Counted, Limits
from api.listening import Listener
from api.refresh_outcomes import Refresh, count_outcome
from api.waits import Waits
from config.broker import REFRESH_QUEUE, location, transport_options
from config.networks import NetworkName
from config.settings import ApiSettings
from db.requests import REQUEST_FOR_WALLETS

if TYPE_CHECKING:
    from celery import Celery

log = structlog.get_logger(__name__)

LOCKED_SECONDS = 0.05
"""From one try to the next for a row that is being written, which takes some milliseconds."""
MOST_IN_A_MESSAGE = 2500
"""Wallets of one message, some 135 kB: what one batch takes at the most. The others of the user are merely due."""
MAX_SENDING = 4
"""Messages on their way at once. With Redis hung each takes seconds; more would only wait behind them."""


_REQUEST = Statement(REQUEST_FOR_WALLETS)


class Asked(NamedTuple):
    """What became of asking for one wallet (``db.requests``)."""

    wallet_id: UUID
    network: NetworkName
    asked_at: datetime
    wait: bool
    enqueue: bool
    locked: bool
    marked: bool


class Answered(NamedTuple):
    """What became of a refresh: the moment of its request, if one was made, and the bound that it was beyond."""

    asked_at: datetime | None = None
    beyond: Bound | None = None


class Refresher:
    """Requests reads of wallets. One per process."""

    def __init__(self, database: Database, settings: ApiSettings) -> None:
        self._database, self._settings = database, settings
        self._limits = Limits(settings)
        self._threads = ThreadPoolExecutor(MAX_SENDING, "send")
        self._sending = 0
        self._background: set[asyncio.Task[Any]] = set()
        self._waits = Waits(database, lambda: self._listener.hears)
        self._listener = Listener(settings.database_url.get_secret_value(), self._waits.heard)
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to listen, and to look for those who wait. The database may be away."""
        self._loops = [asyncio.create_task(each.run()) for each in (self._waits, self._listener)]
        for loop in self._loops:
            loop.add_done_callback(_tell_of_end)

    async def close(self) -> None:
        """Wait for no message: what was not sent is due in Postgres."""
        self._limits.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        await _cancel(*self._background, *self._loops)

    async def read_now(
        self, wallet_ids: Sequence[UUID], *, of_user: UUID | None = None, anyway: Sequence[UUID] = ()
    ) -> Answered:
        """Ask for wallets to be read, and wait until they have been, or for REFRESH_DEADLINE seconds.

        `of_user`: it counts as this user's refresh, and beyond a bound only the wallets `anyway` are asked for.

        Returns the moment of the request: a row synced at or after it is this request's. None: it could not be made
        in time, or there was nothing to ask for. Raises UNAVAILABLE. Cancelled when the client goes away
        (``api.middleware``), it leaves nothing behind, and others who wait are not affected.
        """
        with count_outcome(counts=of_user is not None) as refresh:  # a first view is nobody's refresh
            return await self._read_now(wallet_ids, of_user, anyway, refresh)

    async def _read_now(
        self, wallet_ids: Sequence[UUID], of_user: UUID | None, anyway: Sequence[UUID], refresh: Refresh
    ) -> Answered:
        asked_at: datetime | None = None
        counted: Counted | None = None
        marked: list[UUID] = []
        waiting: list[UUID] = []
        try:
            async with asyncio.timeout(self._settings.refresh_deadline):
                if of_user:
                    counted = await self._limits.count(of_user)
                    if counted.beyond:
                        wallet_ids = anyway
                if wallet_ids:
                    asked_at, waiting = await self._request(wallet_ids, marked)
                    refresh.outcome = "late"
                    await self._waits.until_read(waiting, asked_at)
                refresh.outcome = "limited" if counted and counted.beyond else "fresh" if waiting else "cooled_down"
        except TimeoutError:
            log.warning("refresh_deadline_passed", wallets=len(wallet_ids))
        finally:
            if counted and not marked:
                self._limits.give_back(counted)
        return Answered(asked_at, counted.beyond if counted else None)

    def ask_in_background(self, wallet_ids: Sequence[UUID]) -> None:
        """Ask for wallets to be read, and wait for nothing. Dropped when too many such requests are on their way."""
        if len(self._background) < MAX_SENDING:
            task = asyncio.create_task(self._request_in_time(wallet_ids))
            self._background.add(task)
            task.add_done_callback(self._forget)

    async def _request_in_time(self, wallet_ids: Sequence[UUID]) -> None:
        async with asyncio.timeout(self._settings.refresh_deadline):
            await self._request(wallet_ids, [])

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("background_refresh_failed", error=type(error).__name__)

    async def _request(self, wallet_ids: Sequence[UUID], marked: list[UUID]) -> tuple[datetime, list[UUID]]:
        """Mark wallets as requested and send for them. Returns the moment, and the wallets that will be read.

        Those that nobody had asked for before are added to `marked` as soon as that is known.
        """
        first = rows = await self._mark(wallet_ids)
        waiting: list[UUID] = []
        while True:
            for network in _networks(rows):  # no more than one batch reads: the others of a network are merely due
                coming = [row.wallet_id for row in rows if row.wait and row.network == network]
                waiting += coming[:MOST_IN_A_MESSAGE]
            marked += [row.wallet_id for row in rows if row.marked]
            self._send(rows)
            locked = [row.wallet_id for row in rows if row.locked]
            if not locked:
                return first[0].asked_at if first else datetime.max.replace(tzinfo=UTC), waiting
            await asyncio.sleep(LOCKED_SECONDS)
            rows = await self._mark(locked)

    async def _mark(self, wallet_ids: Sequence[UUID]) -> list[Asked]:
        values = {
            "wallet_ids": wallet_ids,
            "cooldown": timedelta(seconds=self._settings.refresh_cooldown),
            "patience": timedelta(seconds=self._settings.refresh_deadline),
        }
        rows = await self._database.rows(_REQUEST, values, self._settings.refresh_deadline)
        return [Asked(*row) for row in rows]

    def _send(self, rows: Sequence[Asked]) -> None:
        """One message for each network. A failure costs speed alone: beat's next tick finds the wallets due."""
        for network in _networks(rows):
            ids = [str(row.wallet_id) for row in rows if row.enqueue and row.network == network]
            if not ids:
                continue
            if self._sending >= MAX_SENDING:
                log.warning("refresh_not_sent", network=network, reason="too many messages on their way")
                continue
            self._sending += 1
            loop = asyncio.get_running_loop()
            # A thread of the pool does not see the request's context.
            headers = {name: value for name, value in get_contextvars().items() if name == "request_id"}
            sent = loop.run_in_executor(self._threads, self._publish, network, ids, headers)
            sent.add_done_callback(self._sent)

    def _sent(self, sent: asyncio.Future[None]) -> None:
        self._sending -= 1
        if not sent.cancelled() and (error := sent.exception()):
            log.warning("refresh_not_sent", reason=type(error).__name__)

    def _publish(self, network: str, wallet_ids: list[str], headers: dict[str, str]) -> None:
        self._celery.send_task(
            "worker.tasks.sync_wallets",
            args=[network, wallet_ids[:MOST_IN_A_MESSAGE]],
            queue=REFRESH_QUEUE,
            headers={**headers, "sent_at": round(time(), 3)},  # when, for operators; no worker goes by it
            # Others join a request for a deadline's length, and wait for another. Then nobody relies on this message:
            # who asks now sends a new one, and the wallets are due like any other.
            expires=2 * self._settings.refresh_deadline,
            declare=[],  # nothing of Redis but the queue itself
        )

    @cached_property
    def _celery(self) -> "Celery":
        # Celery takes longer to load than all the rest of this process, and a plain read does without it.
        from celery import Celery

        app = Celery("balance-sync-api", set_as_current=False)
        redis_url = self._settings.redis_url.get_secret_value()
        broker_url, broker_use_ssl = location(redis_url)
        app.conf.update(
            broker_url=broker_url,
            broker_use_ssl=broker_use_ssl,
            broker_transport_options=transport_options(2.0, 1.0, redis_url),
            broker_connection_timeout=2,
            broker_pool_acquire_timeout=2,
            task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0.1},
            task_ignore_result=True,
        )
        return app


def _networks(rows: Sequence[Asked]) -> list[NetworkName]:
    return sorted({row.network for row in rows})


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _tell_of_end(loop: asyncio.Task[None]) -> None:
    if not loop.cancelled() and (error := loop.exception()):
        log.error("refresh_waits_ended", exc_info=error)
