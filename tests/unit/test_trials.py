"""Before anything is claimed: whether an endpoint may be asked, and how the way back is found while none may."""

from time import monotonic
from typing import Any

import fakeredis
import pytest
from fakes import NOW, Clock, FakeNode, Reading, accounts, fails
from structlog.testing import capture_logs

from devstack.servers import CAP
from worker.errors import (
    BadReply,
    Lagging,
    NoToken,
    OverBudget,
    ReadFailed,
    Refused,
    Throttled,
    TooMuch,
    Unauthorized,
    Unavailable,
    Unreachable,
    WrongChain,
)
from worker.reading.budget import LATE
from worker.reading.contract import Block
from worker.reading.node_order import SELDOM, TRIAL_EVERY
from worker.reading.shared import Shared

NOTHING: Any = lambda _way, _accounts: None  # noqa: E731


def may(reading: Reading, *, refresh: bool = False, seconds: float = CAP) -> ReadFailed | None:
    return reading.reader.may_read(monotonic() + seconds, refresh=refresh)


def workers(number: int, *nodes: FakeNode, **more: Any) -> list[Reading]:
    """Workers that share a Redis, whose trials end by the test's own clock."""
    server = fakeredis.FakeServer()
    readings = [Reading(*nodes, **more) for _ in range(number)]
    for reading in readings:
        reading.clock = readings[0].clock
        known = Shared("test", "redis://given", reading.clock, _client=fakeredis.FakeRedis(server=server))
        reading.share(known)
    return readings


def pass_time(reading: Reading, seconds: float, *nodes: FakeNode) -> None:
    """On every clock: Redis' own keys end by the machine's, so what would have ended is ended."""
    reading.clock.now += seconds
    client = reading.reader.shared._client
    if client and seconds >= TRIAL_EVERY:
        client.delete("bal:chain:test:trial")
    if client and seconds >= SELDOM:
        client.delete(*(f"bal:chain:test:trial:{node.id}" for node in nodes))
    for node in nodes:
        node.newest = Block(node.newest.number, int(reading.clock.now) - 5)


def test_with_an_endpoint_awake_a_read_may_begin_and_nobody_is_asked_for_that() -> None:
    node = FakeNode()
    reading = Reading(node)
    assert may(reading) is None
    assert node.asked == []


@pytest.mark.parametrize("kind", [Unreachable, Unavailable, BadReply, Lagging, WrongChain, Refused, Throttled])
def test_with_every_endpoint_at_rest_the_reason_is_that_of_the_endpoints(kind: type[ReadFailed]) -> None:
    one, other = FakeNode("one"), FakeNode("other")
    one.fault = other.fault = fails(kind)
    reading = Reading(one, other)
    reading.failure()
    refused = may(reading)
    assert refused
    assert refused.code == kind.code
    assert not isinstance(refused, OverBudget)
    assert refused.retry_after is None or refused.retry_after <= TRIAL_EVERY


def test_of_endpoints_that_fail_in_different_ways_every_process_says_the_same_trial_after_trial() -> None:
    """Each change of the reason is written to the network's row."""
    nodes = [FakeNode("one"), FakeNode("other"), FakeNode("third")]
    for node, kind in zip(nodes, (Unreachable, Lagging, BadReply), strict=True):
        node.fault = fails(kind)
    readings = workers(3, *nodes)
    readings[0].failure()
    reasons = set()
    for _ in range(40):
        pass_time(readings[0], TRIAL_EVERY, *nodes)
        reasons |= {refused.code for reading in readings if (refused := may(reading))}
    assert reasons == {"unreachable"}, "the best one's"


def test_a_trial_asks_for_nobodys_balance_and_finds_the_way_back() -> None:
    one, other = FakeNode("one"), FakeNode("other")
    one.fault = other.fault = fails(Unreachable)
    (reading,) = workers(1, one, other)
    for _ in range(8):
        reading.failure()
        pass_time(reading, 10, one, other)
    assert may(reading), "they rest for minutes by now"
    pass_time(reading, TRIAL_EVERY, one, other)
    other.fault = NOTHING
    one.asked.clear()
    other.asked.clear()
    with capture_logs() as logs:
        assert may(reading) is None
    assert [count for strategy, count in one.asked + other.asked if strategy != "contact"] == [1, 1], (
        "for one account each"
    )
    assert "endpoint_answers_again" in [line["event"] for line in logs]
    reading.all_right(10)


def test_while_it_rests_an_endpoint_is_tried_by_one_worker_and_every_few_seconds() -> None:
    node = FakeNode()
    node.fault = fails(Unreachable)
    one, other, third = workers(3, node)
    for _ in range(10):
        one.failure()
        pass_time(one, 400, node)
    one.failure()
    node.asked.clear()
    for _ in range(20):
        assert [reading.code for reading in map(may, (one, other, third)) if reading] == ["unreachable"] * 3
    assert node.asked == [], "one was just tried"
    for _ in range(5):
        pass_time(one, TRIAL_EVERY, node)
        for reading in (other, one, third):
            assert may(reading)
    assert len(node.asked) == 5


