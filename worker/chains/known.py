"""What the workers know of a network's endpoints, shared through Redis: entries that each expire, and budgets.

A worker that cannot reach Redis goes on with what it knows itself, and looks for Redis again after some seconds. What
lies there is looked at as a stranger's, for it may be: an entry counts only if it is of a form that workers put, and
ends when theirs do.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from time import time
from typing import Any

import redis
import structlog
from pyrate_limiter import GCRA, InMemoryStateStore, Rate, RedisStateStore, StateStore
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.chains.snapshot import FUTURE_TOLERANCE
from worker.errors import LONGEST_WAIT_TOLD, REST_CODES

log = structlog.get_logger(__name__)

TIMEOUT = 0.5  # seconds; a Redis that hangs must not hold up a read
LEFT_ALONE = 10.0  # seconds for which a Redis that did not answer is not asked

LOOKED_UP = 1.0  # seconds for which a process relies on what it looked up: several batches, and no harm

# A second and a margin: requests that leave a tenth of a second apart may arrive closer together.
SECOND = 1100  # milliseconds


COUNTED_EACH = 5.0  # seconds from one sending of a count to the next
COUNT_SECONDS = 300  # a span for which one count is kept
COUNTED_SPANS = 12  # an hour, less what the running span lacks
COUNTS_HOLD = COUNT_SECONDS * (COUNTED_SPANS + 1)


# Seconds for which each kind of entry holds.
WAY_HOLDS = 3600.0
SIZE_HOLDS = 3600.0
SUPPLY_HOLDS = 3600.0
STRIKES_HOLD = 600.0  # beyond the rest
NEWEST_HOLDS = 600.0

LONGEST: Mapping[str, float] = {
    "newest": NEWEST_HOLDS,
    "rest": LONGEST_WAIT_TOLD + STRIKES_HOLD,
    "key": LONGEST_WAIT_TOLD + STRIKES_HOLD,
    "way": WAY_HOLDS,
    "size": SIZE_HOLDS,
}
CLOCKS_DIFFER = 10.0  # seconds by which two machines' clocks may be apart
MOST_STRIKES = 1_000_000

LATE = CLOCKS_DIFFER  # beyond the space between two requests that a budget may ask to wait


@dataclass(slots=True)
class Known:
    """One network's entries. Not for several threads; one process has one. `scope` keeps other settings' entries out.

    `clock` gives unix seconds: entries say until when they hold, to processes on other machines too.
    """

    scope: str
    url: str | None = None
    """Redis' URL, or None to share nothing."""
    clock: Callable[[], float] = time
    _own: dict[str, tuple[Any, float]] = field(default_factory=dict)
    _proved: dict[str, tuple[Any, float]] = field(default_factory=dict)
    _budgets: dict[str, StateStore] = field(default_factory=dict)
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
        return {name: value for name, (value, until) in found if until > now}

    def _look_up(self, names: tuple[str, ...]) -> None:
        with self._redis() as client:
            if client:
                values: Any = client.mget([self._key(name) for name in names])
                now = self.clock()
                found = {
                    name: _entry(name, raw, now) for name, raw in zip(names, values, strict=True) if raw is not None
                }
                self._own |= {name: entry for name, entry in found.items() if entry}
                self._looked_up[names] = now

    def put(self, name: str, value: Any, seconds: float) -> None:
        """Keep an entry for some seconds. One command."""
        self.prove(name, value, seconds)
        self._own[name] = self._proved[name]
        with self._redis() as client:
            if client:
                client.set(self._key(name), json.dumps(self._own[name]), px=max(int(seconds * 1000), 1))

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

    def take(self, name: str, seconds: float, longest: float = 0.0) -> bool:
        """Whether something that one process may do at a time is ours, for some seconds at the most. One command.

        Without Redis each process decides for itself. Nobody has it for more than `longest` seconds, or for ours: what
        says so was planted, and is removed.
        """
        with self._redis() as client:
            if client:
                key, ends = self._key(name), max(int(seconds * 1000), 1)
                if client.set(key, 1, nx=True, px=ends):
                    return True
                left, most = client.pttl(key), (max(seconds, longest) + CLOCKS_DIFFER) * 1000
                if left != GONE and not 0 <= left <= most:
                    self._delete(name)
                return False
        return True

    def give_back(self, name: str) -> None:
        """End what `take` began. One command."""
        self._delete(name)

    def _delete(self, name: str) -> None:
        with self._redis() as client:
            if client:
                client.delete(self._key(name))

    def wait(self, name: str, per_second: int) -> float:
        """Seconds to wait before a request may be sent under a budget; 0.0: it may be sent now, and is counted.

        Requests are spaced evenly, over all processes together: never more than `per_second` in any second.
        """
        rates, now = [Rate(per_second, SECOND, burst=1)], int(self.clock() * 1000)
        with self._redis() as client:
            if client:
                shared = RedisStateStore(client, self._key("budget:" + name))
                with self._removed_if_strange("budget:" + name):
                    waits = _seconds(shared.check(GCRA(), rates, now, 1))  # type: ignore[no-untyped-call]
                    if waits <= SECOND / 1000 / per_second + LATE:
                        return waits
                    raise Strange
        own = self._budgets.setdefault(name, InMemoryStateStore())
        return _seconds(own.check(GCRA(), rates, now, 1))

    def answers(self) -> bool:
        """Whether Redis answers. One command."""
        with self._redis() as client:
            return bool(client and client.ping())
        return False

    def count(self, name: str, times: int) -> None:
        """Add to a count that is kept over the past hour, of all processes together.

        Sent every five seconds at most, in two commands at once: what a process has not sent at its end is not counted.
        """
        self._unsent[name] += times
        now = self.clock()
        if not 0 <= now - self._sent_at.get(name, -COUNTED_EACH) < COUNTED_EACH:
            with self._redis() as client:
                if client:
                    entry = f"count:{name}:{int(now // COUNT_SECONDS)}"
                    key = self._key(entry)
                    with self._removed_if_strange(entry):
                        pipeline = client.pipeline(transaction=False).incrby(key, self._unsent[name])
                        pipeline.expire(key, COUNTS_HOLD).execute()
                        self._sent_at[name], self._unsent[name] = now, 0

    def counts(self, names: Sequence[str]) -> dict[str, dict[float, int]]:
        """What was counted in the past hour: for each name the counts by the starts of the spans that had any."""
        last = int(self.clock() // COUNT_SECONDS)
        spans = range(last - COUNTED_SPANS + 1, last + 1)
        found: dict[str, dict[float, int]] = {name: {} for name in names}
        with self._redis() as client:
            if client and names:
                values: Any = client.mget([self._key(f"count:{name}:{span}") for name in names for span in spans])
                for (name, span), raw in zip(product(names, spans), values, strict=True):
                    if raw is not None and raw.isdigit():
                        found[name][float(span * COUNT_SECONDS)] = int(raw)
        return found

    def _key(self, name: str) -> str:
        return f"bal:chain:{self.scope}:{name}"

    @contextmanager
    def _removed_if_strange(self, name: str) -> Iterator[None]:
        """Delete an entry that cannot be one of ours, should the block find that out. It does not end the block's."""
        try:
            yield
        except (Strange, redis.ResponseError) as error:
            if isinstance(error, redis.ResponseError) and not any(words in str(error) for words in ABOUT_THE_ENTRY):
                raise
            log.warning("entry_dropped", key=self._key(name))
            self._delete(name)

    @contextmanager
    def _redis(self) -> Iterator[Any]:
        """Redis, or None while it is left alone. What fails in the block is told of once, and counts as not done."""
        if self.url is None or self.clock() < self._back_at:
            yield None
            return
        if self._client is None:
            self._client = redis.Redis.from_url(
                self.url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0)
            )
        try:
            yield self._client
        except redis.RedisError as error:
            self._back_at = self.clock() + LEFT_ALONE
            self._client.close()  # what answers there may have become a replica: the next one is found anew
            log.warning("redis_unavailable", error=type(error).__name__, left_alone_seconds=LEFT_ALONE)


