"""Which endpoint is asked, with which key, and how often."""

from itertools import permutations
from time import monotonic

import fakeredis
import pytest
from fakes import NOW, FakeNode, Reading, accounts, asked, fails
from structlog.testing import capture_logs

from devstack.servers import CAP
from worker.errors import (
    BadReply,
    Lagging,
    ReadFailed,
    Refused,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreachable,
    WrongChain,
)
from worker.reading.backoff import LONGEST_REST
from worker.reading.contract import Block
from worker.reading.shared import Shared


def test_the_first_endpoint_answers_and_no_other_is_asked() -> None:
    best, second = FakeNode("best"), FakeNode("second")
    reading = Reading(best, second)
    reading.all_right(3)
    assert (asked(best), asked(second)) == (["revert"], [])


def test_in_the_steady_state_a_read_is_one_request_and_nothing_else() -> None:
    node = FakeNode()
    reading = Reading(node)
    reading.all_right(64)
    node.asked.clear()
    for _ in range(10):
        reading.all_right(64)
    assert node.asked == [("revert", 64)] * 10


def test_no_wallets_are_no_request() -> None:
    node = FakeNode()
    assert Reading(node).parts([]) == []
    assert node.asked == []


@pytest.mark.parametrize("kind", [Unreachable, Throttled, BadReply, Lagging, WrongChain, Refused])
def test_a_failing_endpoint_rests_and_the_next_one_answers_and_then_the_first_is_used_again(
    kind: type[ReadFailed],
) -> None:
    best, second = FakeNode("best"), FakeNode("second")
    reading = Reading(best, second)
    reading.all_right(1)
    best.fault = fails(kind)
    for _ in range(10):
        reading.all_right(1)
    assert asked(best) == ["revert"] * 2, "once well, once in vain"
    best.fault = fails(kind)
    reading.clock.now += kind.rest
    reading.all_right(1)
    longer = min(4 * kind.rest, LONGEST_REST)
    reading.clock.now += longer - 1
    reading.all_right(1)
    assert len(asked(best)) == 3, "the second rest is longer"
    best.fault = lambda _way, _accounts: None
    reading.clock.now += 1
    reading.all_right(1)
    assert len(asked(best)) == 4
    assert len(asked(second)) == 12


def test_an_endpoint_that_says_how_long_is_left_alone_exactly_that_long() -> None:
    best, second = FakeNode("best"), FakeNode("second")
    reading = Reading(best, second)
    best.fault = fails(Throttled, retry_after=7)
    reading.all_right(1)
    best.fault = lambda _way, _accounts: None
    reading.clock.now += 6.9
    reading.all_right(1)
    assert len(best.asked) == 1
    reading.clock.now += 0.1
    reading.all_right(1)
    assert asked(best) == ["revert"] * 2


def test_with_every_endpoint_at_rest_that_said_for_how_long_the_read_says_when_and_asks_nobody() -> None:
    one, other = FakeNode("one"), FakeNode("other")
    reading = Reading(one, other)
    one.fault, other.fault = fails(Throttled, retry_after=20), fails(Unavailable, retry_after=5)
    reading.failure()
    reading.clock.now += 3
    before = len(one.asked) + len(other.asked)
    failure = reading.failure(5)
    assert (type(failure), failure.retry_after) == (Throttled, 2), "the other one may be asked in two seconds"
    assert len(one.asked) + len(other.asked) == before
    refused = reading.reader.may_read(monotonic() + CAP)
    assert refused
    assert (refused.code, refused.retry_after) == ("throttled", 2)


def two_workers(node: FakeNode, *others: FakeNode) -> tuple[Reading, Reading]:
    """Two workers' readings of the same endpoints, who share what they know."""
    server = fakeredis.FakeServer()
    readings = Reading(node, *others), Reading(node, *others)
    for reading in readings:
        reading.clock = readings[0].clock
        client = fakeredis.FakeRedis(server=server)
        reading.share(Shared("test", "redis://given", reading.clock, _client=client))
    return readings


