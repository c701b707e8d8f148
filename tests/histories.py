"""Random histories of a few accounts on a real EVM node: everything that changes a balance, in blocks of several."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from devstack import contracts
from devstack.chain import Chain
from devstack.contracts import Call
from devstack.servers import Server, anvil, tron_node

WALLETS = 4
NATIVE = 10**20  # of each wallet at first: much more than all its fees
HELD = 1_000_000  # the most USDT that a wallet has at first, in base units
SENT = 10**15  # the most native coin that is paid at once

Step = tuple[Any, ...]
"""One transaction: what is done, then its arguments. Accounts are numbers, 0 is the token's owner."""


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
        at = hex(block)
        return {
            account: (self.chain.balance_of(self.token, account, at), self.chain.native_of(account, at))
            for account in self.accounts
        }

    def call(self, step: Step) -> Call:
        """The transaction that a step is."""
        kind, *rest = step
        if kind in {"issue", "redeem"}:
            return getattr(contracts, kind)(self.token, *rest)  # type: ignore[no-any-return]
        first, *rest = rest
        if kind == "set_fee":
            return contracts.set_fee(self.token, first, rest[0])
        if kind == "mint":
            return contracts.mint(self.token, [self.accounts[each] for each in first], [rest[0]] * len(first))
        account = self.accounts[first]
        if kind == "destroy":
            return contracts.destroy(self.token, account)
        if kind == "pay_through":
            return contracts.pay_through(self.payer, [self.accounts[each] for each in rest[0]], rest[1], account)
        other = self.accounts[rest[0]]
        if kind == "transfer_from":
            return contracts.transfer_from(self.token, account, other, rest[1], self.accounts[rest[2]])
        if kind == "transfer":
            return contracts.transfer(self.token, other, rest[1], account)
        if kind == "payment":
            return contracts.payment(other, rest[1], account)
        made = {"pay_in_vain": contracts.pay_in_vain, "leave_to": contracts.leave_to}[kind]
        return made(self.payer, other, rest[1], account)

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
