"""The transport of a read on an EVM chain, through web3's provider, and what its nodes' errors mean."""

import re
from collections.abc import Mapping, Sequence
from itertools import count
from random import randrange
from typing import Any, ClassVar

import requests
from web3 import HTTPProvider
from web3.types import RPCEndpoint

from worker.errors import (
    BadReply,
    Lagging,
    OutOfTime,
    ReadFailed,
    Refused,
    Throttled,
    TooMuch,
    Unauthorized,
    Unsupported,
)
from worker.nodes.failures import BY_STATUS_ALONE, COMMON_WORDS, by_words, seconds_in, translated, words
from worker.nodes.http import NodeSession, keep_recursion_limit
from worker.nodes.urls import digest, node_name, secrets_in
from worker.reading.contract import HEADER, RETURN, Block
from worker.reading.strategies import STRATEGIES, ApiKey, Head, Strategy
from worker.wording import in_short

keep_recursion_limit()

MULTICALL3 = bytes.fromhex("ca11bde05977b3631167028862be2a173976ca11")
REVERTED = 3  # geth's code of a call that reverted; its data is what the contract said

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
    words(r"max (?:init)?code size exceeded", TooMuch, "max code size exceeded: code size 24608 limit 24576"),
    words(r"CreateContractSizeLimit|CreateInitCodeSizeLimit", TooMuch, "EVM error CreateContractSizeLimit"),
    words(r"out ?of ?gas|gas required exceeds|gas limit", TooMuch, "err: out of gas (supplied gas 50000000)"),
    words(r"response too large|response size", TooMuch, "response too large"),
    words(r"execution aborted \(timeout", OutOfTime, "execution aborted (timeout = 5s)"),
    words(r"request timed out", OutOfTime, "request timed out"),
    words(
        r"header (?:for hash )?not found|block not found|state is not available|missing trie node|historical state",
        Lagging,
        "header not found",
    ),
    words(r"not currently canonical", Lagging, "hash is not currently canonical"),  # what it was pinned to is gone
    words(
        r"(?:missing|no|without|requires?) (?:an? |the |field |parameter )?['\"`]?(?:to|recipient)\b"
        r"|\bto['\"`]? (?:address |field )?(?:is |was )?(?:missing|required|not set|null)",
        Unsupported,
        "missing 'to' address",
    ),
    # What a contract says in its revert is no word of the node's.
    words(r"execution reverted|vm exception", Refused, "execution reverted: rate limit exceeded"),
    *COMMON_WORDS,
)


class EthereumNode:
    """One JSON-RPC endpoint. Opens its connection at first use, so it may be made before a fork, but not used."""

    strategies: ClassVar[Mapping[Strategy, int]] = STRATEGIES["ethereum"]
    multicall3 = MULTICALL3
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
        reply = self._ask("eth_call", {"data": "0x" + init_code.hex()}, self._finality)
        if hands_out == RETURN:
            return _bytes(self._result(reply))
        error = reply.get("error")
        if isinstance(error, dict) and reply.get("result") is None:
            # geth has code 3, others have other codes: the words themselves tell whether they are ours.
            data = error.get("data")
            if isinstance(data, str) and len(data) >= len("0x") + 2 * HEADER:
                return _bytes(data)
            if error.get("code") == REVERTED and data in (None, "", "0x"):
                raise Unsupported("revert data is not passed on")
        self._result(reply)
        raise BadReply("a result, when the call could only revert")

    def called(self, contract: bytes, data: bytes, at: Any = None) -> bytes:
        """What a contract answers, at a block's `ref` or at the configured finality. b"": there is no contract."""
        call = {"to": "0x" + contract.hex(), "data": "0x" + data.hex()}
        return _bytes(self._result(self._ask("eth_call", call, at or self._finality)))

    def head(self) -> Head:
        """The newest block of the configured finality, which later calls may be pinned to. Two requests."""
        block = self._result(self._ask("eth_getBlockByNumber", self._finality, False))
        chain_id = _number(self._result(self._ask("eth_chainId")))
        if block is None:
            raise Lagging(f"no {self._finality} block")
        if not isinstance(block, dict) or not isinstance(block.get("hash"), str):
            raise BadReply("a block is an object with a hash")
        pin = {"blockHash": block["hash"], "requireCanonical": True}  # EIP-1898
        return Head(Block(_number(block.get("number")), _number(block.get("timestamp"))), chain_id, pin)

    def native(self, account: bytes, at: Any) -> int:
        """An account's ether, in wei, at a block's `ref`."""
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
        detail = f"error {known.get('code')}: {in_short(known.get('message'), self._secrets)}"
        told = by_words(detail, WORDS, detail)
        kind = CODES.get(known["code"]) if isinstance(known.get("code"), int) else None
        if kind is None or isinstance(told, Throttled):  # a rate's limit comes with any code
            kind = type(told or Refused())
        data = known.get("data")
        wait = data.get("backoff_seconds") if isinstance(data, dict) else None  # Infura's
        raise kind(detail, retry_after=seconds_in(wait))


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
