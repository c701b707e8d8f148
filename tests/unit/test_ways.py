"""In which way an endpoint is asked, in what pieces, and what is remembered of it."""

from math import inf
from time import monotonic
from typing import Any

import fakeredis
import pytest
from fakes import FakeNode, Reading, accounts, asked, balance_of, facts, fails, only
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from worker.errors import (
    BadReply,
    EmptyRevert,
    OutOfTime,
    ReadFailed,
    Refused,
    StateGone,
    Throttled,
    TooMuch,
    Unreachable,
    Unsupported,
    WrongChain,
)
from worker.reading.contract import Balance, Block
from worker.reading.shared import Shared
from worker.reading.strategies import one_by_one
from worker.reading.strategy_choice import BETTER_AFTER, REPEATED, REPEATED_OVER


@pytest.mark.parametrize(
    ("strategies", "expected", "requests"),
    [
        (("revert",), "revert", 1),
        (("return",), "return", 2),
        (("multicall3",), "multicall3", 3),
        (("single",), "single", 4),
    ],
)
def test_the_best_way_that_an_endpoint_takes_is_found_and_remembered(
    strategies: tuple[str, ...], expected: str, requests: int
) -> None:
    node = FakeNode()
    node.fault = only(*strategies)
    reading = Reading(node)
    with capture_logs() as logs:
        reading.all_right(4)
    found = [line for line in logs if line["event"] == "endpoint_read_another_way"]
    assert [(line["strategy"], line["reason"]) for line in found] == (
        [] if expected == "revert" else [(expected, "unsupported: no revert here")]
    )
    assert len(set(asked(node)) & {"revert", "return", "multicall3", "single"}) == requests
    node.asked.clear()
    reading.all_right(4)
    assert "revert" not in asked(node)[:1] or expected == "revert", "the others are not tried each time"
    assert reading.reader.max_wallets == node.strategies[expected]  # type: ignore[index]


def test_a_network_without_calls_without_a_contract_goes_straight_to_what_it_has() -> None:
    node = FakeNode(strategies={"multicall3": 4, "single": 2})
    reading = Reading(node)
    reading.all_right(4)
    assert asked(node) == ["multicall3"]
    node.fault = only("single")
    later(reading, node, 100)
    reading.failure(2)
    later(reading, node, 100)
    reading.all_right(2)
    assert asked(node)[-1] == "single"


def test_a_batch_of_single_requests_is_as_many_as_are_sent() -> None:
    node = FakeNode()
    reading = Reading(node)
    reading.all_right(4)
    assert reading.reader.full_batch == (node.strategies["revert"], 1)
    node.fault = only("single")
    later(reading, node, 100)
    reading.reader.shared.put(f"way:{node.id}", ["single", ""], 3600)
    wallets = node.strategies["single"]
    assert reading.reader.full_batch == (wallets, 2 + 2 * wallets)


