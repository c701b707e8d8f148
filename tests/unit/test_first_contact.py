"""What a process verifies with a node before it believes a balance: the token, its decimals, the numbers of blocks."""

from typing import Any

import pytest
from fakes import NOW, FakeNode, Reading, accounts, asked, fails
from structlog.testing import capture_logs

from worker.errors import ReadFailed, Refused, Reverted, Unreachable
from worker.reading.contract import Block

CONTACT = ["contact"] * 3  # supply, decimals, the node's own block


def contacts(node: FakeNode) -> list[str]:
    return [strategy for strategy, _ in node.asked if strategy == "contact"]


def test_it_is_made_once_with_each_node_and_again_after_an_hour() -> None:
    one, other = FakeNode("one"), FakeNode("other")
    reading = Reading(one, other)
    for _ in range(3):
        reading.all_right(3)
    assert contacts(one) == CONTACT
    one.fault = fails(Unreachable)
    for _ in range(3):
        reading.all_right(3)
    assert (contacts(one), contacts(other)) == (CONTACT, CONTACT)
    one.fault = lambda _way, _accounts: None
    reading.clock.now += 3600
    one.newest = other.newest = Block(400, int(reading.clock.now) - 5)
    reading.all_right(3)
    assert contacts(one) == CONTACT * 2


def wrong_decimals(node: FakeNode) -> None:
    node.decimals = 18


def no_supply(node: FakeNode) -> None:
    node.supply = 0


def another_number(node: FakeNode) -> None:
    node.own_number = 400_000_000


MISTAKES = pytest.mark.parametrize(
    ("mistake", "code", "detail"),
    [
        (wrong_decimals, "wrong_decimals", "18 decimals, not 6"),
        (no_supply, "no_token", "total supply of zero"),
        (another_number, "wrong_block_number", "number 100 where the node itself has 400000000"),
    ],
)


@MISTAKES
def test_a_node_that_fails_it_is_not_believed_which_is_an_error_and_the_next_one_is_asked(
    mistake: Any, code: str, detail: str
) -> None:
    wrong, good = FakeNode("wrong"), FakeNode("good")
    mistake(wrong)
    reading = Reading(wrong, good)
    with capture_logs() as logs:
        (part,) = reading.parts(accounts(3))
    assert part.node_name == "good"
    assert [(line["event"], line["log_level"], line["error"], line["endpoint"]) for line in logs] == [
        ("read_failed", "error", code, "wrong")
    ]
    assert detail in logs[0]["detail"]
    wrong.asked.clear()
    reading.all_right(3)
    assert wrong.asked == [], "it rests"


@MISTAKES
def test_where_all_nodes_fail_it_nothing_is_read_and_the_network_is_out_for_that_reason(
    mistake: Any, code: str, detail: str
) -> None:
    nodes = [FakeNode("one"), FakeNode("other")]
    for node in nodes:
        mistake(node)
    reading = Reading(*nodes)
    (part,) = reading.parts(accounts(3))
    assert part.snapshot is None
    assert part.failure
    assert part.failure.code == code
    assert detail in str(part.failure)
    assert reading.failure(3).code == code, "also of those that did not ask"


def with_decimals(name: str, decimals: int) -> FakeNode:
    node = FakeNode(name)
    node.decimals = decimals
    return node


def test_decimals_that_nobody_has_said_are_those_of_the_node_that_is_asked_first() -> None:
    one, other = with_decimals("one", 18), with_decimals("other", 6)
    reading = Reading(one, other, decimals=None)
    assert reading.reader.decimals is None
    reading.all_right(3)
    assert reading.reader.decimals == 18
    one.fault = fails(Unreachable)
    assert [part.failure and str(part.failure) for part in reading.parts(accounts(3))] == [
        "the token has 6 decimals, not 18"
    ]


