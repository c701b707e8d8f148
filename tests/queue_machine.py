"""A machine for hypothesis that does to the queue, in any order, whatever can happen to it: see test_any_state."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import NamedTuple
from uuid import UUID, uuid4

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from queue_model import AHEAD, LEASE, NO_ADDRESS, POLICY, Dirty, Row, address, dirty_rows, look, to_claim
from sqlalchemy import Connection

from config.settings import Network
from db.balances import Outcome, Recorded, record
from db.leases import release
from db.session import transaction
from db.wallets import Claim, claim_due, claim_these, count_due
from worker.chains.snapshot import Balance, Block
from worker.outcomes import Found, accounts_of, outcomes

NETWORKS: tuple[Network, ...] = ("ethereum", "tron")

networks = st.sampled_from(NETWORKS)
sizes = st.integers(1, 5)
picks = st.integers(0, 63)  # of wallets, or of claims: counted round and round
blocks = st.integers(1, 6)
overdues = st.lists(st.integers(0, 10_000), min_size=1, max_size=6)  # for each wallet
few = st.sets(st.integers(0, 7), min_size=1, max_size=5)
dues = st.sampled_from([-10, 0, 10, 20, 1000, int(POLICY.idle)])  # seconds from the claim

found_kinds = st.sampled_from(
    [
        Found(error="unreachable"),
        Found(error="throttled", told=27.0),
        Found(error="throttled", told=1e9),
        Found(error="usdt_call_failed", alone=True),
        Found(error="zero_unconfirmed"),
    ]
)


class Shown(NamedTuple):
    """What the cache has of a wallet."""

    usdt: int
    block: int
    last_synced: datetime


class QueueMachine(RuleBasedStateMachine):
    """Knows who holds what and what is shown of whom, without asking the tables; holds the tables against it."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[UUID] = []
        self.claims: list[Claim] = []
        self.holders: dict[UUID, UUID] = {}
        """The last claim of each wallet, until it was written, given back or taken away. Its lease may have ended."""
        self.shown: dict[UUID, Shown] = {}
        self.blocks: dict[UUID, int] = {}
        self.read_as: dict[int, tuple[UUID, str | None]] = {}
        """Every amount that was ever read, each another one: of which wallet, and at which address."""
        self.number = 0

    @initialize()
    def begin(self) -> None:
        with transaction() as connection:
            connection.exec_driver_sql("DELETE FROM wallets")

    def next_number(self) -> int:
        self.number += 1
        return self.number

    def some(self, chosen: Iterable[int]) -> list[UUID]:
        return list({self.ids[pick % len(self.ids)]: None for pick in chosen})

    # What happens to wallets.

    @rule(network=networks, overdue=overdues, valid=st.sampled_from([True, True, True, False]))
    def insert(self, network: Network, overdue: list[int], *, valid: bool) -> None:
        """New wallets are due since ever; those that are given a number, only for so many seconds."""
        with transaction() as connection:
            for seconds in overdue:
                wallet, number = uuid4(), self.next_number()
                where = address(network, number) if valid else f"{NO_ADDRESS}{number}"
                connection.exec_driver_sql(
                    "INSERT INTO wallets (id, user_id, network, address) VALUES (%s, %s, %s, %s)",
                    (wallet, uuid4(), network, where),
                )
                self.ids.append(wallet)
                if seconds:
                    connection.exec_driver_sql(
                        "UPDATE sync_schedule SET next_sync_at = now() - make_interval(secs => %s)"
                        " WHERE wallet_id = %s",
                        (seconds, wallet),
                    )

    @precondition(lambda self: self.ids)
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        wallet = self.ids.pop(pick % len(self.ids))
        with transaction() as connection:
            connection.exec_driver_sql("DELETE FROM wallets WHERE id = %s", (wallet,))
        self.forget(wallet)

    @precondition(lambda self: self.ids)
    @rule(pick=picks, valid=st.booleans())
    def change_address(self, pick: int, *, valid: bool) -> None:
        (wallet,) = self.some([pick])
        with transaction() as connection:
            network = look(connection)[1][wallet].network
            where = address(network, self.next_number()) if valid else f"{NO_ADDRESS}{self.next_number()}"
            connection.exec_driver_sql("UPDATE wallets SET address = %s WHERE id = %s", (where, wallet))
        self.forget(wallet)
        with transaction() as connection:
            now, rows = look(connection)
            assert rows[wallet].due(now)

    def forget(self, wallet: UUID) -> None:
        """Nothing of its past holds any more."""
        for of_wallets in (self.holders, self.shown, self.blocks):
            of_wallets.pop(wallet, None)

    @precondition(lambda self: self.ids)
    @rule(rows=st.lists(st.tuples(picks, dirty_rows), min_size=1, max_size=6))
    def find_dirty(self, rows: list[tuple[int, Dirty]]) -> None:
        """Rows as no code of ours may have left them."""
        with transaction() as connection:
            past = look(connection)
            for pick, row in rows:
                (wallet,) = self.some([pick])
                usdt, token = self.next_number(), uuid4()
                row.write(connection, wallet, token, usdt)
                self.forget(wallet)
                if row.lease is not None:
                    self.holders[wallet] = token
                if row.block is not None:
                    self.read_as[usdt] = wallet, past[1][wallet].address
                    self.shown[wallet] = Shown(usdt, row.block, past[0] - timedelta(hours=1))

    @rule(seconds=st.sampled_from([1, 10, 45, 61, 4000]))
    def time_passes(self, seconds: int) -> None:
        span = timedelta(seconds=seconds)
        columns = ("next_sync_at", "lease_until", "claimed_at", "requested_at", "last_changed_at")
        with transaction() as connection:
            for table, names in (("sync_schedule", columns), ("balance_cache", ("last_synced",))):
                shifts = ", ".join(f"{name} = {name} - %(span)s" for name in names)
                connection.exec_driver_sql(f"UPDATE {table} SET {shifts}", {"span": span})
        self.shown = {
            wallet: shown._replace(last_synced=shown.last_synced - span) for wallet, shown in self.shown.items()
        }

    # What workers do.

    @rule(network=networks, size=sizes)
    def claim(self, network: Network, size: int) -> None:
        with transaction() as connection:
            now, before = look(connection)
            expected = to_claim(before, network, now, limit=size)
            due = sum(row.network == network and row.due(now) for row in before.values())
            assert [count_due(connection, network, bound=bound) for bound in (size, 999)] == [min(size, due), due]
            # Without the index nothing but the statement itself puts the rows in order.
            connection.exec_driver_sql("SET LOCAL enable_indexscan = off")
            connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
            claim = claim_due(connection, network, limit=size, lease=LEASE, ahead=AHEAD)
            self.check_claim(connection, claim, before, now)
        assert sorted(before[wallet.id].next_sync_at for wallet in (claim.wallets if claim else ())) == expected

    @precondition(lambda self: self.ids)
    @rule(network=networks, chosen=few, size=sizes)
    def claim_named(self, network: Network, chosen: set[int], size: int) -> None:
        wallets = self.some(chosen)
        with transaction() as connection:
            now, before = look(connection)
            claim = claim_these(connection, network, wallets, limit=size, lease=LEASE)
            self.check_claim(connection, claim, before, now)
        taken = {wallet.id for wallet in claim.wallets} if claim else set()
        due = {wallet for wallet in wallets if before[wallet].network == network and before[wallet].due(now)}
        assert taken <= due
        assert len(taken) == min(size, len(due))

    def check_claim(self, connection: Connection, claim: Claim | None, before: dict[UUID, Row], now: datetime) -> None:
        """It took nobody twice and nothing that is held, says what it found, and changed no other row."""
        taken = {wallet.id: wallet for wallet in claim.wallets} if claim else {}
        assert len(taken) == len(claim.wallets if claim else ())
        after = look(connection)[1]
        assert after == before | {
            wallet: before[wallet]._replace(
                lease_token=claim.token if claim else None,
                lease_until=now + LEASE,
                claimed_at=now,
                failures=before[wallet].failures + (before[wallet].lease_token is not None),
                last_error=before[wallet].last_error if before[wallet].lease_token is None else "worker_lost",
            )
            for wallet in taken
        }
        for wallet, found in taken.items():
            assert before[wallet].free(now)
            assert (found.address, found.account) == (before[wallet].address, before[wallet].account)
            assert (found.failures, found.lost) == (after[wallet].failures, after[wallet].last_error == "worker_lost")
            shown = self.shown.get(wallet)
            assert (found.usdt, found.block_number) == ((shown.usdt, shown.block) if shown else (None, None))
        if claim:
            self.claims.append(claim)
            self.holders |= dict.fromkeys(taken, claim.token)

    @precondition(lambda self: self.claims)
    @rule(
        pick=picks, block=blocks, failing=st.lists(st.none() | found_kinds, min_size=1, max_size=5), again=st.booleans()
    )
    def write(self, pick: int, block: int, failing: list[Found | None], *, again: bool) -> None:
        """A worker comes back, perhaps too late, and decides what it writes as workers do."""
        claim = self.taken_up(pick, again=again)
        accounts = accounts_of(claim)
        found = [
            Found(error="bad_address")
            if account is None
            else failing[at % len(failing)] or Found(Balance(self.next_number(), 7), Block(block, 1_795_000_000))
            for at, account in enumerate(accounts)
        ]
        made = outcomes(claim, accounts, found, policy=POLICY, chance=Random(pick).random)
        self.record(claim, made)

    @precondition(lambda self: self.claims)
    @rule(pick=picks, block=blocks, due=dues, again=st.booleans())
    def write_as_it_is(self, pick: int, block: int, due: int, *, again: bool) -> None:
        """A worker comes back and writes what it read, of whatever block: only the statement's own guards are left."""
        claim = self.taken_up(pick, again=again)
        good = partial(Outcome, due=claim.at + due, failures=0, native=7, block_number=block, block_time=1_795_000_000)
        self.record(claim, [good(wallet.id, usdt=self.next_number()) for wallet in claim.wallets])

    @precondition(lambda self: self.ids)
    @rule(pick=picks, block_of_each=st.lists(blocks, min_size=2, max_size=3))
    def read_one_after_another(self, pick: int, block_of_each: list[int]) -> None:
        """Some nodes are behind others: what they say of one wallet comes in any order."""
        (wallet,) = self.some([pick])
        for block in block_of_each:
            with transaction() as connection:
                connection.exec_driver_sql(
                    "UPDATE sync_schedule SET next_sync_at = least(next_sync_at, now()) WHERE wallet_id = %s", (wallet,)
                )
                now, rows = look(connection)
            if rows[wallet].free(now):
                self.claim_named(rows[wallet].network, {self.ids.index(wallet)}, 1)
                self.write_as_it_is(len(self.claims) - 1, block, 1000, again=False)

    def taken_up(self, pick: int, *, again: bool) -> Claim:
        """A claim that was made at any time. `again`: it is not forgotten, so that it may be written once more."""
        at = pick % len(self.claims)
        return self.claims[at] if again else self.claims.pop(at)

    def record(self, claim: Claim, made: list[Outcome]) -> None:
        """Write, and hold what comes of it against who held the wallets and what was shown of them."""
        addresses = {wallet.id: wallet.address for wallet in claim.wallets}
        with transaction() as connection:
            now, before = look(connection)
            recorded = record(connection, claim.token, made, finality="solid")
            after = look(connection)[1]
        mine = {each.wallet_id: each for each in made if self.holders.get(each.wallet_id) == claim.token}
        written = 0
        for wallet, each in mine.items():
            row = before[wallet]
            assert (after[wallet].lease_token, after[wallet].lease_until) == (None, None)
            assert (after[wallet].failures, after[wallet].last_error) == (each.failures, each.error)
            assert not row.asked_for() or after[wallet].next_sync_at == now
            del self.holders[wallet]
            if each.usdt is None or each.block_number is None:
                continue
            assert row.claimed_at is not None
            new, old = Shown(each.usdt, each.block_number, row.claimed_at), self.shown.get(wallet)
            self.read_as[each.usdt] = wallet, addresses[wallet]
            if old is None or new[1:] >= old[1:]:
                written += 1
                self.shown[wallet] = new
        assert {wallet: row for wallet, row in after.items() if wallet not in mine} == {
            wallet: row for wallet, row in before.items() if wallet not in mine
        }
        asked_again = {wallet for wallet in mine if before[wallet].asked_for()}
        assert recorded == Recorded(len(mine), written, recorded.asked_again)
        assert set(recorded.asked_again) == asked_again

    @precondition(lambda self: self.claims)
    @rule(pick=picks)
    def hand_back(self, pick: int) -> None:
        """A worker that is told to end gives back what it has."""
        claim = self.claims.pop(pick % len(self.claims))
        mine = {wallet.id for wallet in claim.wallets if self.holders.get(wallet.id) == claim.token}
        with transaction() as connection:
            before = look(connection)[1]
            assert release(connection, claim.token, [wallet.id for wallet in claim.wallets]) == len(mine)
            after = look(connection)[1]
        assert after == before | {
            wallet: before[wallet]._replace(lease_token=None, lease_until=None, claimed_at=None) for wallet in mine
        }
        for wallet in mine:
            del self.holders[wallet]
