"""What the workers of one network know of its nodes, shared through Redis: entries that each expire.

A worker that cannot reach Redis goes on with what it knows itself. An entry counts only if it has a form that workers
put (``shared_entries``), and ends when theirs do.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.reading.request_counts import RequestCounts
from worker.reading.shared_entries import entry, is_ours
from worker.reading.shared_redis import SharedRedis
from worker.reading.trial_lock import TrialLock

LOOKED_UP = 1.0  # seconds for which a process relies on what it looked up: several batches, and no harm


@dataclass(slots=True)
class Shared(SharedRedis):
    """One network's entries, and what counts its requests and lets one process at a time try its nodes."""

    requests: RequestCounts = field(init=False)
    _own: dict[str, tuple[Any, float]] = field(default_factory=dict)
    _proved: dict[str, tuple[Any, float]] = field(default_factory=dict)
    _looked_up: dict[tuple[str, ...], float] = field(default_factory=dict)
    _locks: dict[str, TrialLock] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.requests = RequestCounts(self)

    def trial_lock(self, name: str = "trial") -> TrialLock:
        """This process's view of a lock: always the same object, which remembers what it has acquired."""
        return self._locks.setdefault(name, TrialLock(self, name))

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
        self.delete(name)
