"""What the workers have left in Redis: their counts, what they know of nodes, what waits in queues, who lives. I/O.

What lies there is treated as a stranger's: only known keys and fields are asked for, so that an answer is bounded, and
what has not the form that workers give it counts as absent.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import redis

from config.broker import KEY_PREFIX, queues
from config.networks import NetworkName
from config.ops_keys import DISPATCHED, WORKERS, worker_of
from config.settings import WorkerSettings
from config.work_counts import (
    BATCH_OUTCOMES,
    BATCH_SIZES,
    LOST,
    WAITED,
    WALLETS,
    counts_key,
    day_key,
    failed_field,
    outcome_field,
    requests_field,
    size_field,
)
from ops.picture import QueuePicture, Work
from worker.admin.node_states import NamedNode, NodeState, named_nodes, node_states
from worker.errors import CHANGE_UNCONFIRMED, READ_CODES
from worker.reading import shared_of
from worker.wording import printable

CLOCKS_DIFFER = 10.0  # seconds by which two machines' clocks may be apart: a moment further ahead is none of ours
MOST_WORKERS = 200
COUNTED_CODES = (*READ_CODES, CHANGE_UNCONFIRMED)
"""The errors of a node's reads that workers count."""
MOST_DIGITS = 18  # of a count: Redis counts to 2^63


@dataclass(slots=True)
class RedisPart:
    """What one pass found in Redis."""

    nodes: dict[NetworkName, Sequence[NodeState]] = field(default_factory=dict)
    work: dict[NetworkName, Work] = field(default_factory=dict)
    used_today: dict[NetworkName, int] = field(default_factory=dict)
    """Requests since midnight UTC."""
    queues: list[QueuePicture] = field(default_factory=list)
    dispatched: float | None = None
    workers: dict[str, float] = field(default_factory=dict)
    refused: bool = False
    """Redis' user may not read something of it."""


def look(client: Any, settings: WorkerSettings, now: float) -> RedisPart:
    """All that is known in Redis. Three commands a network, and one round trip more. Raises redis.RedisError."""
    client.ping()
    found = RedisPart()
    for network in settings.networks:
        _look_at_network(client, settings, network, now, found)
    _look_at_queues(client, queues(settings.networks, feed=settings.feed), now, found)
    return found


def _look_at_network(client: Any, settings: WorkerSettings, network: NetworkName, now: float, found: RedisPart) -> None:
    chain = settings.chain(network)
    shared = shared_of(network, settings, client)
    nodes = node_states(chain, shared)
    if shared.is_left_alone:  # it failed in between, and then nothing is known of any node
        found.refused = True
    else:
        found.nodes[network] = nodes
    named = list({node.id: node for node in reversed(named_nodes(chain))}.values())[::-1]  # each counted once
    fields = _fields(named)
    pipeline = client.pipeline(transaction=False).hmget(counts_key(network), fields).get(day_key(network, now))
    counts, used = _answers(pipeline, found)
    by_field = {name: number(raw) for name, raw in zip(fields, counts or (None,) * len(fields), strict=True)}
    known = {name: value for name, value in by_field.items() if value is not None}
    if known:  # of a network that was never read since Redis was emptied, nothing is known
        found.work[network] = work_of(named, known)
    # Without a key of the day nothing was sent yet, or Redis was emptied, or does not tell: nobody knows which.
    if (today := number(used)) is not None:
        found.used_today[network] = today


def _look_at_queues(client: Any, names: Sequence[str], now: float, found: RedisPart) -> None:
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.llen(f"{KEY_PREFIX}{name}").lindex(f"{KEY_PREFIX}{name}", -1)  # the one that is taken next
    pipeline.get(DISPATCHED).zrange(WORKERS, -MOST_WORKERS, -1, withscores=True)
    *of_queues, dispatched, workers = _answers(pipeline, found)
    found.dispatched = moment(dispatched, now)
    seen = workers_by_queue(workers or (), now, found)
    for name, messages, oldest in zip(names, of_queues[::2], of_queues[1::2], strict=True):
        if messages is not None:
            found.queues.append(QueuePicture(name, int(messages), sent_at(oldest, now), seen.get(name)))


def _answers(pipeline: Any, found: RedisPart) -> list[Any]:
    """What a pipeline's commands were answered; None for one that failed by what lies at its key, or by our rights."""
    answers = pipeline.execute(raise_on_error=False)
    found.refused = found.refused or any(isinstance(each, redis.exceptions.NoPermissionError) for each in answers)
    return [None if isinstance(each, Exception) else each for each in answers]


def _fields(nodes: Sequence[NamedNode]) -> list[str]:
    """The fields of a network's counts that there may be."""
    of_nodes = [
        name
        for node in nodes
        for name in (requests_field(node.id), *(failed_field(node.id, code) for code in COUNTED_CODES))
    ]
    sizes = [size_field(bound) for bound in (*BATCH_SIZES, None)]
    return [*of_nodes, *map(outcome_field, BATCH_OUTCOMES), *sizes, WALLETS, WAITED, LOST]


def work_of(nodes: Sequence[NamedNode], counts: Mapping[str, int]) -> Work:
    """A network's counts by the names that people see. What was never counted is zero where others were. Pure."""
    failed = {(node.name, code): counts.get(failed_field(node.id, code), 0) for node in nodes for code in COUNTED_CODES}
    return Work(
        requests={node.name: counts.get(requests_field(node.id), 0) for node in nodes},
        failed_reads={of: count for of, count in failed.items() if count},
        batches={outcome: counts.get(outcome_field(outcome), 0) for outcome in BATCH_OUTCOMES},
        batch_sizes={bound: counts.get(size_field(bound), 0) for bound in (*BATCH_SIZES, None)},
        batch_wallets=counts.get(WALLETS, 0),
        budget_wait_seconds=counts.get(WAITED, 0) / 1000,
        lost_batches=counts.get(LOST, 0),
    )


def workers_by_queue(entries: Sequence[tuple[bytes, float]], now: float, found: RedisPart) -> dict[str, float]:
    """When a worker of each queue was seen last. Workers go into `found` by their names."""
    by_queue: dict[str, float] = {}
    for raw, score in entries:
        seen = moment(score, now)
        if seen is None:
            continue
        name, served = worker_of(raw.decode(errors="replace"))
        found.workers[printable(name)] = max(found.workers.get(printable(name), 0.0), seen)
        for queue in served:
            by_queue[queue] = max(by_queue.get(queue, 0.0), seen)
    return by_queue


def number(raw: bytes | None) -> int | None:
    """A count as workers write it; None: there is none. Pure."""
    return int(raw) if raw is not None and raw.isdigit() and len(raw) <= MOST_DIGITS else None


def moment(raw: bytes | float | str | None, now: float) -> float | None:
    """A moment in unix seconds that can have been by now; None: there is none. Pure."""
    try:
        found = float(raw) if raw is not None else 0.0
    except (ValueError, TypeError):
        return None
    return found if isfinite(found) and 0 < found <= now + CLOCKS_DIFFER else None


def sent_at(message: bytes | None, now: float) -> float | None:
    """When a message was sent, by its own header; None: there is no message, or it does not say so. Pure."""
    try:
        headers = json.loads(message or b"")["headers"]
        return moment(headers.get("sent_at"), now)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
