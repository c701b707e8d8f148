"""One read through a chain's endpoints: which are asked, in which way, in what pieces, and what is believed."""

from collections.abc import Sequence
from itertools import permutations
from time import monotonic, time
from typing import Any

import pytest
from fakes import NOW, SUPPLY, FakeNode, balance_of, only
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from worker.chains.choice import LONGEST_REST
from worker.chains.endpoints import EndpointReader
from worker.chains.known import Known
from worker.chains.snapshot import Balance, Block
from worker.chains.turn import Part
from worker.errors import (
    BadReply,
    Lagging,
    OutOfTime,
    ReadFailed,
    Refused,
    Throttled,
    TooMuch,
    Unauthorized,
    Unreachable,
    Unsupported,
    WrongChain,
)

TOKEN = bytes(20)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def accounts(count: int) -> list[bytes]:
    return [(0x10_0000 + number).to_bytes(20) for number in range(count)]


class Reading:
    """A reader over fakes, and what it made of the last read."""

    def __init__(self, *nodes: FakeNode, **settings: Any) -> None:
        self.clock = Clock()
        known = Known("test", None, self.clock)
        self.reader = EndpointReader("ethereum", 1, TOKEN, "latest", nodes, known, 10, **settings)

    def parts(self, wallets: Sequence[bytes], seconds: float = 60, **more: Any) -> list[Part]:
        parts = self.reader.read(wallets, self.clock.now, monotonic() + seconds, **more)
        assert sorted(at for part in parts for at in part.wallets) == list(range(len(wallets)))
        return parts

    def balances(self, wallets: Sequence[bytes], **more: Any) -> dict[int, Balance | None]:
        """What was read, by place; a wallet that was not is not in it."""
        return {
            at: balance
            for part in self.parts(wallets, **more)
            if part.snapshot
            for at, balance in zip(part.wallets, part.snapshot.balances, strict=True)
        }

    def all_right(self, count: int) -> None:
        wallets = accounts(count)
        assert self.balances(wallets) == {at: Balance(*balance_of(each)) for at, each in enumerate(wallets)}

    def failure(self, count: int = 1) -> ReadFailed:
        (part,) = self.parts(accounts(count))
        assert part.failure
        return part.failure


def asked(node: FakeNode) -> list[str]:
    """The ways in which a node was asked for balances."""
    return [way for way, _ in node.asked if way != "supply"]


def fails(kind: type[ReadFailed], **more: Any) -> Any:
    return lambda _way, _accounts: kind("for a test", **more)


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


def test_with_every_endpoint_at_rest_the_read_fails_as_throttled_says_when_and_asks_nobody() -> None:
    one, other = FakeNode("one"), FakeNode("other")
    reading = Reading(one, other)
    one.fault, other.fault = fails(Throttled, retry_after=20), fails(Unreachable)
    reading.failure()
    reading.clock.now += 3
    before = len(one.asked) + len(other.asked)
    failure = reading.failure(5)
    assert (type(failure), failure.retry_after) == (Throttled, 2), "the other one may be asked in two seconds"
    assert len(one.asked) + len(other.asked) == before


def test_those_to_avoid_are_asked_last() -> None:
    best, second = FakeNode("best"), FakeNode("second")
    reading = Reading(best, second)
    (part,) = reading.parts(accounts(1), avoid={"best"})
    assert part.endpoint == "second"
    second.fault = fails(Unreachable)
    (part,) = reading.parts(accounts(1), avoid={"best"})
    assert part.endpoint == "best"


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


@pytest.mark.parametrize(
    ("ways", "expected", "requests"),
    [
        (("revert",), "revert", 1),
        (("return",), "return", 2),
        (("multicall3",), "multicall3", 3),
        (("single",), "single", 4),
    ],
)
def test_the_best_way_that_an_endpoint_takes_is_found_and_remembered(
    ways: tuple[str, ...], expected: str, requests: int
) -> None:
    node = FakeNode()
    node.fault = only(*ways)
    reading = Reading(node)
    with capture_logs() as logs:
        reading.all_right(4)
    found = [line for line in logs if line["event"] == "endpoint_read_another_way"]
    assert [(line["way"], line["reason"]) for line in found] == (
        [] if expected == "revert" else [(expected, "refused: no revert here")]
    )
    assert len(set(asked(node)) & {"revert", "return", "multicall3", "single"}) == requests
    node.asked.clear()
    reading.all_right(4)
    assert "revert" not in asked(node)[:1] or expected == "revert", "the others are not tried each time"
    assert reading.reader.max_wallets == node.ways[expected]  # type: ignore[index]


def test_a_way_is_tried_anew_after_an_hour() -> None:
    node = FakeNode()
    node.fault = only("return")
    reading = Reading(node)
    reading.all_right(4)
    node.fault = lambda _way, _accounts: None
    reading.clock.now += 3600
    node.block = Block(400, int(NOW) - 4)
    reading.all_right(4)
    assert asked(node)[-1] == "revert"