def test_an_endpoint_that_failed_last_is_tried_by_one_read_at_a_time() -> None:
    """Should it hang, it holds up one process and not all of them."""
    node = FakeNode()
    one, other = two_workers(node)
    node.fault = fails(Throttled)
    one.failure()
    one.clock.now += Throttled.rest
    node.asked.clear()
    meanwhile: list[ReadFailed] = []

    def while_it_is_asked(_way: str, _accounts: object) -> None:
        if not meanwhile:
            meanwhile.append(other.failure(2))

    node.fault = while_it_is_asked
    one.all_right(1)
    assert asked(node) == ["revert"], "by the first alone"
    (failure,) = meanwhile
    assert (type(failure), failure.retry_after) == (Throttled, 0), "as it failed last, and any time may be tried next"
    other.all_right(2)


def test_a_read_that_tries_an_endpoint_again_tries_all_that_failed() -> None:
    best, second = FakeNode("best"), FakeNode("second")
    one, other = two_workers(best, second)
    best.fault = second.fault = fails(Unreachable)
    one.failure()
    one.clock.now += Unreachable.rest
    second.fault = lambda _way, _accounts: None
    one.all_right(1)
    assert len(asked(best)) == 2
    one.clock.now += LONGEST_REST
    other.all_right(1)
    assert len(asked(best)) == 3, "the first has ended its trial"


def test_an_endpoint_that_answers_is_asked_by_all_at_once_whoever_else_fails() -> None:
    best, second = FakeNode("best"), FakeNode("second")
    one, other = two_workers(best, second)
    best.fault = fails(Unreachable)
    one.all_right(1)
    one.clock.now += LONGEST_REST
    meanwhile: list[str] = []

    def while_it_is_asked(_way: str, _accounts: object) -> ReadFailed:
        if not meanwhile:
            meanwhile.extend(part.node_name for part in other.parts(accounts(1)))
        return Unreachable()

    best.fault = while_it_is_asked
    one.all_right(1)
    assert meanwhile == ["second"]


def test_those_to_avoid_are_not_asked_though_no_other_answers() -> None:
    best, second = FakeNode("best"), FakeNode("second")
    reading = Reading(best, second)
    (part,) = reading.parts(accounts(1), avoid={"best"})
    assert part.node_name == "second"
    second.fault = fails(Unreachable)
    (part,) = reading.parts(accounts(1), avoid={"best"})
    assert isinstance(part.failure, Unreachable)
    assert best.asked == []


def test_the_only_endpoint_is_asked_though_it_is_to_be_avoided() -> None:
    node = FakeNode("node")
    (part,) = Reading(node).parts(accounts(1), avoid={"node"})
    assert part.node_name == "node"


def test_a_block_that_was_made_while_another_endpoint_kept_the_read_waiting_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow, good = FakeNode("slow"), FakeNode("good")
    passed = [0.0]
    monkeypatch.setattr("worker.reading.attempt.monotonic", lambda: monotonic() + passed[0])

    def after_a_while(_way: str, _accounts: object) -> ReadFailed:
        passed[0] += 45
        return Unreachable()

    slow.fault, good.newest = after_a_while, Block(103, int(NOW) + 40)
    Reading(slow, good).all_right(1)


def test_a_mistake_in_the_settings_is_an_error_and_trouble_of_a_node_a_warning() -> None:
    wrong, broken, good = FakeNode("wrong", chain_id=5), FakeNode("broken"), FakeNode("good")
    broken.fault = fails(Unreachable)
    with capture_logs() as logs:
        Reading(wrong, broken, good).all_right(1)
    told = [(line["log_level"], line["endpoint"], line["error"]) for line in logs if line["event"] == "read_failed"]
    assert told == [("error", "wrong", "wrong_chain"), ("warning", "broken", "unreachable")]


