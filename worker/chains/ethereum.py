"""The transport of a read on an EVM chain: one ``eth_call`` without ``to``, through web3's provider."""

from typing import Any

from web3 import HTTPProvider
from web3.types import RPCEndpoint

from worker.chains.http import CONNECT_TIMEOUT, NodeSession, endpoint_name, in_short, secrets_in, translated
from worker.errors import BadReply, Refused


class EthereumNode:
    """One JSON-RPC endpoint. Opens its connection at first use, so it may be made before a fork, but not used."""

    def __init__(self, url: str, finality: str, timeout: float) -> None:
        self.name = endpoint_name(url)
        self._secrets = secrets_in(url)
        self._finality = finality
        # web3's own retries repeat every 4xx five times, and `Web3.eth.call` asks for the chain id before and after:
        # so neither, but the provider alone. One request per read.
        self._provider = HTTPProvider(
            url,
            session=NodeSession(),
            request_kwargs={"timeout": (CONNECT_TIMEOUT, timeout)},
            exception_retry_configuration=None,
        )

    def call(self, init_code: bytes) -> bytes:
        """What the simulated deployment of `init_code` returns at the newest block of the configured finality.

        One HTTP request. Raises ReadFailed.
        """
        with translated(self.name):
            reply: Any = self._provider.make_request(
                RPCEndpoint("eth_call"), [{"data": "0x" + init_code.hex()}, self._finality]
            )
        return self._accept(reply)

    def _accept(self, reply: Any) -> bytes:
        if not isinstance(reply, dict):
            raise BadReply("a JSON-RPC reply is an object", endpoint=self.name)
        error = reply.get("error")
        if error is not None:
            code, words = (error.get("code"), error.get("message")) if isinstance(error, dict) else (None, error)
            raise Refused(f"error {code}: {in_short(words, self._secrets)}", endpoint=self.name)
        result = reply.get("result")
        if not isinstance(result, str) or not result.startswith("0x"):
            raise BadReply("a result is a hexadecimal string", endpoint=self.name)
        try:
            return bytes.fromhex(result[2:])
        except ValueError:
            raise BadReply("a result is whole bytes in hexadecimal digits", endpoint=self.name) from None
