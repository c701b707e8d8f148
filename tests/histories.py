"""Random histories of a few accounts on a real EVM node: everything that changes a balance, in blocks of several."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from devstack import contracts
from devstack.chain import BALANCE_OF, Chain
from devstack.contracts import Call
from devstack.servers import Server, anvil, tron_node

WALLETS = 4
NATIVE = 10**20  # of each wallet at first: much more than all its fees
HELD = 1_000_000  # the most USDT that a wallet has at first, in base units
SENT = 10**15  # the most native coin that is paid at once

Step = tuple[Any, ...]
"""One transaction: what is done, then its arguments. Accounts are numbers: 0 is the token's owner."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A chain that makes a block only when it is asked to, as an EVM chain's node and as a Tron's tell of it."""

    chain: Chain
    tron: Server
    token: bytes
    payer: bytes
    accounts: tuple[bytes, ...]

    def balances(self, block: int) -> dict[bytes, tuple[int, int]]:
        """What each account held in USDT and in native coin at a block, as a read of it would have shown."""
        token = "0x" + self.token.hex()
        asked: list[tuple[str, Sequence[Any]]] = []
        for account in self.accounts:
            data = "0x" + BALANCE_OF + contracts.word(int.from_bytes(account))
            asked.append(("eth_call", ({"to": token, "data": data}, hex(block))))
            asked.append(("eth_getBalance", ("0x" + account.hex(), hex(block))))
        held = [int(each, 16) for each in self.chain.ask_all(asked)]
        return dict(zip(self.accounts, zip(held[::2], held[1::2], strict=True), strict=True))

    def call(self, step: Step) -> Call:
        """The transaction that a step is."""
        kind, *arguments = step
        return _CALLS[kind](self, *arguments)

    def paid_inside(self, step: Step) -> set[bytes]:
        """Whom a contract pays in a step that goes well: accounts that no field of the transaction names."""
        if step[0] == "pay_through":
            return {self.accounts[each] for each in step[2]}
        return {self.accounts[step[2]]} if step[0] == "leave_to" else set()

    @contextmanager
    def undone(self) -> Iterator[None]:
        """What happens in the block has not happened after it."""
        before = self.chain.ask("evm_snapshot")
        try:
            yield
        finally:
            self.chain.ask("evm_revert", before)


_CALLS: dict[str, Callable[..., Call]] = {
    "transfer": lambda book, at, to, value: contracts.transfer(book.token, book.accounts[to], value, book.accounts[at]),
    "transfer_from": lambda book, at, to, value, by: contracts.transfer_from(
        book.token, book.accounts[at], book.accounts[to], value, book.accounts[by]
    ),
    "set_fee": lambda book, basis_points, most: contracts.set_fee(book.token, basis_points, most),
    "mint": lambda book, to, value: contracts.mint(book.token, [book.accounts[each] for each in to], [value] * len(to)),
    "issue": lambda book, value: contracts.issue(book.token, value),
    "redeem": lambda book, value: contracts.redeem(book.token, value),
    "destroy": lambda book, at: contracts.destroy(book.token, book.accounts[at]),
    "payment": lambda book, at, to, value: contracts.payment(book.accounts[to], value, book.accounts[at]),
    "pay_through": lambda book, at, to, value: contracts.pay_through(
        book.payer, [book.accounts[each] for each in to], value, book.accounts[at]
    ),
    "pay_in_vain": lambda book, at, to, value: contracts.pay_in_vain(
        book.payer, book.accounts[to], value, book.accounts[at]
    ),
    "leave_to": lambda book, at, to, value: contracts.leave_to(book.payer, book.accounts[to], value, book.accounts[at]),
}
"""What a step's first word makes of the others."""


@contextmanager
def ledger(folder: Path) -> Iterator[Ledger]:
    """Such a chain with its accounts, the token's owner first."""
    with anvil(folder, "history", 1337, 1000) as node, tron_node(folder, node.url, 0) as tron:
        chain = Chain(node.url)
        chain.make_no_blocks()
        token, payer = chain.deploy_token(mined=True), chain.deploy_payer(mined=True)
        wallets = [(0xACC0_0000 + number).to_bytes(20) for number in range(WALLETS)]
        chain.mint(token, [(wallet, HELD * number // WALLETS) for number, wallet in enumerate(wallets)], mined=True)
        chain.set_native([(wallet, NATIVE) for wallet in wallets])
        chain.mine()
        yield Ledger(chain, tron, token, payer, (chain.owner, *wallets))


_account = st.integers(0, WALLETS)
_several = st.lists(_account, min_size=1, max_size=3)
_amount = st.one_of(st.just(0), st.integers(1, 9), st.integers(0, HELD))
_native = st.one_of(st.just(0), st.integers(0, SENT))
_step = st.one_of(
    st.tuples(st.just("transfer"), _account, _account, _amount),
    st.tuples(st.just("transfer_from"), _account, _account, _amount, _account),
    st.tuples(st.just("set_fee"), st.integers(0, 2000), st.integers(0, HELD // 10)),
    st.tuples(st.just("mint"), _several, _amount),
    st.tuples(st.sampled_from(["issue", "redeem"]), _amount),
    st.tuples(st.just("destroy"), _account),
    st.tuples(st.just("pay_through"), _account, _several, _native),
    st.tuples(st.sampled_from(["payment", "pay_in_vain", "leave_to"]), _account, _account, _native),
)

HISTORIES = st.lists(st.lists(_step, max_size=6), min_size=1, max_size=4)
"""The steps of each block. Some fail: for want of USDT, or because somebody else than the owner is to issue."""
