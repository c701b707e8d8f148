"""Chains whose blocks a test makes, with transfers in each of them, and what each wallet had after each block."""

import random
import threading
from collections.abc import Sequence
from time import time
from typing import Any
from uuid import uuid4

from ledger_of_forks import Ledger

from devstack import contracts
from devstack.chain import BALANCE_OF, Chain
from devstack.contracts import Call
from devstack.seed import SeededWallet
from devstack.servers import ServerFailed
from devstack.stack import LocalChain, base58_address

MARK = bytes.fromhex("acc0cafeacc0cafe")
"""All accounts of wallets begin so: requests are searched for them."""

BLOCK_SECONDS = 1.0
USDT, NATIVE = 10**9, 10**18  # that each wallet has at first


def crowd(network: str, count: int, first: int) -> list[SeededWallet]:
    """So many wallets of one network, each with enough native coin for the fees of a whole test."""
    made = []
    for number in range(first, first + count):
        account = MARK + number.to_bytes(12)
        address = base58_address(account) if network == "tron" else "0x" + account.hex()
        made.append(SeededWallet(uuid4(), uuid4(), network, address, account, USDT, NATIVE))
    return made


class Market(threading.Thread):
    """Makes the blocks of one chain, one a second, with random transfers of its wallets in them, until it is over.

    `lag`: so many blocks is what is read behind the newest one.
    """

    def __init__(self, local: LocalChain, wallets: Sequence[SeededWallet], transfers: int, *, lag: int = 0) -> None:
        super().__init__(daemon=True)
        self.local, self.chain, self.wallets = local, Chain(local.evm.url), wallets
        self.transfers, self.lag = transfers, lag
        self.ledger = Ledger()
        self.dice = random.Random(local.evm.name)
        self.making = threading.RLock()
        self.over = threading.Event()
        self.failure: Exception | None = None
        self.chain.make_no_blocks()
        for wallet in wallets:
            self.ledger.note(wallet.account, 0, (wallet.usdt, wallet.native))

    def run(self) -> None:
        try:
            while not self.over.wait(BLOCK_SECONDS):
                with self.making:
                    self.make_block(self.dice.randrange(self.transfers + 1))
        except Exception as failure:  # noqa: BLE001  whatever it is, the test tells of it
            self.failure = failure

    @property
    def head(self) -> int:
        return self.chain.head()

    @property
    def final(self) -> int:
        """The newest block that is read."""
        return self.head - self.lag

    def make_block(self, transfers: int = 0) -> None:
        """One block, now."""
        happens = [self._something() for _ in range(transfers)]
        of_owner = [each for each in happens if each[0].sender is None]
        happens = [each for each in happens if each[0].sender] + of_owner[:2]  # these take much of a block's gas
        self.chain.make_block(*(call for call, _ in happens))
        self._note({account for _, parties in happens for account in parties}, self.head)

    def _something(self) -> tuple[Call, list[bytes]]:
        """A transaction of two wallets, and whose balances it changes."""
        token = self.local.token
        one, other, third = (wallet.account for wallet in self.dice.sample(self.wallets, 3))
        some = self.dice.randrange(1, 1000)
        calls: list[tuple[Call, list[bytes]]] = [
            (contracts.transfer(token, other, some, one), [one, other]),
            (contracts.transfer(token, one, some, one), [one]),
            (contracts.transfer(token, other, 10 * USDT * USDT, one), [one]),  # it fails, and costs a fee
            (contracts.transfer_from(token, one, other, some, third), [one, other, third]),
            (contracts.payment(other, some, one), [one, other]),
            (contracts.mint(token, [one, other], [some, 2 * some]), [one, other]),
        ]
        return self.dice.choices(calls, weights=[8, 1, 1, 1, 2, 1])[0]

    def reorganise(self, depth: int) -> None:
        """Put other blocks in the place of the newest ones: half of them are empty, the others have transfers."""
        with self.making:
            head = self.head
            fork = head - depth
            gone = self.ledger.touched_since(fork)
            calls, parties = list[tuple[Call, int]](), dict[int, set[bytes]]()
            for block in sorted({0, depth // 2, depth - 1}):
                call, touched = self._something()
                self._may_send(call)
                calls.append((call, block))
                parties[fork + 1 + block] = set(touched)
            begin, before = time(), self.hash_of(fork + 1)
            self.chain.reorganise(depth, *calls)
            self.ledger.forks.append((fork, begin, time()))
            if self.head != head or self.hash_of(fork + 1) == before:
                raise ServerFailed(f"{self.head} instead of {head}, or the same block, after a reorganisation")
            self._note(gone | parties.pop(fork + 1), fork + 1)
            for block, accounts in sorted(parties.items()):
                self._note(accounts, block)

    def hash_of(self, block: int) -> str:
        return str(self.chain.ask("eth_getBlockByNumber", hex(block), False)["hash"])

    def _may_send(self, call: Call) -> None:
        if call.sender:
            self.chain.ask("anvil_impersonateAccount", "0x" + call.sender.hex())

    def _note(self, accounts: set[bytes], block: int) -> None:
        """Keep what these accounts had after a block."""
        some, asked = sorted(accounts), list[tuple[str, Sequence[Any]]]()
        for account in some:
            data = "0x" + BALANCE_OF + account.hex().rjust(64, "0")
            asked.append(("eth_call", ({"to": "0x" + self.local.token.hex(), "data": data}, hex(block))))
            asked.append(("eth_getBalance", ("0x" + account.hex(), hex(block))))
        held = [int(each, 16) for each in self.chain.ask_all(asked)]
        for account, usdt, native in zip(some, held[::2], held[1::2], strict=True):
            self.ledger.note(account, block, (usdt, native))
