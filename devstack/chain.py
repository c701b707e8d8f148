"""An EVM node by plain JSON-RPC: deploy the token, give balances, move USDT. Every reply is checked."""

import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import requests

from devstack import contracts
from devstack.contracts import Call
from devstack.servers import CAP

BALANCE_OF = "70a08231"  # balanceOf(address)
HOLDERS_PER_MINT = 250  # about 50,000 gas each, within a block
BALANCES_PER_REQUEST = 500
GAS = hex(20_000_000)  # of one of the owner's transactions
GAS_OF_OTHERS = hex(1_000_000)
"""Gas is paid for before it is used: a wallet that sends has this much to pay for, and gets back what is left."""


class ChainFailed(Exception):
    """The node refused what it was asked."""


class Chain:
    """One EVM node and its first account, which owns the token."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy leads to this machine, and the environment may change under a thread
        self._owner: str = self.ask("eth_accounts")[0]
        self._senders = {self._owner}

    @property
    def owner(self) -> bytes:
        """The account that sends what nobody else is said to send."""
        return bytes.fromhex(self._owner[2:])

    def ask(self, method: str, *parameters: Any) -> Any:
        """The result of one call. Raises ChainFailed."""
        (result,) = self.ask_all([(method, parameters)])
        return result

    def ask_all(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """The results of many calls in one request, in their order. Raises ChainFailed."""
        if not calls:
            return []  # JSON-RPC has no empty batches
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
        receipt = self._transact(Call(data=contracts.TOKEN + contracts.word(decimals)), mined=mined)
        token = bytes.fromhex(receipt["contractAddress"][2:])
        self.mint(token, [(self.owner, 1)], mined=mined)
        return token

    def deploy_payer(self, *, mined: bool = False) -> bytes:
        """Deploy the contract that pays others: its 20 bytes."""
        receipt = self._transact(Call(data=contracts.PAYER), mined=mined)
        return bytes.fromhex(receipt["contractAddress"][2:])

    def mint(self, token: bytes, balances: Iterable[tuple[bytes, int]], *, mined: bool = False) -> None:
        """Give holders USDT, in base units."""
        rest = iter(balances)
        while chunk := list(islice(rest, HOLDERS_PER_MINT)):
            holders, values = zip(*chunk, strict=True)
            self._transact(contracts.mint(token, holders, values), mined=mined)

    def transfer(self, token: bytes, to: bytes, value: int) -> int:
        """Move USDT from the owner; the number of the block that has it."""
        receipt = self._transact(contracts.transfer(token, to, value))
        return int(receipt["blockNumber"], 16)

    def send(self, call: Call) -> str:
        """Hand a transaction in, whoever its sender is: its hash. A sender needs native coins for the gas."""
        sender = "0x" + call.sender.hex() if call.sender else self._owner
        if sender not in self._senders:
            self.ask("anvil_impersonateAccount", sender)
            self._senders.add(sender)
        gas = GAS if sender == self._owner else GAS_OF_OTHERS
        request = {"from": sender, "gas": gas, "data": "0x" + call.data, "value": hex(call.value)}
        sent: str = self.ask("eth_sendTransaction", request | ({"to": "0x" + call.to.hex()} if call.to else {}))
        return sent

    def make_block(self, *calls: Call) -> list[dict[str, Any]]:
        """Make one block of these transactions, on a node that makes none by itself: their receipts, failed or not."""
        sent = [self.send(call) for call in calls]
        self.mine()
        receipts: list[dict[str, Any]] = self.ask_all([("eth_getTransactionReceipt", (each,)) for each in sent])
        if None in receipts:
            raise ChainFailed("the block did not take every transaction")
        return receipts

    def make_no_blocks(self) -> None:
        """From now on there is a block only where one is asked for."""
        self.ask("evm_setAutomine", False)
        self.ask("evm_setIntervalMining", 0)

    def reorganise(self, depth: int, *calls: tuple[Call, int]) -> None:
        """Put other blocks in the place of the newest ones: empty but for these calls, each in the block that is named.

        Blocks are counted from 0. Transactions of the old blocks are gone, unless they are among the calls.
        """
        ours = [[self._raw(call), block] for call, block in calls]
        self.ask("anvil_reorg", depth, ours)
        self.ask("evm_setTime", int(time.time()))  # the node would go on from the time of the last block that stayed

    def _raw(self, call: Call) -> dict[str, str]:
        sender = "0x" + (call.sender or self.owner).hex()
        raw = {"from": sender, "gas": GAS_OF_OTHERS, "input": "0x" + call.data, "value": hex(call.value)}
        return raw | ({"to": "0x" + call.to.hex()} if call.to else {})

    def balance_of(self, token: bytes, holder: bytes, block: str = "latest") -> int:
        """A holder's USDT at the newest block or at another one, in base units."""
        call = {"to": "0x" + token.hex(), "data": "0x" + BALANCE_OF + contracts.word(int.from_bytes(holder))}
        return int(self.ask("eth_call", call, block), 16)

    def native_of(self, holder: bytes, block: str = "latest") -> int:
        """A holder's native coins at the newest block or at another one, in wei or sun."""
        return int(self.ask("eth_getBalance", "0x" + holder.hex(), block), 16)

    def set_native(self, balances: Iterable[tuple[bytes, int]]) -> None:
        """Set accounts' native balances, in wei or sun."""
        rest = iter(balances)
        while chunk := list(islice(rest, BALANCES_PER_REQUEST)):
            self.ask_all([("anvil_setBalance", ("0x" + account.hex(), hex(value))) for account, value in chunk])

    def transact(self, call: Call, *, mined: bool = False) -> int:
        """Hand a transaction in and wait for the block that has it: its number. Raises ChainFailed if it fails."""
        return int(self._transact(call, mined=mined)["blockNumber"], 16)

    def _transact(self, call: Call, *, mined: bool = False) -> dict[str, Any]:
        sent = self.send(call)
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
