"""An EVM node by plain JSON-RPC: deploy the token, give balances, move USDT. Every reply is checked."""

import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import requests

from devstack.servers import CAP

CREATION_CODE = (Path(__file__).parent / "token" / "Token.hex").read_text().strip()
MINT = "e467f7e0"  # mint(address[],uint256[])
TRANSFER = "a9059cbb"  # transfer(address,uint256)
BALANCE_OF = "70a08231"  # balanceOf(address)
HOLDERS_PER_MINT = 250  # about 50,000 gas each, within a block
BALANCES_PER_REQUEST = 500


class ChainFailed(Exception):
    """The node refused what it was asked."""


class Chain:
    """One EVM node and its first account, which owns the token."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy leads to this machine, and the environment may change under a thread
        self._owner: str = self.ask("eth_accounts")[0]

    def ask(self, method: str, *parameters: Any) -> Any:
        """The result of one call. Raises ChainFailed."""
        (result,) = self.ask_all([(method, parameters)])
        return result

    def ask_all(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """The results of many calls in one request, in their order. Raises ChainFailed."""
        batch = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": list(parameters)}
            for number, (method, parameters) in enumerate(calls)
        ]
        replies = {reply["id"]: reply for reply in self._session.post(self._url, json=batch, timeout=CAP).json()}
        for number, (method, _) in enumerate(calls):
            if "error" in replies[number]:
                raise ChainFailed(f"{method}: {replies[number]['error']}")
        return [replies[number]["result"] for number in range(len(calls))]

    def head(self) -> int:
        """The number of the newest block."""
        return int(self.ask("eth_blockNumber"), 16)

    def mine(self, blocks: int = 1) -> None:
        """Make blocks at once, before the node would by itself."""
        self.ask_all([("evm_mine", ())] * blocks)

    def deploy_token(self, decimals: int = 6, *, mined: bool = False) -> bytes:
        """Deploy the token, and give its owner a first unit: without any supply it would be taken for no token.

        Its 20 bytes. With `mined`, here and below, in a block made for it at once.
        """
        receipt = self._transact({"data": "0x" + CREATION_CODE + _word(decimals)}, mined=mined)
        token = bytes.fromhex(receipt["contractAddress"][2:])
        self.mint(token, [(bytes.fromhex(self._owner[2:]), 1)], mined=mined)
        return token

    def mint(self, token: bytes, balances: Iterable[tuple[bytes, int]], *, mined: bool = False) -> None:
        """Give holders USDT, in base units."""
        rest = iter(balances)
        while chunk := list(islice(rest, HOLDERS_PER_MINT)):
            holders, values = zip(*chunk, strict=True)
            data = "0x" + MINT + _two_arrays(holders, values)
            self._transact({"to": "0x" + token.hex(), "data": data}, mined=mined)

    def transfer(self, token: bytes, to: bytes, value: int) -> int:
        """Move USDT from the owner; the number of the block that has it."""
        data = TRANSFER + _word(int.from_bytes(to)) + _word(value)
        receipt = self._transact({"to": "0x" + token.hex(), "data": "0x" + data})
        return int(receipt["blockNumber"], 16)

    def balance_of(self, token: bytes, holder: bytes) -> int:
        """A holder's USDT at the newest block, in base units."""
        data = "0x" + BALANCE_OF + _word(int.from_bytes(holder))
        return int(self.ask("eth_call", {"to": "0x" + token.hex(), "data": data}, "latest"), 16)

    def set_native(self, balances: Iterable[tuple[bytes, int]]) -> None:
        """Set accounts' native balances, in wei or sun."""
        rest = iter(balances)
        while chunk := list(islice(rest, BALANCES_PER_REQUEST)):
            self.ask_all([("anvil_setBalance", ("0x" + account.hex(), hex(value))) for account, value in chunk])

    def _transact(self, transaction: dict[str, str], *, mined: bool = False) -> dict[str, Any]:
        sent = self.ask("eth_sendTransaction", {"from": self._owner, "gas": hex(20_000_000), **transaction})
        if mined:
            self.mine()
        deadline = time.monotonic() + CAP
        while (receipt := self.ask("eth_getTransactionReceipt", sent)) is None:
            if time.monotonic() > deadline:
                raise ChainFailed(f"no block took the transaction {sent} within {CAP:.0f} s")
            time.sleep(0.05)
        if receipt["status"] != "0x1":
            raise ChainFailed(f"the transaction {sent} failed")
        done: dict[str, Any] = receipt
        return done


def _word(value: int) -> str:
    return f"{value:064x}"


def _two_arrays(holders: Sequence[bytes], values: Sequence[int]) -> str:
    """The ABI's form of (address[], uint256[]): two offsets, then each array as its length and its items."""
    first, second = ([int.from_bytes(holder) for holder in holders], list(values))
    offsets = (64, 64 + 32 * (1 + len(first)))
    return "".join(map(_word, (*offsets, len(first), *first, len(second), *second)))
