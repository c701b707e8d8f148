"""A Redis that holds only what somebody planted, and true nodes: wallets are read all the same."""

import json
from time import time
from typing import Any

import fakeredis
import pytest
from fakes import NOW, FakeNode, Reading, accounts, asked, balance_of, facts, fails
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from worker.errors import BadReply, Lagging, Throttled, Unreachable
from worker.reading.contract import Balance, Block
from worker.reading.node_order import DOUBT_AFTER
from worker.reading.plausibility import highest_number
from worker.reading.shared import Shared

SCOPE = "bal:chain:test"
READS = 3


class Planted:
    """A reading whose Redis somebody else has written."""

    def __init__(self, *nodes: FakeNode, per_second: int = 0) -> None:
        self.redis = fakeredis.FakeRedis(server=fakeredis.FakeServer())
        self.reading = Reading(*nodes, per_second=per_second)
        self.reading.share(self.another())

    def another(self) -> Shared:
        """What another process knows."""
        return Shared("test", "redis://given", self.reading.clock, _client=self.redis)

    def put(self, name: str, value: Any, until: float = NOW + 500) -> None:
        self.redis.set(f"{SCOPE}:{name}", json.dumps([value, until]))

    def read_in_the_end(self, count: int, reads: int = READS) -> None:
        """Within so many reads, a minute apart."""
        wallets = accounts(count)
        read: dict[int, Balance | None] = {}
        for _ in range(reads):
            read = self.reading.balances(wallets)
            if len(read) == count:
                break
            self.reading.clock.now += DOUBT_AFTER + 1
            for node in self.reading.reader.nodes:
                assert isinstance(node, FakeNode)
                node.newest = Block(node.newest.number, int(self.reading.clock.now) - 5)
        assert read == {at: Balance(*balance_of(each)) for at, each in enumerate(wallets)}


def most(time: int) -> int:
    """The highest number that Ethereum can have reached by a time."""
    return int(highest_number(facts(), Block(*facts().first_block), time))


MARKS = {"later than every node's": [1000, int(NOW)], "too low for every node's": [1, int(NOW) - 300]}


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
def test_a_mark_that_every_endpoint_contradicts_costs_one_read_and_rests_none(mark: list[int]) -> None:
    one, other = FakeNode("one"), FakeNode("other")
    one.newest = other.newest = Block(1000, int(NOW) - 300)
    planted = Planted(one, other)
    planted.put("newest", mark)
    with capture_logs() as logs:
        assert planted.reading.balances(accounts(3)) == {}
    assert [line["event"] for line in logs] == ["read_failed", "read_failed", "mark_doubted"]
    assert [line["left_alone_seconds"] for line in logs[:2]] == [0, 0]
    assert not planted.redis.exists(f"{SCOPE}:newest")
    planted.reading.all_right(3)
    planted.put("newest", mark)
    planted.reading.clock.now += 2
    planted.reading.all_right(3)


@pytest.mark.parametrize(
    "mark",
    [
        [2**60, int(NOW)],
        [most(int(NOW)), int(NOW)],
        [most(int(NOW)) + 100, int(NOW)],
        [2**60, int(NOW) + 10**9],
        [0, 0],
    ],
)
def test_a_mark_that_the_chain_cannot_have_made_or_has_not_made_yet_costs_nothing(mark: list[int]) -> None:
    planted = Planted(FakeNode())
    planted.put("newest", mark)
    planted.reading.all_right(3)


def test_a_mark_that_an_endpoint_agrees_with_stands_and_the_one_behind_rests_once_that_was_seen() -> None:
    behind, good = FakeNode("behind"), FakeNode("good")
    behind.newest, good.newest = Block(1000, int(NOW) - 365), Block(1030, int(NOW) - 5)
    planted = Planted(behind, good)
    planted.another().put("newest", [1030, int(NOW) - 5], 600)
    with capture_logs() as logs:
        planted.reading.all_right(1)
        planted.reading.all_right(1)
        planted.reading.all_right(1)
    assert [(line["event"], line["left_alone_seconds"]) for line in logs] == [("read_failed", 0), ("read_failed", 30)]
    assert len(asked(behind)) == 2


def test_what_a_process_saw_itself_an_endpoint_may_not_contradict() -> None:
    node = FakeNode()
    planted = Planted(node)
    planted.reading.all_right(1)
    node.newest = Block(50, int(NOW) - 300)
    assert type(planted.reading.failure()) is Lagging
    assert planted.reading.reader.shared.get(["rest:node"])["rest:node"][1] == 1, "it rests"


def test_an_endpoint_out_of_reach_says_nothing_for_a_mark() -> None:
    away, good = FakeNode("away"), FakeNode("good")
    away.fault = fails(Unreachable)
    planted = Planted(away, good)
    planted.put("newest", [most(int(NOW)), int(NOW)])
    planted.reading.parts(accounts(1))
    planted.reading.all_right(1)


