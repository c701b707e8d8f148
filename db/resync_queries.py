"""Finding wallets, making them due, and seeing what became of them. Plain SQL in the driver's own form.

They are counted in the database, and found slice by slice along their ids, so that ten million cost no more memory than
ten thousand. A slice's wallets travel in bundles: their ids as Postgres' own text of an array, which is read here by
nobody.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from config.networks import NetworkName
from db.enrolment import ENROL
from db.sources import OF_SOURCE
from db.transaction_settings import set_for_a_transaction
from db.windows import HOLDER, MASSES

BUNDLE = 2000
"""Wallets that one transaction marks: a worker that writes waits for its rows for some hundredths of a second."""

# A pass over ten million rows takes some ten seconds; a plan for any numbers would take minutes.
_SETTINGS = {"statement_timeout": "120s", "plan_cache_mode": "force_custom_plan", "jit": "off", "work_mem": "64MB"}

SLICE = 20_000
"""Wallets that are looked through at a time, whether they are in scope or not: some hundredths of a second."""

# From the wallets: one that has no schedule is enrolled when it is marked. One without a valid address is asked for
# when it is named itself or among those that failed: its address is judged anew. Otherwise it is left out.
_HOPELESS = """SELECT w.network, true AS hopeless, count(*) AS wallets
  FROM sync_schedule s JOIN wallets w ON w.id = s.wallet_id {joined}
 WHERE NOT %(judged)s AND s.last_error = 'bad_address' AND {scope} GROUP BY 1"""
_COUNT = f"""
SELECT w.network, false AS hopeless, count(*) AS wallets FROM wallets w {{joined}} WHERE {{scope}} GROUP BY 1
 UNION ALL {_HOPELESS}
"""
_SLICE = """
WITH looked_at AS MATERIALIZED (
    SELECT w.id, w.network, w.user_id FROM wallets w
     WHERE w.id >= %(start)s AND {narrow} ORDER BY w.id LIMIT %(slice)s + 1
), wanted AS (
    SELECT w.network, w.id, row_number() OVER (PARTITION BY w.network ORDER BY w.id) - 1 AS number
      FROM (SELECT * FROM looked_at ORDER BY id LIMIT %(slice)s) AS w
      LEFT JOIN sync_schedule s ON s.wallet_id = w.id {joined}
     WHERE {scope} AND (%(judged)s OR s.last_error IS DISTINCT FROM 'bad_address')
)
SELECT network, count(*) AS wallets, array_agg(id)::text AS ids, NULL::uuid AS next FROM wanted
 GROUP BY network, number / %(bundle)s
 UNION ALL SELECT NULL, 0, NULL, (SELECT id FROM looked_at ORDER BY id OFFSET %(slice)s)
"""

_YOUNG = f"""
  JOIN networks n ON n.name = w.network
  LEFT JOIN balance_cache b ON b.wallet_id = w.id AND b.last_synced >= now() - %(older_than)s AND {OF_SOURCE}"""
"""What a scope of old balances is joined with: the young ones."""
_SCOPES = {
    "wallet_ids": "w.id = ANY(%(wallet_ids)s)",
    "user_ids": "w.user_id = ANY(%(user_ids)s)",
    "network": "w.network = %(network)s",
    "older_than": "b.wallet_id IS NULL",
    "failed": "EXISTS (SELECT FROM sync_schedule f WHERE f.wallet_id = w.id AND f.failures > 0)",
}
_NARROW = ("wallet_ids", "user_ids", "failed")
"""Scopes that mostly are of few wallets: a slice is of those. The others are looked for among each slice of all."""

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
    """What a scope comes to, by network: its wallets, and those without a valid address, which are left out."""

    wallets: dict[NetworkName, int]
    hopeless: dict[NetworkName, int]


class Slice(NamedTuple):
    """The wallets of a scope among the next SLICE ones, and the id of the wallet that the next slice begins with."""

    bundles: tuple[Bundle, ...]
    next: UUID | None


class Seen(NamedTuple):
    """What became of a bundle: how many were read, failed by error, were deleted; the rest is still open."""

    read: int
    failed: dict[str, int]
    gone: int
    open: Bundle | None


def count(connection: Connection, scope: Scope) -> Wanted:
    """How many wallets a scope comes to. One pass over what the scope needs."""
    given = scope._given()  # noqa: SLF001  the class is this module's
    conditions = " AND ".join(_SCOPES[name] for name in given) or "true"
    wanted = Wanted({}, {})
    for row in connection.exec_driver_sql(
        _COUNT.format(scope=conditions, joined=_joined(scope)), {**given, "judged": _judged(scope)}
    ):
        (wanted.hopeless if row.hopeless else wanted.wallets)[row.network] = row.wallets
    for network, hopeless in wanted.hopeless.items():
        wanted.wallets[network] -= hopeless
    return Wanted({network: wallets for network, wallets in wanted.wallets.items() if wallets}, wanted.hopeless)


def slices(scope: Scope, transaction: Callable[[], AbstractContextManager[Connection]]) -> Iterator[Bundle]:
    """The wallets of a scope, slice by slice along their ids, each slice found in a transaction of its own.

    A wallet that is inserted meanwhile may be among them or not.
    """
    start: UUID | None = UUID(int=0)
    while start is not None:
        with transaction() as connection:
            bundles, start = slice_of(connection, scope, start)
        yield from bundles


def slice_of(connection: Connection, scope: Scope, start: UUID) -> Slice:
    """The wallets of a scope among the next SLICE ones, from the id `start` on."""
    given = scope._given()  # noqa: SLF001
    narrow, others = (
        " AND ".join(_SCOPES[name] for name in given if (name in _NARROW) == is_narrow) or "true"
        for is_narrow in (True, False)
    )
    connection.exec_driver_sql(set_for_a_transaction(_SETTINGS))
    parameters = {**given, "start": start, "judged": _judged(scope), "slice": SLICE, "bundle": BUNDLE}
    rows = connection.exec_driver_sql(
        _SLICE.format(narrow=narrow, scope=others, joined=_joined(scope)), parameters
    ).all()
    *found, last = sorted(rows, key=lambda row: row.network is None)
    return Slice(tuple(Bundle(row.network, row.wallets, row.ids) for row in found), last.next)


def _joined(scope: Scope) -> str:
    return _YOUNG if scope.older_than else ""


def _judged(scope: Scope) -> bool:
    return bool(scope.wallet_ids) or scope.failed


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
