"""From any state: whatever the tables hold and whatever happens in whatever order, the queue keeps its promises."""

from datetime import timedelta
from math import ceil
from uuid import UUID

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from queue_machine import QueueMachine, Shown, few, networks, picks, sizes
from queue_model import AHEAD, LEASE, LONGEST, NO_ADDRESS, look
from structlog.testing import capture_logs
from tables import Tables

from config.settings import Network
from db import resync
from db.session import transaction
from db.wallets import Claim, claim_due, request_wallets
from worker.chains.addresses import account_bytes

pytestmark = pytest.mark.usefixtures("as_superuser")  # the rows of any state are not for a role to make

NOTHING = timedelta(0)


class Queue(QueueMachine):
    """Besides: whoever asks, and what any number of claims must come to from the state that there is."""

    @invariant()
    def nothing_is_lost(self) -> None:
        """Each wallet that can be read is due, held or will be due, and the lease of each that is held will end."""
        with transaction() as connection:
            now, rows = look(connection)
        assert set(rows) == set(self.ids)
        for row in rows.values():
            assert row.lease_until is None or row.lease_until <= now + LEASE
            if not row.address.startswith(NO_ADDRESS):
                assert row.next_sync_at <= now + LONGEST
            if row.account is not None:
                assert row.account == account_bytes(row.network, row.address)

    @invariant()
    def those_who_hold_are_those_who_claimed(self) -> None:
        with transaction() as connection:
            rows = look(connection)[1]
        assert {wallet: row.lease_token for wallet, row in rows.items() if row.lease_token} == self.holders

    @invariant()
    def what_is_shown_is_the_newest_that_was_read_at_the_wallets_own_address(self) -> None:
        with transaction() as connection:
            rows = look(connection)[1]
            found = connection.exec_driver_sql(
                "SELECT wallet_id, usdt_balance::text, block_number, last_synced FROM balance_cache"
            ).all()
        assert {row[0]: Shown(int(row[1]), *row[2:]) for row in found} == self.shown
        for wallet, shown in self.shown.items():
            assert self.read_as[shown.usdt] == (wallet, rows[wallet].address)
            assert shown.block >= self.blocks.get(wallet, 0)
            self.blocks[wallet] = shown.block

    @precondition(lambda self: self.claims)
    @rule(pick=picks)
    def die(self, pick: int) -> None:
        """A worker is killed: nobody will ever write under its claim."""
        self.claims.pop(pick % len(self.claims))

    @precondition(lambda self: self.ids)
    @rule(chosen=few, cooldown=st.sampled_from([0, 5, 3600]))
    def request(self, chosen: set[int], cooldown: int) -> None:
        wallets = self.some(chosen)
        with transaction() as connection:
            asked = request_wallets(connection, wallets, cooldown=timedelta(seconds=cooldown))
        with transaction() as connection:
            now, rows = look(connection)
        assert asked.locked == ()
        assert cooldown or set(asked.networks) == set(wallets)
        for wallet in asked.networks:
            # Nobody has read it since, and somebody will, or whoever holds it makes it due as soon as it writes.
            assert rows[wallet].next_sync_at <= now
            assert rows[wallet].free(now) or rows[wallet].asked_for() or not cooldown

    @precondition(lambda self: self.ids)
    @rule(network=networks, chosen=few)
    def ask_for_a_resync(self, network: Network, chosen: set[int]) -> None:
        marked = self.mark(network, self.some(chosen))
        if marked is None:
            return
        with transaction() as connection:
            seen = resync.look(connection, marked)
        assert seen.open is not None
        assert (seen.read, seen.failed, seen.gone, seen.open.wallets) == (0, {}, 0, marked.wallets)

    def mark(self, network: Network, wallets: list[UUID]) -> resync.Bundle | None:
        """Have these wallets of a network read anew."""
        with transaction() as connection:
            rows = look(connection)[1]
            those = [wallet for wallet in wallets if rows[wallet].network == network]
            if not those:
                return None
            text = "{" + ",".join(map(str, those)) + "}"
            marked, locked = resync.mark(connection, resync.Bundle(network, len(those), text))
            now, rows = look(connection)
        assert marked is not None
        assert (marked.wallets, locked) == (len(those), None)
        for row in map(rows.__getitem__, those):
            assert row.next_sync_at <= now
            assert row.free(now) or row.asked_for()
        return marked

    @rule(network=networks, size=sizes, times=st.integers(1, 12))
    def claims_without_a_write_hold_what_is_due(self, network: Network, size: int, times: int) -> None:
        """All in one transaction, at one moment, which is then undone."""
        with transaction() as connection:
            now, rows = look(connection)
            due = {wallet: row for wallet, row in rows.items() if row.network == network and row.due(now)}
            taken: list[UUID] = []
            for _ in range(times):
                if claim := claim_due(connection, network, limit=size, lease=LEASE, ahead=NOTHING):
                    taken += [wallet.id for wallet in claim.wallets]
            assert len(set(taken)) == len(taken) == min(times * size, len(due))
            longest = sorted(row.next_sync_at for row in due.values())[: len(taken)]
            assert sorted(due[wallet].next_sync_at for wallet in taken) == longest
            connection.rollback()

    @rule(network=networks, size=sizes)
    def claims_end_when_nothing_is_due(self, network: Network, size: int) -> None:
        """By as many claims as that needs, or one more for what fell due soon and travelled along."""
        with transaction() as connection:
            now, rows = look(connection)
            due, soon = (
                {wallet for wallet, row in rows.items() if row.network == network and row.due(now, ahead)}
                for ahead in (NOTHING, AHEAD)
            )
            taken: list[UUID] = []
            claims: list[Claim] = []
            while claim := claim_due(connection, network, limit=size, lease=LEASE, ahead=AHEAD):
                claims.append(claim)
                taken += [wallet.id for wallet in claim.wallets]
            assert len(taken) == len(set(taken))
            assert due <= set(taken) <= soon
            assert len(claims) == ceil(len(due) / size)
            connection.rollback()

    @precondition(lambda self: self.ids)
    @rule(network=networks, size=sizes)
    def all_are_read_in_the_end(self, network: Network, size: int) -> None:
        """Every lease has ended, all are asked for, and workers do their work: each was read, and so it is said."""
        marked = self.mark(network, self.ids)
        if marked is None:
            return
        self.time_passes(61)
        self.claims.clear()
        before, block = set(self.read_as), max(self.blocks.values(), default=0) + 1
        for _ in range(ceil(marked.wallets / size)):
            self.claim(network, size)
        while self.claims:
            self.write(0, block, [None], again=False)
        read = {self.read_as[number][0] for number in set(self.read_as) - before}
        with transaction() as connection:
            seen = resync.look(connection, marked)
        bad = seen.failed.get("bad_address", 0)
        assert (seen.open, seen.gone, seen.read + bad) == (None, 0, marked.wallets)
        assert len(read) == seen.read


# What fails is told as it is: to make it shorter takes minutes, and the steps say plainly what happened.
once_each = settings(
    max_examples=settings().max_examples * 2 // 5, stateful_step_count=25, phases=[Phase.explicit, Phase.generate]
)


def test_whatever_happens_in_whatever_order_nothing_is_lost_and_nothing_is_claimed_twice(tables: Tables) -> None:
    assert tables.rows("SELECT FROM wallets") == []
    with capture_logs():
        run_state_machine_as_test(Queue, settings=once_each)
