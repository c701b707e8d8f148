"""What there is to say of what all networks share: database, Redis, beat, workers, queues. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ops.page_verdict import Level
from ops.picture import Picture, QueuePicture
from worker.wording import in_words

QUIET: Final = 60.0
"""Seconds after which a life sign that comes every few seconds is missing. Judged as of the pass that found it: between
two passes nobody looks.
"""
TICKS_MISSED: Final = 10
"""After so many intervals of beat's without a tick that was carried out, and QUIET at the least, beat is missing."""


@dataclass(frozen=True, slots=True)
class Process:
    """One of them, how it is, and what can be done; `to_do` is empty where nothing has to be."""

    level: Level
    name: str
    sentence: str
    to_do: str = ""


def processes(picture: Picture, now: float, *, ticks: float) -> Iterator[Process]:
    """The state of each. What cannot be known without Redis is said to be unknown. `ticks`: DISPATCH_INTERVAL."""
    if picture.database and not picture.counted:
        sentence = "answers, and did not count the wallets"
        yield Process(Level.ACT, "Postgres", sentence, "Why is told below, and in the log of `ops`.")
    elif picture.database:
        yield Process(Level.GOOD, "Postgres", "answers")
    else:
        yield Process(Level.ACT, "Postgres", "does not answer", "See whether it runs, and `DATABASE_URL`.")
    if picture.redis:
        yield Process(Level.GOOD, "Redis", "answers")
    else:
        yield Process(Level.ACT, "Redis", "does not answer", "See whether it runs, and `REDIS_URL`.")
    yield _beat(picture, now, max(QUIET, TICKS_MISSED * ticks))
    yield _workers(picture, now)


def _beat(picture: Picture, now: float, quiet: float) -> Process:
    if not picture.redis:
        return Process(Level.IDLE, "Beat", "unknown without Redis")
    if picture.dispatched is None:
        return Process(
            Level.ACT, "Beat", "no tick was ever carried out", "Start beat, and a worker that serves `ticks`."
        )
    ago = max(now - picture.dispatched, 0)
    sentence = f"last tick carried out {in_words(ago)} ago"
    if picture.at - picture.dispatched > quiet:
        return Process(Level.ACT, "Beat", sentence, "See whether beat runs, and a worker that serves `ticks`.")
    return Process(Level.GOOD, "Beat", sentence)


def _workers(picture: Picture, now: float) -> Process:
    if picture.workers is None:
        return Process(Level.IDLE, "Workers", "unknown without Redis")
    seen = sum(picture.at - at <= QUIET for at in picture.workers.values())
    if seen:
        return Process(Level.GOOD, "Workers", f"{seen:,} seen within a minute")
    if picture.workers:
        ago = in_words(now - max(picture.workers.values()))
        return Process(Level.ACT, "Workers", f"none seen for {ago}", "Start a worker: `celery -A worker worker`.")
    return Process(Level.ACT, "Workers", "none was ever seen", "Start a worker: `celery -A worker worker`.")


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue, and in words how it is."""

    level: Level
    found: QueuePicture
    sentence: str


def queues(picture: Picture, now: float) -> list[Queue] | None:
    """Each queue; None: Redis is away."""
    if picture.queues is None:
        return None
    return [_queue(each, picture.at, now) for each in picture.queues]


def _queue(found: QueuePicture, at: float, now: float) -> Queue:
    served = found.worker_seen is not None and at - found.worker_seen <= QUIET
    if not served:
        return Queue(Level.ACT if found.messages else Level.WATCH, found, "no worker serves it")
    if found.oldest is not None and at - found.oldest > QUIET:
        return Queue(Level.WATCH, found, f"a message waits for {in_words(now - found.oldest)}")
    return Queue(Level.GOOD, found, "served")
