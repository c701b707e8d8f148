"""A network that is followed on a real chain, wallets of it, and what each of them really holds at any block."""

from typing import Any

import redis
from network import SOLID_LAG, Net
from tables import Tables

from config.settings import worker_settings
from devstack import contracts
from devstack.contracts import Call
from devstack.tron_forms import block_id
from worker.feed.follow import follow
from worker.feed.reader import feed_reader_for
from worker.reading import reader_for
from worker.sync.batch import sync_due

MANY = 1_000_000
"""Wallets: as if the network had so many, for it to be the feed's, and for every gap to be followed."""

Balances = tuple[int, int]


class Followed:
    """One network that is followed, whatever its wallets' number would have chosen, and wallets of it."""

    def __init__(self, net: Net, tables: Tables) -> None:
        self.net, self.tables, self.network = net, tables, net.network
        self.holders = net.new_holders()
        net.chain.mint(net.token, [(holder, 1000 + at) for at, holder in enumerate(self.holders)])
        self.settle()
        self.ids = tables.add(net.network, *map(net.address, self.holders))

    def settle(self) -> None:
        """What happened has the finality that is read."""
        if self.network == "tron":
            self.net.chain.mine(SOLID_LAG)

    def read(self) -> None:
        sync_due(self.network)

    def begin(self) -> None:
        """The wallets have been read, and are read no more by themselves; the feed has begun, and covers them."""
        self.read()
        self.follow()
        self.read_all()
        assert self.touches() == []
        self.is_quiet()

    def read_all(self) -> None:
        self.rows("UPDATE sync_schedule SET next_sync_at = now()")
        self.read()

    def is_quiet(self) -> None:
        """No wallet is due by itself."""
        self.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '1 hour'")

    def is_time(self, wallets: int = MANY) -> None:
        """The next block may be asked for, once, and how the network is kept fresh is decided: by the feed.

        Blocks come slowly, as far as anybody knows: no round waits for one that is not there.
        """
        self.rows(
            "INSERT INTO feed_cursor (network, policy) VALUES (%s, 'feed') ON CONFLICT (network) DO UPDATE"
            " SET policy = 'feed', decided_at = now(), next_at = now() - interval '1 second', wallets = %s",
            self.network,
            wallets,
        )
        self.rows("UPDATE feed_cursor SET decided_at = now(), block_seconds = 1000 WHERE network = %s", self.network)

    def follow(self, wallets: int = MANY) -> None:
        """Up to the newest block, however many tasks that takes."""
        before = None
        while before != (now := self._place()):
            before = now
            self.follow_once(wallets)

    def follow_once(self, wallets: int = MANY) -> None:
        """One task."""
        self.is_time(wallets)
        follow(self.network)

    def _place(self) -> tuple[Any, ...]:
        self.is_time()
        cursor = self.cursor()
        return cursor["block_number"], cursor["block_hash"], cursor["jumps"]

    def due(self) -> None:
        """Time passes: touches that wait for others are due."""
        self.rows("UPDATE touches SET due_at = now()")

    def serve(self) -> None:
        """Reads until none is owed any more."""
        for _ in range(10):
            if not self.touches():
                return
            self.due()
            self.read()
        raise AssertionError(f"still owed: {self.touches()}")

    def move(self, sender: int, receiver: int, value: int) -> Call:
        """USDT goes from one of the wallets to another one, and nobody else's native coin pays for it."""
        return contracts.transfer_from(self.net.token, self.holders[sender], self.holders[receiver], value)

    def give(self, receiver: int, value: int) -> Call:
        """A wallet gets USDT from nowhere."""
        return contracts.mint(self.net.token, [self.holders[receiver]], [value])

    def pay(self, receiver: int, value: int) -> Call:
        """Somebody pays a wallet native coin."""
        return contracts.payment(self.holders[receiver], value)

    def happens(self, *calls: Call) -> None:
        """Each in a block of its own, all of them settled."""
        for call in calls:
            self.net.chain.transact(call)
        self.settle()

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        return self.tables.rows(query, *parameters)

    def cursor(self) -> dict[str, Any]:
        (row,) = self.rows("SELECT * FROM feed_cursor WHERE network = %s", self.network)
        return row

    def touches(self) -> list[tuple[int, int | None]]:
        """Of each touch, which wallet it is of and what its events say."""
        found = self.rows("SELECT wallet_id, usdt_change FROM touches ORDER BY block_number, wallet_id")
        return sorted(
            ((self.ids.index(row["wallet_id"]), _whole(row["usdt_change"])) for row in found),
            key=lambda each: (each[0], each[1] is not None, each[1]),
        )

    def touched(self) -> set[int]:
        """Which wallets are owed a read."""
        return {at for at, _ in self.touches()}

    def row(self, at: int) -> dict[str, Any]:
        row = self.tables.balance(self.ids[at])
        assert row is not None
        return row

    def usdt(self) -> list[int]:
        return [int((self.tables.balance(wallet) or {"usdt_balance": -1})["usdt_balance"]) for wallet in self.ids]

    def newest(self) -> int:
        """The number of the newest block of the finality that is read."""
        return self.net.chain.head() - (SOLID_LAG if self.network == "tron" else 0)

    def held(self, at: int, block: int) -> Balances:
        """What a wallet really has at a block."""
        chain, holder = self.net.chain, self.holders[at]
        return chain.balance_of(self.net.token, holder, hex(block)), chain.native_of(holder, hex(block))

    def shown(self) -> list[Balances]:
        return [(int(row["usdt_balance"]), int(row["native_balance"])) for row in map(self.row, range(len(self.ids)))]

    def really(self) -> list[Balances]:
        """What all wallets have at the newest block."""
        return [self.held(at, self.newest()) for at in range(len(self.ids))]

    def as_of(self, block: int) -> None:
        """The tables are as they were when this block was the newest one, and had been followed and read."""
        found = self.net.chain.ask("eth_getBlockByNumber", hex(block), False)
        self.rows("DELETE FROM touches")
        self.rows("DELETE FROM feed_blocks")
        self.rows(
            "UPDATE feed_cursor SET block_number = %s, block_hash = %s, block_time = to_timestamp(%s), since = %s,"
            " arrival_delay = 0, misses = 0, orphaned_to = NULL WHERE network = %s",
            block,
            self.block_hash(block),
            int(found["timestamp"], 16),
            block,
            self.network,
        )
        for at, wallet in enumerate(self.ids):
            self.rows(
                "UPDATE balance_cache SET usdt_balance = %s, native_balance = %s, block_number = %s"
                " WHERE wallet_id = %s",
                *self.held(at, block),
                block,
                wallet,
            )

    def block_hash(self, number: int) -> bytes:
        """As its nodes tell it."""
        found = bytes.fromhex(self.net.chain.ask("eth_getBlockByNumber", hex(number), False)["hash"][2:])
        return found if self.network != "tron" else bytes.fromhex(block_id(number, "0x" + found.hex()))


def _whole(amount: Any) -> int | None:
    return None if amount is None else int(amount)


def forget_nodes() -> None:
    """Nothing is known of any node, as for a process that has just begun, after Redis has lost everything."""
    redis.Redis.from_url(worker_settings().redis_url.get_secret_value()).flushall()
    another_process()


def another_process() -> None:
    """What this process remembers of nodes is another one's: its next reader begins anew."""
    reader_for.cache_clear()
    feed_reader_for.cache_clear()
