"""Every recorded reply of a real node, and what the transport makes of it: its bytes, or the right failure."""

import json
from pathlib import Path
from typing import Any

import pytest
import vectors
from replay import Replay
from vectors import recorded

from worker.chains import multicall
from worker.chains.ethereum import EthereumNode
from worker.chains.snapshot import RETURN, REVERT, Balance, Block, decode
from worker.chains.tron import TronNode
from worker.errors import BadReply, Lagging, NoToken, OutOfTime, ReadFailed, Refused, TooMuch, Unsupported

ACCOUNT = bytes.fromhex("1563915e194d8cfba1943570603f7606a3115508")

# What comes of a simulated deployment that is answered so. "words": the bytes are those of the recording.
ETHEREUM_BY_RETURN: dict[int, type[ReadFailed] | str] = {
    **dict.fromkeys([1, 3, 4, 5, 6, 7, 8, 18, 33], "words"),
    9: Lagging,  # header for hash not found
    10: Lagging,  # header not found
    12: TooMuch,  # max code size exceeded
    16: TooMuch,  # max initcode size exceeded
    17: TooMuch,  # out of gas
    23: TooMuch,  # an endless loop is one too
    19: Refused,  # reverts
    20: Refused,
    21: Refused,  # invalid opcode
    22: Refused,  # begins with 0xef
    24: Unsupported,  # no such method
    25: Unsupported,  # bad params
    26: Refused,  # parse error
    27: BadReply,  # an empty body
    28: Refused,  # HTTP 415
    29: BadReply,  # a list
    30: BadReply,  # a list, of one error
    31: TooMuch,  # HTTP 413
    32: BadReply,  # a block
    34: BadReply,  # a proof
    35: BadReply,  # a list as the result
    2: Refused,  # our words as revert data, when they were to be returned
    11: BadReply,  # trimmed by the recorder
    13: BadReply,
    14: BadReply,
    15: BadReply,
}
ETHEREUM_BY_REVERT: dict[int, type[ReadFailed] | str] = {
    2: "words",
    1: BadReply,  # returned, when it could only revert
    16: TooMuch,
    17: TooMuch,
    19: Unsupported,  # no data in it
    21: Refused,
    24: Unsupported,
    31: TooMuch,
}
TRON: dict[int, type[ReadFailed] | str] = {
    **dict.fromkeys([30, 31, 32, 33, 34, 36, 43, 44, 49, 53, 54, 55, 56, 61, 62], "words"),
    **dict.fromkeys([1, 2, 3, 4, 5, 14, 15, 16, 17, 18, 19, 20, 24, 25, 26], BadReply),
    **dict.fromkeys([6, 21, 22, 23, 27, 28, 29], Refused),  # an Error with HTTP 200
    **dict.fromkeys([35, 39, 40, 41, 42, 58], Refused),  # reverts, with result: true
    **dict.fromkeys([46, 47, 48, 50, 52, 57, 59], Refused),
    37: NoToken,
    38: NoToken,
    45: OutOfTime,  # an endless loop
    60: OutOfTime,
    51: BadReply,  # an empty body
    77: Unsupported,  # HTTP 405
    78: Unsupported,
    79: TooMuch,  # body size is too big
}

# What comes of the same when it answers a question for the account's TRX.
ACCOUNTS: dict[int, type[ReadFailed] | int] = {
    **dict.fromkeys([14, 16, 17], 1_993_893_600),
    **dict.fromkeys([18, 19, 24, 25, 26, 5], 0),  # {}: the address was checked before it was asked for
    15: BadReply,  # the account in another form than it was asked for
    20: BadReply,  # another account
    **dict.fromkeys([21, 22, 23, 27, 28, 29], Refused),
    30: BadReply,
    77: Unsupported,
    78: Unsupported,
    79: TooMuch,
}


def replay_of(chain: str, number: int) -> Replay:
    vector = recorded(chain, number)
    body = json.dumps(vector["response"]) if vector["body_kind"] == "json" else vector["response"]
    return Replay(body, status=vector["status"], headers={"Content-Type": vector["content_type"]})


def numbers(chain: str) -> set[int]:
    return {int(path.name[:2]) for path in (Path(vectors.__file__).parent / chain).glob("[0-9]*.json")}


