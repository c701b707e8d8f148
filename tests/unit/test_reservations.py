"""What is reserved of the budget before a claim: for whom, at which endpoint, and what becomes of it."""

from time import monotonic
from typing import Any

import fakeredis
import pytest
from fakes import FakeNode, Reading, accounts
from structlog.testing import capture_logs

from devstack.servers import CAP
from worker.errors import OverBudget, ReadFailed, Unreachable
from worker.reading.request import Part
from worker.reading.shared import Shared


def workers(number: int, *nodes: FakeNode, per_second: float, contact: bool = True, **more: Any) -> list[Reading]:
    """Workers that share a Redis. `contact`: each has made contact with the nodes before."""
    server = fakeredis.FakeServer()
    readings = [Reading(*nodes, per_second=per_second, **more) for _ in range(number)]
    for each in readings:
        known = Shared("test", "redis://given", each.clock, _client=fakeredis.FakeRedis(server=server))
        each.share(known)
        if contact:
            each.has_made_contact()
    return readings


def may(reading: Reading, seconds: float = CAP, **more: Any) -> ReadFailed | None:
    return reading.reader.may_read(monotonic() + seconds, **more)


def slots(reading: Reading, node: FakeNode) -> int:
    return len(reading.reader._budget._slots.get(node.id, []))


@pytest.mark.parametrize(("wallets", "wanted"), [(1, 4), (2, 6), (100, 10), (None, 10)])
def test_a_read_of_a_few_wallets_reserves_for_those_alone(wallets: int | None, wanted: int) -> None:
    """Singly: two requests each, and the head's two."""
    node = FakeNode(strategies={"single": 4})
    (reading,) = workers(1, node, per_second=10)
    assert may(reading, wallets=wallets) is None
    assert slots(reading, node) == wanted


@pytest.mark.parametrize(
    ("strategy", "family", "requests"),
    [("revert", "evm", 3), ("return", "evm", 3), ("single", "evm", 2), ("return", "tron", 2), ("single", "tron", 2)],
)
def test_the_first_read_of_a_process_reserves_for_its_first_contact_as_well(
    strategy: str, family: str, requests: int
) -> None:
    """The token's supply and its decimals, and the node's own block where a contract has said which one it was."""
    node = FakeNode(strategies={strategy: 4})  # type: ignore[dict-item]
    (reading,) = workers(1, node, per_second=10, contact=False, family=family)
    assert may(reading, wallets=1) is None
    assert slots(reading, node) == (4 if strategy == "single" else 1) + requests
    reading.all_right(1)
    assert [each for each, _ in node.asked].count("contact") == requests
    assert may(reading, wallets=1) is None
    assert slots(reading, node) == (4 if strategy == "single" else 1)


def test_what_no_read_will_use_is_given_back() -> None:
    node = FakeNode()
    one, other = workers(2, node, per_second=0.5)
    assert may(one) is None
    assert may(other, seconds=2), "the first has it"
    one.reader.give_back()
    assert may(other, seconds=2) is None


def test_without_redis_too_what_is_given_back_may_be_had_again() -> None:
    node = FakeNode(strategies={"single": 4})
    reading = Reading(node, per_second=1)
    assert may(reading, wallets=2) is None
    reading.reader.give_back()
    assert may(reading, seconds=6, wallets=1) is None, "five requests fit, and would not after the others"


def test_a_read_begins_with_the_endpoint_at_which_its_slots_are() -> None:
    """Not with the best one, which has no room: there it would queue, and its slots at the other would be lost."""
    best, second = FakeNode("best"), FakeNode("second")
    one, other = workers(2, best, second, per_second=0.5)
    assert may(one) is None
    assert may(other, seconds=2, wallets=1) is None
    assert (slots(other, best), slots(other, second)) == (0, 1)
    other.all_right(1)
    assert (best.asked, len(second.asked)) == ([], 1)


def test_slots_at_an_endpoint_that_the_read_did_not_come_to_are_given_back() -> None:
    best, second = FakeNode("best"), FakeNode("second")
    one, other = workers(2, best, second, per_second=0.5)
    assert may(one) is None
    assert may(other, seconds=2) is None
    assert slots(other, second) == 1
    one.reader.give_back()
    other.parts(accounts(1), avoid=("second",))
    assert slots(other, second) == 0


