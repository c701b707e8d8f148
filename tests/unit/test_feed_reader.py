"""Blocks are asked of a network's nodes by their order, budget, rests and keys, in the way in which each tells them."""

import json
from typing import Any, Literal

import pytest
import requests
from feed_chain import ALICE, BLOCK_SECONDS, BOB, CAROL, TOKEN, Feed, MadeBlock, Serving, Transaction, transfer
from structlog.testing import capture_logs

from worker.errors import (
    BadReply,
    ClockSkewed,
    Lagging,
    OverBudget,
    ReadFailed,
    Refused,
    StateGone,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreachable,
    Unsupported,
    WrongChain,
)
from worker.feed.blocks import TRANSFER
from worker.feed.evm_blocks import _bits
from worker.feed.reader import PATIENCE
from worker.reading.contact import Contact
from worker.reading.node_order import TRIAL_EVERY
from worker.reading.strategy_choice import BETTER_AFTER

Family = Literal["evm", "tron"]
FAMILIES: tuple[Family, Family] = ("evm", "tron")
LAST = 998  # by the fakes' clock made a few seconds ago
METHODS = {
    "evm": ("eth_chainId", "eth_getBlockByNumber", "eth_getLogs"),
    "tron": ("getblock", "getblockbynum", "gettransactioninfobyblocknum"),
}
HANGS = requests.ReadTimeout()


def chain(first: int = LAST - 5, last: int = LAST, fork: int = 0) -> list[MadeBlock]:
    return [
        MadeBlock(at, Transaction(transfer(ALICE, BOB, at)), fork=fork, parent_fork=fork)
        for at in range(first, last + 1)
    ]


def node(last: int = LAST, **more: Any) -> Serving:
    return Serving(*chain(last=last), **more)


def by_requests(nodes: list[Serving]) -> list[int]:
    return [len(each.asked) for each in nodes]


def error(code: int, message: str) -> Any:
    return lambda _asked: {"error": {"code": code, "message": message}}


def to_be(value: Any) -> Any:
    return lambda _asked: value


@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_is_two_requests_once_the_chain_is_known(family: Family) -> None:
    one = node()
    feed = Feed(one, family=family)
    for number in range(LAST - 5, LAST + 1):
        assert feed.changed(number) == {ALICE: -number, BOB: number}
    chain_id, block, rest = METHODS[family]
    assert one.asked == [chain_id, *[block, rest] * 6]
    counts = feed.reader.reader.shared.requests
    assert sum(counts._spans.values()) == 13


@pytest.mark.parametrize(("finality", "state"), [("solid", "walletsolidity"), ("latest", "wallet")])
def test_blocks_of_tron_are_asked_for_in_the_state_of_the_finality(finality: str, state: str) -> None:
    one = node()
    feed = Feed(one, family="tron", finality=finality)
    assert feed.block(LAST)
    assert feed.block(None)
    assert [(url.removeprefix("https://node-0.example/rpc/"), asked) for url, asked in one.sent[1:4]] == [
        (f"{state}/getblockbynum", {"num": LAST}),
        (f"{state}/gettransactioninfobyblocknum", {"num": LAST}),
        (f"{state}/getnowblock", {}),
    ]


@pytest.mark.parametrize("finality", ["latest", "finalized"])
def test_blocks_of_evm_are_asked_for_whole_and_the_newest_by_its_finality(finality: str) -> None:
    one = node(final=LAST)
    feed = Feed(one, finality=finality)
    assert feed.block(None)
    assert feed.block(LAST - 1)
    blocks = [asked["params"] for _, asked in one.sent if asked["method"] == "eth_getBlockByNumber"]
    assert blocks == [[finality, True], [hex(LAST - 1), True]]


@pytest.mark.parametrize("junk", [0, "", "zz", True, [[]], [{}], {"a": 1}, ["0x"]], ids=repr)
@pytest.mark.parametrize(("family", "method"), [(family, method) for family in FAMILIES for method in METHODS[family]])
def test_a_node_that_answers_with_junk_is_believed_in_nothing(family: Family, method: str, junk: Any) -> None:
    one = node()
    one.faults[method] = to_be(junk)
    with pytest.raises(ReadFailed):
        Feed(one, family=family).block(LAST)


