"""Finding wallets, making them due, and seeing what became of them. Plain SQL in the driver's own form.

Wallets travel in bundles: their ids as Postgres' own text of an array, which is read here by nobody, and costs a
million wallets 70 MB rather than a million objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from config.networks import NetworkName
from db.enrolment import ENROL
from db.sources import OF_SOURCE
from db.windows import HOLDER, MASSES

BUNDLE = 2000
"""Wallets that one transaction marks: a worker that writes waits for its rows for some hundredths of a second."""

FIND_TIMEOUT = 120_000  # milliseconds; a pass over a million rows takes seconds

# From the wallets: one that has no schedule is enrolled when it is marked. One without a valid address is asked for
# when it is named itself or among those that failed: its address is judged anew. Otherwise it is left out.
_FIND = """
SELECT network, hopeless, count(*) AS wallets, CASE WHEN NOT hopeless THEN array_agg(id)::text END AS ids
  FROM (SELECT w.network, w.id, NOT %(judged)s AND coalesce(s.last_error = 'bad_address', false) AS hopeless,
               (row_number() OVER () - 1) / %(bundle)s AS bundle
          FROM wallets w LEFT JOIN sync_schedule s ON s.wallet_id = w.id WHERE {scope}) AS found
 GROUP BY network, hopeless, bundle ORDER BY bundle
"""

_SCOPES = {
    "wallet_ids": "w.id = ANY(%(wallet_ids)s)",
    "user_ids": "w.user_id = ANY(%(user_ids)s)",
    "network": "w.network = %(network)s",
    "older_than": f"""NOT EXISTS (SELECT FROM balance_cache b JOIN networks n ON n.name = w.network
                                  WHERE b.wallet_id = w.id AND b.last_synced >= now() - %(older_than)s
                                    AND {OF_SOURCE})""",
    "failed": "s.failures > 0",
}

_UNKNOWN_WALLETS = """
SELECT asked FROM unnest(%(ids)s) AS asked WHERE NOT EXISTS (SELECT FROM wallets WHERE id = asked)
"""
_UNKNOWN_USERS = """
SELECT asked FROM unnest(%(ids)s) AS asked WHERE NOT EXISTS (SELECT FROM wallets WHERE user_id = asked)
"""

# A wallet under a lease is requested, so that it is read again after that (db.requests); one that is free is only due.
# Were it requested as well, a million wallets would for half an hour be read as often as those that somebody looks at.
# SKIP LOCKED for the reason given in db.requests. Joined by key: a row that changed since the statement began is found
# in its new place. A claim that began since then reads after the mark: it counts as the read that is asked for.
# Forgotten is what was read before (db.outcomes): its block holds no newer read up. The balance itself stays.
_ENROL = ENROL.format(more=" AND id = ANY(%(ids)s::uuid[])")
_MARK = f"""
WITH asked AS (
    SELECT wallet_id FROM sync_schedule WHERE wallet_id = ANY(%(ids)s::uuid[])
), free AS (
    SELECT s.wallet_id, least(coalesce(h.claimed_at, s.claimed_at), now()) AS claimed_at, h.token IS NOT NULL AS held,
           s.next_sync_at > now() AS early
      FROM sync_schedule s LEFT JOIN {HOLDER} h ON true WHERE s.wallet_id = ANY(%(ids)s::uuid[])
       FOR NO KEY UPDATE OF s SKIP LOCKED
), marked AS (
    UPDATE sync_schedule s
       SET requested_at = CASE WHEN f.held THEN now() ELSE s.requested_at END,
           next_sync_at = CASE WHEN f.held OR NOT f.early THEN s.next_sync_at ELSE now() END,
           lane = CASE WHEN f.held OR NOT f.early THEN s.lane ELSE {MASSES} END,
           forgotten_at = CASE WHEN %(forget)s THEN clock_timestamp() ELSE s.forgotten_at END
      FROM free f WHERE f.wallet_id = s.wallet_id AND (f.held OR f.early OR %(forget)s)
)
SELECT count(f.wallet_id) AS wallets,
       array_agg(f.wallet_id) FILTER (WHERE f.wallet_id IS NOT NULL)::text AS ids,
       array_agg(f.claimed_at) FILTER (WHERE f.wallet_id IS NOT NULL)::text AS claimed,
       array_agg(a.wallet_id) FILTER (WHERE f.wallet_id IS NULL)::text AS locked
  FROM asked a LEFT JOIN free f USING (wallet_id)