class Strange(Exception):
    """An entry says what none of ours can."""


ABOUT_THE_ENTRY = ("WRONGTYPE", "not an integer", "would overflow")
"""What Redis says of an entry. All else is about the server, or about our rights there."""

GONE = -2  # Redis' answer when it is asked how long a key has, and there is none


def _entry(name: str, raw: Any, now: float) -> tuple[Any, float] | None:
    """A value and until when it holds. None: it is not an entry of ours, and is passed over until one of ours comes."""
    kind = name.partition(":")[0]
    try:
        value, until = json.loads(raw)
        ours = kind in SHAPES and SHAPES[kind](value, now) and float(until) <= now + LONGEST[kind] + CLOCKS_DIFFER
        return (value, float(until)) if ours else None
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def _number(value: Any) -> bool:
    return type(value) is int and value >= 0


def _size(value: Any, _now: float) -> bool:
    return _number(value) and value > 0


def _block(value: Any, now: float) -> bool:
    match value:
        case [number, time]:
            return _number(number) and _number(time) and time <= now + FUTURE_TOLERANCE
    return False


def _rest(value: Any, now: float) -> bool:
    match value:
        case [int() | float() as until, strikes, str() as code]:
            soon = 0 <= until <= now + LONGEST_WAIT_TOLD + CLOCKS_DIFFER
            return soon and _number(strikes) and strikes <= MOST_STRIKES and code in REST_CODES
    return False


def _way(value: Any, _now: float) -> bool:
    match value:
        case None | [str(), str()]:
            return True
    return False


SHAPES: Mapping[str, Callable[[Any, float], bool]] = {
    "newest": _block,
    "rest": _rest,
    "key": _rest,
    "way": _way,
    "size": _size,
}
"""What an entry is, by its name's first part: whoever reads one need not look again."""


def _seconds(decision: Any) -> float:
    return 0.0 if decision.allowed else max(decision.retry_after_ms or 0, 1) / 1000