def later(reading: Reading, node: FakeNode, seconds: float) -> None:
    reading.clock.now += seconds
    node.newest = Block(node.newest.number + int(seconds) // 12 + 1, int(reading.clock.now) - 4)


def test_a_worse_way_is_doubted_within_minutes_and_the_better_ones_are_tried_again() -> None:
    node = FakeNode()
    node.fault = only("return")
    reading = Reading(node)
    reading.all_right(4)
    node.fault = lambda _way, _accounts: None
    later(reading, node, BETTER_AFTER - 1)
    reading.all_right(4)
    assert asked(node)[-1] == "return"
    later(reading, node, 1)
    reading.all_right(4)
    assert asked(node)[-1] == "revert"
    assert reading.reader.max_wallets == node.strategies["revert"]


def test_a_size_that_was_learnt_of_a_worse_way_is_none_of_the_better_ones() -> None:
    node = FakeNode()
    node.fault = lambda strategy, of: (
        (TooMuch() if len(of) > 8 else None) if strategy in {"return", "contact"} else Unsupported()
    )
    reading = Reading(node)
    reading.all_right(32)
    assert reading.reader.max_wallets == 8
    node.fault = lambda _way, _accounts: None
    later(reading, node, BETTER_AFTER)
    node.asked.clear()
    for _ in range(2):
        reading.all_right(64)
    assert node.asked == [("revert", 64)] * 2
    assert reading.reader.max_wallets == 64


def test_a_doubt_that_proves_wrong_costs_a_request_a_way_and_no_wallet() -> None:
    node = FakeNode()
    node.fault = only("multicall3")
    reading = Reading(node)
    reading.all_right(4)
    node.asked.clear()
    node.fault = lambda strategy, _accounts: None if strategy in {"multicall3", "contact"} else Refused("some words")
    later(reading, node, BETTER_AFTER)
    reading.all_right(4)
    reading.all_right(4)
    assert asked(node) == ["revert", "return", "multicall3", "multicall3"]


def test_a_way_that_works_is_left_for_no_refusal_but_for_the_word_that_it_is_not_supported() -> None:
    node = FakeNode()
    reading = Reading(node)
    reading.all_right(4)
    node.fault = lambda strategy, _accounts: Refused("internal error") if strategy == "revert" else None
    for _ in range(10):
        assert reading.failure(4).code == "refused"
        later(reading, node, 40)
    assert set(asked(node)) == {"revert"}
    node.fault = lambda strategy, _accounts: Unsupported() if strategy == "revert" else None
    assert reading.failure(4).code == "unsupported"
    later(reading, node, 100)
    reading.all_right(4)
    assert asked(node)[-1] == "return"


@pytest.mark.parametrize("kind", [Refused, BadReply])
def test_an_error_that_passes_teaches_no_worse_way(kind: type[ReadFailed]) -> None:
    node, other = FakeNode(), FakeNode("other")
    reading = Reading(node, other)
    for number in range(REPEATED + 3):
        said = [kind(f"internal error {number}, no. {'abcdefgh'[number]}")]
        node.fault = lambda _way, _accounts, said=said: said.pop() if said else None  # type: ignore[misc]
        reading.parts(accounts(4))
        assert "way:node" not in reading.reader.shared.get(["way:node"])
        later(reading, node, 100)
        other.newest = node.newest
    reading.all_right(4)
    assert asked(node)[-1] == "revert"


@pytest.mark.parametrize("kind", [Refused, BadReply])
@pytest.mark.parametrize("alone", [True, False])
def test_nor_does_it_in_a_process_that_has_a_ways_proof_from_others_alone(
    kind: type[ReadFailed], *, alone: bool
) -> None:
    """A process that has just started, or one whose own proof is an hour old."""
    node = FakeNode()
    nodes = [node] if alone else [node, FakeNode("other")]
    one, fresh = Reading(*nodes), Reading(*nodes)
    server = fakeredis.FakeServer()
    for reading in (one, fresh):
        client = fakeredis.FakeRedis(server=server)
        reading.share(Shared("test", "redis://given", one.clock, _client=client))
    one.all_right(4)
    said = [kind("internal error")]
    node.fault = lambda _way, _accounts: said.pop() if said else None
    fresh.parts(accounts(4))
    assert one.reader.shared.get(["way:node", "more"])["way:node"] == ["revert", ""]
    assert "return" not in asked(node) or kind is BadReply


def test_an_error_that_passes_is_tried_once_more_where_there_is_no_other_endpoint() -> None:
    node = FakeNode()
    said = [Refused("internal error")]
    node.fault = lambda _way, _accounts: said.pop() if said else None
    reading = Reading(node)
    reading.all_right(4)
    assert asked(node) == ["revert", "revert"]
    assert not reading.reader.shared.get(["rest:node"])


def test_words_that_say_nothing_are_believed_when_they_are_said_again_and_again() -> None:
    node, other = FakeNode(), FakeNode("other")
    reading = Reading(node, other)
    node.fault = lambda strategy, _accounts: Refused("call 17 is odd") if strategy == "revert" else None
    other.fault = fails(Unreachable)
    for _ in range(REPEATED - 1):
        assert reading.failure(4)
        later(reading, node, REPEATED_OVER)
    assert set(asked(node)) == {"revert"}
    reading.all_right(4)
    assert asked(node)[-2:] == ["revert", "return"]
    reading.all_right(4)
    assert asked(node)[-1] == "return"


def test_an_endpoint_that_reads_in_no_way_fails_as_it_did_in_the_best() -> None:
    node = FakeNode()
    node.fault = lambda strategy, _accounts: None if strategy == "contact" else Refused(f"no {strategy}")
    failure = Reading(node).failure(2)
    assert (failure.code, str(failure)) == ("refused", "no revert")


@pytest.mark.parametrize("kind", [WrongChain, Throttled, Unreachable])
def test_an_endpoint_that_fails_for_good_in_a_later_way_is_said_to_fail_as_it_did_there(kind: type[ReadFailed]) -> None:
    node = FakeNode()
    node.fault = lambda strategy, _accounts: Unsupported() if strategy == "revert" else kind()
    with capture_logs() as logs:
        assert Reading(node).failure(2).code == kind.code
    assert [line["error"] for line in logs] == [kind.code]
    assert asked(node) == ["revert", "return"]


def test_a_wrong_chain_behind_a_gateway_without_revert_data_is_an_error() -> None:
    node = FakeNode(chain_id=5)
    node.fault = only("return")
    with capture_logs() as logs:
        assert Reading(node).failure(2).code == "wrong_chain"
    assert logs[-1]["log_level"] == "error"


def test_a_bad_reply_leads_to_another_way_for_one_read_alone() -> None:
    node = FakeNode()
    replies = iter([BadReply("truncated")])
    node.fault = lambda _way, _accounts: next(replies, None)
    reading = Reading(node)
    reading.all_right(4)
    assert asked(node) == ["revert", "return"]
    reading.all_right(4)
    assert asked(node)[-1] == "revert"


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


@pytest.mark.parametrize(("request_limit", "blamed"), [(10, True), (100, False)])
def test_a_way_of_many_requests_ends_at_the_deadline_too(
    monkeypatch: pytest.MonkeyPatch, request_limit: float, *, blamed: bool
) -> None:
    """One that had a request's whole time and read nothing is left alone: the next read asks another one first."""
    node = FakeNode()
    reading = Reading(node)
    node.fault = only("single")
    reading.all_right(1)
    node.asked.clear()
    reading.reader.request_limit = request_limit
    passed, limits = [0.0], list[float]()
    for module in ("attempt", "sending", "strategies"):
        monkeypatch.setattr(f"worker.reading.{module}.monotonic", lambda: monotonic() + passed[0])

    def slow(_way: str, _accounts: object) -> None:
        limits.append(node.session.time_limit)
        passed[0] += 12

    node.fault = slow
    (part,) = reading.parts(accounts(4), seconds=20)
    assert isinstance(part.failure, Unreachable)
    assert asked(node) == ["head", "native"], "and no more"
    assert limits[0] <= min(request_limit, 20)
    assert limits[1] <= 8
    assert bool(reading.reader.shared.get(["rest:node"]).get("rest:node", [0, 0])[1]) is blamed


@pytest.mark.parametrize(("pins", "pieces"), [(True, [4, 2, 2]), (False, [4])])
def test_a_pinned_read_that_takes_longer_than_nodes_keep_a_state_is_read_in_halves_each_at_a_new_block(
    monkeypatch: pytest.MonkeyPatch, pieces: list[int], *, pins: bool
) -> None:
    """A node of a chain with five blocks a second keeps a block's state for half a minute."""
    node = FakeNode(strategies={"single": 4})
    node.pins, passed = pins, [0.0]
    monkeypatch.setattr("worker.reading.strategies.monotonic", lambda: monotonic() + passed[0])
    reading = Reading(node, pin_seconds=20)

    def slow(strategy: str, _accounts: object) -> None:
        passed[0] += 8 if strategy == "single" else 0
        if strategy == "head":
            node.newest = Block(node.newest.number + 1, node.newest.time)

    node.fault = slow
    parts = reading.parts(accounts(4))
    assert [len(part.wallets) for part in parts] == ([2, 2] if pins else [4])
    blocks = [each.snapshot.block.number for each in parts if each.snapshot]
    assert blocks == ([102, 103] if pins else [101])
    assert asked(node).count("head") == len(pieces)
    assert not reading.reader.shared.get(["rest:node"])


@pytest.mark.parametrize(("pin_seconds", "most"), [(inf, 11), (20, 9), (4, 1)])
def test_what_is_read_at_one_block_wallet_by_wallet_is_bounded_by_for_how_long_its_state_is_kept(
    pin_seconds: float, most: int
) -> None:
    node = FakeNode(strategies={"single": 20})
    node.session.pace = 0.5
    assert Reading(node, pin_seconds=pin_seconds).reader.max_wallets == most


@pytest.mark.parametrize("times", [1, 2])
def test_a_state_that_is_gone_is_asked_for_once_more_and_condemns_nobody(times: int) -> None:
    node, other = FakeNode(), FakeNode("other")
    reading = Reading(node, other)
    reading.all_right(4)
    for _ in range(3):
        node.asked.clear()
        gone = [StateGone()] * times
        node.fault = lambda _way, _accounts, gone=gone: gone.pop() if gone else None  # type: ignore[misc]
        with capture_logs() as logs:
            (part,) = reading.parts(accounts(4))
        assert part.node_name == ("node" if times == 1 else "other")
        assert [line["left_alone_seconds"] for line in logs] == ([] if times == 1 else [StateGone.rest]), "never longer"
        later(reading, node, StateGone.rest)
        other.newest = node.newest


@pytest.mark.parametrize("native", [-(2**130), -5, -1, 2**128, 2**256])
def test_a_native_balance_that_cannot_be_is_no_balance_wallet_by_wallet(native: int) -> None:
    """Where it is asked for by itself nothing else bounds it: java-tron's is any number of JSON."""
    node = FakeNode()
    node.balances = lambda _account: (7, native)
    with pytest.raises(BadReply, match="a native balance"):
        one_by_one(node, facts(), accounts(1))


@pytest.mark.parametrize("native", [0, 1, 2**128 - 1])
def test_every_other_native_balance_is_one(native: int) -> None:
    node = FakeNode()
    node.balances = lambda _account: (7, native)
    assert one_by_one(node, facts(), accounts(1)).balances == (Balance(7, native),)


def test_more_wallets_than_a_request_takes_are_read_in_several() -> None:
    node = FakeNode()
    Reading(node).all_right(150)
    assert [count for strategy, count in node.asked if strategy == "revert"] == [64, 64, 22]


def takes(most: int) -> Any:
    return lambda strategy, of: TooMuch() if strategy != "contact" and len(of) > most else None


def test_the_largest_batch_is_learnt_and_grows_again_slowly() -> None:
    node = FakeNode()
    node.fault = takes(20)
    reading = Reading(node)
    reading.all_right(64)
    assert [count for strategy, count in node.asked if strategy == "revert"] == [64, 32, 16, 16, 32, 16, 16]
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
    node.fault = lambda strategy, _accounts: next(chances) if strategy == "revert" else None
    reading = Reading(node)
    reading.all_right(64)
    assert asked(node) == ["revert", "revert"]
    assert reading.reader.max_wallets == 64


def test_what_fails_twice_by_the_clock_is_halved() -> None:
    node = FakeNode()
    node.fault = lambda strategy, of: OutOfTime() if strategy == "revert" and len(of) > 32 else None
    reading = Reading(node)
    reading.all_right(64)
    assert [count for strategy, count in node.asked if strategy == "revert"] == [64, 64, 32, 32]


def test_a_pause_in_a_read_of_few_wallets_says_nothing_of_sizes() -> None:
    node = FakeNode()
    reading = Reading(node)
    chances = iter([OutOfTime(), OutOfTime()])
    node.fault = lambda strategy, _accounts: next(chances, None) if strategy == "revert" else None
    reading.all_right(5)
    assert [count for strategy, count in node.asked if strategy == "revert"] == [5, 5, 3, 2]
    assert reading.reader.max_wallets == 64


def reverts_above(most: int) -> Any:
    """A node that runs out of gas and calls it a revert, or, with 0, one that passes no revert data on."""
    return lambda strategy, of: EmptyRevert() if strategy == "revert" and len(of) > most else None


@pytest.mark.parametrize("known", [True, False])
def test_a_revert_without_data_is_a_batch_that_ran_out_of_gas_where_one_wallet_can_be_read(*, known: bool) -> None:
    node = FakeNode(strategies={"revert": 64, "return": 64})
    reading = Reading(node)
    if known:
        reading.all_right(1)
    node.asked.clear()
    node.fault = reverts_above(20)
    with capture_logs() as logs:
        reading.all_right(64)
    assert logs == []
    assert [count for strategy, count in node.asked if strategy == "revert"] == [64, 1, 32, 16, 16, 31, 16, 15]
    assert reading.reader.max_wallets == 15
    assert not reading.reader.shared.get(["rest:node"])


@pytest.mark.parametrize("known", [True, False])
def test_a_revert_without_data_is_a_node_that_passes_none_on_where_one_wallet_cannot_be_read_either(
    *, known: bool
) -> None:
    node = FakeNode(strategies={"revert": 64, "return": 64})
    reading = Reading(node)
    if known:
        reading.all_right(1)
    node.asked.clear()
    node.fault = reverts_above(0)
    if known:
        codes = {part.failure.code for part in reading.parts(accounts(64)) if part.failure}
        assert codes == {"unsupported"}, "it rests, and the strategy is forgotten"
        later(reading, node, 100)
    reading.all_right(64)
    assert [each for each in node.asked if each[0] != "contact"][:2] == [("revert", 64), ("revert", 1)]
    assert asked(node)[-1] == "return"
    assert reading.reader.max_wallets == 64


def spoilt_by(*bad: bytes) -> Any:
    return lambda strategy, of: TooMuch() if strategy != "contact" and set(bad) & set(of) else None


@pytest.mark.parametrize("place", [0, 1, 700, 1023])
def test_one_wallet_that_spoils_a_batch_is_found_in_few_requests_and_all_others_are_read(place: int) -> None:
    node = FakeNode(strategies={"revert": 1024, "return": 512})
    reading, wallets = Reading(node), accounts(1024)
    node.fault = spoilt_by(wallets[place])
    parts = reading.parts(wallets)
    lone = [part for part in parts if part.failure]
    assert [(list(part.wallets), part.failure.code) for part in lone if part.failure] == [([place], "too_much")]
    assert len(asked(node)) <= 2 * 10 + 2
    assert reading.reader.max_wallets == 1024, "it was not the size"
    assert not reading.reader.shared.get(["rest:node"])


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
    assert [count for strategy, count in second.asked if strategy == "revert"] == [1]


def test_an_endpoint_for_which_everything_is_too_much_is_given_up_before_all_wallets_were_tried() -> None:
    first, second = FakeNode("first"), FakeNode("second")
    reading = Reading(first, second)
    reading.all_right(64)
    first.asked.clear()
    first.fault = takes(0)
    reading.all_right(64)
    assert len(first.asked) < 25
    assert not reading.reader.shared.get(["size:first"]), "it was not the size"
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
