"""What a worker notes in Redis for operators: that beat's tick was carried out, and that this worker is there.

Nothing in the product depends on it. A Redis that does not answer is left alone for a while, and what was to be noted
is then missing there: whoever reads it sees a moment that grows old.
"""

from dataclasses import dataclass, field
from functools import cache
from time import time

import redis

from config.ops_keys import DISPATCHED, FORGOTTEN_AFTER, WORKERS
from config.settings import worker_settings
from worker.reading.shared_redis import SharedRedis


def _shared() -> SharedRedis:
    return SharedRedis("ops", worker_settings().redis_url.get_secret_value())


@dataclass(slots=True)
class OpsNotes:
    """One process's notes. It has a connection of its own, whose time-outs are short: its caller has other work."""

    _shared: SharedRedis = field(default_factory=_shared)

    def dispatched(self) -> None:
        """Note that a tick was carried out. One command."""
        with self._shared.redis() as client:
            if client:
                client.set(DISPATCHED, int(time()))

    def seen(self, worker: str) -> None:
        """Note that a worker is there (`config.ops_keys.worker_entry`), and forget those of long ago. Two commands."""
        now = int(time())
        with self._shared.redis() as client:
            if client:
                pipeline = client.pipeline(transaction=False)
                pipeline.zadd(WORKERS, {worker: now})
                pipeline.zremrangebyscore(WORKERS, "-inf", now - FORGOTTEN_AFTER)
                try:
                    pipeline.execute()
                except redis.ResponseError as error:
                    if "WRONGTYPE" not in str(error):
                        raise
                    client.delete(WORKERS)  # no set of ours; the next note makes one

    def gone(self, worker: str) -> None:
        """Forget a worker that ends because it was told to. One command."""
        with self._shared.redis() as client:
            if client:
                client.zrem(WORKERS, worker)


@cache
def ops_notes() -> OpsNotes:
    """Those of a pool process, which makes them at its first tick: no connection is one of before it was forked."""
    return OpsNotes()
