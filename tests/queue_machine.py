"""A machine for hypothesis that does to the queue, in any order, whatever can happen to it: see test_any_state."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import NamedTuple
from uuid import UUID, uuid4

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from queue_model import (
    AHEAD,
    LEASE,
    NO_ADDRESS,
    POLICY,
    Dirty,
    DirtyLease,
    Queue,
    address,
    dirty_leases,
    dirty_rows,
    look,
)
from sources import chain
from sqlalchemy import Connection

from config.networks import PRESETS, NetworkName
from db import claims as wallets
from db.claims import Claim, claim_due, claim_lost, claim_these
from db.due_wallets import count_due
from db.leases import release
from db.networks import make_due, register
from db.outcomes import Outcome, Recorded, record
from db.resync_queries import Bundle, mark
from db.session import transaction
from worker.reading.contract import Balance, Block
from worker.sync.outcome import Found, accounts_of, outcomes

NETWORKS: tuple[NetworkName, ...] = ("ethereum", "tron")

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


NOBODY = UUID(int=0)


def was_free(queue: Queue, wallets: Iterable[UUID]) -> bool:
    return not any(queue.held(queue.rows[wallet]) for wallet in wallets)


class Shown(NamedTuple):
    """What the cache has of a wallet."""

    usdt: int
    block: int
    last_synced: datetime
    source: int | None


class Sources(NamedTuple):
    """What a network is read from, and what it was read from first."""

    now: int | None = None
    first: int | None = None

    def has(self, shown: Shown) -> bool:
        """What is shown is of what is read now."""
        return (self.first if shown.source is None else shown.source) == self.now


class QueueMachine(RuleBasedStateMachine):
    """Knows who holds what and what is shown of whom, without asking the tables; holds the tables against it."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[UUID] = []
        self.claims: list[Claim] = []
        self.tokens: set[UUID] = set()
        """Of the claims that may still write: not written, not given back, and not put aside by a later claim."""
        self.clean = True
        """Nothing stands in the tables that no code of ours would leave there."""
        self.shown: dict[UUID, Shown] = {}
        self.blocks: dict[UUID, int] = {}
        self.sources = dict.fromkeys(NETWORKS, Sources())
        self.forgotten: dict[UUID, datetime] = {}
        self.read_as: dict[int, tuple[UUID, str | None]] = {}
        """Every amount that was ever read, each another one: of which wallet, and at which address."""
        self.number = 0

    @initialize()
    def begin(self) -> None:
        # What share of a small batch the masses have. The test puts it back.
        wallets.random = Random(1).random  # type: ignore[attr-defined]
        with transaction() as connection:
            connection.exec_driver_sql("DELETE FROM wallets")
            connection.exec_driver_sql("DELETE FROM leases")
            connection.exec_driver_sql("UPDATE networks SET source = NULL, first_source = NULL, due_up_to = NULL")
            connection.exec_driver_sql("DELETE FROM sources")

    def next_number(self) -> int:
        self.number += 1
        return self.number

    def some(self, chosen: Iterable[int]) -> list[UUID]:
        return list({self.ids[pick % len(self.ids)]: None for pick in chosen})

    # What happens to wallets.

    @rule(network=networks, overdue=overdues, valid=st.sampled_from([True, True, True, False]))
    def insert(self, network: NetworkName, overdue: list[int], *, valid: bool) -> None:
        """New wallets are due now; those that are given a number, since so many seconds."""
        with transaction() as connection:
            for seconds in overdue:
                number = self.next_number()
                wallet = UUID(int=Random(number).getrandbits(128))  # the same in each run: of equals the ids decide
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
            network = look(connection).rows[wallet].network
            where = address(network, self.next_number()) if valid else f"{NO_ADDRESS}{self.next_number()}"
            connection.exec_driver_sql("UPDATE wallets SET address = %s WHERE id = %s", (where, wallet))
        self.forget(wallet)
        with transaction() as connection:
            queue = look(connection)
            assert queue.rows[wallet].next_sync_at <= queue.now
            assert not any(lease.until is None and wallet in lease.wallets for lease in queue.leases)

    def forget(self, wallet: UUID) -> None:
        """Nothing of its past holds any more."""
        for of_wallets in (self.shown, self.blocks):
            of_wallets.pop(wallet, None)

    @precondition(lambda self: self.ids)
    @rule(rows=st.lists(st.tuples(picks, dirty_rows), min_size=1, max_size=6))
    def find_dirty(self, rows: list[tuple[int, Dirty]]) -> None:
        """Rows as no code of ours may have left them."""
        self.clean = False
        with transaction() as connection:
            past = look(connection)
            for pick, row in rows:
                (wallet,) = self.some([pick])
                usdt = self.next_number()
                row.write(connection, wallet, usdt)
                self.forget(wallet)
                self.forgotten.pop(wallet, None)
                if row.forgotten is not None:
                    self.forgotten[wallet] = past.now - timedelta(seconds=row.forgotten)
                if row.block is not None:
                    self.read_as[usdt] = wallet, past.rows[wallet].address
                    source = "SELECT source FROM balance_cache WHERE wallet_id = %s"
                    of = connection.exec_driver_sql(source, (wallet,)).scalar_one()
                    self.shown[wallet] = Shown(usdt, row.block, past.now - timedelta(hours=1), of)

    @rule(network=networks, leases=st.lists(dirty_leases, min_size=1, max_size=3))
    def find_dirty_leases(self, network: NetworkName, leases: list[DirtyLease]) -> None:
        """The same of leases: with windows over one another, of wallets that others hold, or that are gone."""
        self.clean = False
        with transaction() as connection:
            rows = [row for row in look(connection).rows.values() if row.network == network]
            for lease in leases:
                lease.write(connection, network, rows)

    @rule(seconds=st.sampled_from([1, 10, 45, 61, 4000]))
    def time_passes(self, seconds: int) -> None:
        span = timedelta(seconds=seconds)
        times = {
            "sync_schedule": (
                "next_sync_at",
                "lease_until",
                "claimed_at",
                "requested_at",
                "last_changed_at",
                "forgotten_at",
            ),
            "balance_cache": ("last_synced",),
            "leases": ("first_due", "last_due", "claimed_at", "lease_until"),
        }
        with transaction() as connection:
            for table, names in times.items():
                shifts = ", ".join(f"{name} = {name} - %(span)s" for name in names)
                connection.exec_driver_sql(f"UPDATE {table} SET {shifts}", {"span": span})
        self.shown = {
            wallet: shown._replace(last_synced=shown.last_synced - span) for wallet, shown in self.shown.items()
        }
        self.forgotten = {wallet: at - span for wallet, at in self.forgotten.items()}
        self.claims = [
            replace(
                claim,
                at=claim.at - seconds,
                wallets=tuple(wallet._replace(due_at=wallet.due_at - seconds) for wallet in claim.wallets),
            )
            for claim in self.claims
        ]

    @rule(network=networks, chain_id=st.integers(1, 3))
    def read_from(self, network: NetworkName, chain_id: int) -> None:
        """A worker starts with other settings, or with the same. Beat has some wallets made due after that, or none."""
        with transaction() as connection:
            before = look(connection)
            registered = register(connection, chain(network, chain_id))
            after = look(connection)
            now, first = connection.exec_driver_sql(
                "SELECT source, first_source FROM networks WHERE name = %s", (network,)
            ).one()
        were = self.sources[network]
        assert registered.changed == (were.now not in (None, now))
        assert first == (now if were.now is None else were.first)
        assert after.rows == before.rows, "no wallet is written, however many there are"
        self.sources[network] = Sources(now, first)
        if registered.changed:
            ended = {lease.token for lease in before.leases if lease.network == network and lease.until is not None}
            self.tokens -= ended
            assert not ended & {lease.token for lease in after.leases}
        else:
            assert after.leases == before.leases

    @precondition(lambda self: self.ids)
    @rule(network=networks)
    def tick(self, network: NetworkName) -> None:
        """After a change of source what is to be read from the new one is due, and nothing else is moved."""
        with transaction() as connection:
            begun = "SELECT due_up_to IS NOT NULL FROM networks WHERE name = %s"
            changed = connection.exec_driver_sql(begun, (network,)).scalar_one()
            before = look(connection)
            while make_due(connection, network) is not None:
                pass
            after = look(connection)
        for wallet, row in after.rows.items():
            was, shown = before.rows[wallet], self.shown.get(wallet)
            known = shown is not None and self.sources[network].has(shown)
            if changed and row.network == network and not known and not before.held(was):
                assert row.next_sync_at <= after.now
                assert row.lane == 1 or was.next_sync_at <= after.now
            else:
                assert row == was

    @precondition(lambda self: self.ids)
    @rule(network=networks, chosen=few)
    def forget_what_was_read(self, network: NetworkName, chosen: set[int]) -> None:
        """Somebody has found out that it was a lie."""
        with transaction() as connection:
            rows = look(connection).rows
            those = [wallet for wallet in self.some(chosen) if rows[wallet].network == network]
            text = "{" + ",".join(map(str, those)) + "}"
            mark(connection, Bundle(network, len(those), text), forget=True)
            noted = "SELECT wallet_id, forgotten_at FROM sync_schedule WHERE wallet_id = ANY(%s)"
            self.forgotten |= {row[0]: row[1] for row in connection.exec_driver_sql(noted, (those,))}

    def is_forgotten(self, wallet: UUID, shown: Shown) -> bool:
        return wallet in self.forgotten and self.forgotten[wallet] > shown.last_synced

    # What workers do.

    @rule(network=networks, size=sizes)
    def claim(self, network: NetworkName, size: int) -> None:
        with transaction() as connection:
            before = look(connection)
            free = before.free(network)
            lanes = [[row for row in free if row.lane == lane] for lane in (0, 1)]
            assert [count_due(connection, network, bound=bound) for bound in (size, 999)] == [
                sum(min(bound, len(lane)) for lane in lanes) for bound in (size, 999)
            ]
            # Without the index nothing but the statement itself puts the rows in order.
            connection.exec_driver_sql("SET LOCAL enable_indexscan = off")
            connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
            claim = claim_due(connection, network, limit=size, lease=LEASE, ahead=AHEAD)
            ended = before.ended(network)
            self.check_claim(connection, claim, before, ended)
        self.put_aside(before, ended)
        taken = [wallet.id for wallet in claim.wallets] if claim else []
        healthy = ended.to_claim(network, limit=size)
        if healthy[0]:
            assert taken in healthy
        else:
            assert sorted(taken) in [sorted(lost) for lost in ended.lost(network) or [[]]]

    @precondition(lambda self: self.ids)
    @rule(network=networks, chosen=few, size=sizes)
    def claim_named(self, network: NetworkName, chosen: set[int], size: int) -> None:
        named = self.some(chosen)
        with transaction() as connection:
            before = look(connection)
            claim = claim_these(connection, network, named, limit=size, lease=LEASE)
            self.check_claim(connection, claim, before, before)
        taken = {wallet.id for wallet in claim.wallets} if claim else set()
        rows = [before.rows[wallet] for wallet in named]
        due = {
            row.wallet_id
            for row in rows
            if row.network == network and row.next_sync_at <= before.now and not before.held(row)
        }
        assert taken <= due
        assert len(taken) == min(size, len(due))

    @precondition(lambda self: self.ids)
    @rule(network=networks, chosen=few)
    def claim_what_was_lost(self, network: NetworkName, chosen: set[int]) -> None:
        """By name, whether it is its turn or not."""
        named = self.some(chosen)
        with transaction() as connection:
            before = look(connection)
            claim = claim_lost(connection, network, lease=LEASE, wallet_ids=named)
            ended = before.ended(network)
            self.check_claim(connection, claim, before, ended)
        self.put_aside(before, ended)
        lost = [
            ended.of_lost(lease)
            for lease in ended.leases
            if lease.until is None and lease.network == network and set(lease.wallets) & set(named)
        ]
        taken = [wallet.id for wallet in claim.wallets] if claim else []
        assert sorted(taken) in [sorted(each) for each in lost if each] or not (taken or any(lost))

    def put_aside(self, before: Queue, ended: Queue) -> None:
        """Whoever had a lease that is over may no longer write."""
        self.tokens -= {lease.token for lease in before.leases} - {lease.token for lease in ended.leases if lease.until}

    def check_claim(self, connection: Connection, claim: Claim | None, before: Queue, ended: Queue) -> None:
        """It took nobody twice and nothing that is held, says what it found, and changed no row but one lease."""
        taken = {wallet.id: wallet for wallet in claim.wallets} if claim else {}
        assert len(taken) == len(claim.wallets if claim else ())
        after = look(connection)
        assert after.rows == before.rows
        mine = [lease for lease in after.leases if claim and lease.token == claim.token]
        assert {wallet for lease in mine for wallet in lease.wallets} >= set(taken)
        assert all(lease.claimed_at >= before.now and lease.until == before.now + LEASE for lease in mine)
        # The rest is as it was, but for the lost batch that was taken, and others of which nobody is left.
        others = [replace(lease, token=NOBODY) for lease in after.leases if lease not in mine]
        were = [replace(lease, token=NOBODY) for lease in ended.leases]
        for lease in others:
            were.remove(lease)
        assert all(lease.until is None for lease in were)
        assert sum(bool(ended.of_lost(lease)) for lease in were) == bool(claim and not was_free(ended, taken))
        for wallet, found in taken.items():
            row = before.rows[wallet]
            assert any(lease.holds(row) for lease in mine)
            assert not any(lease.runs(before.now) for lease in before.held(row))
            assert (found.address, found.account, found.failures) == (row.address, row.account, row.failures)
            assert found.due_at == row.due_at
            shown = self.shown.get(wallet)
            if shown is None or not self.sources[row.network].has(shown):
                assert (found.usdt, found.native, found.block_number, found.finality) == (None,) * 4
            else:
                block = 0 if self.is_forgotten(wallet, shown) else shown.block
                assert (found.usdt, found.native, found.block_number, found.finality) == (shown.usdt, 7, block, "solid")
        if claim:
            self.claims.append(claim)
            self.tokens.add(claim.token)

    @precondition(lambda self: self.claims)
    @rule(
        pick=picks, block=blocks, failing=st.lists(st.none() | found_kinds, min_size=1, max_size=5), again=st.booleans()
    )
    def write(self, pick: int, block: int, failing: list[Found | None], *, again: bool) -> None:
        """A worker comes back, perhaps too late, and decides what it writes as workers do."""
        claim = self.taken_up(pick, again=again)
        accounts = accounts_of(claim, PRESETS[claim.network].family)
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
        self.record(claim, [good(wallet.id, wallet.due_at, usdt=self.next_number()) for wallet in claim.wallets])

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
                queue = look(connection)
            if not queue.held(queue.rows[wallet]):
                self.claim_named(queue.rows[wallet].network, {self.ids.index(wallet)}, 1)
                self.write_as_it_is(len(self.claims) - 1, block, 1000, again=False)

    def taken_up(self, pick: int, *, again: bool) -> Claim:
        """A claim that was made at any time. `again`: it is not forgotten, so that it may be written once more."""
        at = pick % len(self.claims)
        return self.claims[at] if again else self.claims.pop(at)

    def record(self, claim: Claim, made: list[Outcome]) -> None:
        """Write, and hold what comes of it against who may write and what was shown of the wallets."""
        addresses = {wallet.id: wallet.address for wallet in claim.wallets}
        with transaction() as connection:
            before = look(connection)
            recorded = record(connection, claim.token, made, finality="solid", source_id=claim.state.source_id)
            after = look(connection)
        leases = [lease for lease in before.leases if lease.token == claim.token]
        assert bool(leases) == (claim.token in self.tokens)
        source = self.sources[claim.network].now
        mine = {
            each.wallet_id: each
            for each in made
            if leases
            and claim.state.source_id == source
            and each.wallet_id in before.rows
            and before.rows[each.wallet_id].due_at == each.was_due
        }
        written = 0
        asked_again = set()
        for wallet, each in mine.items():
            row, at = after.rows[wallet], max(lease.claimed_at for lease in leases)
            assert (row.lane, row.claimed_at, row.failures, row.last_error) == (0, at, each.failures, each.error)
            if row.requested_at is not None and row.requested_at > at:
                asked_again.add(wallet)
                assert row.next_sync_at == before.now
            if each.usdt is None or each.block_number is None:
                continue
            new, old = Shown(each.usdt, each.block_number, at, source), self.shown.get(wallet)
            self.read_as[each.usdt] = wallet, addresses[wallet]
            any_block = old and (self.is_forgotten(wallet, old) or not self.sources[row.network].has(old))
            if any_block:
                self.blocks.pop(wallet, None)
            if old is None or any_block or new[1:3] >= old[1:3]:
                written += 1
                self.shown[wallet] = new
        assert after.rows == before.rows | {wallet: after.rows[wallet] for wallet in mine}
        assert after.leases == [lease for lease in before.leases if lease not in leases]
        assert recorded == Recorded(len(mine), written, recorded.asked_again)
        assert set(recorded.asked_again) == asked_again
        self.tokens.discard(claim.token)

    @precondition(lambda self: self.claims)
    @rule(pick=picks, again=st.booleans())
    def hand_back(self, pick: int, *, again: bool) -> None:
        """A worker that is told to end gives back what it has. It will not, but it might write all the same."""
        claim = self.taken_up(pick, again=again)
        with transaction() as connection:
            before = look(connection)
            mine = [lease for lease in before.leases if lease.token == claim.token]
            assert release(connection, claim.token) == sum(len(lease.wallets) for lease in mine)
            after = look(connection)
        assert after.rows == before.rows
        lost = [replace(lease, until=None, token=NOBODY) for lease in mine if lease.deaths > 0]
        others = [lease for lease in before.leases if lease not in mine]
        assert [lease for lease in after.leases if lease in others] == others
        assert [replace(lease, token=NOBODY) for lease in after.leases if lease not in others] == lost
        self.tokens.discard(claim.token)
