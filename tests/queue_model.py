"""What the queue of wallets must do, said again in plain Python: tests hold the SQL of ``db`` against it.

A test reads the rows in the very transaction of the statement that it tries: then both have the same ``now()``, and
nothing here depends on how long a test takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import base58
from hypothesis import strategies as st
from sqlalchemy import Connection

from config.settings import Network
from worker.schedule import Policy

POLICY = Policy(active=60, idle=3600)
LONGEST = timedelta(seconds=POLICY.idle)
LEASE = timedelta(seconds=60)
AHEAD = timedelta(seconds=15)

NO_ADDRESS = "nobody"
"""What stands in an address's place and is none, on either chain."""


def address(network: Network, number: int) -> str:
    """A valid address of a chain, another one for each number."""
    account = number.to_bytes(20)
    return "0x" + account.hex() if network == "ethereum" else base58.b58encode_check(b"\x41" + account).decode()


class Row(NamedTuple):
    """A wallet, and what the schedule has of it."""

    wallet_id: UUID
    network: Network
    address: str
    account: bytes | None
    next_sync_at: datetime
    lease_token: UUID | None
    lease_until: datetime | None
    claimed_at: datetime | None
    requested_at: datetime | None
    failures: int
    last_error: str | None

    def free(self, now: datetime) -> bool:
        """Nobody holds it."""
        return self.lease_until is None or self.lease_until <= now

    def due(self, now: datetime, ahead: timedelta = timedelta(0)) -> bool:
        """It is to be read by `ahead` from now, and nobody holds it."""
        return self.free(now) and self.next_sync_at <= now + ahead

    def asked_for(self) -> bool:
        """Somebody asked for it since it was claimed last."""
        return self.requested_at is not None and (self.claimed_at is None or self.requested_at > self.claimed_at)


def look(connection: Connection) -> tuple[datetime, dict[UUID, Row]]:
    """The transaction's time, and all rows. A wallet without a schedule makes this fail."""
    now: datetime = connection.exec_driver_sql("SELECT now()").scalar_one()
    found = connection.exec_driver_sql(
        "SELECT w.id, w.network, w.address, s.account, s.next_sync_at, s.lease_token, s.lease_until, s.claimed_at,"
        " s.requested_at, s.failures, s.last_error, (s.network, s.address) = (w.network, w.address) AS same"
        " FROM wallets w LEFT JOIN sync_schedule s ON s.wallet_id = w.id"
    ).all()
    assert all(row.same for row in found), "a wallet has no schedule, or another's"
    return now, {row[0]: Row(*row[:-1]) for row in found}


def to_claim(
    rows: dict[UUID, Row], network: Network, now: datetime, *, limit: int, ahead: timedelta = AHEAD
) -> list[datetime]:
    """The due times of those whom a claim must take, the longest overdue first. Which of two that are equal is open."""
    of_network = [row for row in rows.values() if row.network == network]
    if not any(row.due(now) for row in of_network):
        return []
    return sorted(row.next_sync_at for row in of_network if row.due(now, ahead))[:limit]


@dataclass(frozen=True, slots=True)
class Dirty:
    """What a row may hold, whoever wrote it: times are seconds from now, `lease` the seconds until a lease ends."""

    due: int
    lease: int | None
    claimed: int | None
    requested: int | None
    changed: int | None
    failures: int
    error: str | None
    block: int | None
    """The block of its balance; None: it has none."""

    def write(self, connection: Connection, wallet_id: UUID, token: UUID, usdt: int) -> None:
        """Put it in a wallet's place."""
        connection.exec_driver_sql(
            "UPDATE sync_schedule SET next_sync_at = now() + make_interval(secs => %(due)s),"
            " lease_token = CASE WHEN %(lease)s::int IS NOT NULL THEN %(token)s::uuid END,"
            " lease_until = now() + make_interval(secs => %(lease)s),"
            " claimed_at = now() - make_interval(secs => %(claimed)s),"
            " requested_at = now() - make_interval(secs => %(requested)s),"
            " last_changed_at = now() - make_interval(secs => %(changed)s),"
            " failures = %(failures)s, last_error = %(error)s WHERE wallet_id = %(id)s",
            {name: getattr(self, name) for name in self.__slots__} | {"id": wallet_id, "token": token},
        )
        connection.exec_driver_sql("DELETE FROM balance_cache WHERE wallet_id = %(id)s", {"id": wallet_id})
        if self.block is not None:
            connection.exec_driver_sql(
                "INSERT INTO balance_cache VALUES"
                " (%(id)s, %(usdt)s, 7, %(block)s, now(), 'solid', now() - interval '1 hour')",
                {"id": wallet_id, "usdt": usdt, "block": self.block},
            )


def ago(seconds: Sequence[int] = (0, 1, 59, 61, 7200)) -> st.SearchStrategy[int | None]:
    return st.sampled_from([None, *seconds])


ERRORS = [None, "worker_lost", "unreachable", "throttled", "usdt_call_failed", "older_block", "our_error", "?" * 64]

dirty_rows = st.builds(
    Dirty,
    due=st.sampled_from([-10_000_000, -7200, -61, -1, 0, 10, 14, 16, 61, int(POLICY.idle)]),
    lease=st.sampled_from([None, None, -7200, -1, 0, 5, 60]),
    claimed=ago(),
    requested=ago(),
    changed=ago(),
    failures=st.sampled_from([0, 1, 2, 13, 2**30]),
    error=st.sampled_from(ERRORS),
    block=st.sampled_from([None, 1, 5, 2**60]),
)
