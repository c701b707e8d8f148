"""Whatever happens to a chain, to those who follow it and to those who read it, in whatever order: in the end every row
is what the chain says, though nobody was read but for a touch, a gap or because it was new.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from followed import Followed, another_process, forget_nodes
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from network import NETWORKS, Net
from tables import Tables

from config.networks import NetworkName
from db import feed
from db.claims import claim_due
from db.freshness_policy import fall_back
from db.networks import make_due
from db.session import transaction
from devstack import contracts
from devstack.contracts import Call

Settings = Callable[..., None]
MOST_WALLETS = 6
DEEPEST = 4  # blocks that a reorganisation puts others in the place of

wallets = st.integers(0, MOST_WALLETS - 1)
amounts = st.integers(0, 300)


class BrokenOff(Exception):
    """What ends a step before its commit."""


class History(RuleBasedStateMachine):
    """A chain, its followers and its readers. Nothing is asserted but at the end."""

    net: ClassVar[Net]
    tables: ClassVar[Tables]

    @initialize()
    def begin(self) -> None:
        for table in ("wallets", "leases", "feed_cursor", "feed_blocks", "held_changes", "change_rates"):
            self.tables.rows(f"DELETE FROM {table}")
        self.tables.rows("UPDATE networks SET due_up_to = NULL")
        forget_nodes()
        self.followed = Followed(self.net, self.tables)
        self.followed.begin()
        self.first = self.followed.newest()

    def _wallet(self, number: int) -> int:
        return number % len(self.followed.ids)

    # The chain

    @rule(
        steps=st.lists(
            st.tuples(st.sampled_from(["give", "move", "pay", "destroy"]), wallets, wallets, amounts), max_size=4
        )
    )
    def blocks(self, steps: list[tuple[str, int, int, int]]) -> None:
        for step in steps:
            self.net.chain.transact(self._call(*step))
        self.net.chain.mine()

    def _call(self, kind: str, one: int, other: int, amount: int) -> Call:
        one, other = self._wallet(one), self._wallet(other)
        if kind == "move":
            held = self.net.chain.balance_of(self.net.token, self.followed.holders[one])
            return self.followed.move(one, other, min(amount, held))
        if kind == "destroy":
            return contracts.destroy(self.net.token, self.followed.holders[one])
        return self.followed.give(one, amount) if kind == "give" else self.followed.pay(one, amount)

    @precondition(lambda self: self.net.network == "ethereum")  # a solid block stays
    @rule(depth=st.integers(1, DEEPEST), one=wallets, amount=amounts)
    def reorganises(self, depth: int, one: int, amount: int) -> None:
        depth = min(depth, self.net.chain.head() - self.first)
        if depth > 0:
            self.net.chain.reorganise(depth, (self.followed.give(self._wallet(one), amount), 0))

    # Those who follow

    @rule()
    def follow_one_task(self) -> None:
        self.followed.follow_once()

    @rule()
    def follow(self) -> None:
        self.followed.follow()

    @rule()
    def a_step_is_broken_off(self) -> None:
        advance = feed.advance

        def broken_off(*arguments: Any) -> Any:
            advance(*arguments)
            raise BrokenOff

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(feed, "advance", broken_off)
            try:
                self.followed.follow_once()
            except BrokenOff:
                pass

    @rule()
    def the_feed_stands_still(self) -> None:
        self.followed.rows("UPDATE feed_cursor SET good_until = now()")
        with transaction() as connection:
            fall_back(connection, self.net.network, spread=1.0)

    # Those who read

    @rule()
    def read_touched(self) -> None:
        self.followed.due()
        self._read()

    @rule(number=wallets)
    def sweep_one(self, number: int) -> None:
        wallet = self.followed.ids[self._wallet(number)]
        self.followed.rows("UPDATE sync_schedule SET next_sync_at = now() WHERE wallet_id = %s", wallet)
        self._read()

    @rule()
    def a_reader_dies(self) -> None:
        self.followed.due()
        with transaction() as connection:
            claim_due(connection, self.net.network, limit=100, lease=timedelta(0), ahead=timedelta(0))

    def _read(self) -> None:
        forget_nodes()  # they would wonder at so many blocks a second
        self.followed.read()
        self.followed.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '1 hour' WHERE last_error IS NULL")

    @precondition(lambda self: len(self.followed.ids) < MOST_WALLETS)
    @rule()
    def a_wallet_comes(self) -> None:
        holder = self.net.new_holders()[0]
        self.followed.holders.append(holder)
        self.followed.ids += self.tables.add(self.net.network, self.net.address(holder))

    @rule()
    def another_process_goes_on(self) -> None:
        another_process()

    # The end

    def teardown(self) -> None:
        if not hasattr(self, "followed"):
            return
        followed = self.followed
        followed.net.chain.mine(2 * DEEPEST)  # beyond every block that was ever read
        followed.rows("UPDATE sync_schedule SET next_sync_at = now() WHERE last_error IS NOT NULL")
        followed.follow()
        with transaction() as connection:
            while make_due(connection, followed.network) is not None:
                pass
        # Whoever is not covered comes by the cadence.
        followed.rows(
            "UPDATE sync_schedule AS s SET next_sync_at = now() FROM feed_cursor AS f"
            " WHERE f.network = s.network AND NOT EXISTS"
            " (SELECT FROM balance_cache AS b WHERE b.wallet_id = s.wallet_id AND b.block_number >= f.since)"
        )
        for _ in range(2):  # what was lost with a reader comes after the others
            self._read()
        followed.serve()
        assert followed.shown() == followed.really()
        assert followed.cursor()["missed_usdt"] == 0
        assert held_changes(followed) == 0


def held_changes(followed: Followed) -> int:
    return len(followed.rows("SELECT FROM held_changes"))


@pytest.mark.parametrize("network", NETWORKS)
def test_in_the_end_every_row_is_what_the_chain_says(
    network: NetworkName, nets: dict[NetworkName, Net], settings: Settings, tables: Tables
) -> None:
    settings(FEED="on")
    of_network = type("HistoryOfOne", (History,), {"net": nets[network], "tables": tables})
    examples = hypothesis_settings(max_examples=12, stateful_step_count=15)
    run_state_machine_as_test(of_network, settings=examples)