"""

# Done is what was claimed anew since it was marked, and whose lease is given back. Compared with the claim before, not
# with the time of the mark: a claim's time is that of its transaction's start, which may lie before a mark that it saw.
_LOOK = f"""
SELECT state, error, count(*) AS wallets,
       array_agg(wallet_id) FILTER (WHERE state = 'open')::text AS ids,
       array_agg(claimed_at) FILTER (WHERE state = 'open')::text AS claimed
  FROM (SELECT m.wallet_id, m.claimed_at, CASE WHEN over THEN s.last_error END AS error,
               CASE WHEN s.wallet_id IS NULL THEN 'gone' WHEN over THEN 'done' ELSE 'open' END AS state
          FROM unnest(%(ids)s::uuid[], %(claimed)s::timestamptz[]) AS m (wallet_id, claimed_at)
          LEFT JOIN sync_schedule s USING (wallet_id),
               LATERAL (SELECT coalesce(s.claimed_at > coalesce(m.claimed_at, '-infinity'), false)
                               AND NOT EXISTS (SELECT FROM {HOLDER} h) AS over) AS o) AS seen
 GROUP BY state, error
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which wallets: those for which all that is given holds. Nothing given: every wallet."""

    wallet_ids: tuple[UUID, ...] = ()
    user_ids: tuple[UUID, ...] = ()
    network: NetworkName | None = None
    older_than: timedelta | None = None
    """The balance was read longer ago than this, or never."""
    failed: bool = False
    """The last attempt failed."""

    @property
    def empty(self) -> bool:
        return not self._given()

    def _given(self) -> dict[str, object]:
        values: dict[str, object] = {
            "wallet_ids": list(self.wallet_ids),
            "user_ids": list(self.user_ids),
            "network": self.network,
            "older_than": self.older_than,
            "failed": self.failed,
        }
        return {name: value for name, value in values.items() if value}


class Bundle(NamedTuple):
    """Up to BUNDLE wallets of one network. `claimed`: of marked ones, when each was claimed last before that."""

    network: NetworkName
    wallets: int
    ids: str
    claimed: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a scope comes to: its wallets, and how many of each network have no valid address, and are left out."""

    bundles: tuple[Bundle, ...]
    hopeless: dict[NetworkName, int]


class Seen(NamedTuple):
    """What became of a bundle: how many were read, failed by error, were deleted; the rest is still open."""

    read: int
    failed: dict[str, int]
    gone: int
    open: Bundle | None


def find(connection: Connection, scope: Scope) -> Wanted:
    """The wallets of a scope. One pass over what the scope needs."""
    given = scope._given()  # noqa: SLF001  the class is this module's
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {FIND_TIMEOUT}")
    conditions = " AND ".join(_SCOPES[name] for name in given) or "true"
    rows = connection.exec_driver_sql(
        _FIND.format(scope=conditions), {**given, "judged": bool(scope.wallet_ids) or scope.failed, "bundle": BUNDLE}
    ).all()
    hopeless: dict[NetworkName, int] = {}
    for row in rows:
        if row.hopeless:
            hopeless[row.network] = hopeless.get(row.network, 0) + row.wallets
    return Wanted(tuple(Bundle(row.network, row.wallets, row.ids) for row in rows if not row.hopeless), hopeless)


def unknown(connection: Connection, scope: Scope) -> tuple[list[UUID], list[UUID]]:
    """The wallets of a scope that there are not, and its users that have none."""
    return (
        _ids(connection, _UNKNOWN_WALLETS, scope.wallet_ids),
        _ids(connection, _UNKNOWN_USERS, scope.user_ids),
    )


def _ids(connection: Connection, statement: str, ids: Sequence[UUID]) -> list[UUID]:
    return list(connection.exec_driver_sql(statement, {"ids": list(ids)}).scalars()) if ids else []


def mark(connection: Connection, bundle: Bundle, *, forget: bool = False) -> tuple[Bundle | None, Bundle | None]:
    """Make a bundle's wallets due now. Returns those that are, and those whose rows are being written: ask again.

    Those under a lease are read once more after it. A wallet that is gone is in neither. `forget`: what was read of
    them until now may be overwritten by an older block; it is shown until then.
    """
    connection.exec_driver_sql(_ENROL, {"ids": bundle.ids})
    row = connection.exec_driver_sql(_MARK, {"ids": bundle.ids, "forget": forget}).one()
    marked = Bundle(bundle.network, row.wallets, row.ids, row.claimed) if row.ids else None
    locked = Bundle(bundle.network, row.locked.count(",") + 1, row.locked) if row.locked else None
    return marked, locked


def look(connection: Connection, marked: Bundle) -> Seen:
    """What has become of wallets since they were marked."""
    rows = connection.exec_driver_sql(_LOOK, {"ids": marked.ids, "claimed": marked.claimed}).all()
    still = next((row for row in rows if row.state == "open"), None)
    return Seen(
        read=sum(row.wallets for row in rows if row.state == "done" and row.error is None),
        failed={row.error: row.wallets for row in rows if row.state == "done" and row.error is not None},
        gone=sum(row.wallets for row in rows if row.state == "gone"),
        open=Bundle(marked.network, still.wallets, still.ids, still.claimed) if still else None,
    )
