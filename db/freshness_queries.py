"""How fresh the cache is, by network. Plain SQL in the driver's own form: one pass over the tables."""

from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta

from sqlalchemy import Connection

from config.networks import NetworkName
from db.network_state import SOUND, Condition, conditions
from db.sources import OF_SOURCE

TIMEOUT = 120_000  # milliseconds; a pass over a million rows takes seconds

# Parameters: grace interval. A wallet is held while a lease on it runs, and due when its time has come and nobody holds
# it; overdue when that was `grace` ago. Fresh: the last read was good, and the next is not overdue. Its cadence is the
# time from the read to when it is due again, known of those that wait for it after a good read. Counted from the
# wallets: one without a schedule is due since it was made. A balance of another source than its network's was never
# read.
_FRESHNESS = f"""
WITH held AS MATERIALIZED (
    SELECT DISTINCT unnest(wallet_ids) AS wallet_id FROM leases WHERE lease_until > now()
), wallet AS (
    SELECT w.network, w.created_at, s.last_error, coalesce(s.failures > 0, false) AS failed, b.last_synced,
           b.block_time, coalesce(s.last_error = 'bad_address', false) AS hopeless, s.wallet_id IS NULL AS unscheduled,
           h.wallet_id IS NOT NULL AS held, greatest(s.next_sync_at, w.created_at) AS due_since,
           coalesce(s.next_sync_at <= now(), true) AND h.wallet_id IS NULL AS due,
           coalesce(s.next_sync_at <= now() - %(grace)s, true) AND h.wallet_id IS NULL AS overdue,
           CASE WHEN h.wallet_id IS NULL AND s.failures = 0
                     AND s.next_sync_at > now() AND s.next_sync_at > s.claimed_at
                THEN extract(epoch FROM s.next_sync_at - s.claimed_at)::float8 END AS cadence
      FROM wallets w JOIN networks n ON n.name = w.network LEFT JOIN sync_schedule s ON s.wallet_id = w.id
      LEFT JOIN balance_cache b ON b.wallet_id = w.id AND {OF_SOURCE}
      LEFT JOIN held h ON h.wallet_id = w.id
)
SELECT network, grouping(last_error) = 0 AS of_error, last_error, now() AS counted_at, count(*) AS wallets,
       count(last_synced) AS read,
       count(*) FILTER (WHERE last_synced IS NOT NULL AND NOT failed AND NOT overdue) AS fresh,
       count(*) FILTER (WHERE last_synced IS NOT NULL AND NOT failed AND overdue) AS stale,
       count(*) FILTER (WHERE last_synced IS NOT NULL AND failed) AS failing,
       count(*) FILTER (WHERE last_synced IS NULL) AS never_synced, count(*) FILTER (WHERE failed) AS failed,
       count(*) FILTER (WHERE hopeless) AS hopeless, count(*) FILTER (WHERE held) AS claimed,
       count(*) FILTER (WHERE due) AS due, count(*) FILTER (WHERE overdue) AS overdue,
       count(*) FILTER (WHERE unscheduled) AS without_schedule,
       count(cadence) AS waiting, coalesce(sum(3600 / cadence), 0)::float8 AS reads_per_hour,
       min(last_synced) FILTER (WHERE NOT hopeless) AS oldest_read, max(last_synced) AS last_read,
       max(block_time) AS block_time, min(due_since) FILTER (WHERE overdue) AS overdue_since,
       CASE WHEN count(last_synced) = 0 THEN min(created_at) FILTER (WHERE NOT hopeless) END AS unread_since,
       percentile_disc(%(shares)s::float8[]) WITHIN GROUP (ORDER BY extract(epoch FROM now() - last_synced)::float8)
           AS ages
  FROM wallet GROUP BY GROUPING SETS ((network), (network, last_error))
"""

AGE_SHARES = (0.5, 0.95, 0.99, 1.0)
"""Of which shares of the wallets `NetworkFreshness.ages` has the age."""


@dataclass(frozen=True, slots=True)
class NetworkFreshness:
    """One network's wallets, counted at one moment. Each wallet is in one of the states `fresh`, `stale`, `failing` and
    `never_synced`. Moments are those of the database's clock; None where no wallet has any.
    """

    network: NetworkName
    counted_at: datetime | None = None
    wallets: int = 0
    read: int = 0
    """Wallets that have a balance."""
    fresh: int = 0
    stale: int = 0
    """Read well at the last attempt, and overdue."""
    failing: int = 0
    """With a balance, while the last attempt failed."""
    never_synced: int = 0
    """Without a balance, whatever became of attempts."""
    failed: int = 0
    """Wallets whose last attempt failed, with a balance or without."""
    errors: dict[str, int] = field(default_factory=dict)
    """These, by the error."""
    hopeless: int = 0
    """Wallets without a valid address: they are never asked for."""
    due: int = 0
    overdue: int = 0
    claimed: int = 0
    without_schedule: int = 0
    """Wallets that no claim would ever take, until reconciliation finds them. They count as due and overdue."""
    waiting: int = 0
    """Wallets that wait for their next read after a good one: those whose cadence is known."""
    reads_per_hour: float = 0.0
    """What the cadence of these comes to."""
    ages: tuple[float, ...] = ()
    """Of the balances, in seconds: one for each of AGE_SHARES; empty when none was ever read."""
    oldest_read: datetime | None = None
    """When the balance was read that is the oldest, but for those of hopeless wallets."""
    last_read: datetime | None = None
    """When the newest balance was read."""
    block_time: datetime | None = None
    """The time of the newest block that a balance is of."""
    overdue_since: datetime | None = None
    """Since when the wallet is due that has been overdue for the longest."""
    unread_since: datetime | None = None
    """When the oldest wallet that can be read was made, where the network has no balance at all; None: it has one."""
    condition: Condition = SOUND

    @property
    def lost(self) -> int:
        """Wallets whose worker never came back, and which nobody reads yet."""
        return self.condition.lost

    @property
    def doubted(self) -> int:
        """Wallets with a change that is held back, since one node alone says so."""
        return self.condition.doubted


def freshness(connection: Connection, *, grace: timedelta, timeout: int = TIMEOUT) -> list[NetworkFreshness]:
    """The state of each network that has wallets. `grace`: what is due for longer than this is overdue. `timeout` is in
    milliseconds.
    """
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {timeout:d}")
    rows = connection.exec_driver_sql(_FRESHNESS, {"grace": grace, "shares": list(AGE_SHARES)}).mappings().all()
    errors: dict[NetworkName, dict[str, int]] = {row["network"]: {} for row in rows}
    for row in rows:
        if row["of_error"] and row["failed"]:
            errors[row["network"]][row["last_error"] or "unknown"] = row["failed"]
    names = [each.name for each in fields(NetworkFreshness) if each.name not in {"errors", "ages", "condition"}]
    known = conditions(connection)
    return [
        NetworkFreshness(
            **{name: row[name] for name in names},
            errors=errors[row["network"]],
            ages=() if row["ages"] is None or None in row["ages"] else tuple(row["ages"]),
            condition=known.get(row["network"], SOUND),
        )
        for row in sorted(rows, key=lambda row: str(row["network"]))
        if not row["of_error"]
    ]