def test_a_chain_that_was_thrown_back_is_followed_from_its_newest_block_on() -> None:
    one, other = node(), node()
    feed = Feed(one, other)
    assert feed.block(LAST)
    for each in (one, other):
        each.blocks = {at: made for at, made in each.blocks.items() if at <= LAST - 3}
    found = feed.block(None)
    assert found
    del one.asked[:], other.asked[:]
    assert feed.block(LAST - 2) is None
    assert by_requests([one, other]) == [1, 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_that_is_not_there_yet_is_one_request_and_no_failure(family: Family) -> None:
    one = node()
    feed = Feed(one, family=family)
    assert feed.block(LAST)
    del one.asked[:]
    with capture_logs() as logs:
        assert feed.block(LAST + 1) is None
        assert feed.block(LAST + 1) is None
    assert one.asked == [METHODS[family][1]] * 2
    assert logs == []
    one.add(*chain(LAST + 1, LAST + 1))
    assert feed.changed(LAST + 1) == {ALICE: -LAST - 1, BOB: LAST + 1}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_newest_block_is_had_without_its_number(family: Family) -> None:
    found = Feed(node(), family=family).block(None)
    assert found
    assert (found.number, found.transactions) == (LAST, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_node_that_a_read_has_proved_is_not_asked_for_its_chain(family: Family) -> None:
    one = node()
    feed = Feed(one, family=family)
    feed.reader.reader.shared.prove(f"contact:{feed.nodes[0].id}", Contact(1, 6, number=True), 60)
    assert feed.block(LAST)
    assert len(one.asked) == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_a_node_of_another_chain_feeds_nobody(family: Family) -> None:
    one, other = node(chain_id=5), node()
    feed = Feed(one, other, family=family)
    with capture_logs() as logs:
        assert feed.block(LAST)
    assert [line["error"] for line in logs] == ["wrong_chain"]
    assert feed.block(LAST - 1)
    assert len(one.asked) == 1, "it is left alone"
    with pytest.raises(WrongChain):
        Feed(node(chain_id=5), family=family).block(LAST)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("at", [1, 2], ids=["of the block", "of what came of it"])
@pytest.mark.parametrize(
    ("reply", "kind"),
    [(HANGS, Unreachable), ((503, ""), Unavailable), ((429, ""), Throttled), ((401, ""), Unauthorized)],
)
def test_where_one_node_fails_another_is_asked_and_the_one_is_left_alone(
    family: Family, at: int, reply: Any, kind: type[Exception]
) -> None:
    one, other = node(), node()
    one.faults[METHODS[family][at]] = to_be(reply)
    feed = Feed(one, other, family=family)
    with capture_logs() as logs:
        assert feed.changed(LAST) == {ALICE: -LAST, BOB: LAST}
    assert [line["event"] for line in logs] == ["read_failed"]
    assert logs[0]["left_alone_seconds"] > 0
    asked = len(one.asked)
    assert feed.block(LAST - 1)
    assert len(one.asked) == asked
    entries = feed.reader.reader.shared.get([f"rest:{feed.nodes[0].id}"])
    assert entries, "reads leave it alone as well"
    one.faults.clear()
    alone = Feed(one, family=family)
    one.faults[METHODS[family][at]] = to_be(reply)
    with pytest.raises(kind):
        alone.block(LAST)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_wrong_with_blocks_alone_keeps_nobody_from_reading_balances_there(family: Family) -> None:
    one, other = node(), node()
    one.blocks[LAST] = MadeBlock(LAST, Transaction(([TRANSFER], "")))
    feed = Feed(one, other, family=family)
    assert feed.changed(LAST) == {ALICE: -LAST, BOB: LAST}
    shared, ident = feed.reader.reader.shared, feed.nodes[0].id
    assert shared.get([f"rest:{ident}", f"feed:{ident}"]).keys() == {f"feed:{ident}"}
    asked = len(one.asked)
    assert feed.block(LAST - 1)
    assert len(one.asked) == asked, "the feed leaves it alone"


@pytest.mark.parametrize("family", FAMILIES)
def test_where_the_feed_leaves_all_alone_one_is_tried_every_few_seconds(family: Family) -> None:
    one = node()
    sound, one.blocks[LAST] = one.blocks[LAST], MadeBlock(LAST, Transaction(([TRANSFER], "")))
    feed = Feed(one, family=family)
    for kind in (BadReply, BadReply, Lagging):  # the second is the first trial
        with pytest.raises(kind):
            feed.block(LAST)
    asked = len(one.asked)
    with pytest.raises(Lagging, match="leaves every endpoint alone"):
        feed.block(LAST)
    assert len(one.asked) == asked
    one.blocks[LAST] = sound
    feed.clock.now += TRIAL_EVERY
    assert feed.block(LAST)
    assert feed.block(LAST - 1), "it answers: it is no longer left alone"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_error_that_nobody_thought_of_is_the_nodes_failure(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = node(), node()
    feed = Feed(one, other, family=family)

    def broken(_number: int | None) -> Any:
        raise ZeroDivisionError("with https://node-0.example/rpc in it")

    monkeypatch.setattr(feed.nodes[0], "full_block", broken)
    with capture_logs() as logs:
        assert feed.block(LAST)
    assert [line["event"] for line in logs] == ["endpoint_broken", "read_failed"]
    assert "example" not in json.dumps(logs)


# Order, budget, keys


@pytest.mark.parametrize("family", FAMILIES)
def test_requests_are_sent_in_the_slots_of_the_budget_and_those_left_over_are_given_back(family: Family) -> None:
    one = node()
    feed = Feed(one, family=family, per_second=1000)
    assert feed.block(LAST)
    assert feed.block(LAST + 1) is None
    budget = feed.reader.reader.budget
    assert not budget.holds(feed.nodes[0].id)
    assert len(one.asked) == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_without_room_in_the_budget_nothing_is_sent_and_no_node_is_blamed(family: Family) -> None:
    one, other = node(), node()
    feed = Feed(one, other, family=family, per_second=0.01)
    with capture_logs() as logs, pytest.raises(OverBudget):
        feed.block(LAST, seconds=0.5)
    assert by_requests([one, other]) == [0, 0]
    assert {line["left_alone_seconds"] for line in logs} == {0}


def test_keys_take_turns_and_one_that_is_throttled_is_left_alone() -> None:
    one = node()
    feed = Feed(one, family="tron", keys=["key-one", "key-two"])
    for number in range(LAST - 5, LAST + 1):
        assert feed.block(number)
    assert set(one.keys) == {"key-one", "key-two"}
    suspended = (403, {"Error": "The key exceeds the frequency limit(15), and the query server is suspended for 27 s"})
    one.faults["getblockbynum"] = lambda asked: (
        suspended if one.keys[-1] == "key-one" else one.answer("getblockbynum", asked)
    )
    for number in (LAST, LAST - 1, LAST - 2):
        assert feed.block(number)
    del one.keys[:]
    for number in (LAST, LAST - 1, LAST - 2):
        assert feed.block(number)
    assert set(one.keys) == {"key-two"}
    assert not feed.reader.reader.shared.get([f"rest:{feed.nodes[0].id}"])


# What is not there


def test_a_block_that_a_node_says_in_words_not_to_have_is_not_there_yet() -> None:
    """N1."""
    one = node()
    feed = Feed(one)
    assert feed.block(LAST)
    for words in ("block not found", "header not found", "unknown block"):
        one.faults["eth_getBlockByNumber"] = error(-32000, words)
        assert feed.block(LAST + 1) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_another_node_is_asked_for_a_block_that_has_been_missing_for_a_few_blocks_time(family: Family) -> None:
    behind, good = node(LAST - 1), node()
    feed = Feed(behind, good, family=family)
    assert feed.block(LAST) is None, "at first one node's word is enough"
    assert good.asked == []
    feed.clock.now += PATIENCE * BLOCK_SECONDS
    with capture_logs() as logs:
        assert feed.block(LAST)
    assert [(line["error"], line["endpoint"]) for line in logs] == [("lagging", "node-0")]
    asked = len(behind.asked)
    assert feed.block(LAST - 1)
    assert len(behind.asked) == asked, "the feed leaves it alone"


@pytest.mark.parametrize("family", FAMILIES)
def test_another_node_is_asked_at_once_for_a_block_that_must_be_there(family: Family) -> None:
    behind, good = node(LAST - 1), node()
    feed = Feed(behind, good, family=family)
    feed.reader.reader.shared.prove("newest", [LAST, int(feed.clock.now)], 60)
    assert feed.block(LAST)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_that_no_node_has_any_more_is_a_failure_and_not_one_to_wait_for(family: Family) -> None:
    one, other = node(), node()
    feed = Feed(one, other, family=family)
    assert feed.block(LAST)
    with pytest.raises(StateGone, match=f"no endpoint has block {LAST - 20}, though there is {LAST}"):
        feed.block(LAST - 20)


def test_no_tag_is_no_block() -> None:
    one = node(final=None)
    with pytest.raises(Lagging, match="no finalized block"):
        Feed(one, finality="finalized").block(None)


def test_a_block_is_not_asked_for_by_its_number_before_it_is_final_and_two_requests_are_enough_for_each() -> None:
    one = node(final=LAST - 4)
    feed = Feed(one, finality="finalized")
    newest = feed.block(None)
    assert newest
    assert newest.number == LAST - 4
    assert feed.block(LAST - 3) is None
    one.final = LAST - 1
    del one.asked[:]
    for number in range(LAST - 3, LAST):
        assert feed.changed(number) == {ALICE: -number, BOB: number}
    assert len(one.asked) == 6
    assert feed.block(LAST) is None


def test_a_final_block_that_another_node_has_not_yet_is_not_taken_from_it() -> None:
    one, other = node(final=LAST), node(final=LAST - 3)
    feed = Feed(one, other, finality="finalized")
    assert feed.block(LAST - 2)
    one.faults["eth_getBlockByNumber"] = to_be((503, ""))
    assert feed.block(LAST - 1) is None
    other.final = LAST - 1
    assert feed.block(LAST - 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_newest_block_of_a_node_that_stands_still_is_not_taken_for_the_newest(family: Family) -> None:
    one, other = Serving(*chain(last=LAST - 50, first=LAST - 50)), node()
    feed = Feed(one, other, family=family)
    found = feed.block(None)
    assert found
    assert found.number == LAST
    with pytest.raises(Lagging):
        Feed(Serving(*chain(last=LAST - 50, first=LAST - 50)), family=family).block(None)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_old_block_is_read_by_its_number(family: Family) -> None:
    assert Feed(Serving(*chain(10, 10)), family=family).changed(10) == {ALICE: -10, BOB: 10}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("number", [LAST, None])
def test_a_block_of_the_future_is_believed_by_nobody(family: Family, number: int | None) -> None:
    feed = Feed(node(), family=family)
    feed.clock.now -= 1000
    with pytest.raises(BadReply, match="block time"):
        feed.block(number)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_wrong_clock_of_the_database_is_no_nodes_fault(family: Family) -> None:
    feed = Feed(node(), family=family)
    now, feed.clock.now = feed.clock.now, feed.clock.now
    with capture_logs() as logs, pytest.raises(ClockSkewed):
        feed.reader.block(LAST, now - 1000, 10.0**9)
    assert logs[0]["left_alone_seconds"] == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_of_another_number_than_was_asked_for_is_refused(family: Family) -> None:
    one = node()
    one.blocks[LAST] = one.blocks[LAST - 1]
    with pytest.raises(BadReply, match=f"block {LAST - 1} instead of {LAST}"):
        Feed(one, family=family).block(LAST)


# What came of the transactions of Tron


def test_infos_that_are_not_stored_yet_are_asked_for_once_more() -> None:
    one = node()
    late: list[Any] = [[]]
    one.faults["gettransactioninfobyblocknum"] = lambda asked: (
        late.pop() if late else one.answer("gettransactioninfobyblocknum", asked)
    )
    assert Feed(one, family="tron").changed(LAST) == {ALICE: -LAST, BOB: LAST}
    assert len(one.asked) == 4


def test_infos_of_another_fork_are_not_the_blocks_and_another_node_is_asked() -> None:
    forked, good = node(), node()
    of_fork = Serving(*chain(fork=1))
    forked.faults["gettransactioninfobyblocknum"] = lambda asked: of_fork.answer("gettransactioninfobyblocknum", asked)
    feed = Feed(forked, good, family="tron")
    assert feed.changed(LAST) == {ALICE: -LAST, BOB: LAST}
    assert len(forked.asked) == 4
    assert not feed.reader.reader.shared.get([f"rest:{feed.nodes[0].id}", f"feed:{feed.nodes[0].id}"])
    with pytest.raises(StateGone):
        Feed(forked, family="tron").block(LAST)


def test_a_node_that_keeps_no_infos_cannot_be_followed_and_says_why() -> None:
    lite = node()
    lite.faults["gettransactioninfobyblocknum"] = to_be("this API is closed because this node is a lite fullnode")
    feed = Feed(lite, family="tron")
    for _ in range(3):
        with pytest.raises(Unsupported, match="no infos of transactions"):
            feed.block(LAST)
    assert len(lite.asked) == 3, "it is asked once"
    feed.clock.now += BETTER_AFTER
    lite.faults.clear()
    assert feed.block(LAST)


# In which way events are told on EVM


def way_of(feed: Feed) -> Any:
    return feed.reader.reader.shared.get([f"follow:{feed.nodes[0].id}"])[f"follow:{feed.nodes[0].id}"]


def several(asked: Any) -> bool:
    return isinstance(asked["params"][0]["address"], list)


def test_logs_of_the_token_and_the_system_address_are_asked_for_by_the_blocks_hash() -> None:
    one, seen = node(), list[Any]()

    def noted(asked: Any) -> Any:
        seen.append(asked["params"])
        return one.answer("eth_getLogs", asked)

    one.faults["eth_getLogs"] = noted
    found = Feed(one).block(LAST)
    assert found
    ((asked,),) = seen
    assert asked["blockHash"] == "0x" + found.hash.hex()
    assert asked["address"] == ["0x" + TOKEN.hex(), "0xfffffffffffffffffffffffffffffffffffffffe"]
    assert len(asked["topics"][0]) == 6
    assert asked.keys() == {"blockHash", "address", "topics"}


def test_a_node_that_takes_one_address_alone_is_asked_for_the_token_and_shows_no_native_coin() -> None:
    one = node()
    one.faults["eth_getLogs"] = lambda asked: (
        {"error": {"code": -32602, "message": "address: a text"}}
        if several(asked)
        else one.answer("eth_getLogs", asked)
    )
    feed = Feed(one)
    found = feed.block(LAST)
    assert found
    assert (found.usdt, found.sees_native) == ({ALICE: -LAST, BOB: LAST}, False)
    assert way_of(feed)[:2] == ["token_logs", "unsupported: error -32602: address: a text"]
    del one.asked[:]
    assert feed.block(LAST - 1)
    assert len(one.asked) == 2, "what it takes is kept"
    one.faults.clear()
    feed.clock.now += BETTER_AFTER
    assert feed.block(LAST - 2)
    assert way_of(feed)[0] == "logs", "and doubted after a while"


@pytest.mark.parametrize(
    "refusal",
    [
        error(-32601, "the method does not exist"),
        error(-32614, "eth_getLogs is limited to a 5 range"),
        error(-32602, "query exceeds the range"),
        to_be((413, "")),
    ],
    ids=["no such method", "-32614", "-32602", "413"],
)
def test_a_node_that_tells_no_logs_of_a_block_is_asked_for_receipts(refusal: Any) -> None:
    """N13."""
    one = node()
    one.faults["eth_getLogs"] = refusal
    feed = Feed(one)
    assert feed.changed(LAST) == {ALICE: -LAST, BOB: LAST}
    assert way_of(feed)[0] == "receipts"
    del one.asked[:]
    assert feed.block(LAST - 1)
    assert one.asked == ["eth_getBlockByNumber", "eth_getBlockReceipts"]


def test_a_node_that_tells_nothing_of_blocks_is_not_asked_again_for_a_while() -> None:
    one = node()
    one.faults |= {"eth_getLogs": error(-32601, "gone"), "eth_getBlockReceipts": error(-32601, "gone")}
    feed = Feed(one)
    with capture_logs() as logs, pytest.raises(Unsupported):
        feed.block(LAST)
    assert [line["left_alone_seconds"] for line in logs] == [BETTER_AFTER]
    assert way_of(feed)[:2] == ["none", "unsupported: error -32601: gone"]
    asked = len(one.asked)
    with pytest.raises(Unsupported, match="no endpoint tells what blocks change: unsupported: error -32601: gone"):
        feed.block(LAST)
    assert len(one.asked) == asked
    assert not feed.reader.reader.shared.get([f"rest:{feed.nodes[0].id}", f"feed:{feed.nodes[0].id}"])


def test_a_way_that_works_is_left_for_nothing_but_the_word_that_it_is_not_supported() -> None:
    one = node()
    feed = Feed(one)
    assert feed.block(LAST)
    assert feed.block(LAST)
    one.faults["eth_getLogs"] = error(-32000, "something went wrong")
    with pytest.raises(Refused):
        feed.block(LAST)
    assert "eth_getBlockReceipts" not in one.asked
    assert way_of(feed)[0] == "logs"
    one.faults["eth_getLogs"] = error(-32601, "the method does not exist")
    feed.clock.now += 60
    assert feed.block(LAST)
    assert way_of(feed)[0] == "receipts"


def test_what_others_say_of_a_node_is_tried_first_and_believed_only_when_it_works() -> None:
    one = node()
    feed = Feed(one)
    shared, ident = feed.reader.reader.shared, feed.nodes[0].id
    for entry in (["none", "they say", feed.clock.now + 300], ["receipts", "they say", feed.clock.now + 300]):
        shared._own[f"follow:{ident}"] = (entry, feed.clock.now + 3600)
        assert feed.block(LAST)
    assert one.asked[-1] == "eth_getBlockReceipts"


@pytest.mark.parametrize(
    "reply",
    [error(-32000, "unknown block"), error(-32000, "block not found"), to_be(None)],
    ids=["geth's error", "another's error", "null"],
)
@pytest.mark.parametrize("method", ["eth_getLogs", "eth_getBlockReceipts"])
def test_a_block_that_is_gone_between_the_two_requests_is_asked_of_another_node(method: str, reply: Any) -> None:
    """N7, N8, N11."""
    one, other = node(), node()
    if method == "eth_getBlockReceipts":
        one.faults["eth_getLogs"] = error(-32601, "gone")
    one.faults[method] = reply
    feed = Feed(one, other)
    assert feed.changed(LAST) == {ALICE: -LAST, BOB: LAST}
    assert by_requests([one, other])[1] == 3


# Events that may have been left out


def sparse(found: dict[str, Any]) -> dict[str, Any]:
    """The filter of a block that holds an event of the token, and little else."""
    return found | {"logsBloom": f"0x{_bits(TOKEN) | _bits(bytes.fromhex(TRANSFER)):0512x}"}


def lacking(last: int = LAST, *, times: int = 10**9) -> Serving:
    """A node that tells no logs, so often."""
    made, left = node(last), [None] * min(times, 1000)
    made.faults["eth_getBlockByNumber"] = lambda asked: sparse(made.answer("eth_getBlockByNumber", asked))
    made.faults["eth_getLogs"] = lambda asked: [] if left and left.pop() is None else made.answer("eth_getLogs", asked)
    return made


def test_logs_that_the_blocks_filter_misses_are_asked_of_another_node() -> None:
    one, other = lacking(), node()
    assert Feed(one, other).changed(LAST) == {ALICE: -LAST, BOB: LAST}
    assert by_requests([one, other]) == [3, 3]


def test_a_lone_node_that_says_twice_that_there_are_no_logs_is_believed() -> None:
    one = lacking()
    assert Feed(one).changed(LAST) == {}
    assert len(one.asked) == 5


def test_a_lone_node_that_has_the_logs_when_it_is_asked_again_is_believed_the_second_time() -> None:
    one = lacking(times=1)
    assert Feed(one).changed(LAST) == {ALICE: -LAST, BOB: LAST}


def test_two_nodes_that_say_the_same_are_believed() -> None:
    one, other = lacking(), lacking()
    assert Feed(one, other).changed(LAST) == {}
    assert by_requests([one, other]) == [3, 3]


def test_where_the_other_node_has_no_such_block_yet_the_one_is_asked_again() -> None:
    one, other = lacking(), node(LAST - 1)
    assert Feed(one, other).changed(LAST) == {}
    assert len(one.asked) == 5


def test_a_block_that_is_another_one_when_it_is_asked_for_again_is_not_believed() -> None:
    one = lacking()
    forks = [MadeBlock(LAST, Transaction(transfer(ALICE, CAROL, at)), fork=at) for at in (2, 1)]
    one.faults["eth_getBlockByNumber"] = lambda _asked: sparse(forks.pop().evm())
    one.faults["eth_getLogs"] = to_be([])
    with pytest.raises(StateGone, match="was another one"):
        Feed(one).block(LAST)
