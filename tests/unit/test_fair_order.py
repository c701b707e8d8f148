"""The order in which a worker looks at its queues: ten networks, of which some have a backlog and some hang."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from heapq import heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.broker import FEED_QUEUE, queues, sync_queue
from worker.queues.fair_order import FairOrder

TEN = tuple(f"network-{at}" for at in range(10))
QUEUES = queues(TEN, feed=True)
NETWORKS = [sync_queue(network) for network in TEN]
BACKLOG, HANGS, *OTHERS = NETWORKS
TIME_OUT = 25.0  # seconds for which a batch of a network that hangs occupies a process
BATCH = 0.5  # seconds that any other batch takes


class Worker:
    """Processes of a worker, which take messages as a worker does: one BRPOP over all queues for each free process."""

    def __init__(self, processes: int, waiting: Mapping[str, int], costs: Mapping[str, float] | None = None) -> None:
        self.order, self.waiting, self.costs = FairOrder(), Counter(waiting), defaultdict(lambda: BATCH, costs or {})
        self.order.update(reversed(QUEUES))  # as -Q may name them
        self.free, self.now = processes, 0.0
        self.running: list[tuple[float, str, float]] = []
        self.taken: list[tuple[float, str]] = []
        self.spent: Counter[str] = Counter()

    def run(self, until: float) -> "Worker":
        """Go on until that time, in seconds, or until there is nothing to do."""
        while self.now < until:
            queue = next((each for each in self.order.consume(len(QUEUES)) if self.waiting[each]), None)
            if self.free and queue:
                self.order.rotate(queue)
                self.waiting[queue] -= 1
                self.free -= 1
                self.taken.append((self.now, queue))
                heappush(self.running, (self.now + self.costs[queue], queue, self.costs[queue]))
            elif self.running:
                self.now, done, cost = heappop(self.running)
                self.order.done(done, cost)
                self.spent[done] += cost  # type: ignore[assignment]  # seconds
                self.free += 1
            else:
                break
        return self

    def arrive(self, queue: str) -> float:
        """How long a message that arrives now waits until a process takes it."""
        arrived, before = self.now, sum(1 for _, each in self.taken if each == queue)
        self.waiting[queue] += 1
        while sum(1 for _, each in self.taken if each == queue) == before:
            self.run(self.now + BATCH / 2)
            assert self.now < arrived + 1000, "nobody takes it"
        return self.taken[-1][0] - arrived


def test_ticks_and_then_refreshes_come_before_every_network() -> None:
    worker = Worker(1, dict.fromkeys(QUEUES, 3)).run(100)
    assert [queue for _, queue in worker.taken[:6]] == ["ticks"] * 3 + ["refresh"] * 3


@pytest.mark.parametrize("queue", ["ticks", "refresh"])
def test_a_tick_or_a_refresh_that_arrives_is_next_whatever_waits(queue: str) -> None:
    worker = Worker(1, dict.fromkeys(NETWORKS, 1000)).run(100)
    assert worker.arrive(queue) <= 2 * BATCH


@pytest.mark.parametrize("processes", [1, 2, 8])
def test_a_backlog_of_one_network_makes_a_batch_of_another_wait_for_no_more_than_the_one_in_hand(
    processes: int,
) -> None:
    worker = Worker(processes, {BACKLOG: 10**6}).run(600)
    for other in OTHERS:
        assert worker.arrive(other) <= 2 * BATCH


def test_a_network_that_hangs_has_no_more_of_the_processes_than_any_other_that_has_work() -> None:
    worker = Worker(2, dict.fromkeys(NETWORKS, 10**6), {HANGS: TIME_OUT}).run(3600)
    shares = {queue: worker.spent[queue] / sum(worker.spent.values()) for queue in NETWORKS}
    assert shares.pop(HANGS) < 0.15
    assert min(shares.values()) > 0.08


def test_where_one_has_a_backlog_and_one_hangs_the_batches_of_the_others_wait_for_one_time_out_at_most() -> None:
    """Both processes may just be with the one that hangs, where no other had work."""
    worker = Worker(2, {BACKLOG: 10**6, HANGS: 10**6}, {HANGS: TIME_OUT}).run(600)
    waited = [worker.arrive(other) for other in OTHERS * 20]
    assert max(waited) <= TIME_OUT
    assert sum(waited) / len(waited) < 2 * BATCH


FOLLOWED = 0.1  # seconds that a message of the feed takes
BLOCK_TIME = 3.0  # seconds between two of them
SOME = 10


@pytest.mark.parametrize("processes", [1, 2])
def test_a_message_of_the_feed_waits_for_a_batch_or_two_and_not_for_one_of_each_network(processes: int) -> None:
    worker = Worker(processes, dict.fromkeys(NETWORKS, 10**6), {FEED_QUEUE: FOLLOWED}).run(600)
    waited = []
    for _ in range(50):
        waited.append(worker.arrive(FEED_QUEUE))
        worker.run(worker.now + BLOCK_TIME)
    assert max(waited[SOME:]) < 3 * BATCH, "once it is known how short they are"


def test_a_feed_whose_nodes_hang_has_no_more_of_the_processes_than_a_network_that_has_work() -> None:
    worker = Worker(2, dict.fromkeys([FEED_QUEUE, *NETWORKS], 10**6), {FEED_QUEUE: TIME_OUT}).run(3600)
    assert worker.spent[FEED_QUEUE] / sum(worker.spent.values()) < 0.15


def test_networks_whose_batches_differ_in_cost_have_as_much_of_the_processes_each() -> None:
    costs = {queue: BATCH * (1 + at) for at, queue in enumerate(NETWORKS)}
    worker = Worker(3, dict.fromkeys(NETWORKS, 10**6), costs).run(3600)
    assert max(worker.spent.values()) < 1.2 * min(worker.spent[queue] for queue in NETWORKS)


def test_a_network_that_was_quiet_for_long_has_saved_nothing_up() -> None:
    worker = Worker(1, {BACKLOG: 10**6}).run(3600)
    worker.waiting[OTHERS[0]] = 10**6
    begun = len(worker.taken)
    worker.run(3700)
    counts = Counter(queue for _, queue in worker.taken[begun:])
    assert counts[BACKLOG] == pytest.approx(counts[OTHERS[0]], abs=3)


def test_a_network_that_hung_is_served_like_the_others_soon_after_its_nodes_are_back() -> None:
    worker = Worker(2, dict.fromkeys(NETWORKS, 10**6), {HANGS: TIME_OUT}).run(1000)
    del worker.costs[HANGS]
    worker.run(2500)
    begun = len(worker.taken)
    worker.run(3500)
    counts = Counter(queue for _, queue in worker.taken[begun:])
    assert counts[HANGS] == pytest.approx(counts[OTHERS[0]], rel=0.1)


@given(st.lists(st.sampled_from([*QUEUES, "of another version"]), max_size=60), st.data())
def test_every_queue_is_looked_at_whatever_was_served(served: list[str], data: st.DataObject) -> None:
    order = FairOrder()
    order.update(reversed(QUEUES))
    for queue in served:
        order.rotate(queue)
        if data.draw(st.booleans()):
            order.done(queue, data.draw(st.floats(0, 60)))
    looked_at = order.consume(len(QUEUES))
    assert looked_at[:2] == ["ticks", "refresh"]
    assert sorted(looked_at) == sorted(QUEUES)
    assert order.consume(3) == looked_at[:3]