def test_a_slot_comes_in_time_for_its_answer() -> None:
    node = FakeNode()
    node.session.pace = 5
    one, other = workers(2, node, per_second=0.2)
    assert may(one) is None
    assert may(other, seconds=9, refresh=True), "its slot comes after 5.2 s, and its answer takes as long"
    assert may(other, seconds=12, refresh=True) is None


def test_who_waited_for_the_budget_until_it_was_late_blames_no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    node = FakeNode()
    one, other = workers(2, node, per_second=0.2)
    passed = [0.0]

    def sleep(seconds: float) -> None:
        passed[0] += seconds

    for module in ("attempt", "sending", "budget"):
        monkeypatch.setattr(f"worker.reading.{module}.monotonic", lambda: monotonic() + passed[0])
    monkeypatch.setattr("worker.reading.budget.sleep", sleep)

    def hangs(_way: str, _accounts: object) -> Unreachable:
        sleep(node.session.time_limit)
        return Unreachable("no answer in time")

    node.fault = hangs
    assert may(one) is None
    (part,) = other.parts(accounts(1), seconds=13)
    assert passed[0] >= 12, "it began after five seconds, and had eight"
    assert isinstance(part.failure, OverBudget)
    assert not other.reader.shared.get(["rest:node"])
    one.reader.give_back()
    passed[0] = 0
    assert one.failure(1).code == "unreachable", "it had a request's whole time"
    assert one.reader.shared.get(["rest:node"])


def test_a_budget_in_which_a_read_can_never_fit_is_told_of_once() -> None:
    """Wallet by wallet it takes four requests, and one at least of the first contact: no setting tells so before."""
    node = FakeNode(strategies={"single": 4})
    reading = Reading(node, per_second=0.1)
    with capture_logs() as logs:
        for _ in range(5):
            assert isinstance(may(reading, 25, refresh=True), OverBudget)
    assert [(line["event"], line["log_level"], line["requests"]) for line in logs] == [("budget_too_small", "error", 5)]
    with capture_logs() as logs:
        assert may(Reading(node, per_second=1)) is None
        assert may(Reading(node, per_second=0)) is None
    assert logs == []


@pytest.mark.parametrize(("per_second", "wanted"), [(0.1, 2), (0.2, 3), (1, 4), (0, 0)])
def test_of_a_first_contact_as_much_is_reserved_as_fits_into_half_of_a_reads_time(
    per_second: float, wanted: int
) -> None:
    node = FakeNode()
    reading = Reading(node, per_second=per_second)
    assert may(reading, 25) is None
    assert slots(reading, node) == wanted


@pytest.mark.parametrize("per_second", [0.1, 0.15])
def test_a_first_contact_that_does_not_fit_into_one_read_goes_on_in_the_next(
    per_second: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as all of it is had there is a balance, and not before; nothing is asked for twice."""
    passed = [0.0]
    for module in ("attempt", "sending", "budget", "reader"):
        monkeypatch.setattr(f"worker.reading.{module}.monotonic", lambda: passed[0])
    monkeypatch.setattr(
        "worker.reading.budget.sleep", lambda seconds: passed.__setitem__(0, passed[0] + max(seconds, 0))
    )
    node = FakeNode()
    reading = Reading(node, per_second=per_second)
    parts = list[Part]()
    while not parts or parts[-1].snapshot is None:
        while why := reading.reader.may_read(passed[0] + 25):
            assert isinstance(why, OverBudget)
            passed[0] += why.retry_after or 0
        parts += reading.reader.read(accounts(1), reading.clock.now, passed[0] + 25)
        assert parts[-1].snapshot or isinstance(parts[-1].failure, OverBudget), "no wallet failed, and no node rests"
    assert len(parts) == (2 if per_second == 0.1 else 1)
    assert [strategy for strategy, _ in node.asked].count("contact") == 3
    assert [strategy for strategy, _ in node.asked].count("revert") == len(parts)
