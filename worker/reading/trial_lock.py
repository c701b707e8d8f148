"""A lock in Redis that lets one process at a time try nodes that failed: should one of them hang, it holds up one
process and not all of them.
"""

from contextlib import suppress
from dataclasses import dataclass

from redis.exceptions import LockError
from redis.lock import Lock

from worker.reading.shared_entries import CLOCKS_DIFFER
from worker.reading.shared_redis import SharedRedis

GONE = -2  # what Redis answers when it is asked how long a key has left, and there is none


@dataclass(slots=True)
class TrialLock:
    """One lock of one network, as a process sees it. Without Redis each process decides for itself."""

    shared: SharedRedis
    name: str
    _lock: Lock | None = None
    _kept_until: float = 0.0
    """Until when this process left the lock to end by itself, in unix seconds: what it goes by without Redis."""

    def acquire(self, seconds: float, longest: float = 0.0) -> float:
        """Have the lock for some seconds at the most, or go on having it for so long.

        0.0: this process has it. Otherwise another one does, for so many seconds more. No process has it for more than
        `longest` seconds, or ours: a key that says so was planted, and is removed.
        """
        seconds = max(seconds, 0.001)
        most = max(seconds, longest) + CLOCKS_DIFFER
        with self.shared.redis() as client:
            if client:
                if self._extend(seconds):
                    return 0.0
                lock = Lock(client, self.shared.key(self.name), timeout=seconds, blocking=False, thread_local=False)
                if lock.acquire():
                    self._lock = lock
                    return 0.0
                left = client.pttl(self.shared.key(self.name)) / 1000
                if left != GONE / 1000 and not 0 <= left <= most:
                    self.shared.delete(self.name)
                return max(float(left), 0.001)
        left = self._kept_until - self.shared.clock()
        return left if 0 <= left <= most else 0.0

    def keep(self, seconds: float) -> None:
        """Let the lock that `acquire` gave this process end by itself, after so many seconds. One command."""
        self._kept_until = self.shared.clock() + seconds
        with self.shared.redis() as client:
            if client and self._extend(seconds):
                self._lock = None

    def release(self) -> None:
        """End the lock that `acquire` gave this process, if it still has it. One command."""
        lock, self._lock = self._lock, None
        with self.shared.redis() as client:
            if client and lock:
                with suppress(LockError):  # it ended before, and may be another's
                    lock.release()

    def _extend(self, seconds: float) -> bool:
        """Whether this process has the lock: then it has it for so long from now on."""
        with suppress(LockError):
            if self._lock:
                return bool(self._lock.extend(seconds, replace_ttl=True))
        self._lock = None
        return False


@dataclass(slots=True)
class Trial:
    """One read's leave to try nodes that failed last time. The lock is acquired when it is first needed."""

    lock: TrialLock
    seconds: float
    """For how long this read has the lock at the most."""
    longest: float
    """For how long any read of the network has it at the most."""
    held: bool = False
    """This read has it; without Redis there is no lock that says so."""
    wait: float = 0.0
    """Seconds until it may be had, where another has it."""

    def ours(self) -> bool:
        """Whether this read may try nodes that failed."""
        if not self.held:
            self.wait = self.lock.acquire(self.seconds, self.longest)
            self.held = not self.wait
        return self.held

    def end(self, seconds: float) -> None:
        """Let others have the lock, in some seconds."""
        if self.held and seconds:
            self.lock.keep(seconds)
        elif self.held:
            self.lock.release()
