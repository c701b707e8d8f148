"""Requests a second: slots are reserved by one clock, never too many, hardly any unused, and each kind has its half."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count, pairwise
from types import SimpleNamespace

import fakeredis
import pytest
from structlog.testing import capture_logs

from worker.errors import OverBudget
from worker.reading.budget import AHEAD, LATE, Budget
from worker.reading.shared import Shared

NOW = 1_795_000_000.0
NODE = "node"
DEADLINE = 25.0  # seconds that a read has
KEY = "bal:chain:net:budget:10:node"


@dataclass
class Clock:
    """One for everything: Redis' own, and what processes measure by."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class World:
    """Processes that share a Redis, on a clock that moves from one thing that happens to the next."""

    clock: Clock
    server: fakeredis.FakeServer = field(default_factory=fakeredis.FakeServer)
    sent: list[tuple[float, bool]] = field(default_factory=list)
    refused: int = 0
    _next: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _count: Iterator[int] = field(default_factory=count)

    def budget(self, per_second: float, *, own_clock: float = 0.0) -> Budget:
        known = Shared("net", "redis://given", lambda: self.clock.now + own_clock, _client=self.client())
        return Budget(known, per_second, DEADLINE + 5)

    def client(self) -> fakeredis.FakeRedis:
        return fakeredis.FakeRedis(server=self.server)

    def at(self, moment: float, what: Callable[[], None]) -> None:
        heappush(self._next, (moment, next(self._count), what))

    def run(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self._next and self._next[0][0] <= end:
            self.clock.now, _, what = heappop(self._next)
            what()
        self.clock.now = end

    def reader(
        self,
        per_second: float,
        requests: int = 1,
        *,
        refresh: bool = False,
        takes: float = 0.02,
        own_clock: float = 0.0,
        begins: float = 0.0,
    ) -> None:
        """A process that always has a next read, of so many requests, each of which takes so many seconds."""
        budget = self.budget(per_second, own_clock=own_clock)
        ahead = None if refresh else AHEAD

        def look() -> None:
            deadline = self.clock.now + DEADLINE
            seconds = budget.reserve(NODE, requests, deadline, refresh=refresh, ahead=ahead, pace=1.5 * takes)
            if seconds:
                self.refused += 1
                self.at(self.clock.now + seconds, look)
            else:
                assert budget._slots[NODE][-1].due <= deadline + LATE
                self.at(self.clock.now + 0.005, ask)

        def ask() -> None:
            slots = budget._slots[NODE]
            while slots and slots[0].due < self.clock.now - LATE:
                slots.pop(0)
            if not slots:
                look()
            elif slots[0].due > self.clock.now:
                self.at(slots[0].due, ask)
            else:
                slots.pop(0)
                self.sent.append((self.clock.now, refresh))
                self.at(self.clock.now + takes, ask if slots else look)

        self.at(self.clock.now + begins, look)

    def most_in_a_second(self) -> int:
        times = [at for at, _ in self.sent]
        return max(sum(at <= other < at + 1.0 for other in times) for at in times)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    clock = Clock()
    for module in ("_socket._base", "_helpers", "commands_mixins.server_mixin"):
        monkeypatch.setattr(f"fakeredis.{module}.time", SimpleNamespace(time=clock))
    monkeypatch.setattr("worker.reading.budget.monotonic", clock)
    monkeypatch.setattr("worker.reading.budget.sleep", clock.sleep)
    return World(clock)


@pytest.mark.parametrize("readers", [1, 3, 8])
@pytest.mark.parametrize(("per_second", "requests"), [(0.2, 1), (1, 1), (3, 1), (3, 14), (10, 1), (10, 42), (50, 42)])
def test_while_there_is_work_the_budget_is_used_and_never_exceeded(
    world: World, readers: int, per_second: float, requests: int
) -> None:
    for number in range(readers):
        world.reader(per_second, requests, takes=0.005, begins=number * 0.01)
    seconds = 40.0 if per_second >= 1 else 300.0
    world.run(seconds)
    used = sum(at < NOW + seconds for at, _ in world.sent) / (seconds * per_second)
    assert used >= 0.95 or readers == 1, used
    assert used >= 0.8, used
    assert world.most_in_a_second() <= max(per_second, 1)


@pytest.mark.parametrize("own_clock", [-3600.0, -3.0, 3.0, 3600.0])
def test_a_host_whose_clock_is_off_reads_as_much_as_any_other(world: World, own_clock: float) -> None:
    sent_by: list[int] = []
    for each in (0.0, own_clock):
        before = len(world.sent)
        world.reader(5, takes=0.3, own_clock=each)
        world.run(40)
        sent_by.append(len(world.sent) - before)
    assert world.most_in_a_second() <= 5
    alone = sent_by[0]
    assert sent_by[1] >= alone, "together they send more than one alone"


def test_two_kinds_that_both_want_it_have_half_of_the_budget_each(world: World) -> None:
    for _ in range(8):
        world.reader(10)
        world.reader(10, refresh=True)
    world.run(60)
    refreshes = sum(refresh for _, refresh in world.sent)
    assert len(world.sent) >= 0.95 * 600
    assert 0.45 <= refreshes / len(world.sent) <= 0.55
    assert world.most_in_a_second() <= 10


@pytest.mark.parametrize("requests", [1, 42])
def test_a_refresh_waits_for_no_more_than_what_sweeps_have_reserved(world: World, requests: int) -> None:
    for _ in range(8):
        world.reader(10, requests)
    world.run(30)
    waits: list[float] = []
    budget = world.budget(10)
    for _ in range(20):
        began = world.clock.now
        assert not budget.reserve(NODE, 1, began + DEADLINE, refresh=True)
        waits.append(budget._slots[NODE].pop().due - began)
        world.run(2)
    assert waits[0] <= AHEAD + requests * 0.15 + 0.3
    assert max(waits[3:]) <= 0.5, "once refreshes are there, a lane is theirs"


def test_slots_are_for_those_who_have_them_and_others_come_after(world: World) -> None:
    one, other = world.budget(10), world.budget(10)
    assert not one.reserve(NODE, 3, NOW + 5, refresh=False)
    assert [slot.due - NOW for slot in one._slots[NODE]] == pytest.approx([0, 0.104, 0.208], abs=0.002)
    assert not other.reserve(NODE, 1, NOW + 5, refresh=False)
    assert other._slots[NODE][0].due - NOW == pytest.approx(0.312, abs=0.002)


def test_what_is_given_back_is_for_others_again(world: World) -> None:
    one, other = world.budget(10), world.budget(10)
    one.reserve(NODE, 20, NOW + 5, refresh=False)
    one.give_back(NODE)
    assert not other.reserve(NODE, 1, NOW + 5, refresh=False)
    assert other._slots[NODE][0].due - NOW <= 0.11


def test_what_has_no_room_before_the_deadline_reserves_nothing(world: World) -> None:
    one, other = world.budget(10), world.budget(10)
    assert one.reserve(NODE, 42, NOW + 2, refresh=False) > 0
    assert not other.reserve(NODE, 1, NOW + 2, refresh=False)
    assert other._slots[NODE][0].due - NOW <= 0.11


def test_a_sweep_reserves_for_a_second_ahead_and_is_told_when_to_come_again(world: World) -> None:
    one, other = world.budget(10), world.budget(10)
    one.reserve(NODE, 30, NOW + 25, refresh=False)
    seconds = other.reserve(NODE, 1, NOW + 25, refresh=False, ahead=AHEAD)
    assert seconds == pytest.approx(30 * 0.104 - AHEAD, abs=0.01)
    world.clock.now += seconds
    assert not other.reserve(NODE, 1, world.clock.now + 25, refresh=False, ahead=AHEAD)


def test_the_slots_of_one_read_are_as_far_apart_as_its_requests_take_and_others_fill_the_gaps(world: World) -> None:
    one, other = world.budget(10), world.budget(10)
    one.reserve(NODE, 5, NOW + 25, refresh=False, pace=0.3)
    other.reserve(NODE, 5, NOW + 25, refresh=False, pace=0.0)
    dues = sorted(slot.due for budget in (one, other) for slot in budget._slots[NODE])
    own = [slot.due for slot in one._slots[NODE]]
    assert min(later - before for before, later in pairwise(own)) >= 0.3
    assert min(later - before for before, later in pairwise(dues)) >= 0.103


def test_slots_for_requests_that_take_too_long_for_all_of_them_are_closer_together(world: World) -> None:
    """Else they would never be had, however often they are asked for."""
    budget = world.budget(10)
    assert not budget.reserve(NODE, 42, NOW + 25, refresh=False, pace=0.6)
    assert budget._slots[NODE][-1].due <= NOW + 25


def test_a_slot_that_came_while_its_process_was_busy_is_lost(world: World) -> None:
    budget = world.budget(1)
    budget.reserve(NODE, 1, NOW + 25, refresh=False)
    world.clock.now += 0.5
    other = world.budget(1)
    assert not other.reserve(NODE, 1, NOW + 25, refresh=False)
    began = world.clock.now
    budget.wait(NODE, NOW + 25, refresh=False)
    assert world.clock.now - began > 1.0


def test_of_several_slots_those_that_are_over_are_passed_by(world: World) -> None:
    budget = world.budget(1)
    budget.reserve(NODE, 3, NOW + 25, refresh=False)
    world.clock.now += 1.5
    budget.wait(NODE, NOW + 25, refresh=False)
    assert world.clock.now - NOW == pytest.approx(2.08, abs=0.01)


def test_where_nobody_waits_a_late_request_costs_nothing(world: World) -> None:
    budget = world.budget(1)
    budget.reserve(NODE, 1, NOW + 25, refresh=False)
    world.clock.now += 0.5
    began = world.clock.now
    budget.wait(NODE, NOW + 25, refresh=False)
    assert world.clock.now - began < 0.01


def test_without_redis_a_process_keeps_the_budget_by_itself(world: World) -> None:
    budget = Budget(Shared("net", None, world.clock), 10, 30)
    times = []
    for _ in range(30):
        budget.wait(NODE, NOW + 25, refresh=False)
        times.append(world.clock.now)
    assert 2.9 < times[-1] - times[0] < 3.2
    assert budget.reserve(NODE, 300, world.clock.now + 25, refresh=False) > 0
    with pytest.raises(OverBudget) as failure:
        budget.wait(NODE, world.clock.now, refresh=False)
    assert failure.value.code == "throttled"
    assert failure.value.retry_after


def test_no_budget_is_no_bound_and_no_command(world: World) -> None:
    budget = world.budget(0)
    for _ in range(100):
        assert not budget.reserve(NODE, 1000, NOW, refresh=False)
        budget.wait(NODE, NOW, refresh=False)
    assert list(world.client().scan_iter()) == []


@pytest.mark.parametrize(
    "plant",
    [
        lambda client: client.set(KEY, "x"),
        lambda client: client.rpush(KEY, "x"),
        lambda client: client.zadd(KEY, {"x": NOW * 1000 + 5}),
        lambda client: client.zadd(KEY, {"1.5": NOW * 1000 + 5}),
        lambda client: client.zadd(KEY, {"1": 9e18}),
        lambda client: client.zadd(KEY, {"1": float("inf")}),
        lambda client: client.zadd(KEY, {"1": (NOW + 60) * 1000}),
        lambda client: client.zadd(KEY, {"nan": NOW * 1000 + 5}),
    ],
)
def test_what_cannot_be_ours_is_deleted_and_told_of_and_the_budget_is_shared_again(
    world: World, plant: Callable[[fakeredis.FakeRedis], object]
) -> None:
    plant(world.client())
    budget, other = world.budget(10), world.budget(10)
    with capture_logs() as logs:
        assert not budget.reserve(NODE, 1, NOW + 25, refresh=False)
    assert [(line["event"], line["key"]) for line in logs] == [("entry_dropped", KEY)]
    world.clock.now += 1
    assert not budget.reserve(NODE, 1, NOW + 25, refresh=False)
    assert not other.reserve(NODE, 1, NOW + 25, refresh=False)
    assert other._slots[NODE][0].due - world.clock.now == pytest.approx(0.104, abs=0.002)


@pytest.mark.parametrize(("name", "kind"), [("refresh", "list"), ("sweep", "set")])
def test_marks_of_another_kind_do_no_harm(world: World, name: str, kind: str) -> None:
    getattr(world.client(), "rpush" if kind == "list" else "sadd")(f"{KEY}:{name}", "x")
    for refresh in (True, False):
        assert not world.budget(10).reserve(NODE, 1, NOW + 25, refresh=refresh)
