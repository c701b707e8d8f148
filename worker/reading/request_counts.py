"""How many requests each node was sent in the past hour, by all processes together, counted in Redis."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from worker.reading.shared_redis import SharedRedis

SENT_EACH = 5.0  # seconds from one sending of a count to the next
SPAN_SECONDS = 300  # the time over which one key counts
SPANS = 12  # an hour, less what the running span lacks
KEY_HOLDS = SPAN_SECONDS * (SPANS + 1)


@dataclass(slots=True)
class RequestCounts:
    """The counts of one network's nodes, by their ids. What a process has not sent at its end is not counted."""

    shared: SharedRedis
    _unsent: Counter[str] = field(default_factory=Counter)
    _sent_at: dict[str, float] = field(default_factory=dict)

    def add(self, node: str, requests: int) -> None:
        """Count requests. Two commands at once, every SENT_EACH seconds at most."""
        self._unsent[node] += requests
        now = self.shared.clock()
        if 0 <= now - self._sent_at.get(node, -SENT_EACH) < SENT_EACH:
            return
        with self.shared.redis() as client:
            if client:
                name = _name(node, int(now // SPAN_SECONDS))
                key = self.shared.key(name)
                with self.shared.removed_if_strange(name):
                    pipeline = client.pipeline(transaction=False).incrby(key, self._unsent[node])
                    pipeline.expire(key, KEY_HOLDS).execute()
                    self._sent_at[node], self._unsent[node] = now, 0

    def of_the_past_hour(self, nodes: Sequence[str]) -> dict[str, dict[float, int]]:
        """For each node its counts by the starts, in unix seconds, of the spans that had any. One command."""
        last = int(self.shared.clock() // SPAN_SECONDS)
        spans = range(last - SPANS + 1, last + 1)
        found: dict[str, dict[float, int]] = {node: {} for node in nodes}
        with self.shared.redis() as client:
            if client and nodes:
                keys = [self.shared.key(_name(node, span)) for node in nodes for span in spans]
                values: Any = client.mget(keys)
                for (node, span), raw in zip(product(nodes, spans), values, strict=True):
                    if raw is not None and raw.isdigit():
                        found[node][float(span * SPAN_SECONDS)] = int(raw)
        return found


def _name(node: str, span: int) -> str:
    return f"count:requests:{node}:{span}"
