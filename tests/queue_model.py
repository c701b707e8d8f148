"""What the queue of wallets must do, said again in plain Python: tests hold the SQL of ``db`` against it.

A test reads the rows in the very transaction of the statement that it tries: then both have the same ``now()``, and
nothing here depends on how long a test takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import base58
from hypothesis import strategies as st
from sqlalchemy import Connection

from config.networks import NetworkName
from worker.schedule.cadence import Policy

POLICY = Policy(active=60, idle=3600)
LONGEST = timedelta(seconds=POLICY.idle)
LEASE = timedelta(seconds=60)
AHEAD = timedelta(seconds=15)
SHARE_OF_MASSES = 4

NO_ADDRESS = "nobody"
"""What stands in an address's place and is none, on either chain."""


def address(network: NetworkName, number: int) -> str:
    """A valid address of a chain, another one for each number."""
    account = number.to_bytes(20)
    return "0x" + account.hex() if network == "ethereum" else base58.b58encode_check(b"\x41" + account).decode()


Place = tuple[datetime, UUID]
"""Where a wallet stands in its queue: when it is due, and its id."""


class Row(NamedTuple):
    """A wallet, and what the schedule has of it."""

    wallet_id: UUID
    network: NetworkName
    address: str
    account: bytes | None
    lane: int
    next_sync_at: datetime
    due_at: float
    claimed_at: datetime | None
    requested_at: datetime | None
    failures: int
    last_error: str | None

    @property
    def place(self) -> Place:
        return self.next_sync_at, self.wallet_id


@dataclass(frozen=True, slots=True)
class Lease:
    """A row of `leases`. `first` and `last`: the ends of its window; None where it has none."""

    token: UUID
    lane: int
    network: NetworkName
    first: Place | None
    last: Place | None
    claimed_at: datetime
    until: datetime | None
    deaths: int
    wallets: tuple[UUID, ...]

    def covers(self, row: Row) -> bool:
        """No claim of what is due takes this wallet, whether it is one of the lease's or not."""
        if self.network != row.network:
            return False
        if self.lane == 2:
            return row.wallet_id in self.wallets
        return self.lane == row.lane and bool(self.first and self.last and self.first <= row.place <= self.last)

    def holds(self, row: Row) -> bool:
        """This wallet is under the lease."""
        return self.covers(row) and row.wallet_id in self.wallets

    def runs(self, now: datetime) -> bool:
        return self.until is not None and self.until > now

    def ended(self, now: datetime, rows: dict[UUID, Row]) -> list["Lease"]:
        """What is left of it when the next claim of its network comes. Of new tokens nobody knows anything."""
        if self.until is None or self.until > now:
            return [self]
        still = tuple(wallet for wallet in self.wallets if wallet in rows and self.holds(rows[wallet]))
        if not still:
            return []
        lost = replace(self, until=None, deaths=min(self.deaths, 1000) + 1, wallets=still)
        if self.deaths <= 0:
            return [lost]
        middle = (len(still) + 1) // 2
        return [
            replace(
                lost,
                lane=2,
                first=None,
                last=None,
                wallets=half,
                deaths=2 if len(half) == 1 < len(still) else lost.deaths,
            )
            for half in (still[:middle], still[middle:])
            if half
        ]

    def is_tried(self, now: datetime) -> bool:
        """Somebody may try it now: it is lost, and no wallet that was tried lately by itself."""
        if self.until is not None:
            return False
        rest = min(timedelta(minutes=2 ** min(max(self.deaths - 3, 0), 6)), timedelta(hours=1))
        return len(self.wallets) > 1 or self.deaths < 3 or self.claimed_at + rest <= now


