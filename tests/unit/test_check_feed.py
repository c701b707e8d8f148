"""``celery -A worker check`` of following blocks: one line a node says how, or why it cannot be."""

from functools import partial
from time import time
from typing import Any, Literal

import pytest
from fakes import NOW
from feed_chain import ALICE, BOB, Feed, MadeBlock, Serving, Transaction, transfer

from worker.admin.check_feed import following
from worker.admin.finding import Finding

NODE = MadeBlock(998, Transaction(transfer(ALICE, BOB, 5)))


def answered(reply: Any, _asked: Any) -> Any:
    return reply


def found_of(family: Literal["evm", "tron"], **faults: Any) -> Finding:
    node = Serving(NODE)
    node.faults |= {name: partial(answered, reply) for name, reply in faults.items()}
    return following(Feed(node, family=family).reader.reader, NOW - time())


NOT_THERE = {"error": {"code": -32601, "message": "not there"}}


@pytest.mark.parametrize(
    ("family", "faults", "told"),
    [
        ("evm", {}, "follows blocks by the token's logs and those of native coin"),
        ("evm", {"eth_getLogs": NOT_THERE}, "follows blocks by all receipts of a block"),
        ("tron", {}, "follows blocks by the infos of a block's transactions"),
    ],
)
def test_a_node_that_can_be_followed_is_said_to_be_and_how(
    family: Literal["evm", "tron"], faults: dict[str, Any], told: str
) -> None:
    found = found_of(family, **faults)
    assert found.ok
    assert not found.warning
    assert found.detail.startswith(told)
    assert "block 998 of 1 transaction touched" in found.detail


@pytest.mark.parametrize(
    ("family", "faults", "told"),
    [
        ("evm", {"eth_getLogs": NOT_THERE, "eth_getBlockReceipts": NOT_THERE}, "unsupported: error -32601: not there"),
        ("tron", {"gettransactioninfobyblocknum": "this API is closed"}, "unsupported: this node keeps no infos"),
        ("tron", {"getnowblock": {}}, "lagging: no solid block"),
    ],
)
def test_a_node_that_cannot_be_followed_is_a_warning_for_its_wallets_are_read_all_the_same(
    family: Literal["evm", "tron"], faults: dict[str, Any], told: str
) -> None:
    found = found_of(family, **faults)
    assert (found.ok, found.warning) == (True, True)
    assert found.detail.startswith(f"blocks cannot be followed there: {told}")
    assert found.to_do.endswith("or set FEED=off")
