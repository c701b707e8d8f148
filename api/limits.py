"""How many refreshes there may be in a day: of one user, and of all users together. Beyond that the cache answers.

They are counted in Redis, for all processes of the endpoint together, in one hash for each day (UTC) that expires by
itself. A refresh is counted before it is made, and given back when it turned out to cost the nodes nothing: the
cool-down answered, or it joined a read that was asked for already. So the bounds hold however many ask at once.

Redis emptied: the day's count begins anew. Redis away: nothing is counted, and nothing can be sent to workers either;
what is marked in Postgres meanwhile is read once when Redis is back, however often it was asked for.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from time import monotonic, time
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from uuid import UUID

import structlog

from config.redis_address import client
from config.settings import ApiSettings

if TYPE_CHECKING:
    from redis import Redis

log = structlog.get_logger(__name__)

Bound = Literal["user", "all"]

KEY: Final = "bal:refreshes:"
"""With the number of the day since 1970. In it a field for each user, and one for all."""
DAY: Final = 24 * 3600
OF_ALL: Final = "all"
AT_ONCE: Final = 1000
"""Refreshes that may be counted at one moment beyond a bound, before they are given back."""
MAX_COUNTING: Final = 2
"""Threads that talk to Redis. Where it hangs, whoever waits for one of them gives up at a time of its own."""
REST_SECONDS: Final = 10.0
"""After Redis did not answer, for which it is not asked: one refresh waits for one that hangs, and not each."""


class Counted(NamedTuple):
    """A refresh that may be made, or the bound that it is beyond. `key` is None when nothing was counted."""

    user_id: UUID
    key: str | None = None
    beyond: Bound | None = None


class Limits:
    """Counts refreshes. One per process."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(MAX_COUNTING, "count")
        self._seconds = settings.refresh_deadline / 2
        self._rests_until = float("-inf")

    def close(self) -> None:
        """Wait for nothing that is on its way."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def count(self, user_id: UUID) -> Counted:
        """Count a refresh of this user, within half of REFRESH_DEADLINE. Uncounted it is let through."""
        if not (self._settings.refresh_max or self._settings.refresh_max_per_user):
            return Counted(user_id)
        if monotonic() < self._rests_until:
            return Counted(user_id)
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._count, user_id)
        except Exception as error:  # noqa: BLE001  whatever is wrong with Redis, nobody's request fails by it
            log.warning("refresh_not_counted", error=type(error).__name__)
            self.__dict__.pop("_redis", None)  # it may have become a replica: the next one is found anew
            self._rests_until = monotonic() + REST_SECONDS
            return Counted(user_id)

    def give_back(self, counted: Counted) -> None:
        """It cost nothing. Nobody waits for this."""
        if counted.key is not None:
            with suppress(RuntimeError):  # the process ends
                self._threads.submit(self._add, counted.key, counted.user_id, -1)

    def _count(self, user_id: UUID) -> Counted:
        key = f"{KEY}{int(time() // DAY)}"
        most, most_of_all = self._settings.refresh_max_per_user, self._settings.refresh_max
        of_user, of_all = self._counted(key, user_id)
        if (most and of_user > most + AT_ONCE) or (most_of_all and of_all > most_of_all + AT_ONCE):
            of_user, of_all = self._counted_anew(key, user_id)
        beyond: Bound | None = None
        if most and of_user > most:
            beyond = "user"
        elif most_of_all and of_all > most_of_all:
            beyond = "all"
        if beyond is None:
            return Counted(user_id, key)
        self._add(key, user_id, -1)
        return Counted(user_id, beyond=beyond)

    def _counted(self, key: str, user_id: UUID) -> tuple[int, int]:
        from redis import ResponseError

        try:
            return self._add(key, user_id, 1)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error) and "not an integer" not in str(error):
                raise
        return self._counted_anew(key, user_id)

    def _counted_anew(self, key: str, user_id: UUID) -> tuple[int, int]:
        """What lies there is no count of ours, which goes no further than its bound: somebody has put it there."""
        log.warning("count_dropped", key=key)
        self._redis.delete(key)
        return self._add(key, user_id, 1)

    def _add(self, key: str, user_id: UUID, number: int) -> tuple[int, int]:
        """How many there are of the user and of all, with these."""
        step = self._redis.pipeline()
        step.hincrby(key, user_id.hex, number)
        step.hincrby(key, OF_ALL, number)
        step.expire(key, DAY + 3600)  # clocks of hosts may differ
        of_user, of_all, _ = step.execute()
        return int(of_user), int(of_all)

    @cached_property
    def _redis(self) -> "Redis[bytes]":
        # It takes as long to load as all the rest of this process, and a plain read does without it.
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return client(
            self._settings.redis_url.get_secret_value(),
            timeout=self._seconds,
            retry=Retry(NoBackoff(), 1),  # a connection that Redis has closed meanwhile
        )
