"""The transport of a read on an EVM chain, through web3's provider, and what its nodes' errors mean."""

import re
from collections.abc import Sequence
from itertools import count
from random import randrange
from typing import Any

import requests
from web3 import HTTPProvider
from web3.types import RPCEndpoint

from worker.errors import (
    BadReply,
    EmptyRevert,
    Lagging,
    OutOfTime,
    ReadFailed,
    Refused,
    Reverted,
    StateGone,
    Throttled,
    TooMuch,
    Unauthorized,
    Unsupported,
)
from worker.nodes.callers import caller_beside
from worker.nodes.failures import BY_STATUS_ALONE, COMMON_WORDS, by_words, seconds_in, translated, words
from worker.nodes.http import NodeSession, keep_recursion_limit
from worker.nodes.urls import digest, node_name, secrets_in
from worker.reading.contract import HEADER, RETURN, BaseUnits, Block
from worker.reading.strategies import ApiKey, Head
from worker.wording import in_short

keep_recursion_limit()

REVERTED = {3, -32015}  # the codes of a call that reverted, geth's and nethermind's; the data is the contract's own
REVERT_PREFIX = "Reverted "  # nethermind's, before the data
MOST_WORDS = 200  # characters of an error's data that may be words of the node's

QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}", re.ASCII)

CODES: dict[int, type[ReadFailed]] = {
    429: Throttled,
    -32005: Throttled,  # EIP-1474: limit exceeded
    -32601: Unsupported,  # JSON-RPC 2.0: method not found
    -32602: Unsupported,  # JSON-RPC 2.0: invalid params
    -32052: Unauthorized,  # Ankr: the key may not do this
    -38025: TooMuch,  # execution-apis: init code too large
}

# geth and its kin give -32000 and -32003 to nearly everything.
WORDS = (
    words(r"(?:init ?)?code size", TooMuch, "max code size exceeded: code size 24608 limit 24576"),
    words(r"CreateContractSizeLimit|CreateInitCodeSizeLimit", TooMuch, "EVM error CreateContractSizeLimit"),
    words(
        r"out ?of ?gas|gas required exceeds|gas limit|(?:intrinsic|floor data) gas|Gas(?:Cost|Floor)MoreThanGasLimit",
        TooMuch,
        "err: out of gas (supplied gas 50000000)",
    ),
    words(r"response too large|response size", TooMuch, "response too large"),
    words(r"execution aborted \(timeout", OutOfTime, "execution aborted (timeout = 5s)"),
    words(r"request timed out", OutOfTime, "request timed out"),
    words(
        r"header (?:for hash )?not found|state (?:is )?not available|missing trie node|historical state",
        StateGone,
        "missing trie node 4a1b (path ) state 0x4a1b is not available",
    ),
    words(r"unknown block", StateGone, "unknown block"),  # geth's of logs by the hash of a block that it does not have
    words(r"not currently canonical", StateGone, "hash is not currently canonical"),  # another block took its place
    words(r"block not found", Lagging, "finalized block not found"),
    words(
        r"(?:missing|no|without|requires?) (?:an? |the |field |parameter )?['\"`]?(?:to|recipient)\b"
        r"|\bto['\"`]? (?:address |field )?(?:is |was )?(?:missing|required|not set|null)",
        Unsupported,
        "missing 'to' address",
    ),
    # What a contract says in its revert is no word of the node's.
    words(r"execution reverted|vm exception", Reverted, "execution reverted: rate limit exceeded"),
    *COMMON_WORDS,
)