class Queue(NamedTuple):
    """All rows, in one moment."""

    now: datetime
    rows: dict[UUID, Row]
    leases: list[Lease]

    def held(self, row: Row) -> list[Lease]:
        """The leases that it is under: one at most, but for rows that were found so."""
        return [lease for lease in self.leases if lease.holds(row)]

    def pending(self, row: Row) -> bool:
        """Somebody asked for it since it was claimed last."""
        claims = [lease.claimed_at for lease in self.held(row)] or ([row.claimed_at] if row.claimed_at else [])
        return row.requested_at is not None and (not claims or row.requested_at > max(claims))

    def ended(self, network: NetworkName) -> "Queue":
        """The same, with the leases put aside that are over."""
        leases = [
            left
            for lease in self.leases
            for left in (lease.ended(self.now, self.rows) if lease.network == network else [lease])
        ]
        return self._replace(leases=leases)

    def free(self, network: NetworkName, ahead: timedelta = timedelta(0)) -> list[Row]:
        """Who is due by `ahead` from now and in no window, the longest overdue first."""
        return sorted(
            (
                row
                for row in self.rows.values()
                if row.network == network
                and row.next_sync_at <= self.now + ahead
                and not any(lease.covers(row) for lease in self.leases)
            ),
            key=lambda row: row.place,
        )

    def to_claim(self, network: NetworkName, *, limit: int, ahead: timedelta = AHEAD) -> list[list[UUID]]:
        """Whom a claim must take, of those that nobody has lost. One of these: what share the masses have of a batch
        that four does not divide is chance.
        """
        due = [[row.wallet_id for row in self.free(network) if row.lane == lane] for lane in (0, 1)]
        soon = [row.wallet_id for row in self.free(network, ahead) if row.lane == 0]
        if not due[1]:
            return [soon[:limit] if due[0] else []]
        found = []
        for share in {limit // SHARE_OF_MASSES, -(-limit // SHARE_OF_MASSES)}:
            usual = due[0][: limit - min(share, len(due[1]))]
            found.append(usual + due[1][: limit - len(usual)])
        return found

    def lost(self, network: NetworkName) -> list[list[UUID]]:
        """Whom the next try of a lost batch must take: one of these, for of two that are equal any may come first."""
        attempts = [
            (lease.claimed_at, lease.deaths, self.of_lost(lease))
            for lease in self.leases
            if lease.network == network and lease.is_tried(self.now)
        ]
        first = min((turn[:2] for turn in attempts if turn[2]), default=None)
        return [turn[2] for turn in attempts if turn[2] and turn[:2] == first]

    def of_lost(self, lost: Lease) -> list[UUID]:
        """Who is still under a lost lease, and nobody else's."""
        return [
            wallet
            for wallet in dict.fromkeys(lost.wallets)
            if wallet in self.rows
            and lost.holds(self.rows[wallet])
            and not any(each.runs(self.now) for each in self.held(self.rows[wallet]))
        ]


def look(connection: Connection) -> Queue:
    """The transaction's time, and all rows. A wallet without a schedule makes this fail."""
    now: datetime = connection.exec_driver_sql("SELECT now()").scalar_one()
    found = connection.exec_driver_sql(
        "SELECT w.id, w.network, w.address, s.account, s.lane, s.next_sync_at, date_part('epoch', s.next_sync_at),"
        " s.claimed_at, s.requested_at, s.failures, s.last_error,"
        " (s.network, s.address) = (w.network, w.address) AS same"
        " FROM wallets w LEFT JOIN sync_schedule s ON s.wallet_id = w.id"
    ).all()
    assert all(row.same for row in found), "a wallet has no schedule, or another's"
    leases = connection.exec_driver_sql("SELECT * FROM leases").all()
    return Queue(now, {row[0]: Row(*row[:-1]) for row in found}, [_lease(row) for row in leases])


def _lease(row: Any) -> Lease:
    first, last = (
        None if None in (due, wallet) else (due, wallet)
        for due, wallet in ((row.first_due, row.first_id), (row.last_due, row.last_id))
    )
    return Lease(
        row.token,
        row.lane,
        row.network,
        first,
        last,
        row.claimed_at,
        row.lease_until,
        row.deaths,
        tuple(row.wallet_ids),
    )


@dataclass(frozen=True, slots=True)
class Dirty:
    """What a row may hold, whoever wrote it: times are seconds from now. `lease` is in columns that nobody reads."""

    due: int
    lane: int
    lease: int | None
    claimed: int | None
    requested: int | None
    changed: int | None
    failures: int
    error: str | None
    block: int | None
    """The block of its balance; None: it has none."""
    source: int | None
    """Of its balance: one of those that its network ever had, counted; None, or where it had fewer: it says nothing."""
    forgotten: int | None

    def write(self, connection: Connection, wallet_id: UUID, usdt: int) -> None:
        """Put it in a wallet's place."""
        connection.exec_driver_sql(
            "UPDATE sync_schedule SET next_sync_at = now() + make_interval(secs => %(due)s), lane = %(lane)s,"
            " lease_token = CASE WHEN %(lease)s::int IS NOT NULL THEN gen_random_uuid() END,"
            " lease_until = now() + make_interval(secs => %(lease)s),"
            " claimed_at = now() - make_interval(secs => %(claimed)s),"
            " requested_at = now() - make_interval(secs => %(requested)s),"
            " last_changed_at = now() - make_interval(secs => %(changed)s),"
            " forgotten_at = now() - make_interval(secs => %(forgotten)s),"
            " failures = %(failures)s, last_error = %(error)s WHERE wallet_id = %(id)s",
            {name: getattr(self, name) for name in self.__slots__} | {"id": wallet_id},
        )
        connection.exec_driver_sql("DELETE FROM balance_cache WHERE wallet_id = %(id)s", {"id": wallet_id})
        if self.block is not None:
            connection.exec_driver_sql(
                "INSERT INTO balance_cache VALUES"
                " (%(id)s, %(usdt)s, 7, %(block)s, now(), 'solid', now() - interval '1 hour', true,"
                " (SELECT s.id FROM sources s JOIN wallets w ON w.network = s.network WHERE w.id = %(id)s"
                " ORDER BY s.id OFFSET %(source)s LIMIT CASE WHEN %(source)s::int IS NULL THEN 0 ELSE 1 END))",
                {"id": wallet_id, "usdt": usdt, "block": self.block, "source": self.source},
            )


@dataclass(frozen=True, slots=True)
class DirtyLease:
    """What a row of `leases` may hold. `ends`: of its window, each the place of a wallet, counted round and round; in
    the third lane it has none. `has`: its wallets, counted likewise; `gone`: and so many that there are no more. Times
    are seconds from now.
    """

    lane: int
    ends: tuple[int, int]
    claimed: int
    until: int | None
    deaths: int
    has: tuple[int, ...]
    gone: int

    def write(self, connection: Connection, network: NetworkName, rows: Sequence[Row]) -> None:
        """Add it to the leases; its wallets are some of `rows`."""
        if not rows:
            return
        first, last = sorted(rows[end % len(rows)].place for end in self.ends) if self.lane < 2 else [(None, None)] * 2
        ids = {rows[pick % len(rows)].wallet_id: None for pick in self.has}
        connection.exec_driver_sql(
            "INSERT INTO leases (token, lane, network, first_due, first_id, last_due, last_id, claimed_at, lease_until,"
            " deaths, wallet_ids) SELECT gen_random_uuid(), %(lane)s, %(network)s, %(first_due)s, %(first_id)s,"
            " %(last_due)s, %(last_id)s, now() - make_interval(secs => %(claimed)s),"
            " now() + make_interval(secs => %(until)s), %(deaths)s, %(ids)s::uuid[]",
            {
                "lane": self.lane,
                "network": network,
                "first_due": first[0],
                "first_id": first[1],
                "last_due": last[0],
                "last_id": last[1],
                "claimed": self.claimed,
                "until": self.until,
                "deaths": self.deaths,
                "ids": [*ids, *(uuid4() for _ in range(self.gone))],
            },
        )


def ago(seconds: Sequence[int] = (0, 1, 59, 61, 7200)) -> st.SearchStrategy[int | None]:
    return st.sampled_from([None, *seconds])


ERRORS = [None, "worker_lost", "unreachable", "throttled", "usdt_call_failed", "older_block", "our_error", "?" * 64]
FAR = 200 * 366 * 86_400  # seconds

dirty_rows = st.builds(
    Dirty,
    due=st.sampled_from([-FAR, -10_000_000, -7200, -61, -1, 0, 10, 14, 16, 61, int(POLICY.idle)]),
    lane=st.sampled_from([0, 0, 1]),
    lease=st.sampled_from([None, None, -7200, -1, 0, 5, 60]),
    claimed=ago(),
    requested=ago(),
    changed=ago(),
    failures=st.sampled_from([0, 1, 2, 13, 2**31 - 1]),
    error=st.sampled_from(ERRORS),
    block=st.sampled_from([None, 1, 5, 2**60]),
    source=st.sampled_from([None, 0, 1, 2]),
    forgotten=st.sampled_from([None, None, 0, 3599, 3601]),
)

dirty_leases = st.builds(
    DirtyLease,
    lane=st.sampled_from([0, 0, 1, 2]),
    ends=st.tuples(st.integers(0, 63), st.integers(0, 63)),
    claimed=st.sampled_from([0, 1, 59, 61, 7200]),
    until=st.sampled_from([None, -7200, -1, 0, 5, 60]),
    deaths=st.sampled_from([0, 1, 2, 3, 13, 2**31 - 1]),
    has=st.lists(st.integers(0, 63), max_size=5).map(tuple),
    gone=st.integers(0, 2),
)
