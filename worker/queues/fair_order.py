"""The order in which a worker looks at its queues: ticks, then refreshes, then the feed and the networks, each of which
gets an equal share of the worker's time while it has work. Pure.

The feed's messages are short, so that they come before every batch that waits. Where a node hangs that it follows they
cost a time-out each, and then its share holds them back as it does any other queue.

This is start-time fair queueing (Goyal, Vin, Cheng 1996). Each network's queue has a position, which moves on by what
its messages cost: the seconds for which each occupies a process. The queue whose position is furthest behind is looked
at first. So a network with a backlog makes no other wait, and one whose nodes hang, whose batches cost a time-out each,
is looked at after all others that have work. A queue that was empty starts where the others are: it saves nothing up.
"""

from collections.abc import Iterable

from config.broker import REFRESH_QUEUE, TICKS_QUEUE

FIRST = {TICKS_QUEUE: 0, REFRESH_QUEUE: 1}

ASSUMED_COST = 1.0  # seconds; of a queue's messages until the first of them is done
LEAST_COST = 0.01  # seconds; a message that finds nothing to do occupies a process all the same


class FairOrder:
    """An order of queues in kombu's form (``queue_order_strategy``), which the transport tells what messages cost."""

    def __init__(self) -> None:
        self.queues: list[str] = []
        self._positions: dict[str, float] = {}
        self._costs: dict[str, float] = {}
        self._reached = 0.0  # the position from which the message was taken that was taken last

    def update(self, queues: Iterable[str]) -> None:
        """These are served from now on."""
        self.queues = list(queues)

    def consume(self, count: int) -> list[str]:
        """The first `count` queues, in the order in which they are looked at."""
        return sorted(self.queues, key=self._place)[:count]

    def rotate(self, served: str) -> None:
        """A message of this queue was taken. It is counted at once, by what others of its queue have cost."""
        if served in FIRST or served not in self.queues:
            return
        self._reached = self._start(served)
        self._positions[served] = self._reached + self._costs.get(served, ASSUMED_COST)

    def done(self, queue: str, seconds: float) -> None:
        """A message of this queue has occupied a process for so long. Half of its cost is that of earlier ones."""
        if queue in self.queues:
            seconds = max(seconds, LEAST_COST)
            self._costs[queue] = (self._costs.get(queue, seconds) + seconds) / 2

    def _start(self, queue: str) -> float:
        return max(self._reached, self._positions.get(queue, 0.0))

    def _place(self, queue: str) -> tuple[int, float, float]:
        """Of queues that start where the others are, the one comes first that was served longest ago."""
        return FIRST.get(queue, len(FIRST)), self._start(queue), self._positions.get(queue, 0.0)
