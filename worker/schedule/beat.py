"""Beat's scheduler: it sends a tick each DISPATCH_INTERVAL, keeps nothing on disk, and shows that it lives."""

from typing import Any

import structlog
from celery import beat

from config.broker import TICKS_QUEUE
from worker.liveness import make_life_sign_folder, show_life

log = structlog.get_logger(__name__)

MAX_TICKS = 10
"""Ticks that may wait: one has all to say that ten have."""


class Scheduler(beat.Scheduler):
    """Celery's base class: with one entry there is nothing to keep, and Celery's default scheduler unpickles a file.

    Ticks that nobody takes are held back: without workers for a night, tens of thousands would wait.
    """

    _held = False

    def setup_schedule(self) -> None:
        make_life_sign_folder()
        super().setup_schedule()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One round of beat's, which shows that it comes round."""
        show_life("beat")
        return float(super().tick(*args, **kwargs))

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Send a tick, unless enough of them wait. What this raises, beat logs, and goes on."""
        waiting = producer.channel.waiting(TICKS_QUEUE)
        held, self._held = self._held, waiting >= MAX_TICKS
        if self._held:
            if not held:
                log.warning("ticks_held", waiting=waiting)
            return None
        return super().apply_async(entry, producer, advance, **kwargs)