class EvmNode:
    """One node that speaks JSON-RPC. Opens its connection at first use: it may be made before a fork, but not used."""

    keys: Sequence[ApiKey] = ()

    def __init__(self, url: str, finality: str, time_limit: float, *, name: str = "") -> None:
        self.name, self.id = name or node_name(url), digest(url)
        self.session = NodeSession(time_limit)
        self._secrets = secrets_in(url)
        self._finality = finality
        # From a number of this process's own: an answer to another's request must not have the id of one of ours.
        self._id = randrange(2**40)  # noqa: S311  tells replies apart, guards nothing
        # web3's own retries repeat every 4xx five times, and `Web3.eth.call` asks for the chain id before and after:
        # so neither, but the provider alone. One request per read.
        self._provider = HTTPProvider(url, session=self.session, exception_retry_configuration=None)

    def deployed(self, init_code: bytes, hands_out: bytes) -> bytes:
        """What the simulated deployment of `init_code` returns, or reverts with, at the configured finality.

        One HTTP request, as each method here is one. Raises ReadFailed.
        """
        reply = self._ask("eth_call", _call(init_code), self._finality)
        error = reply.get("error")
        if isinstance(error, dict) and reply.get("result") is None:
            # geth has code 3, others have other codes: the words themselves tell whether they are ours.
            data = _revert_data(error)
            if hands_out != RETURN and data and len(data) >= len("0x") + 2 * HEADER:
                return _bytes(data)
            if data in {"", "0x"} and _only_reverted(error, hands_out):
                raise EmptyRevert
        result = self._result(reply)
        if hands_out != RETURN:
            raise BadReply("a result, when the call could only revert")
        return _bytes(result)

    def called(self, contract: bytes, data: bytes, at: Any = None) -> bytes:
        """What a contract answers, at a block's `ref` or at the configured finality. b"": there is no contract."""
        call = {"to": "0x" + contract.hex(), **_call(data)}
        return _bytes(self._result(self._ask("eth_call", call, at or self._finality)))

    def block(self, finality: str) -> Block:
        """The newest block of a finality. Raises Lagging where there is none yet."""
        return self._newest(finality)[0]

    def head(self) -> Head:
        """The newest block of the configured finality, which later calls may be pinned to. Two requests."""
        block, found = self._newest(self._finality)
        pin = {"blockHash": found, "requireCanonical": True}  # EIP-1898
        return Head(block, self.chain_id(), pin)

    def chain_id(self) -> int:
        """The id of the chain that it serves."""
        return _number(self._result(self._ask("eth_chainId")))

    def full_block(self, number: int | None) -> Any:
        """A block with its whole transactions, as the node tells it. None for a number: the newest one of the
        configured finality. None as an answer: there is none yet.
        """
        return self._result(self._ask("eth_getBlockByNumber", self._finality if number is None else hex(number), True))

    def logs_of(self, block_hash: bytes, contracts: Sequence[str], topics: Sequence[str]) -> Any:
        """The logs of a block that these contracts made, with one of these as the first topic, as the node tells them.

        One contract is sent as a text and not as a list: all nodes take that.
        """
        address: Any = contracts[0] if len(contracts) == 1 else list(contracts)
        asked = {"blockHash": "0x" + block_hash.hex(), "address": address, "topics": [list(topics)]}
        return self._result(self._ask("eth_getLogs", asked))

    def receipts_of(self, block_hash: bytes) -> Any:
        """The receipts of a block's transactions, as the node tells them; None: it does not have the block."""
        return self._result(self._ask("eth_getBlockReceipts", "0x" + block_hash.hex()))

    def _newest(self, finality: str) -> tuple[Block, str]:
        """A block, and its hash."""
        block = self._result(self._ask("eth_getBlockByNumber", finality, False))
        if block is None:
            raise Lagging(f"no {finality} block")
        if not isinstance(block, dict) or not isinstance(block.get("hash"), str):
            raise BadReply("a block is an object with a hash")
        return Block(_number(block.get("number")), _number(block.get("timestamp"))), block["hash"]

    def native(self, account: bytes, at: Any) -> BaseUnits:
        """An account's balance of the native coin, at a block's `ref`."""
        return _number(self._result(self._ask("eth_getBalance", "0x" + account.hex(), at)))

    def _ask(self, method: str, *parameters: Any) -> dict[str, Any]:
        """A reply to this very request: a result or an error."""
        self._id += 1
        self._provider.request_counter = count(self._id)
        with translated(WORDS):
            try:
                reply: Any = self._provider.make_request(RPCEndpoint(method), list(parameters))
            except requests.HTTPError as failure:
                reply = _error_in(failure.response)
        if not isinstance(reply, dict):
            raise BadReply("a JSON-RPC reply is an object")
        # An error may come without an id: the node could not read it, or a gateway answered in its place.
        if reply.get("id") != self._id and reply.get("error") is None:
            raise BadReply("the reply answers another request")
        return reply

    def _result(self, reply: dict[str, Any]) -> Any:
        """Raises what a reply's error stands for, also when a result stands beside it."""
        error = reply.get("error")
        if error is None:
            return reply.get("result")
        known = error if isinstance(error, dict) else {"message": error}
        detail = f"error {known.get('code')}: {in_short(_words_of(known), self._secrets)}"
        by_its_words = by_words(detail, WORDS, detail)
        code = known["code"] if isinstance(known.get("code"), int) else None
        kind = CODES.get(code) if code is not None else None
        if kind is None or isinstance(by_its_words, Throttled):  # a rate's limit comes with any code
            kind = type(by_its_words or (Reverted() if code in REVERTED else Refused()))
        data = known.get("data")
        wait = data.get("backoff_seconds") if isinstance(data, dict) else None  # Infura's
        raise kind(detail, retry_after=seconds_in(wait))


