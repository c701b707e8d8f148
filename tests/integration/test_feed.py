"""A network is followed block by block, on real nodes and tables: who was touched is read, and nobody is missed."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from network import NETWORKS, Net
from tables import Tables

from config.networks import NetworkName
from devstack import contracts
from worker.feed.follow import follow
from worker.feed.reader import feed_reader_for
from worker.sync.batch import sync_due

Settings = Callable[..., None]


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
            self.net.chain.mine()

    def read(self) -> None:
        sync_due(self.network)

    def begin(self) -> None:
        """The wallets have been read, and are read no more by themselves; the feed has begun, and covers them."""
        self.read()
        self.follow()
        self.rows("UPDATE sync_schedule SET next_sync_at = now()")
        self.read()
        assert self.touches() == []
        self.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '1 hour'")

    def follow(self, rounds: int = 3) -> None:
        """Up to the newest block."""
        for _ in range(rounds):
            self.rows(
                "INSERT INTO feed_cursor (network, policy) VALUES (%s, 'feed') ON CONFLICT (network) DO UPDATE"
                " SET policy = 'feed', decided_at = now(), next_at = now() - interval '1 second', wallets = 1000000",
                self.network,
            )
            self.rows("UPDATE feed_cursor SET decided_at = now() WHERE network = %s", self.network)
            follow(self.network)

    def due(self) -> None:
        """Time passes: touches that wait for others are due."""
        self.rows("UPDATE touches SET due_at = now()")

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        return self.tables.rows(query, *parameters)

    def cursor(self) -> dict[str, Any]:
        (row,) = self.rows("SELECT * FROM feed_cursor WHERE network = %s", self.network)
        return row

    def touches(self) -> list[tuple[int, int | None]]:
        """Of each touch, which wallet it is of and what its events say."""
        found = self.rows("SELECT wallet_id, usdt_change FROM touches ORDER BY block_number, wallet_id")
        return sorted((self.ids.index(row["wallet_id"]), _whole(row["usdt_change"])) for row in found)

    def usdt(self) -> list[int]:
        return [int((self.tables.balance(wallet) or {"usdt_balance": -1})["usdt_balance"]) for wallet in self.ids]


def _whole(amount: Any) -> int | None:
    return None if amount is None else int(amount)


@pytest.fixture(params=NETWORKS)
def followed(
    request: pytest.FixtureRequest, nets: dict[NetworkName, Net], settings: Settings, tables: Tables
) -> Iterator[Followed]:
    settings(FEED="on")
    feed_reader_for.cache_clear()
    yield Followed(nets[request.param], tables)


def test_a_transfer_is_in_the_table_after_one_block_and_one_read(followed: Followed) -> None:
    followed.begin()
    net, (first, second, third) = followed.net, followed.holders
    net.chain.set_native([(first, 10**18)])
    net.chain.transact(contracts.transfer(net.token, second, 7, sender=first))
    followed.settle()
    followed.follow()
    assert followed.touches() == [(0, -7), (1, 7)]
    followed.due()
    followed.read()
    assert followed.usdt() == [993, 1008, 1002]
    assert followed.touches() == []
    assert followed.cursor()["missed_usdt"] == 0
    assert third
