"""Who calls: nobody's address, and never an account that is read. Some nodes add the price of gas to the caller's."""

import json
from typing import Any

import pytest
from replay import Replay

from devstack.servers import CAP
from worker.nodes.callers import FIRST, caller_beside, nobody
from worker.nodes.evm import EvmNode
from worker.nodes.tron import TronNode
from worker.reading.contract import RETURN, REVERT

ZERO = bytes(20)
OTHER = bytes.fromhex("1563915e194d8cfba1943570603f7606a3115508")


def test_the_caller_is_always_the_same_and_not_the_zero_address() -> None:
    assert caller_beside(b"") == caller_beside(OTHER) == caller_beside(ZERO) == FIRST
    assert FIRST != ZERO
    assert len(FIRST) == 20


def test_an_account_that_is_read_never_calls() -> None:
    read = b""
    for number in range(5):
        assert caller_beside(read) == nobody(number)
        read += OTHER + nobody(number)


def call_of_evm(replay: Replay, data: bytes, what: str) -> tuple[str, str]:
    node = EvmNode("http://node", "latest", CAP)
    node._id = -1
    replay.mount_on(node.session)
    node.called(OTHER, data) if what == "called" else node.deployed(data, RETURN)
    call = json.loads(replay.requests[0].body or b"")["params"][0]
    return call["from"], call["data"]


def call_of_tron(replay: Replay, data: bytes, what: str) -> tuple[str, str]:
    node = TronNode("http://node", "solid", CAP)
    replay.mount_on(node.session)
    node.called(OTHER, data) if what == "called" else node.deployed(data, REVERT)
    sent = json.loads(replay.requests[0].body or b"")
    return "0x" + sent["owner_address"].removeprefix("41"), "0x" + sent["data"]


FAMILIES = {
    "evm": (call_of_evm, {"jsonrpc": "2.0", "id": 0, "result": "0x"}),
    "tron": (call_of_tron, {"result": {"result": True}, "constant_result": [""], "transaction": {"ret": [{}]}}),
}


@pytest.mark.parametrize("what", ["deployed", "called"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("accounts", "number"), [([OTHER], 0), ([ZERO], 0), ([OTHER, FIRST], 1), ([FIRST, nobody(1), OTHER], 2)]
)
def test_in_both_families_a_call_comes_from_an_address_that_it_does_not_read(
    family: str, what: str, accounts: list[bytes], number: int
) -> None:
    ask, reply = FAMILIES[family]
    answer: Any = Replay(reply)
    caller, data = ask(answer, b"\x01" + b"".join(accounts), what)
    assert caller == "0x" + nobody(number).hex()
    assert caller[2:] not in data
