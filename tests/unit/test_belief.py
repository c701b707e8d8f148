"""What an endpoint shows, held against what is known: what is believed, and what is not."""

import fakeredis
import pytest
from fakes import NOW, SUPPLY, FakeNode, Reading, accounts, fails
from structlog.testing import capture_logs

from worker.errors import Unreachable
from worker.reading.contract import Balance, Block
from worker.reading.shared import Shared


def test_a_second_node_is_not_believed_when_it_is_behind_what_the_first_has_shown() -> None:
    first, behind, good = FakeNode("first"), FakeNode("behind"), FakeNode("good")
    reading = Reading(first, behind, good)
    reading.all_right(1)
    first.fault = fails(Unreachable)
    behind.newest = Block(50, int(NOW) - 300)
    with capture_logs() as logs:
        (part,) = reading.parts(accounts(1))
    assert part.node_name == "good"
    assert [line["error"] for line in logs if line.get("endpoint") == "behind"] == ["lagging"]


def test_a_block_number_out_of_thin_air_is_not_believed_and_does_not_shut_the_true_ones_out() -> None:
    liar, good = FakeNode("liar"), FakeNode("good")
    reading = Reading(liar, good)
    reading.all_right(1)
    liar.newest = Block(10**9, int(NOW))
    assert reading.parts(accounts(1))[0].node_name == "good"


def test_a_head_that_is_too_old_is_not_believed() -> None:
    node = FakeNode()
    node.newest = Block(100, int(NOW) - 121)
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
    assert node.supplies_asked == 2


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
    assert node.supplies_asked == 2


@pytest.mark.parametrize("raw", ["5", '["x", 9e18]', '[["x"], 9e18]'])
@pytest.mark.parametrize("name", ["newest", "rest:node", "way:node", "size:node", "contact:node", "key:id-of-a"])
def test_whatever_stands_in_redis_a_read_goes_on(name: str, raw: str) -> None:
    server = fakeredis.FakeServer()
    fakeredis.FakeRedis(server=server).set(f"bal:chain:test:{name}", raw)
    reading = Reading(FakeNode(keys=["a"]))
    client = fakeredis.FakeRedis(server=server)
    reading.share(Shared("test", "redis://given", reading.clock, _client=client))
    reading.all_right(3)