def _call(data: bytes) -> dict[str, str]:
    """A call's data and caller. Some nodes credit the caller with the price of the gas, so it is never a wallet."""
    return {"from": "0x" + caller_beside(data).hex(), "data": "0x" + data.hex()}


def _revert_data(error: dict[str, Any]) -> str | None:
    """The data of a revert in hexadecimal digits, as the contract gave it. None: it is no text."""
    data = error.get("data", "") or ""
    return data.removeprefix(REVERT_PREFIX) if isinstance(data, str) else None


def _only_reverted(error: dict[str, Any], hands_out: bytes) -> bool:
    """Whether an error without data says no more than that the call reverted. Returning, the reader never does."""
    message = str(error.get("message", ""))
    gives_reason = hands_out == RETURN and "reverted:" in message
    return error.get("code") in REVERTED and not gives_reason and not isinstance(by_words(message, WORDS, ""), TooMuch)


def _words_of(error: dict[str, Any]) -> Any:
    """A node's words. nethermind puts the reason into the data, where it is not hexadecimal."""
    message, data = error.get("message"), error.get("data")
    if not isinstance(data, str) or not data or len(data) > MOST_WORDS or data.startswith(("0x", REVERT_PREFIX)):
        return message
    return f"{message}: {data}"


def _error_in(response: requests.Response) -> Any:
    """The JSON-RPC error in the body of an HTTP error. Raises the HTTP error again where there is none, or where the
    status or a Retry-After says what to do.
    """
    try:
        body = response.json()
    except ValueError:
        body = None
    by_status = response.status_code in {*BY_STATUS_ALONE, 403} or "Retry-After" in response.headers
    if by_status or not isinstance(body, dict) or not body.get("error"):
        raise requests.HTTPError(response=response)
    return body


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str) or not value.startswith("0x"):
        raise BadReply("a result is a hexadecimal string")
    try:
        return bytes.fromhex(value[2:])
    except ValueError:
        raise BadReply("a result is whole bytes in hexadecimal digits") from None


def _number(value: Any) -> int:
    """A JSON-RPC quantity. Its 0x is not optional: without it, 100 would be read as 256."""
    if not isinstance(value, str) or not QUANTITY.fullmatch(value):
        raise BadReply("a quantity is 0x and up to 64 hexadecimal digits")
    return int(value, 16)
