"""Beat's scheduler: it sends a tick each DISPATCH_INTERVAL, keeps nothing on disk, and shows that it lives."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import structlog
from celery import beat

from config.broker import LONGEST_PAUSE
from worker.liveness import Life, make_life_sign_folder

log = structlog.get_logger(__name__)

MAX_TICKS = 10
"""Ticks of one entry of the schedule that may wait in its queue: one has all to say that ten have."""


class Scheduler(beat.Scheduler):
    """Celery's base class: with so few entries there is nothing to keep, and Celery's default one unpickles a file.

    Ticks that nobody takes are held back: without workers for a night, tens of thousands would wait.
    """

    _held: Mapping[str, bool] = {}
    _answered = True
    """Whether Redis answered when a tick was last to be sent."""

    def setup_schedule(self) -> None:
        make_life_sign_folder("beat")
        self.life = Life("beat")
        super().setup_schedule()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One round of beat's, which shows that it comes round."""
        if self._answered:
            self.life.comes_round()
        else:
            self.life.waits_for_redis()
        return float(super().tick(*args, **kwargs))

    def _ensure_connected(self) -> Any:
        """The connection, as soon as there is one. Celery's own waits longer and longer from one try to the next."""
        self.life.waits_for_redis()
        connection: Any = self.connection
        connection.ensure_connection = partial(connection.ensure_connection, interval_max=LONGEST_PAUSE)
        return super()._ensure_connected()  # type: ignore[misc]  # its stubs lack it

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Send a tick, unless enough of them wait. What this raises, beat logs, and goes on."""
        self._answered = False
        queue = entry.options["queue"]
        waiting = producer.channel.waiting(queue)
        self._answered = True
        held, holds = self._held.get(queue, False), waiting >= self._most(queue)
        self._held = {**self._held, queue: holds}
        if holds:
            if not held:
                log.warning("ticks_held", queue=queue, waiting=waiting)
            return None
        return super().apply_async(entry, producer, advance, **kwargs)

    def _most(self, queue: str) -> int:
        """How many ticks may wait in a queue: each network's feed is an entry of its own, and all share one queue."""
        return MAX_TICKS * len(
            [entry for entry in self.schedule.values() if (entry.options or {}).get("queue") == queue]
        )
