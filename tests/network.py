"""A chain with proxies before its node, and wallets whose every balance at every time is another number."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from time import time
from typing import Any

import redis
from proxy import Proxy
from tables import Tables

from config.addresses import account_bytes
from config.network_settings import NodeSettings
from config.networks import PRESETS, NetworkName
from config.settings import worker_settings
from devstack.chain import Chain
from devstack.stack import base58_address
from worker.reading import reader_for
from worker.reading.facts import ChainFacts, facts_of
from worker.sync.batch import sync_due

NETWORKS: tuple[NetworkName, ...] = ("ethereum", "tron")
"""Those whose nodes and proxies the tests run."""

WALLETS = 3
LONGEST_REST = 400.0  # seconds; more than any endpoint rests that did not say longer
SOLID_LAG = 1  # blocks that the solid state of the Tron node is behind its newest
LARGE = 2**60


@dataclass
class Net:
    """A chain whose blocks are made when something happens, its node, and a proxy before it."""

    network: NetworkName
    chain: Chain
    token: bytes
    proxy: Proxy
    other: Proxy
    holders: int = field(default=0x7A_0000)

    def new_holders(self) -> list[bytes]:
        first, self.holders = self.holders, self.holders + WALLETS
        return [(first + at).to_bytes(20) for at in range(WALLETS)]

    def address(self, holder: bytes) -> str:
        return address_on(self.network, holder)


Balances = tuple[int, int]
Shown = Callable[[list[Balances]], Balances]


def newest(held: list[Balances]) -> Balances:
    return held[-1]


class Scene:
    """Some wallets of one network, what they held at each time, and the worker's code at work on them.

    `shown` says what a row holds that was read just now, of all that its wallet held.
    """

    def __init__(self, net: Net, tables: Tables) -> None:
        self.net, self.tables = net, tables
        self.holders = net.new_holders()
        self.history: list[list[Balances]] = [[] for _ in self.holders]
        self.read = [0 for _ in self.holders]  # which of these each row has from its last good read
        self.shown: Shown = newest
        self.steps = count(1)
        self.change()
        self.ids = tables.add(net.network, *map(net.address, self.holders))
        self.later = 0.0

    def change(self) -> None:
        """Every balance becomes another one, as no wallet ever had it, and no double can hold."""
        step = next(self.steps)
        numbers = [int.from_bytes(holder) for holder in self.holders]
        self.becomes([(LARGE + 1000 * number + step, LARGE + 7 * number + step) for number in numbers])

    def becomes(self, now: list[Balances]) -> None:
        before = [each[-1][0] if each else 0 for each in self.history]
        minted = [(holder, usdt - was) for holder, (usdt, _), was in zip(self.holders, now, before, strict=True)]
        self.net.chain.mint(self.net.token, minted)
        # After the block of the others, for what is set without a block belongs to the newest one.
        self.net.chain.set_native([(holder, native) for holder, (_, native) in zip(self.holders, now, strict=True)])
        for _ in range(SOLID_LAG if self.net.network == "tron" else 0):
            self.net.chain.ask("evm_mine")
        for each, balances in zip(self.history, now, strict=True):
            each.append(balances)

    def empties(self) -> None:
        """Nothing but USDT is left."""
        self.becomes([(held[-1][0] + 1, 0) for held in self.history])

    def is_forgotten(self) -> None:
        """The wallets are as if they had never been read."""
        self.tables.rows("DELETE FROM balance_cache")
        self.change()

    def is_unknown(self) -> None:
        """Nothing is known of any endpoint, as after Redis has lost everything."""
        redis.Redis.from_url(worker_settings().redis_url.get_secret_value()).flushall()
        reader_for.cache_clear()
        self.change()

    def reorganises(self) -> None:
        """A block is read, and another one comes in its place, in which every balance is another one."""
        before = self.net.chain.ask("evm_snapshot")
        self.change()
        self.sync()
        assert self.fresh()
        number = self.net.chain.head()
        self.net.chain.ask("evm_revert", before)
        self.history = [held[:-1] for held in self.history]
        self.change()
        assert self.net.chain.head() == number, "the same number, another block"

    def set_usdt(self, holder: bytes, value: int) -> None:
        """Write a balance into the token's storage, and make a block of it."""
        slot = self.net.chain.ask("web3_sha3", "0x" + (holder.rjust(32, b"\0") + (1).to_bytes(32)).hex())
        self.net.chain.ask("anvil_setStorageAt", "0x" + self.net.token.hex(), slot, f"0x{value:064x}")
        self.net.chain.ask("evm_mine")

    def rows(self) -> list[Balances | None]:
        found = [self.tables.balance(wallet) for wallet in self.ids]
        return [(int(row["usdt_balance"]), int(row["native_balance"])) if row else None for row in found]

    def errors(self) -> set[str | None]:
        """The wallets' errors, and why their network is out, where it is: then they have none for that."""
        of_wallets = {self.tables.schedule(wallet)["last_error"] for wallet in self.ids}
        return set(self.outages()) | (of_wallets - {None} if self.outages() else of_wallets)

    def outages(self) -> list[str]:
        out = "SELECT reason FROM network_state WHERE out_since IS NOT NULL AND network = %s"
        return [row["reason"] for row in self.tables.rows(out, self.net.network)]

    def sync(self) -> None:
        """One batch of all wallets, and a look at every row: it has what its wallet held since the last good read.

        While the network is out it is a trial, of some; and where it ends the outage, the others come next.
        """
        self.tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
        due = "SELECT FROM sync_schedule WHERE next_sync_at <= now()"
        sync_due(self.net.network)
        while self.tables.rows(due) and not self.outages():
            sync_due(self.net.network)
        for at, (row, held) in enumerate(zip(self.rows(), self.history, strict=True)):
            since = held[self.read[at] :]
            assert row in (None, self.shown(held), *since), "a wrong row"
            if row in since:
                self.read[at] += since.index(row)

    def heal(self) -> None:
        """Until every rest is over, and another block is made."""
        self.net.chain.ask("evm_mine")
        self.later += LONGEST_REST
        # The time until the next trial is Redis' own, for which none passes here.
        client: Any = redis.Redis.from_url(worker_settings().redis_url.get_secret_value())
        for key in client.scan_iter("bal:chain:*:trial"):
            client.delete(key)
        reader: Any = reader_for(self.net.network)
        reader.shared.clock = lambda: time() + self.later

    def fresh(self) -> bool:
        return self.rows() == list(map(self.shown, self.history)) and self.errors() == {None}


def multicall3_of(network: NetworkName) -> bytes:
    """Where the network has its Multicall3."""
    preset = PRESETS[network]
    assert preset.multicall3
    return account_bytes(preset.family, preset.multicall3)


def facts_for(network: NetworkName, chain_id: int, token: bytes) -> ChainFacts:
    """What a reader goes by for a copy of a network with another chain's id and a token of its own."""
    settings = NodeSettings(
        network=PRESETS[network], chain_id=chain_id, usdt_contract=address_on(network, token), usdt_decimals=6
    )
    return facts_of(settings.chain(None))


def address_on(network: NetworkName, account: bytes) -> str:
    return base58_address(account) if PRESETS[network].family == "tron" else "0x" + account.hex()


def ahead(chain: Chain) -> float:
    return int(chain.ask("eth_getBlockByNumber", "latest", False)["timestamp"], 16) - time()