def test_a_way_that_stops_working_is_doubted_at_once_or_after_some_refusals() -> None:
    for kind, failures in ((Unsupported, 1), (Refused, 3)):
        node = FakeNode()
        reading = Reading(node)
        reading.all_right(4)
        node.fault = lambda way, _accounts, kind=kind: kind() if way == "revert" else None  # type: ignore[misc]
        for _ in range(failures):
            assert reading.failure(4).code == kind.code
            reading.clock.now += 100
        reading.all_right(4)
        assert asked(node)[-1] == "return"


def test_an_endpoint_that_reads_in_no_way_fails_as_it_did_in_the_best() -> None:
    node = FakeNode()
    node.fault = lambda way, _accounts: None if way == "supply" else Refused(f"no {way}")
    failure = Reading(node).failure(2)
    assert (failure.code, str(failure)) == ("refused", "no revert")


def test_trouble_of_the_endpoint_is_no_reason_to_try_another_way() -> None:
    node = FakeNode()
    node.fault = fails(Unreachable)
    Reading(node).failure(2)
    assert len(node.asked) == 1


def test_balances_that_no_block_holds_together_are_said_not_to_be_of_one() -> None:
    for pins in (True, False):
        node = FakeNode()
        node.fault, node.pins = only("single"), pins
        (part,) = Reading(node).parts(accounts(3))
        assert part.snapshot
        assert part.snapshot.one_block is pins


def test_more_wallets_than_a_request_takes_are_read_in_several() -> None:
    node = FakeNode()
    Reading(node).all_right(150)
    assert [count for way, count in node.asked if way == "revert"] == [64, 64, 22]


def takes(most: int) -> Any:
    return lambda way, of: TooMuch() if way != "supply" and len(of) > most else None


def test_the_largest_batch_is_learnt_and_grows_again_slowly() -> None:
    node = FakeNode()
    node.fault = takes(20)
    reading = Reading(node)
    reading.all_right(64)
    assert [count for way, count in node.asked if way == "revert"] == [64, 32, 16, 16, 32, 16, 16]
    assert reading.reader.max_wallets == 16
    node.fault = takes(64)
    sizes = []
    while reading.reader.max_wallets < 64:
        sizes.append(reading.reader.max_wallets)
        reading.all_right(64)
    assert sizes[:4] == [16, 17, 18, 19]
    assert len(sizes) > 16


def test_what_fails_by_chance_is_tried_once_more_at_the_same_size() -> None:
    node = FakeNode()
    chances = iter([OutOfTime(), None])
    node.fault = lambda way, _accounts: next(chances) if way == "revert" else None
    reading = Reading(node)
    reading.all_right(64)
    assert asked(node) == ["revert", "revert"]
    assert reading.reader.max_wallets == 64


def test_what_fails_twice_by_the_clock_is_halved() -> None:
    node = FakeNode()
    node.fault = lambda way, of: OutOfTime() if way == "revert" and len(of) > 32 else None
    reading = Reading(node)
    reading.all_right(64)
    assert [count for way, count in node.asked if way == "revert"] == [64, 64, 32, 32]


def spoilt_by(*bad: bytes) -> Any:
    return lambda way, of: TooMuch() if way != "supply" and set(bad) & set(of) else None


@pytest.mark.parametrize("place", [0, 1, 700, 1023])
def test_one_wallet_that_spoils_a_batch_is_found_in_few_requests_and_all_others_are_read(place: int) -> None:
    node = FakeNode(ways={"revert": 1024, "return": 512})
    reading, wallets = Reading(node), accounts(1024)
    node.fault = spoilt_by(wallets[place])
    parts = reading.parts(wallets)
    lone = [part for part in parts if part.failure]
    assert [(list(part.wallets), part.failure.code) for part in lone if part.failure] == [([place], "too_much")]
    assert len(asked(node)) <= 2 * 10 + 2
    assert reading.reader.max_wallets == 1024, "it was not the size"
    assert not reading.reader.known.get(["rest:node"])


@given(st.sets(st.integers(0, 63), max_size=3))
def test_whatever_wallets_spoil_a_batch_no_wallet_is_lost_and_none_gets_anothers_balance(places: set[int]) -> None:
    node = FakeNode()
    reading, wallets = Reading(node), accounts(64)
    node.fault = spoilt_by(*(wallets[at] for at in places))
    read = reading.balances(wallets)
    assert read == {at: Balance(*balance_of(wallets[at])) for at in range(64) if at not in places}


def test_a_wallet_that_one_endpoint_cannot_read_is_read_by_another() -> None:
    first, second = FakeNode("first"), FakeNode("second")
    first.fault = spoilt_by(accounts(64)[7])
    Reading(first, second).all_right(64)
    assert [count for way, count in second.asked if way == "revert"] == [1]


def test_an_endpoint_for_which_everything_is_too_much_is_given_up_before_all_wallets_were_tried() -> None:
    first, second = FakeNode("first"), FakeNode("second")
    reading = Reading(first, second)
    reading.all_right(64)
    first.asked.clear()
    first.fault = takes(0)
    reading.all_right(64)
    assert len(first.asked) < 25
    first.asked.clear()
    reading.all_right(64)
    assert first.asked == []


