"""What is reserved of the budget before a claim: for whom, at which endpoint, and what becomes of it."""

from time import monotonic
from typing import Any

import fakeredis
import pytest
from fakes import FakeNode, Reading

from devstack.servers import CAP
from worker.chains.known import Known
from worker.errors import ReadFailed


def workers(number: int, *nodes: FakeNode, per_second: float) -> list[Reading]:
    """Workers that share a Redis."""
    server = fakeredis.FakeServer()
    readings = [Reading(*nodes, per_second=per_second) for _ in range(number)]
    for each in readings:
        known = Known("test", "redis://given", each.clock, _client=fakeredis.FakeRedis(server=server))
        each.reader.known = each.reader._budget.known = known
    return readings


def may(reading: Reading, seconds: float = CAP, **more: Any) -> ReadFailed | None:
    return reading.reader.may_read(monotonic() + seconds, **more)


def slots(reading: Reading, node: FakeNode) -> int:
    return len(reading.reader._budget._slots.get(node.id, []))


@pytest.mark.parametrize(("wallets", "wanted"), [(1, 4), (2, 6), (100, 10), (None, 10)])
def test_a_read_of_a_few_wallets_reserves_for_those_alone(wallets: int | None, wanted: int) -> None:
    """Singly: two requests each, the head's two; beside the token's supply, as long as that is not known."""
    node = FakeNode(ways={"single": 4})
    (reading,) = workers(1, node, per_second=10)
    assert may(reading, wallets=wallets) is None
    assert slots(reading, node) == wanted + 1


def test_what_no_read_will_use_is_given_back() -> None:
    node = FakeNode()
    one, other = workers(2, node, per_second=0.5)
    assert may(one) is None
    assert may(other, seconds=3), "the first has it"
    one.reader.give_back()
    assert may(other, seconds=3) is None
