"""What the workers know of a network's endpoints, shared through Redis: entries that each expire, and budgets.

A worker that cannot reach Redis goes on with what it knows itself, and looks for Redis again after some seconds. What
lies there is looked at as a stranger's, for it may be: an entry counts only if it is of a form that workers put, and
ends when theirs do.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from time import time
from typing import Any

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import LockError
from redis.lock import Lock
from redis.retry import Retry

from worker.reading.shared_entries import CLOCKS_DIFFER, entry, is_ours

log = structlog.get_logger(__name__)

TIMEOUT = 0.5  # seconds; a Redis that hangs must not hold up a read
LEFT_ALONE = 10.0  # seconds for which a Redis that did not answer is not asked
FAILED_OVER = 1.0  # seconds for which one is not asked that has become a replica

LOOKED_UP = 1.0  # seconds for which a process relies on what it looked up: several batches, and no harm


COUNTED_EACH = 5.0  # seconds from one sending of a count to the next
COUNT_SECONDS = 300  # a span for which one count is kept
COUNTED_SPANS = 12  # an hour, less what the running span lacks
COUNTS_HOLD = COUNT_SECONDS * (COUNTED_SPANS + 1)


@dataclass(slots=True)
class Shared:
    """One network's entries. Not for several threads; one process has one. `scope` keeps other settings' entries out.

    `clock` gives unix seconds: entries say until when they hold, to processes on other machines too.
    """

    scope: str
    url: str | None = None
    """Redis' URL, or None to share nothing."""
    clock: Callable[[], float] = time
    _own: dict[str, tuple[Any, float]] = field(default_factory=dict)
    _proved: dict[str, tuple[Any, float]] = field(default_factory=dict)
    _locks: dict[str, Lock] = field(default_factory=dict)
    _kept: dict[str, float] = field(default_factory=dict)
    _unsent: Counter[str] = field(default_factory=Counter)
    _sent_at: dict[str, float] = field(default_factory=dict)
    _looked_up: dict[tuple[str, ...], float] = field(default_factory=dict)
    _client: Any = None
    _back_at: float = 0.0

    def get(self, names: Sequence[str]) -> dict[str, Any]:
        """The entries of these names that there are; what others put may be missed for LOOKED_UP seconds.

        At most one command to Redis; what it lacks is taken from our own.
        """
        now, looked_for = self.clock(), tuple(names)
        if not 0 <= now - self._looked_up.get(looked_for, -LOOKED_UP) < LOOKED_UP:
            self._look_up(looked_for)
        found = [(name, self._own[name]) for name in names if name in self._own]
        return {name: value for name, (value, until) in found if until > now and is_ours(name, value, until, now)}

    def _look_up(self, names: tuple[str, ...]) -> None:
        with self.redis() as client:
            if client:
                values: Any = client.mget([self.key(name) for name in names])
                now = self.clock()
                found = {
                    name: entry(name, raw, now) for name, raw in zip(names, values, strict=True) if raw is not None
                }
                self._own |= {name: entry for name, entry in found.items() if entry}
                self._looked_up[names] = now

    def put(self, name: str, value: Any, seconds: float) -> None:
        """Keep an entry for some seconds. One command."""
        self.prove(name, value, seconds)
        self._own[name] = self._proved[name]
        with self.redis() as client:
            if client:
                client.set(self.key(name), json.dumps(self._own[name]), px=max(int(seconds * 1000), 1))

    def prove(self, name: str, value: Any, seconds: float) -> None:
        """Keep for this process alone what it has seen for itself."""
        self._proved[name] = (value, self.clock() + seconds)

    def proved(self, name: str) -> Any:
        """What this process has seen for itself, and nobody's word. None: nothing, or too long ago."""
        value, until = self._proved.get(name, (None, 0.0))
        return value if until > self.clock() else None

    def forget(self, name: str) -> None:
        """End an entry that proved wrong, here and in Redis. One command."""
        self._own.pop(name, None)
        self._delete(name)

    def take(self, name: str, seconds: float, longest: float = 0.0) -> float:
        """Have what one process may have at a time, for some seconds at the most; or go on having it for so long.

        0.0: it is ours. Otherwise somebody else has it, for so many seconds more. Without Redis each process decides
        for itself. Nobody has it for more than `longest` seconds, or ours: what says so was planted, and is removed.
        """
        seconds = max(seconds, 0.001)
        most = max(seconds, longest) + CLOCKS_DIFFER
        with self.redis() as client:
            if client:
                if self._still_ours(name, seconds):
                    return 0.0
                lock = Lock(client, self.key(name), timeout=seconds, blocking=False, thread_local=False)
                if lock.acquire():
                    self._locks[name] = lock
                    return 0.0
                left = client.pttl(self.key(name)) / 1000
                if left != GONE / 1000 and not 0 <= left <= most:
                    self._delete(name)
                return max(float(left), 0.001)
        left = self._kept.get(name, 0.0) - self.clock()
        return left if 0 <= left <= most else 0.0

    def keep(self, name: str, seconds: float) -> None:
        """Let what `take` gave us end by itself, after so many seconds. One command."""
        self._kept[name] = self.clock() + seconds
        with self.redis() as client:
            if client and self._still_ours(name, seconds):
                del self._locks[name]

    def give_back(self, name: str) -> None:
        """End what `take` gave us, if it is still ours. One command."""
        lock = self._locks.pop(name, None)
        with self.redis() as client:
            if client and lock:
                with suppress(LockError):  # it ended before, and may be another's
                    lock.release()

    def _still_ours(self, name: str, seconds: float) -> bool:
        with suppress(LockError):
            if name in self._locks:
                return bool(self._locks[name].extend(seconds, replace_ttl=True))
        self._locks.pop(name, None)
        return False

    def _delete(self, name: str) -> None:
        with self.redis() as client:
            if client:
                client.delete(self.key(name))

    def answers(self) -> bool:
        """Whether Redis answers. One command."""
        with self.redis() as client:
            return bool(client and client.ping())
        return False

    def count(self, name: str, times: int) -> None:
        """Add to a count that is kept over the past hour, of all processes together.

        Sent every five seconds at most, in two commands at once: what a process has not sent at its end is not counted.
        """
        self._unsent[name] += times
        now = self.clock()
        if not 0 <= now - self._sent_at.get(name, -COUNTED_EACH) < COUNTED_EACH:
            with self.redis() as client:
                if client:
                    entry = f"count:{name}:{int(now // COUNT_SECONDS)}"
                    key = self.key(entry)
                    with self.removed_if_strange(entry):
                        pipeline = client.pipeline(transaction=False).incrby(key, self._unsent[name])
                        pipeline.expire(key, COUNTS_HOLD).execute()
                        self._sent_at[name], self._unsent[name] = now, 0

    def counts(self, names: Sequence[str]) -> dict[str, dict[float, int]]:
        """What was counted in the past hour: for each name the counts by the starts of the spans that had any."""
        last = int(self.clock() // COUNT_SECONDS)
        spans = range(last - COUNTED_SPANS + 1, last + 1)
        found: dict[str, dict[float, int]] = {name: {} for name in names}
        with self.redis() as client:
            if client and names:
                values: Any = client.mget([self.key(f"count:{name}:{span}") for name in names for span in spans])
                for (name, span), raw in zip(product(names, spans), values, strict=True):
                    if raw is not None and raw.isdigit():
                        found[name][float(span * COUNT_SECONDS)] = int(raw)
        return found

    def key(self, name: str) -> str:
        return f"bal:chain:{self.scope}:{name}"

    @contextmanager
    def removed_if_strange(self, name: str) -> Iterator[None]:
        """Delete an entry that cannot be one of ours, should the block find that out. It does not end the block's."""
        try:
            yield
        except redis.ResponseError as error:
            if not any(words in str(error) for words in ABOUT_THE_ENTRY):
                raise
            log.warning("entry_dropped", key=self.key(name))
            self._delete(name)

    @contextmanager
    def redis(self) -> Iterator[Any]:
        """Redis, or None while it is left alone. What fails in the block is told of once, and counts as not done."""
        if self.url is None or 0 < self._back_at - self.clock() <= LEFT_ALONE:
            yield None
            return
        if self._client is None:
            self._client = redis.Redis.from_url(
                self.url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0)
            )
        try:
            yield self._client
        except redis.RedisError as error:
            # A primary that became a replica keeps its connections, so a new one is made in any case.
            self._client.connection_pool.disconnect()
            seconds = FAILED_OVER if isinstance(error, redis.ReadOnlyError) else LEFT_ALONE
            self._back_at = self.clock() + seconds
            log.warning("redis_unavailable", error=type(error).__name__, left_alone_seconds=seconds)


ABOUT_THE_ENTRY = ("STRANGE", "WRONGTYPE", "not an integer", "would overflow")
"""What Redis, or a script of ours, says of an entry. All else is about the server, or about our rights there."""

GONE = -2  # Redis' answer when it is asked how long a key has, and there is none


@dataclass(slots=True)
class Trial:
    """Leave to ask endpoints that failed last time, which one read of a network has at a time, over all workers.

    Should one of them hang, it holds up one process and not all of them. Taken when it is first needed, for `seconds`.
    """

    shared: Shared
    seconds: float
    longest: float
    """Seconds for which any read of the network has it at the most."""
    held: bool = False
    """This read has it; without Redis there is no lock that says so."""
    wait: float = 0.0
    """Seconds until it may be had, where another has it."""

    def ours(self) -> bool:
        if not self.held:
            self.wait = self.shared.take("trial", self.seconds, self.longest)
            self.held = not self.wait
        return self.held

    def end(self, seconds: float) -> None:
        """Let others have it, in some seconds."""
        if self.held and seconds:
            self.shared.keep("trial", seconds)
        elif self.held:
            self.shared.give_back("trial")
