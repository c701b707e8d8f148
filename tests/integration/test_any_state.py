"""From any state: whatever the tables hold and whatever happens in whatever order, the queue keeps its promises."""

from datetime import timedelta
from math import ceil
from random import random
from uuid import UUID

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from queue_machine import QueueMachine, Shown, few, networks, picks, sizes
from queue_model import AHEAD, LEASE, LONGEST, NO_ADDRESS, SHARE_OF_MASSES, look
from structlog.testing import capture_logs
from tables import Tables

from config.addresses import account_bytes
from config.networks import PRESETS, NetworkName
from db import due_wallets as queue_of_wallets
from db import resync_queries as resync
from db.claims import Claim, claim_due, request_wallets
from db.session import transaction

pytestmark = pytest.mark.usefixtures("as_superuser")  # the rows of any state are not for a role to make


@pytest.fixture(autouse=True)
def _from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look begins at the beginning of time: what was made due in the past is found at once, not within seconds."""
    monkeypatch.setattr(queue_of_wallets, "BEGIN_HOLDS", 0.0)


NOTHING = timedelta(0)
MANY = 1000  # claims, and more than any run of the machine needs


class Queue(QueueMachine):
    """Besides: whoever asks, and what any number of claims must come to from the state that there is."""

    @invariant()
    def nothing_is_lost(self) -> None:
        """Each wallet that can be read is due, held or will be due, and each lease ends or waits to be tried."""
        with transaction() as connection:
            queue = look(connection)
        assert set(queue.rows) == set(self.ids)
        for row in queue.rows.values():
            if not row.address.startswith(NO_ADDRESS):
                assert row.next_sync_at <= queue.now + LONGEST
            if row.account is not None:
                assert row.account == account_bytes(PRESETS[row.network].family, row.address)
        for lease in queue.leases:
            assert lease.until is None or lease.until <= queue.now + LEASE

    @invariant()
    def those_who_may_write_have_a_lease_and_no_wallet_is_held_twice(self) -> None:
        with transaction() as connection:
            queue = look(connection)
        assert {lease.token for lease in queue.leases} >= self.tokens
        if self.clean:
            assert all(len(queue.held(row)) <= 1 for row in queue.rows.values())

    @invariant()
    def what_is_shown_is_the_newest_that_was_read_at_the_wallets_own_address(self) -> None:
        with transaction() as connection:
            rows = look(connection).rows
            found = connection.exec_driver_sql(
                "SELECT wallet_id, usdt_balance::text, block_number, last_synced, source FROM balance_cache"
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
            queue = look(connection)
        assert asked.locked == ()
        assert cooldown or set(asked.networks) == set(wallets)
        for row in map(queue.rows.__getitem__, asked.networks):
            # Nobody has read it since, and somebody will, or whoever holds it makes it due as soon as it writes.
            assert queue.pending(row) if queue.held(row) else row.next_sync_at <= queue.now

    @precondition(lambda self: self.ids)
    @rule(network=networks, chosen=few)
    def ask_for_a_resync(self, network: NetworkName, chosen: set[int]) -> None:
        marked = self.mark(network, self.some(chosen))
        if marked is None:
            return
        with transaction() as connection:
            seen = resync.look(connection, marked)
        assert seen.open is not None
        assert (seen.read, seen.failed, seen.gone, seen.open.wallets) == (0, {}, 0, marked.wallets)

    def mark(self, network: NetworkName, wallets: list[UUID]) -> resync.Bundle | None:
        """Have these wallets of a network read anew."""
        with transaction() as connection:
            before = look(connection)
            those = [wallet for wallet in wallets if before.rows[wallet].network == network]
            if not those:
                return None
            text = "{" + ",".join(map(str, those)) + "}"
            marked, locked = resync.mark(connection, resync.Bundle(network, len(those), text))
            queue = look(connection)
        assert marked is not None
        assert (marked.wallets, locked) == (len(those), None)
        for row in map(queue.rows.__getitem__, those):
            was = before.rows[row.wallet_id]
            if before.held(was):
                assert row == was._replace(requested_at=queue.now)
            else:
                assert row.next_sync_at <= queue.now
                assert row.lane == 1 or was.next_sync_at <= queue.now
        return marked

    @rule(network=networks, size=sizes, times=st.integers(1, 12))
    def claims_without_a_write_hold_what_is_due(self, network: NetworkName, size: int, times: int) -> None:
        """So many whole batches, whatever was lost. All in one transaction, at one moment, which is then undone."""
        with transaction() as connection:
            due = {row.wallet_id: row for row in look(connection).ended(network).free(network)}
            taken: list[UUID] = []
            for _ in range(times):
                if claim := claim_due(connection, network, limit=size, lease=LEASE, ahead=NOTHING):
                    taken += [wallet.id for wallet in claim.wallets if wallet.id in due]
            assert len(set(taken)) == len(taken) == min(times * size, len(due))
            for lane in (0, 1):
                places = [row.place for row in due.values() if row.lane == lane]
                of_lane = sorted(due[wallet].place for wallet in taken if due[wallet].lane == lane)
                assert of_lane == sorted(places)[: len(of_lane)]
                if lane == 0 and len(places) >= times * size:
                    assert len(taken) - len(of_lane) <= times * ceil(size / SHARE_OF_MASSES)
            connection.rollback()

    @rule(network=networks, size=sizes)
    def claims_end_when_nothing_is_due(self, network: NetworkName, size: int) -> None:
        """By as many claims as that needs, or one more for what fell due soon and travelled along."""
        with transaction() as connection:
            queue = look(connection).ended(network)
            due, soon = ({row.wallet_id for row in queue.free(network, ahead)} for ahead in (NOTHING, AHEAD))
            tries = sum(bool(queue.of_lost(lease)) for lease in queue.leases if lease.network == network)
            taken: list[UUID] = []
            claims: list[Claim] = []
            while claim := claim_due(connection, network, limit=size, lease=LEASE, ahead=AHEAD):
                assert len(claims) <= ceil(len(due) / size) + tries
                claims.append(claim)
                taken += [wallet.id for wallet in claim.wallets if wallet.id in soon]
            assert len(taken) == len(set(taken))
            assert due <= set(taken)
            connection.rollback()

    @precondition(lambda self: self.ids)
    @rule(network=networks, size=sizes)
    def all_are_read_in_the_end(self, network: NetworkName, size: int) -> None:
        """Every lease has ended, all are asked for, and workers do their work: each was read, and so it is said."""
        marked = self.mark(network, self.ids)
        if marked is None:
            return
        self.time_passes(61)
        self.claims.clear()
        before, block = set(self.read_as), max(self.blocks.values(), default=0) + 1
        for _ in range(MANY):
            self.claim(network, size)
            if not self.claims and not self.have_the_lost_tried(network):
                break
            while self.claims:
                self.write(0, block, [None], again=False)
        read = {self.read_as[number][0] for number in set(self.read_as) - before}
        with transaction() as connection:
            seen = resync.look(connection, marked)
        bad = seen.failed.get("bad_address", 0)
        assert (seen.open, seen.gone, seen.read + bad) == (None, 0, marked.wallets)
        assert len(read) == seen.read

    def have_the_lost_tried(self, network: NetworkName) -> bool:
        """Time passes for what was lost alone: it is its turn. False: nothing is lost."""
        with transaction() as connection:
            return bool(
                connection.exec_driver_sql(
                    "UPDATE leases SET claimed_at = claimed_at - interval '1 hour' WHERE network = %s", (network,)
                ).rowcount
            )


# What fails is told as it is: to make it shorter takes minutes, and the steps say plainly what happened.
once_each = settings(
    max_examples=settings().max_examples * 2 // 5, stateful_step_count=25, phases=[Phase.explicit, Phase.generate]
)


def test_whatever_happens_in_whatever_order_nothing_is_lost_and_nothing_is_claimed_twice(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.claims.random", random)
    assert tables.rows("SELECT FROM wallets") == []
    with capture_logs():
        run_state_machine_as_test(Queue, settings=once_each)
