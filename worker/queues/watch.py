"""Whether a worker's main process and its pool do their work, by what the main process itself knows. No I/O, no Celery.

A pool process that was stopped takes the message that it is given and never begins it, so that no time limit runs: the
message stays in hand. A consumer that lost its place after a reconnection asks Redis for nothing more, and looks alive
in everything else. Both are seen here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from config.broker import HEALTH_CHECK_INTERVAL

ASKS_EACH = 5.0
"""Seconds in which a consumer with a free process asks Redis for messages at least once: it waits for one in each."""

NOTICED_AFTER = 1 + 2 * HEALTH_CHECK_INTERVAL
"""Seconds within which kombu gives up a connection on which a BRPOP of a second is not answered. Then it waits for
Redis, and says so: before that, a Redis that hangs looks like a consumer that does.
"""


@dataclass(slots=True)
class ConsumerWatch:
    """What a main process looks at every few seconds. Moments are of one monotonic clock, in seconds."""

    longest_task: float
    """Seconds after which the pool has ended any task."""
    grace: float
    served_at: float
    """When the consumer last asked for messages, or had no process free for one."""

    def serves(self, now: float, asked_at: float | None, *, full: bool) -> bool:
        """Whether the worker takes messages now, or would if it had a process free."""
        serving = full or (asked_at is not None and now - asked_at < ASKS_EACH)
        if serving:
            self.served_at = now
        return serving

    def wedged(self, now: float, taken_at: Iterable[float]) -> str | None:
        """What is stuck for so long that only a new worker helps. `taken_at`: of the messages in hand."""
        if now - self.served_at > NOTICED_AFTER + self.grace:
            return "consumer"
        if now - min(taken_at, default=now) > self.longest_task + self.grace:
            return "pool"
        return None
