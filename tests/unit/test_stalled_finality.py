"""What is final stands still while the chain goes on: that is the chain's state, and no node's fault."""

from time import monotonic

import pytest
from fakes import NOW, FakeNode, Reading, accounts, asked, fails
from structlog.testing import capture_logs

from devstack.servers import CAP
from worker.errors import FinalityStalled, Lagging, ReadFailed, Unreachable
from worker.reading.contract import Block

MAX_AGE = 1200


def stalled(name: str = "node", *, head_age: float = 3, number: int = 100, age: float = 3000) -> FakeNode:
    """A node whose newest final block is fifty minutes old, and its newest one of all is not."""
    node = FakeNode(name)
    node.newest, node.head_block = Block(number, int(NOW - age)), Block(9000, int(NOW - head_age))
    return node


def reader(*nodes: FakeNode, family: str = "evm", finality: str = "finalized") -> Reading:
    return Reading(*nodes, family=family, finality=finality, max_age=MAX_AGE, head_max_age=60)


@pytest.mark.parametrize(("family", "finality"), [("evm", "finalized"), ("evm", "safe"), ("tron", "solid")])
def test_all_nodes_say_so_and_it_is_the_networks_reason(family: str, finality: str) -> None:
    reading = reader(stalled("one"), stalled("other"), family=family, finality=finality)
    with capture_logs() as logs:
        failure = reading.failure(3)
    assert type(failure) is FinalityStalled
    assert f"the newest {finality} block 100 is 3000 s old, more than 1200, and block 9000 3 s" in str(failure)
    assert [(line["error"], line["log_level"]) for line in logs] == [("finality_stalled", "warning")] * 2
    refused = reading.reader.may_read(monotonic() + CAP)
    assert refused
    assert refused.code == "finality_stalled"


def test_no_node_has_failed_and_none_rests_for_longer_however_long_it_lasts() -> None:
    one, other = stalled("one"), stalled("other")
    reading = reader(one, other)
    for _ in range(10):
        reading.failure(1)
        reading.clock.now += FinalityStalled.rest
        for node in (one, other):
            node.head_block = Block(9000, int(reading.clock.now))
    rests = reading.reader.shared.get(["rest:one", "rest:other"])
    assert {(rest[1], rest[2]) for rest in rests.values()} == {(0, "finality_stalled")}
    one.newest = Block(101, int(reading.clock.now) - 5)
    reading.all_right(3)


def test_a_node_that_alone_says_so_is_behind_and_the_others_are_used() -> None:
    behind, good = stalled("behind"), FakeNode("good")
    reading = reader(behind, good)
    for _ in range(5):
        (part,) = reading.parts(accounts(3))
        assert part.node_name == "good"
    assert asked(behind) == ["revert"], "it is left alone meanwhile"


@pytest.mark.parametrize(
    ("head_age", "kind"), [(50, FinalityStalled), (70, Lagging), (3000, Lagging)], ids=["fresh", "old", "as old"]
)
def test_a_node_whose_newest_block_of_all_is_old_too_is_behind(head_age: float, kind: type[ReadFailed]) -> None:
    assert type(reader(stalled(head_age=head_age)).failure()) is kind


def test_at_the_head_itself_there_is_nothing_to_compare_with() -> None:
    node = stalled()
    assert type(reader(node, finality="latest").failure()) is Lagging
    assert asked(node) == ["revert"]
    assert "contact" not in [strategy for strategy, _ in node.asked]


def test_a_head_that_cannot_be_asked_for_says_nothing() -> None:
    node = stalled()
    node.fault = lambda strategy, _accounts: Unreachable() if strategy == "contact" else None
    assert type(reader(node).failure()) is Lagging


def test_the_databases_clock_is_not_blamed_where_final_blocks_of_nodes_differ() -> None:
    """Nodes do not all stop at the same block: the second one's is newer, and as old as the first one's was."""
    reading = reader(stalled("one"), stalled("other", number=101, age=2990))
    with capture_logs() as logs:
        failure = reading.failure()
    assert type(failure) is FinalityStalled
    assert {line["event"] for line in logs} == {"read_failed"}


def test_when_final_blocks_come_again_the_way_back_is_found_by_a_trial() -> None:
    node = stalled()
    reading = reader(node)
    reading.failure(3)
    node.newest = Block(200, int(NOW) - 5)
    reading.clock.now += 3
    assert reading.reader.may_read(monotonic() + CAP) is None
    reading.all_right(3)


def test_another_failure_afterwards_rests_as_its_first_one() -> None:
    node, good = stalled(), FakeNode("good")
    reading = reader(node, good)
    reading.parts(accounts(1))
    reading.clock.now += FinalityStalled.rest
    node.fault = fails(Unreachable)
    reading.parts(accounts(1))
    until, *_ = reading.reader.shared.get(["rest:node"])["rest:node"]
    assert until - reading.clock.now <= 4 * Unreachable.rest
