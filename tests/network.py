"""A chain with proxies before its node, and wallets whose every balance at every time is another number."""

from dataclasses import dataclass, field
from time import time
from typing import Any

from proxy import Proxy
from tables import Tables

from config.settings import Network
from devstack.chain import Chain
from devstack.stack import base58_address
from worker.chains import reader_for
from worker.sync import sync_due

WALLETS = 3
LONGEST_REST = 400.0  # seconds; more than any endpoint rests that did not say longer
REQUEST_LIMIT = 1.0


@dataclass
class Net:
    """A chain whose blocks are made when something happens, its node, and a proxy before it."""

    network: Network
    chain: Chain
    token: bytes
    proxy: Proxy
    other: Proxy
    holders: int = field(default=0x7A_0000)

    def new_holders(self) -> list[bytes]:
        self.holders += WALLETS
        return [(self.holders + at).to_bytes(20) for at in range(WALLETS)]

    def address(self, holder: bytes) -> str:
        return "0x" + holder.hex() if self.network == "ethereum" else base58_address(holder)


class Scene:
    """Some wallets of one network, what they held at each time, and the worker's code at work on them."""

    def __init__(self, net: Net, tables: Tables) -> None:
        self.net, self.tables = net, tables
        self.holders = net.new_holders()
        self.history: list[list[tuple[int, int]]] = [[] for _ in self.holders]
        self.change()
        self.ids = tables.add(net.network, *map(net.address, self.holders))
        self.later = 0.0

    def change(self) -> None:
        """Every balance becomes another one, as no wallet ever had it."""
        step = len(self.history[0]) + 1
        now = [(1000 * int.from_bytes(holder) + step, 7 * int.from_bytes(holder) + step) for holder in self.holders]
        before = [each[-1][0] if each else 0 for each in self.history]
        self.net.chain.set_native([(holder, native) for holder, (_, native) in zip(self.holders, now, strict=True)])
        minted = [(holder, usdt - was) for holder, (usdt, _), was in zip(self.holders, now, before, strict=True)]
        self.net.chain.mint(self.net.token, minted)
        for each, balances in zip(self.history, now, strict=True):
            each.append(balances)

    def set_usdt(self, holder: bytes, value: int) -> None:
        """Write a balance into the token's storage, and make a block of it."""
        slot = self.net.chain.ask("web3_sha3", "0x" + (holder.rjust(32, b"\0") + (1).to_bytes(32)).hex())
        self.net.chain.ask("anvil_setStorageAt", "0x" + self.net.token.hex(), slot, f"0x{value:064x}")
        self.net.chain.ask("evm_mine")

    def rows(self) -> list[tuple[int, int] | None]:
        found = [self.tables.balance(wallet) for wallet in self.ids]
        return [(int(row["usdt_balance"]), int(row["native_balance"])) if row else None for row in found]

    def errors(self) -> set[str | None]:
        return {self.tables.schedule(wallet)["last_error"] for wallet in self.ids}

    def sync(self) -> None:
        """One batch of all wallets, and a look at every row: none may hold what its wallet never held."""
        self.tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
        sync_due(self.net.network)
        for row, held in zip(self.rows(), self.history, strict=True):
            assert row is None or row in held, "a wrong row"

    def heal(self) -> None:
        """Until every rest is over."""
        self.later += LONGEST_REST
        reader: Any = reader_for(self.net.network)
        reader.known.clock = lambda: time() + self.later

    def fresh(self) -> bool:
        return self.rows() == [held[-1] for held in self.history] and self.errors() == {None}


def ahead(chain: Chain) -> float:
    return int(chain.ask("eth_getBlockByNumber", "latest", False)["timestamp"], 16) - time()