def test_without_redis_a_worker_tries_every_few_seconds_all_the_same() -> None:
    node = FakeNode()
    node.fault = fails(Unreachable)
    reading = Reading(node)
    for _ in range(10):
        reading.failure()
        reading.clock.now += 400
        node.newest = Block(node.newest.number, int(reading.clock.now) - 5)
    reading.failure()
    node.asked.clear()
    for _ in range(5):
        reading.clock.now += TRIAL_EVERY
        for _ in range(5):
            assert may(reading)
    assert len(node.asked) == 5


def test_after_a_trial_that_succeeds_the_others_wait_until_a_whole_batch_is_read() -> None:
    node = FakeNode()
    node.fault = fails(Unreachable)
    one, other = workers(2, node)
    one.failure()
    node.fault = NOTHING
    pass_time(one, TRIAL_EVERY, node)
    assert may(one) is None
    pass_time(one, 2, node)
    assert may(other)
    one.all_right(5)
    pass_time(one, 2, node)
    assert may(other) is None


def test_an_endpoint_that_said_for_how_long_is_left_alone_for_so_long() -> None:
    node = FakeNode()
    node.fault = fails(Throttled, retry_after=50)
    (reading,) = workers(1, node)
    reading.failure()
    node.asked.clear()
    node.fault = NOTHING
    for _ in range(16):
        pass_time(reading, TRIAL_EVERY, node)
        refused = may(reading)
        assert refused
        assert refused.code == "throttled"
    assert node.asked == []
    pass_time(reading, 2, node)
    assert may(reading) is None


@pytest.mark.parametrize("kind", [Throttled, Unauthorized])
def test_an_endpoint_all_of_whose_keys_rest_is_tried_with_one_of_them(kind: type[ReadFailed]) -> None:
    node = FakeNode(keys=["a", "b"])
    node.fault = fails(kind)
    (reading,) = workers(1, node)
    reading.failure()
    node.keys_used.clear()
    pass_time(reading, TRIAL_EVERY, node)
    assert may(reading)
    assert len(node.keys_used) == 1
    assert node.keys_used[0] in {"a", "b"}
    node.fault = NOTHING
    pass_time(reading, SELDOM, node)
    assert may(reading) is None
    reading.all_right(3)


@pytest.mark.parametrize("kind", [WrongChain, Unauthorized, NoToken, Throttled])
@pytest.mark.parametrize("shared", [True, False])
def test_what_passes_seldom_is_tried_seldom_and_told_of_once(kind: type[ReadFailed], *, shared: bool) -> None:
    wrong, dead = FakeNode("wrong"), FakeNode("dead")
    wrong.fault, dead.fault = fails(kind), fails(Unreachable)
    nodes = wrong, dead
    reading = workers(1, *nodes)[0] if shared else Reading(*nodes)
    for _ in range(6):
        reading.failure()
        pass_time(reading, 400, *nodes)
    reading.failure()
    wrong.asked.clear()
    dead.asked.clear()
    with capture_logs() as logs:
        for number in range(20):
            pass_time(reading, TRIAL_EVERY, *nodes)
            if shared and number in {9, 19}:  # in thirty seconds, and in sixty
                reading.reader.shared._client.delete("bal:chain:test:trial:wrong")
            assert may(reading)
    assert 1 <= len(wrong.asked) <= 3
    assert len(dead.asked) >= 15
    assert [line for line in logs if line["event"] == "read_failed"] == [], "nothing new"


def test_a_trial_that_fails_in_another_way_is_told_of() -> None:
    node = FakeNode()
    node.fault = fails(Unreachable)
    (reading,) = workers(1, node)
    reading.failure()
    node.fault = fails(WrongChain)
    pass_time(reading, TRIAL_EVERY, node)
    with capture_logs() as logs:
        assert may(reading)
    assert [(line["event"], line["error"]) for line in logs] == [("read_failed", "wrong_chain")]


def test_a_process_that_begins_in_an_outage_on_a_host_whose_clock_is_off_finds_the_way_back_too() -> None:
    """It knows the database's time from a claim alone, and claims nothing before an endpoint has answered."""
    node = FakeNode()
    node.fault = fails(Unreachable)
    one, new = workers(2, node, max_age=60)
    new.clock = new.reader.shared.clock = Clock()
    new.clock.now = NOW - 1000
    one.failure()
    node.fault = NOTHING
    assert may(new) is None
    (part,) = new.reader.read(accounts(1), NOW, monotonic() + CAP)
    assert part.snapshot


def test_a_trial_is_by_the_databases_clock_as_a_read_is() -> None:
    node = FakeNode()
    reading = Reading(node, max_age=60)
    reading.all_right(1)
    reading.clock.now -= 1000
    moment = NOW
    node.fault = fails(Unreachable)
    reading.reader.read(accounts(1), moment, monotonic() + CAP)
    node.fault = NOTHING
    reading.clock.now += 1
    assert may(reading) is None