def test_no_recording_is_left_out() -> None:
    assert numbers("ethereum") == ETHEREUM_BY_RETURN.keys() > ETHEREUM_BY_REVERT.keys()
    assert numbers("tron") == TRON.keys()


def ethereum_node(number: int) -> EthereumNode:
    made = EthereumNode("http://node", "latest", 10)
    vector = recorded("ethereum", number)
    theirs = vector["response"].get("id") if isinstance(vector["response"], dict) else None
    made._id = (theirs or 1) - 1  # so that our request has the id that was answered
    replay_of("ethereum", number).mount_on(made.session)
    return made


@pytest.mark.parametrize(("number", "expected"), ETHEREUM_BY_RETURN.items())
def test_a_reply_of_geth_to_a_returning_read(number: int, expected: Any) -> None:
    if expected == "words":
        words = recorded("ethereum", number)["response"]["result"][2:]
        if len(words) % 2 == 0:
            assert ethereum_node(number).deployed(b"", RETURN).hex() == words
            return
        expected = BadReply  # a quantity, which is not whole bytes
    with pytest.raises(ReadFailed) as failure:
        ethereum_node(number).deployed(b"", RETURN)
    assert type(failure.value) is expected


@pytest.mark.parametrize(("number", "expected"), ETHEREUM_BY_REVERT.items())
def test_a_reply_of_geth_to_a_reverting_read(number: int, expected: Any) -> None:
    if expected == "words":
        words = recorded("ethereum", number)["response"]["error"]["data"][2:]
        assert ethereum_node(number).deployed(b"", REVERT).hex() == words
        return
    with pytest.raises(ReadFailed) as failure:
        ethereum_node(number).deployed(b"", REVERT)
    assert type(failure.value) is expected


@pytest.mark.parametrize(("number", "expected"), TRON.items())
def test_a_reply_of_java_tron_to_a_constant_call(number: int, expected: Any) -> None:
    made = TronNode("http://node", "solid", 10)
    replay_of("tron", number).mount_on(made.session)
    if expected == "words":
        words = recorded("tron", number)["response"]["constant_result"][0]
        assert made.deployed(b"", RETURN).hex() == words
        return
    with pytest.raises(ReadFailed) as failure:
        made.deployed(b"", RETURN)
    assert type(failure.value) is expected


@pytest.mark.parametrize(("number", "expected"), ACCOUNTS.items())
def test_a_reply_of_java_tron_about_an_account(number: int, expected: Any) -> None:
    made = TronNode("http://node", "solid", 10)
    replay_of("tron", number).mount_on(made.session)
    if isinstance(expected, int):
        assert (made.native(ACCOUNT, None) or 0) == expected  # None for {}
        return
    with pytest.raises(ReadFailed) as failure:
        made.native(ACCOUNT, None)
    assert type(failure.value) is expected


@pytest.mark.parametrize(
    ("number", "balances"),
    [(1, [(977_000_000, 10**15), (977_000_001, 0), (0, 0)]), (2, [(977_000_000, 10**15), (977_000_001, 0), (0, 0)])],
)
def test_both_forms_of_the_reader_give_the_same_balances_on_geth(number: int, balances: list[Any]) -> None:
    vector = recorded("ethereum", number)
    request = bytes.fromhex(vector["request"]["params"][0]["data"][2:])
    reply = ethereum_node(number).deployed(request, REVERT if number == 2 else RETURN)
    snapshot = decode(reply, request, wallets=3)
    assert (snapshot.block, snapshot.chain_id) == (Block(0x4F, 0x6B049F82), 1337)
    assert list(snapshot.balances) == [Balance(*balance) for balance in balances]


def test_a_multicall3_of_tron_gives_its_block_and_balances() -> None:
    """The recording has no nonce: what stands in the place of its echo is the first wallet's balance."""
    vector = recorded("tron", 62)
    request = bytes.fromhex(vector["request"]["data"])
    reply = bytes.fromhex(vector["response"]["constant_result"][0])
    with pytest.raises(BadReply, match=r"9 results instead of 10"):
        multicall.decode(reply, request, wallets=3)