def test_a_read_ends_at_its_deadline_and_blames_nobody_for_it() -> None:
    node = FakeNode()
    reading = Reading(node)
    (part,) = reading.parts(accounts(3), seconds=-1)
    assert isinstance(part.failure, Unreachable)
    assert node.asked == []
    reading.all_right(3)


def test_a_throttled_key_rests_and_the_next_is_used_in_the_same_read() -> None:
    node = FakeNode(keys=["a", "b", "c"])
    reading = Reading(node)
    reading.all_right(1)
    node.keys_used.clear()
    node.fault = lambda _way, _accounts: Throttled(retry_after=30) if node.session.headers.get("KEY") == "b" else None
    for _ in range(9):
        reading.all_right(1)
    assert node.keys_used.count("b") == 1
    assert abs(node.keys_used.count("a") - node.keys_used.count("c")) <= 2
    reading.clock.now += 30
    node.fault = lambda _way, _accounts: None
    node.keys_used.clear()
    for _ in range(9):
        reading.all_right(1)
    assert {key: node.keys_used.count(key) for key in "abc"} == {"a": 3, "b": 3, "c": 3}


def test_a_key_that_answers_again_has_failed_for_the_first_time_when_it_fails_next() -> None:
    keyed, free = FakeNode("keyed", keys=["a"]), FakeNode("free")
    reading = Reading(keyed, free)
    for _ in range(3):
        keyed.fault = fails(Throttled)
        reading.all_right(1)
        until, strikes, *_ = reading.reader.shared.get(["key:id-of-a"])["key:id-of-a"]
        assert (until - reading.clock.now, strikes) == (Throttled.rest, 1)
        reading.clock.now = until
        keyed.newest = free.newest = Block(keyed.newest.number + 2, int(until) - 5)
        keyed.fault = lambda _way, _accounts: None
        reading.all_right(1)
    assert reading.reader.shared.get(["key:id-of-a"]) == {"key:id-of-a": [0.0, 0, "", False]}


@pytest.mark.parametrize("kind", [Throttled, Unauthorized])
def test_with_all_keys_at_rest_the_next_endpoint_is_asked(kind: type[ReadFailed]) -> None:
    keyed, free = FakeNode("keyed", keys=["a", "b"]), FakeNode("free")
    keyed.fault = fails(kind)
    reading = Reading(keyed, free)
    for _ in range(5):
        reading.all_right(1)
    assert sorted(keyed.keys_used) == ["a", "b"], "each key once"


def test_no_key_is_told_in_a_log() -> None:
    node = FakeNode(keys=["secret-key"])
    node.fault = fails(Unauthorized)
    with capture_logs() as logs:
        Reading(node).failure()
    assert logs
    assert "secret-key" not in str(logs).replace("id-of-secret-key", "")


@pytest.mark.parametrize("order", list(permutations(["throttling", "lagging", "wrong", "good"])), ids="-".join)
def test_beside_a_good_endpoint_three_bad_ones_are_hardly_asked(order: tuple[str, ...]) -> None:
    nodes = {name: FakeNode(name, chain_id=5 if name == "wrong" else 1) for name in order}
    nodes["throttling"].fault = fails(Throttled)
    reading = Reading(*nodes.values(), max_age=120)
    for _ in range(300):  # ten minutes, a read in two seconds
        reading.clock.now += 2
        head = int(reading.clock.now - NOW) // 12 + 1000
        for name, node in nodes.items():
            behind = 50 if name == "lagging" else 0
            node.newest = Block(head - behind, int(reading.clock.now) - 12 * behind - 1)
        assert [part.node_name for part in reading.parts(accounts(3))] == ["good"]
    asked_of = {name: len(node.asked) for name, node in nodes.items()}
    assert sum(asked_of.values()) - asked_of["good"] < 0.05 * sum(asked_of.values()), asked_of