def test_without_room_in_the_budget_it_says_so_and_when_there_is() -> None:
    node = FakeNode()
    one, other = workers(2, node, per_second=0.5)
    one.has_made_contact()
    other.has_made_contact()
    assert may(one) is None
    assert may(other) is None, "a slot or two ahead"
    refused = next(filter(None, (may(workers_twin(other)) for _ in range(3))), None)
    assert isinstance(refused, OverBudget)
    assert refused.code == "throttled"
    assert refused.retry_after
    assert not other.reader.shared.get(["rest:node"])
    assert may(workers_twin(other), refresh=True) is None, "who waits for it queues up to the deadline"
    assert isinstance(may(workers_twin(other), refresh=True, seconds=1), OverBudget)


def workers_twin(reading: Reading) -> Reading:
    """Another worker beside one."""
    (node,) = reading.reader.nodes
    assert isinstance(node, FakeNode)
    twin = Reading(node, per_second=reading.reader.per_second)
    known = reading.reader.shared
    twin.share(Shared("test", "redis://given", reading.clock, _client=known._client))
    twin.has_made_contact()
    return twin


def test_each_request_waits_for_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("worker.reading.budget.sleep", pauses.append)
    monkeypatch.setattr("worker.reading.budget.monotonic", lambda: monotonic() + sum(pauses))
    node, began = FakeNode(), monotonic()
    Reading(node, per_second=0.5).all_right(64 * 3)
    assert [strategy for strategy, _ in node.asked] == ["revert", *["contact"] * 3, "revert", "revert"]
    # What the machine itself took of that time need not be slept.
    assert sum(pauses) + monotonic() - began >= 5 * 2.08 - LATE, "from each request to the next"


def test_a_batch_that_finds_no_room_is_over_budget_and_no_endpoint_rests() -> None:
    one, other = FakeNode("one"), FakeNode("other")
    reading = Reading(one, other, per_second=0.2)
    (part,) = reading.parts(accounts(1), seconds=2)
    assert isinstance(part.failure, OverBudget)
    assert one.asked == other.asked == []
    assert not reading.reader.shared.get(["rest:one", "rest:other"])


def test_a_wallet_that_was_too_much_for_one_endpoint_is_not_said_to_be_out_of_anothers_reach() -> None:
    """Each wallet's failure is of the endpoint that failed it."""
    first, dead = FakeNode("first"), FakeNode("dead")
    wallets = accounts(64)
    first.fault = lambda strategy, of: TooMuch() if strategy != "contact" and wallets[7] in of else None
    dead.fault = fails(Unreachable)
    failed = [part for part in Reading(first, dead).parts(wallets) if part.failure]
    assert [(list(part.wallets), part.node_name, part.failure.code) for part in failed if part.failure] == [
        ([7], "first", "too_much")
    ]


def test_wallets_that_no_endpoint_read_have_the_name_of_the_last_that_was_asked() -> None:
    first, last = FakeNode("first"), FakeNode("last")
    first.fault, last.fault = fails(Unreachable), fails(Lagging)
    (part,) = Reading(first, last).parts(accounts(3))
    assert part.failure
    assert (part.node_name, part.node_id, part.failure.code) == ("last", "last", "lagging")


@pytest.mark.parametrize("error", [OverflowError, KeyError, RuntimeError, ZeroDivisionError, AssertionError, TypeError])
def test_an_error_that_nobody_thought_of_is_its_endpoints_failure_and_the_next_is_asked(
    error: type[Exception],
) -> None:
    odd, good = FakeNode("odd"), FakeNode("good")

    def breaks(_way: str, _accounts: object) -> None:
        raise error("https://node.example/secret-key")

    odd.fault = breaks
    reading = Reading(odd, good)
    with capture_logs() as logs:
        reading.all_right(3)
    assert "secret-key" not in str(logs)
    (broken,) = (line for line in logs if line["event"] == "endpoint_broken")
    assert (broken["log_level"], broken["error"], broken["endpoint"]) == ("error", error.__name__, "odd")
    assert "test_trials.py" in broken["where"]
    assert reading.reader.shared.get(["rest:odd"])["rest:odd"][1] == 1, "it rests"
    reading.all_right(3)
    assert len(odd.asked) == 1
    assert reading.reader.shared.requests._unsent["requests:odd"] == len(odd.asked), "and its request was one"


def test_what_was_read_before_such_an_error_is_kept() -> None:
    odd, good = FakeNode("odd"), FakeNode("good")
    asked = iter([None] * 4)  # a piece, and the first contact

    def breaks(_way: str, _accounts: object) -> None:
        next(asked)

    odd.fault = breaks
    reading = Reading(odd, good)
    reading.all_right(150)
    assert [count for strategy, count in good.asked if strategy == "revert"] == [64, 22]


@pytest.mark.parametrize("ended", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_process_ends_the_read(ended: type[BaseException]) -> None:
    node = FakeNode()

    def ends(_way: str, _accounts: object) -> None:
        raise ended

    node.fault = ends
    with pytest.raises(ended):
        Reading(node).parts(accounts(1))