def test_a_batch_that_costs_too_many_requests_is_left_for_later_without_blame() -> None:
    node = FakeNode()
    wallets = accounts(64)
    node.fault = spoilt_by(*wallets[1::2])
    parts = Reading(node).parts(wallets)
    assert len(asked(node)) <= 64
    assert {part.failure.code for part in parts if part.failure} == {"too_much"}


def test_a_second_node_is_not_believed_when_it_is_behind_what_the_first_has_shown() -> None:
    first, behind, good = FakeNode("first"), FakeNode("behind"), FakeNode("good")
    reading = Reading(first, behind, good)
    reading.all_right(1)
    first.fault = fails(Unreachable)
    behind.block = Block(50, int(NOW) - 5)
    with capture_logs() as logs:
        (part,) = reading.parts(accounts(1))
    assert part.endpoint == "good"
    assert [line["error"] for line in logs if line.get("endpoint") == "behind"] == ["lagging"]


def test_a_block_number_out_of_thin_air_is_not_believed_and_does_not_shut_the_true_ones_out() -> None:
    liar, good = FakeNode("liar"), FakeNode("good")
    reading = Reading(liar, good)
    reading.all_right(1)
    liar.block = Block(10**9, int(NOW))
    assert reading.parts(accounts(1))[0].endpoint == "good"


def test_a_head_that_is_too_old_is_not_believed() -> None:
    node = FakeNode()
    node.block = Block(100, int(NOW) - 121)
    assert Reading(node, max_age=120).failure().code == "lagging"


def test_a_balance_above_the_total_supply_is_not_believed() -> None:
    node = FakeNode()
    node.balances = lambda _account: (SUPPLY + 1, 0)
    assert "total supply" in str(Reading(node).failure())


def test_a_total_supply_that_grew_since_it_was_read_is_read_again() -> None:
    node = FakeNode()
    reading = Reading(node)
    reading.all_right(1)
    node.balances = lambda _account: (SUPPLY + 1, 0)
    node.supply = SUPPLY * 2
    assert reading.balances(accounts(1)) == {0: Balance(SUPPLY + 1, 0)}
    assert [way for way, _ in node.asked].count("supply") == 2


def test_a_token_that_is_not_there_is_a_mistake_in_the_settings() -> None:
    node = FakeNode()
    called = node.called
    node.called = lambda contract, data, at=None: called(contract, data, at)[:0]  # type: ignore[method-assign]
    with capture_logs() as logs:
        assert Reading(node).failure(3).code == "no_token"
    assert logs[-1]["log_level"] == "error"


def test_a_token_that_gives_no_balance_for_any_wallet_is_looked_for_again() -> None:
    node = FakeNode()
    reading = Reading(node)
    reading.all_right(3)
    node.balances = lambda _account: (2**128 - 1, 5)
    assert reading.balances(accounts(3)) == {0: None, 1: None, 2: None}, "it is there: it is the wallets"
    assert [way for way, _ in node.asked].count("supply") == 2


def test_a_budget_is_waited_for_a_moment() -> None:
    node = FakeNode()
    reading = Reading(node, per_second=20)
    reading.reader.known.clock = time
    started = monotonic()
    reading.all_right(64 * 3)
    assert monotonic() - started > 3 * 0.05, "the supply and three pieces"


def test_a_budget_that_is_used_up_is_nobodys_fault() -> None:
    best, second = FakeNode("best"), FakeNode("second")
    reading = Reading(best, second, per_second=1)  # its clock stands still
    failure = reading.failure()
    assert (failure.code, failure.retry_after) == ("throttled", 1.1)
    assert [way for way, _ in best.asked + second.asked] == ["revert", "revert"], "and not their supply"
    assert not reading.reader.known.get(["rest:best", "rest:second"])


@pytest.mark.parametrize("order", list(permutations(["throttling", "lagging", "wrong", "good"])), ids="-".join)
def test_beside_a_good_endpoint_three_bad_ones_are_hardly_asked(order: tuple[str, ...]) -> None:
    nodes = {name: FakeNode(name, chain_id=5 if name == "wrong" else 1) for name in order}
    nodes["throttling"].fault = fails(Throttled)
    reading = Reading(*nodes.values(), max_age=120)
    for _ in range(600):  # ten minutes, a read a second
        reading.clock.now += 1
        head = int(reading.clock.now - NOW) // 12 + 1000
        for name, node in nodes.items():
            behind = 50 if name == "lagging" else 0
            node.block = Block(head - behind, int(reading.clock.now) - 12 * behind - 1)
        assert [part.endpoint for part in reading.parts(accounts(3))] == ["good"]
    asked_of = {name: len(node.asked) for name, node in nodes.items()}
    assert sum(asked_of.values()) - asked_of["good"] < 0.05 * sum(asked_of.values()), asked_of
