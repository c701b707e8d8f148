"""Every recorded reply of a real node, and what the transport makes of it: its bytes, or the right failure."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import vectors
from replay import Replay
from requests import PreparedRequest, Response
from vectors import recorded

from devstack.servers import CAP
from worker.errors import (
    BadReply,
    EmptyRevert,
    Lagging,
    NoToken,
    OutOfTime,
    ReadFailed,
    Refused,
    Reverted,
    StateGone,
    TooMuch,
    Unsupported,
)
from worker.nodes.evm import EvmNode
from worker.nodes.tron import TronNode
from worker.reading import multicall
from worker.reading.contract import RETURN, REVERT, Balance, Block, decode

ACCOUNT = bytes.fromhex("1563915e194d8cfba1943570603f7606a3115508")

Expected = type[ReadFailed] | str | int | Block | None

# What comes of each recording, were it the answer to a request of ours. "words": the recording's own bytes.
# One table for each request, and in each of them every recording; what is an error is one whatever was asked for.
ETHEREUM_ERRORS: dict[int, Expected] = {
    **dict.fromkeys([9, 10], StateGone),  # header for hash not found, header not found
    12: TooMuch,  # max code size exceeded
    16: TooMuch,  # max initcode size exceeded
    **dict.fromkeys([17, 23], TooMuch),  # out of gas; an endless loop is that too
    **dict.fromkeys([2, 19, 20], Reverted),  # the first with our words
    21: Refused,  # invalid opcode
    22: Refused,  # begins with 0xef
    24: Unsupported,  # no such method
    25: Unsupported,  # bad params
    26: Refused,  # parse error
    27: BadReply,  # an empty body
    28: Refused,  # HTTP 415
    31: TooMuch,  # HTTP 413
    **dict.fromkeys([29, 30], BadReply),  # lists
    **dict.fromkeys([11, 13, 14, 15], BadReply),  # trimmed by the recorder
}
RESULTS = [1, 3, 4, 5, 6, 7, 8, 18, 32, 33, 34, 35]  # words, a block, a chain id, a proof, a list
ETHEREUM: dict[str, dict[int, Expected]] = {
    "by return": {
        **ETHEREUM_ERRORS,
        **dict.fromkeys([1, 3, 4, 5, 6, 7, 8, 18], "words"),
        **dict.fromkeys([19, 20], EmptyRevert),  # no data in it
        **dict.fromkeys([32, 33, 34, 35], BadReply),  # 33: a quantity, which is not whole bytes
    },
    "by revert": {
        **ETHEREUM_ERRORS,
        **dict.fromkeys(RESULTS, BadReply),  # returned, when it could only revert
        2: "words",
        **dict.fromkeys([19, 20], EmptyRevert),  # no data in it
    },
    "head": {**ETHEREUM_ERRORS, **dict.fromkeys(RESULTS, BadReply), 32: Block(64, 1_795_465_075)},
    "chain id": {**ETHEREUM_ERRORS, **dict.fromkeys(RESULTS, BadReply), 33: 1337},
    "native": {**ETHEREUM_ERRORS, **dict.fromkeys(RESULTS, BadReply), 33: 1337},
}

TRON_ERRORS: dict[int, Expected] = {
    **dict.fromkeys([6, 21, 22, 23, 27, 28, 29], Refused),  # an Error with HTTP 200
    51: BadReply,  # an empty body
    **dict.fromkeys([77, 78], Unsupported),  # HTTP 405
    79: TooMuch,  # body size is too big
}
BLOCKS = [1, 2, 3, 4]
ABOUT_ACCOUNTS = [14, 15, 16, 17, 18, 19, 20, 24, 25, 26]
CALLED = [*range(30, 51), *range(52, 63)]
TRON: dict[str, dict[int, Expected]] = {
    "constant call": {
        **TRON_ERRORS,
        **dict.fromkeys([30, 31, 32, 33, 34, 36, 43, 44, 49, 53, 54, 55, 56, 61, 62], "words"),
        **dict.fromkeys([*BLOCKS, 5, *ABOUT_ACCOUNTS], BadReply),
        **dict.fromkeys([35, 39, 40, 41, 42, 58], Reverted),  # with result: true
        **dict.fromkeys([46, 47, 48, 50, 52, 57, 59], Refused),
        **dict.fromkeys([37, 38], NoToken),
        **dict.fromkeys([45, 60], OutOfTime),  # an endless loop; 2,000 wallets
    },
    "account": {
        **TRON_ERRORS,
        **dict.fromkeys([*BLOCKS, *CALLED], BadReply),  # they are about no account
        **dict.fromkeys([14, 16, 17], 1_993_893_600),
        **dict.fromkeys([5, 18, 19, 24, 25, 26], None),  # {}: an account that this node does not know
        15: BadReply,  # the account in another form than it was asked for
        20: BadReply,  # another account
    },
    "head": {
        **TRON_ERRORS,
        **dict.fromkeys([5, *ABOUT_ACCOUNTS, *CALLED], Lagging),  # no block
        **dict.fromkeys([1, 3], Block(83, 1_795_461_846)),
        2: Block(85, 1_795_461_852),
        4: Block(35, 1_795_461_702),
    },
    "genesis": {
        **TRON_ERRORS,
        **dict.fromkeys([5, *ABOUT_ACCOUNTS, *CALLED], BadReply),  # no block
        **dict.fromkeys([1, 3], 0x78CBFB93),
        2: 0x6F1079AA,
        4: 0x821A1078,
    },
}


def numbers(chain: str) -> list[int]:
    return sorted(int(path.name[:2]) for path in (Path(vectors.__file__).parent / chain).glob("[0-9]*.json"))


TABLES = {"ethereum": ETHEREUM, "tron": TRON}


@pytest.mark.parametrize(("chain", "tables"), TABLES.items())
def test_no_recording_is_left_out(chain: str, tables: dict[str, Any]) -> None:
    assert {asked: sorted(table) for asked, table in tables.items()} == dict.fromkeys(tables, numbers(chain))


class Recording(Replay):
    """Answers as it was recorded: each request with the recording whose number `choose` gives, under its own id."""

    def __init__(self, chain: str, choose: Callable[[Any], int]) -> None:
        super().__init__()
        self.chain, self.choose = chain, choose

    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        asked = json.loads(request.body or b"")
        vector = recorded(self.chain, self.choose(asked))
        body = vector["response"]
        if isinstance(body, dict) and "id" in body:
            body = {**body, "id": asked["id"]}
        made = json.dumps(body) if vector["body_kind"] == "json" else body
        return Replay(made, status=vector["status"], headers={"Content-Type": vector["content_type"]}).send(request)


def ethereum_node(choose: Callable[[Any], int]) -> EvmNode:
    made = EvmNode("http://node", "latest", CAP)
    Recording("ethereum", choose).mount_on(made.session)
    return made


def tron_node(choose: Callable[[Any], int]) -> TronNode:
    made = TronNode("http://node", "solid", CAP)
    Recording("tron", choose).mount_on(made.session)
    return made


def asked_ethereum(what: str, number: int) -> Any:
    """What the transport makes of a recording that answers this; what is asked besides is answered by 32 and 33."""
    node = ethereum_node(lambda _: number)
    match what:
        case "by return" | "by revert":
            return node.deployed(b"", REVERT if what == "by revert" else RETURN)
        case "head":
            return ethereum_node(lambda asked: 33 if asked["method"] == "eth_chainId" else number).head().block
        case "chain id":
            return ethereum_node(lambda asked: number if asked["method"] == "eth_chainId" else 32).head().chain_id
    return node.native(ACCOUNT, "latest")


def asked_tron(what: str, number: int) -> Any:
    """The same for Tron; what is asked besides is answered by 4 and 3."""
    match what:
        case "head":
            return tron_node(lambda asked: 4 if "id_or_num" in asked else number).head().block
        case "genesis":
            return tron_node(lambda asked: number if "id_or_num" in asked else 3).head().chain_id
        case "account":
            return tron_node(lambda _: number).native(ACCOUNT, None)
    return tron_node(lambda _: number).deployed(b"", RETURN)


def words_of(chain: str, number: int) -> bytes:
    reply = recorded(chain, number)["response"]
    if chain == "tron":
        return bytes.fromhex(reply["constant_result"][0])
    return bytes.fromhex((reply["error"]["data"] if "error" in reply else reply["result"])[2:])


def becomes(chain: str, what: str, number: int) -> Expected | bytes:
    """What comes of a recording, were it the answer to this request: a value, or the kind of the failure."""
    try:
        found: int | Block | bytes | None = (asked_ethereum if chain == "ethereum" else asked_tron)(what, number)
    except ReadFailed as failure:
        return type(failure)
    return found


@pytest.mark.parametrize(("chain", "number"), [(chain, number) for chain in TABLES for number in numbers(chain)])
def test_a_recorded_reply_is_what_it_says_or_the_right_failure_whatever_was_asked(chain: str, number: int) -> None:
    expected = {what: table[number] for what, table in TABLES[chain].items()}
    words = words_of(chain, number) if "words" in expected.values() else b""
    assert {what: becomes(chain, what, number) for what in expected} == {
        what: words if value == "words" else value for what, value in expected.items()
    }


@pytest.mark.parametrize(
    ("number", "balances"),
    [(1, [(977_000_000, 10**15), (977_000_001, 0), (0, 0)]), (2, [(977_000_000, 10**15), (977_000_001, 0), (0, 0)])],
)
def test_both_forms_of_the_reader_give_the_same_balances_on_geth(number: int, balances: list[Any]) -> None:
    vector = recorded("ethereum", number)
    request = bytes.fromhex(vector["request"]["params"][0]["data"][2:])
    reply = ethereum_node(lambda _: number).deployed(request, REVERT if number == 2 else RETURN)
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
