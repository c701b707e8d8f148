"""The transport of a read on Tron: one ``triggerconstantcontract`` without a contract, through tronpy's provider.

With init code in ``data`` and no ``contract_address``, java-tron (4.7.2 and later) simulates a deployment and answers
with what the constructor returned.
"""

from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle
from random import randrange
from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest
from requests.auth import AuthBase
from tronpy.providers import HTTPProvider

from worker.chains.http import CONNECT_TIMEOUT, NodeSession, endpoint_name, in_short, secrets_in, translated
from worker.errors import BadReply, Refused, Throttled

KEY_HEADER = "TRON-PRO-API-KEY"
NOBODY = "41" + "00" * 20  # a caller is asked for; the account need not exist
PATHS = {
    "solid": "walletsolidity/triggerconstantcontract",
    "latest": "wallet/triggerconstantcontract",  # shows pending transactions too
}


class ApiKeys(AuthBase):
    """Gives each request the next key, from a start of its own in each process, so that all are used evenly."""

    def __init__(self, keys: Sequence[str]) -> None:
        start = randrange(len(keys))  # noqa: S311  spreads load, guards nothing
        self._keys = cycle([*keys[start:], *keys[:start]])

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers[KEY_HEADER] = next(self._keys)
        return request


class TronNode:
    """One java-tron HTTP endpoint. Opens its connection at first use, so it may be made before a fork, but not used."""

    def __init__(
        self, url: str, finality: str, timeout: float, *, keys: Sequence[str] = (), key_hosts: Sequence[str] = ()
    ) -> None:
        self.name = endpoint_name(url)
        self._secrets = (*secrets_in(url), *keys)
        self._path = PATHS[finality]
        # tronpy joins URLs as a browser does: without the slash the last part of the path, often a key, gets lost.
        self._provider = HTTPProvider(url.rstrip("/") + "/", timeout=(CONNECT_TIMEOUT, timeout))
        # tronpy would send one of its own keys, which the whole world shares, to any URL with "trongrid" in it.
        self._provider.use_api_key = False
        self._provider.sess = NodeSession(ApiKeys(keys) if keys and takes_keys(url, key_hosts) else None)

    def call(self, init_code: bytes) -> bytes:
        """What the simulated deployment of `init_code` returns in the state of the configured finality.

        One HTTP request. Raises ReadFailed.
        """
        with translated(self.name):
            reply: Any = self._provider.make_request(self._path, {"owner_address": NOBODY, "data": init_code.hex()})
        return self._accept(reply)

    def _accept(self, reply: Any) -> bytes:
        if not isinstance(reply, dict):
            raise BadReply("a reply is an object", endpoint=self.name)
        if "Error" in reply:
            raise self._refusal(reply["Error"])
        result = reply.get("result")
        if not isinstance(result, dict):
            raise BadReply("a reply has a result", endpoint=self.name)
        # A call that reverted says `result: true` as well; only its message and the transaction's state tell.
        if result.get("result") is not True or "code" in result or "message" in result:
            raise Refused(self._reason(result), endpoint=self.name)
        if _state(reply) not in (None, [{}]):
            raise Refused("the transaction failed", endpoint=self.name)
        values = reply.get("constant_result")
        if not (isinstance(values, list) and len(values) == 1 and isinstance(values[0], str)):
            raise BadReply("a constant_result is a list of one string", endpoint=self.name)
        try:
            return bytes.fromhex(values[0])
        except ValueError:
            raise BadReply("a constant_result is whole bytes in hexadecimal digits", endpoint=self.name) from None

    def _refusal(self, error: Any) -> Refused | Throttled:
        words = in_short(error, self._secrets)
        # TronGrid throttles with HTTP 200 too; only its words tell.
        kind = Throttled if "exceed" in words and "suspended" in words else Refused
        return kind(words, endpoint=self.name)

    def _reason(self, result: dict[str, Any]) -> str:
        """java-tron's code and its message, which is hexadecimal as long as `visible` is false."""
        message = str(result.get("message", ""))
        with suppress(ValueError):  # some gateways send it as text
            message = bytes.fromhex(message).decode("utf-8", "replace")
        return f"{result.get('code', 'failed')}: {in_short(message, self._secrets)}"


def _state(reply: dict[str, Any]) -> Any:
    transaction = reply.get("transaction")
    return transaction.get("ret") if isinstance(transaction, dict) else None


def takes_keys(url: str, hosts: Sequence[str]) -> bool:
    """Whether a URL's host is one of `hosts` or below one: only there may an API key be sent."""
    name = urlsplit(url).hostname or ""
    return any(name == host.lower() or name.endswith("." + host.lower().lstrip(".")) for host in hosts)
