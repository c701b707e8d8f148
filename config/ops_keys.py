"""The keys in Redis under which workers leave for operators when they did what: they write them, ``ops`` reads them."""

DISPATCHED = "bal:ops:dispatched"
"""When a worker last carried out beat's tick, to the end: unix seconds as text."""

WORKERS = "bal:ops:workers"
"""A sorted set: when each worker was last seen, in unix seconds. A member is as `worker_entry` makes it."""

FORGOTTEN_AFTER = 3600
"""Seconds after which a worker that was not seen is no longer in the set."""


def worker_entry(name: str, queues: list[str]) -> str:
    """A worker's member of the set: its name, and the queues that it serves. Pure."""
    return f"{name}|{','.join(queues)}"


def worker_of(entry: str) -> tuple[str, list[str]]:
    """The name and the queues in a member of the set. Pure."""
    name, _, queues = entry.rpartition("|")
    return name, [queue for queue in queues.split(",") if queue]
