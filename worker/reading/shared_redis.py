"""The connection to Redis over which the workers of one network share what they know: one that may be missing.

A worker that cannot reach Redis goes on with what it knows itself, and looks for Redis again after some seconds. What
lies there is treated as a stranger's: a key that cannot be one of ours is deleted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import time
from typing import Any

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from config import redis_address

log = structlog.get_logger(__name__)

TIMEOUT = 0.5  # seconds; a Redis that hangs must not hold up a read
LEFT_ALONE = 10.0  # seconds for which a Redis that did not answer is not asked
FAILED_OVER = 1.0  # seconds for which one is not asked that has become a replica

ABOUT_THE_KEY = ("STRANGE", "WRONGTYPE", "not an integer", "would overflow")
"""What Redis, or a script of ours, says of a key. All else is about the server, or about our rights there."""


@dataclass(slots=True)
class SharedRedis:
    """One network's keys in Redis, apart from those of other settings by `scope`. Not for several threads.

    `clock` gives unix seconds: entries say until when they hold, to processes on other machines too.
    """

    scope: str
    url: str | None = None
    """Redis' URL, or None to share nothing."""
    clock: Callable[[], float] = time
    _client: Any = None
    _back_at: float = 0.0

    def key(self, name: str) -> str:
        return f"bal:chain:{self.scope}:{name}"

    @contextmanager
    def redis(self) -> Iterator[Any]:
        """Redis, or None while it is left alone. What fails in the block is logged once, and counts as not done."""
        if self.url is None or self.is_left_alone:
            yield None
            return
        if self._client is None:
            self._client = redis_address.client(self.url, timeout=TIMEOUT, retry=Retry(NoBackoff(), 0))
        try:
            yield self._client
        except redis.RedisError as error:
            # A primary that became a replica keeps its connections, so a new one is made in any case.
            self._client.connection_pool.disconnect()
            seconds = FAILED_OVER if isinstance(error, redis.ReadOnlyError) else LEFT_ALONE
            self._back_at = self.clock() + seconds
            log.warning("redis_unavailable", error=type(error).__name__, left_alone_seconds=seconds)

    @property
    def is_left_alone(self) -> bool:
        """Whether Redis did not answer lately, so that what is known here is what this process knows itself."""
        return 0 < self._back_at - self.clock() <= LEFT_ALONE

    def answers(self) -> bool:
        """Whether Redis answers. One command."""
        with self.redis() as client:
            return bool(client and client.ping())
        return False

    def delete(self, name: str) -> None:
        """Delete a key. One command."""
        with self.redis() as client:
            if client:
                client.delete(self.key(name))

    @contextmanager
    def removed_if_strange(self, name: str) -> Iterator[None]:
        """Delete a key that cannot be one of ours, should the block find that out. The block's error ends here then."""
        try:
            yield
        except redis.ResponseError as error:
            if not any(words in str(error) for words in ABOUT_THE_KEY):
                raise
            log.warning("entry_dropped", key=self.key(name))
            self.delete(name)