def test_rests_of_every_endpoint_by_others_word_alone_are_put_to_the_test_after_a_minute() -> None:
    node = FakeNode(keys=["k"])
    planted = Planted(node)
    planted.put("rest:node", [NOW + 3000, 5, "throttled", True], NOW + 3500)
    planted.put("key:id-of-k", [NOW + 3000, 5, "unauthorized", True], NOW + 3500)
    assert type(planted.reading.failure()) is Throttled
    assert node.asked == [], "taken for true"
    planted.reading.clock.now += DOUBT_AFTER
    planted.reading.all_right(2)
    ended = [0.0, 0, "", False]
    assert planted.another().get(["rest:node", "key:id-of-k"]) == {"rest:node": ended, "key:id-of-k": ended}
    planted.put("rest:node", [NOW + 3000, 5, "throttled", True], NOW + 3500)
    planted.reading.clock.now += 2
    planted.reading.all_right(2)


def test_rests_that_prove_true_are_believed_from_then_on() -> None:
    node = FakeNode()
    planted = Planted(node)
    planted.another().put("rest:node", [NOW + 3000, 5, "throttled", True], 3600)
    planted.reading.failure()
    planted.reading.clock.now += DOUBT_AFTER
    node.fault = fails(Throttled, retry_after=3000)
    planted.reading.failure()
    for _ in range(10):
        planted.reading.clock.now += DOUBT_AFTER
        planted.reading.failure()
    assert len(node.asked) == 1


def test_a_way_by_others_word_is_left_for_the_others_when_it_does_not_work_here() -> None:
    node = FakeNode()
    node.fault = lambda strategy, _accounts: BadReply("cut") if strategy == "return" else None
    planted = Planted(node)
    planted.put("way:node", ["return", "a reason"])
    planted.reading.all_right(3)


def test_a_supply_by_others_word_is_none() -> None:
    node = FakeNode()
    planted = Planted(node)
    planted.put("contact:node", [10**30, 6, True])
    node.balances = lambda _account: (node.supply + 1, 0)
    assert type(planted.reading.failure()) is BadReply


numbers = st.integers(-5, 2**63) | st.floats(allow_nan=True)
moments = st.sampled_from([0.0, NOW - 1, NOW + 1, NOW + 599, NOW + 3599, NOW + 4300, 9e18]) | numbers
texts = st.sampled_from(["", "throttled", "revert", "return", "single", "\x1b[2J"]) | st.text(max_size=5)
shapes = {
    "newest": st.tuples(numbers, moments) | st.sampled_from([*MARKS.values(), [2**60, NOW]]),
    "rest:node": st.tuples(moments, numbers | st.integers(0, 30), texts, st.booleans()),
    "key:id-of-k": st.tuples(moments, numbers | st.integers(0, 30), texts),
    "way:node": st.none() | st.tuples(texts, texts) | st.tuples(texts, texts, moments),
    "refusals:node": st.tuples(texts, texts, numbers, moments),
    "size:node": numbers,
    "contact:node": numbers | st.tuples(numbers, numbers, st.booleans()),
}
anything = st.none() | texts | numbers | st.lists(numbers | texts, max_size=3)
kinds = st.sampled_from(["text", "list", "hash", "set", "sorted"])


@st.composite
def entries(draw: st.DrawFn) -> dict[str, tuple[str, str]]:
    """For each name a kind of key, and what is in it."""
    made: dict[str, tuple[str, str]] = {}
    for name, shape in shapes.items():
        value = json.dumps([draw(shape | anything), draw(moments)])
        made[name] = (draw(st.sampled_from(["text"] * 5 + ["list"])), draw(st.just(value) | st.text(max_size=9)))
    made["trial"] = (draw(kinds), "x")
    made["budget:1000:node"] = (draw(kinds), draw(st.sampled_from(["9" * 20, "-1", "x", str(int(NOW + 2) * 10**6)])))
    made[f"count:requests:node:{int(NOW // 300)}"] = (draw(kinds), draw(st.sampled_from(["-5", "x", str(2**63 - 1)])))
    return made


@given(entries())
def test_whatever_is_planted_the_wallets_are_read_within_a_few_reads(made: dict[str, tuple[str, str]]) -> None:
    planted = Planted(FakeNode(keys=["k"]), per_second=1000)
    for name, (kind, value) in made.items():
        key = f"{SCOPE}:{name}"
        match kind:
            case "text":
                planted.redis.set(key, value)
            case "list":
                planted.redis.rpush(key, value)
            case "set":
                planted.redis.sadd(key, value)
            case "sorted":
                planted.redis.zadd(key, {value: time() * 1000 + 500, "7": 9e18})
            case _:
                planted.redis.hset(key, "tat1", value)
    planted.read_in_the_end(3)