def test_a_node_is_held_against_decimals_that_were_learnt_after_it_was_asked() -> None:
    one, other = with_decimals("one", 18), with_decimals("other", 6)
    one.balances = lambda _account: (one.supply + 1, 0)
    reading = Reading(one, other, decimals=None)
    assert [part.node_name for part in reading.parts(accounts(1))] == ["other"], "no balance of the first is believed"
    assert reading.reader.decimals == 6
    one.balances, other.fault = (lambda _account: (1, 1)), fails(Unreachable)
    reading.clock.now += 3000
    one.newest = Block(350, int(reading.clock.now) - 5)
    assert [part.snapshot for part in reading.parts(accounts(1))] == [None]
    reading.clock.now += 3000
    one.newest, one.decimals = Block(600, int(reading.clock.now) - 5), 6
    assert [part.node_name for part in reading.parts(accounts(1))] == ["one"], "it was mended, and is asked anew"


def test_decimals_that_others_have_noted_are_expected_of_every_node() -> None:
    reading = Reading(with_decimals("one", 18), decimals=None)
    reading.all_right(1)
    reading.reader.expect_decimals(6)
    assert reading.reader.decimals == 6
    assert reading.failure().code == "wrong_decimals"


def test_decimals_are_known_though_the_first_balance_was_above_the_supply() -> None:
    node = with_decimals("node", 18)
    node.balances = lambda _account: (node.supply + 1, 0)
    reading = Reading(node, decimals=None)
    assert reading.failure().code == "bad_reply"
    assert reading.reader.decimals is None, "nothing was read"
    node.balances = lambda _account: (1, 1)
    reading.clock.now += 100
    assert [part.node_name for part in reading.parts(accounts(1))] == ["node"]
    assert reading.reader.decimals == 18


@pytest.mark.parametrize("number", [0, 1])
def test_a_contract_that_does_not_tell_its_supply_or_decimals_is_no_token_whatever_the_strategy(number: int) -> None:
    node = FakeNode()
    contacts_made: list[str] = []

    def reverts(strategy: str, _accounts: object) -> ReadFailed | None:
        contacts_made.extend([strategy] * (strategy == "contact"))
        return Reverted() if strategy == "contact" and len(contacts_made) == number + 1 else None

    node.fault = reverts
    with capture_logs() as logs:
        failure = Reading(node).failure()
    what = ("total supply", "decimals")[number]
    assert str(failure) == f"no token at {bytes(20).hex()}: the contract does not tell its {what}"
    assert [(line["error"], line["log_level"]) for line in logs] == [("no_token", "error")]
    assert [strategy for strategy, _ in node.asked] == ["revert", *["contact"] * (number + 1)]


@pytest.mark.parametrize("apart", [0, 1, 39, -39])
def test_the_numbers_of_contracts_and_of_the_node_may_be_apart_by_the_blocks_of_some_seconds(apart: int) -> None:
    """Four minutes of a chain with a block in twelve seconds, and what a reorganisation may bring."""
    node = FakeNode()
    node.own_number = node.newest.number + apart
    Reading(node).all_right(1)


@pytest.mark.parametrize(
    ("family", "strategy"), [("tron", "return"), ("tron", "multicall3"), ("tron", "single"), ("evm", "single")]
)
def test_where_the_node_itself_says_the_number_there_is_nothing_to_compare_it_with(family: str, strategy: str) -> None:
    node = FakeNode(strategies={strategy: 4})  # type: ignore[dict-item]
    node.own_number = 400_000_000
    Reading(node, family=family).all_right(1)
    assert contacts(node) == ["contact"] * 2


@pytest.mark.parametrize("kind", [Refused, Unreachable])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_contact_that_breaks_off_is_made_anew_before_anything_is_believed(
    kind: type[ReadFailed], number: int
) -> None:
    node, good = FakeNode(), FakeNode("good")
    node.decimals = 18
    asked_for: list[str] = []

    def breaks(strategy: str, _accounts: object) -> ReadFailed | None:
        if strategy == "contact":
            asked_for.append(strategy)
        return kind() if strategy == "contact" and len(asked_for) == number + 1 else None

    node.fault = breaks
    reading = Reading(node, good)
    for _ in range(3):
        (part,) = reading.parts(accounts(1))
        assert part.node_name == "good"
        reading.clock.now += 400
        node.newest = good.newest = Block(node.newest.number, int(reading.clock.now) - 5)
    assert asked(node), "it was asked"


def test_the_block_that_is_compared_is_of_the_finality_that_is_read() -> None:
    node = FakeNode()
    node.head_block = Block(400_000_000, int(NOW))
    Reading(node, finality="finalized").all_right(1)
