"""The transport of a read on Tron, through tronpy's provider, and what its nodes' errors mean.

With init code in ``data`` and no ``contract_address``, java-tron (4.7.2 and later) simulates a deployment and answers
with what the constructor returned.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tronpy.providers import HTTPProvider

from worker.errors import (
    BadReply,
    Lagging,
    NoToken,
    OutOfTime,
    Refused,
    Reverted,
    Throttled,
    TooMuch,
    Unauthorized,
    Unsupported,
)
from worker.nodes.callers import caller_beside
from worker.nodes.failures import COMMON_WORDS, by_words, translated, words
from worker.nodes.http import NodeSession, keep_recursion_limit
from worker.nodes.urls import digest, node_name, secrets_in, takes_keys
from worker.reading.contract import BaseUnits, Block
from worker.reading.strategies import ApiKey, Head
from worker.wording import MAX_DETAIL, in_short

keep_recursion_limit()

KEY_HEADER = "TRON-PRO-API-KEY"
PREFIX = "41"
STATES = {
    "solid": "walletsolidity",
    "latest": "wallet",  # shows pending transactions too
}
BLOCK_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)

# java-tron answers errors with HTTP 200 and a Java exception's name; TronGrid puts its own in the same form.
WORDS = (
    words(
        r"suspended for\s*(\d+)\s*s",
        Throttled,
        "The key exceeds the frequency limit(15), and the query server is suspended for 27 s",
    ),
    words(
        r"exceed the user daily usage",
        Throttled,
        "Exceed the user daily usage (100000),the maximum query frequency is 1 time per second",
    ),
    words(r"exceeds the frequency limit", Throttled, "The key exceeds the frequency limit(15)"),
    words(r"ApiKey not exists", Unauthorized, "ApiKey not exists"),
    words(
        r"IllegalAccessException : lack of computing resources",
        Throttled,
        "class java.lang.IllegalAccessException : lack of computing resources",
    ),
    words(
        r"Program\$OutOfTimeException",
        OutOfTime,
        "class org.tron.core.vm.program.Program$OutOfTimeException : CPU timeout for 'TUP2' operation executing",
    ),
    words(
        r"Program\$OutOf(?:Energy|Memory)Exception",
        TooMuch,
        "class org.tron.core.vm.program.Program$OutOfEnergyException : Not enough energy for 'SSTORE'",
    ),
    words(r"body size is too big", TooMuch, "class java.lang.Exception : body size is too big, the limit is 4194304"),
    words(r"contract_address isn't set", Unsupported, "OTHER_ERROR: contract_address isn't set."),  # before 4.7.2
    words(r"this node does not support constant", Unsupported, "this node does not support constant"),
    words(r"this API is (?:unavailable|closed)", Unsupported, "this API is unavailable due to config"),
    words(r"Smart contract is not exist", NoToken, "Smart contract is not exist."),
    # What a contract does is no word of the node's.
    words(r"REVERT opcode executed", Reverted, "CONTRACT_EXE_ERROR: REVERT opcode executed"),
    *COMMON_WORDS,
)


class TronNode:
    """One java-tron node. Opens its connection at first use: it may be made before a fork, but not used."""

    def __init__(
        self,
        url: str,
        finality: str,
        time_limit: float,
        *,
        name: str = "",
        keys: Sequence[str] = (),
        key_hosts: Sequence[str] = (),
    ) -> None:
        self.name, self.id = name or node_name(url), digest(url)
        self.session = NodeSession(time_limit, KEY_HEADER)
        self.keys = tuple(ApiKey(digest(key), key) for key in keys) if takes_keys(url, key_hosts) else ()
        self._secrets = (*secrets_in(url), *keys)
        self._finality = finality
        # tronpy joins URLs as a browser does: without the slash the last part of the path, often a key, gets lost.
        self._provider = HTTPProvider(url.rstrip("/") + "/")
        # tronpy would send one of its own keys, which the whole world shares, to any URL with "trongrid" in it.
        self._provider.use_api_key = False
        self._provider.sess = self.session

    def deployed(self, init_code: bytes, hands_out: bytes) -> bytes:  # noqa: ARG002  the words are always returned
        """What the simulated deployment of `init_code` returns in the state of the configured finality.

        One HTTP request, as each method here is one. Raises ReadFailed.
        """
        return self._constant(init_code)

    def called(self, contract: bytes, data: bytes, at: Any = None) -> bytes:  # noqa: ARG002  no call can be pinned
        """What a contract answers. Raises NoToken when there is none."""
        return self._constant(data, contract_address=PREFIX + contract.hex())

    def block(self, finality: str) -> Block:
        """The newest block of a finality. Raises Lagging where there is none yet."""
        newest = self._ask("getblock", finality, detail=False)
        raw = newest.get("block_header")
        raw = raw.get("raw_data") if isinstance(raw, dict) else None
        if not isinstance(raw, dict):
            raise Lagging("no newest block")
        number, time = raw.get("number"), raw.get("timestamp")
        if type(number) is not int or type(time) is not int:
            raise BadReply("a block has a number and a time")
        return Block(number, time // 1000)

    def head(self) -> Head:
        """The newest block of the configured finality; no later call can be pinned to it. Two requests."""
        newest = self.block(self._finality)
        return Head(newest, self.chain_id())

    def chain_id(self) -> int:
        """The id of the network that it serves: the end of its first block's id."""
        genesis = self._ask("getblock", detail=False, id_or_num="0").get("blockID")
        if not isinstance(genesis, str) or not BLOCK_ID.fullmatch(genesis):
            raise BadReply("a genesis block has an id")
        return int(genesis[-8:], 16)

    def full_block(self, number: int | None) -> dict[str, Any]:
        """A block with its transactions, as the node tells it. None: the newest one. {}: there is none yet."""
        return self._ask("getnowblock") if number is None else self._ask("getblockbynum", num=number)

    def infos_of(self, number: int) -> Any:
        """What came of a block's transactions, as the node tells it. []: nothing, or it does not know them yet.

        Raises Unsupported where a node keeps none: it says so in plain text, which the decoder's error has.
        """
        with translated(WORDS):
            try:
                return self._posted("gettransactioninfobyblocknum", self._finality, {"num": number})
            except ValueError as error:
                if isinstance(by_words(getattr(error, "doc", "")[:MAX_DETAIL], WORDS, ""), Unsupported):
                    raise Unsupported("this node keeps no infos of transactions") from None
                raise

    def native(self, account: bytes, at: Any) -> BaseUnits | None:  # noqa: ARG002  no call can be pinned
        """An account's balance of the native coin. None: nobody has activated it, as far as the node knows."""
        asked = PREFIX + account.hex()
        reply = self._ask("getaccount", address=asked)
        if reply == {}:
            return None
        if reply.get("address") != asked:
            raise BadReply("the reply is about another account")
        balance = reply.get("balance", 0)  # java-tron leaves zeros out
        if type(balance) is not int:
            raise BadReply("a balance is a whole number")
        return balance

    def _ask(self, method: str, finality: str = "", **parameters: Any) -> dict[str, Any]:
        with translated(WORDS):
            reply = self._posted(method, finality or self._finality, parameters)
        if not isinstance(reply, dict):
            raise BadReply("a reply is an object")
        return reply

    def _posted(self, method: str, finality: str, parameters: dict[str, Any]) -> Any:
        """A reply that is no error. Raises what the library does, too."""
        reply: Any = self._provider.make_request(f"{STATES[finality]}/{method}", parameters)
        if isinstance(reply, dict) and "Error" in reply:
            self._refuse(str(reply["Error"]))
        return reply

    def _constant(self, data: bytes, **parameters: Any) -> bytes:
        # A caller is asked for; the account need not exist.
        caller = PREFIX + caller_beside(data).hex()
        reply = self._ask("triggerconstantcontract", owner_address=caller, data=data.hex(), **parameters)
        result = reply.get("result")
        if not isinstance(result, dict):
            raise BadReply("a reply has a result")
        # A call that reverted says `result: true` as well; only its message and the transaction's state tell.
        if result.get("result") is not True or "code" in result or "message" in result:
            self._refuse(_reason(result))
        if _state(reply) not in (None, [{}]):
            self._refuse("the transaction failed")
        values = reply.get("constant_result")
        if not (isinstance(values, list) and len(values) == 1 and isinstance(values[0], str)):
            raise BadReply("a constant_result is a list of one string")
        try:
            return bytes.fromhex(values[0])
        except ValueError:
            raise BadReply("a constant_result is whole bytes in hexadecimal digits") from None

    def _refuse(self, said: str) -> None:
        detail = in_short(said, self._secrets)
        raise by_words(said, WORDS, detail) or Refused(detail)


def _reason(result: dict[str, Any]) -> str:
    """java-tron's code and its message, which is hexadecimal as long as `visible` is false."""
    message = str(result.get("message", ""))
    with suppress(ValueError):  # some gateways send it as text
        message = bytes.fromhex(message).decode("utf-8", "replace")
    return f"{result.get('code', 'failed')}: {message}"


def _state(reply: dict[str, Any]) -> Any:
    transaction = reply.get("transaction")
    return transaction.get("ret") if isinstance(transaction, dict) else None
