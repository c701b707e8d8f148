"""How fresh the cache is, by network. Plain SQL in the driver's own form: one pass over each table."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping

from config.networks import NetworkName
from db.feed_state import BY_CADENCE, FeedState, feed_states
from db.network_state import SOUND, Condition, conditions
from db.sources import OF_SOURCE
from db.transaction_settings import set_for_a_transaction

TIMEOUT = 120_000  # milliseconds; a pass over ten million wallets takes seconds
# A plan for any numbers would not know how few wallets failed. Compiling the statement takes longer than it saves. The
# rows are in memory, since workers touch them all the time: a few thousand are found sooner by an index than in a scan.
_SETTINGS = {
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    "random_page_cost": "1.1",
    "work_mem": "64MB",
}

# Both statements give a row for each network that has wallets, with the fields of `NetworkFreshness`. Parameters: grace
# interval, and shares, those of AGE_SHARES. A wallet is held while a lease on it runs, and due when its time has come
# and nobody holds it; overdue when that was `grace` ago. Its cadence is the time from the read to when it is due again,
# known of those that wait for it after a good read. A wallet without a schedule is due since it was made. A balance of
# another source than its network's was never read.
#
# A wallet is lost when nobody holds it and its lease ended without its worker more than once, or once and was put
# aside. Its due time stays where it was, so that it would be the longest overdue for good, whatever becomes of others.
# One whose lease has only just run out is none: where no worker is left to put it aside, it is overdue as any other.
_LEASED = """(SELECT wallet_id, bool_or(held) AS held, bool_or(deaths > 0) AND NOT bool_or(held) AS lost
                FROM (SELECT unnest(wallet_ids) AS wallet_id, coalesce(lease_until > now(), false) AS held, deaths
                        FROM leases) AS l GROUP BY wallet_id)"""
_HELD = "h.held IS TRUE"
_FREE = "h.held IS NOT TRUE"
_CADENCE = f"""CASE WHEN {_FREE} AND s.failures = 0
                     AND s.next_sync_at > now() AND s.next_sync_at > s.claimed_at
                THEN date_part('epoch', s.next_sync_at - s.claimed_at) END"""
_AGES = """percentile_disc(%(shares)s::float8[]) WITHIN GROUP (ORDER BY date_part('epoch', now() - last_synced))"""
_BEGINNING = "to_timestamp(0)"
"""When wallets are due that an older release or a bulk load made: at the beginning of time."""

# Every wallet is joined with its schedule and its balance: right whatever the tables hold, and dear.
_OF_EACH_WALLET = f"""
WITH wallet AS (
    SELECT w.network, w.created_at, s.last_error, coalesce(s.failures > 0, false) AS failed, b.last_synced,
           b.block_time, coalesce(s.last_error = 'bad_address', false) AS hopeless, s.wallet_id IS NULL AS unscheduled,
           {_HELD} AS held, coalesce(h.lost, false) AS lost,
           CASE WHEN s.next_sync_at > {_BEGINNING} THEN s.next_sync_at ELSE w.created_at END AS due_since,
           coalesce(s.next_sync_at <= now(), true) AND {_FREE} AS due,
           coalesce(s.next_sync_at <= now() - %(grace)s, true) AND {_FREE} AS overdue,
           {_CADENCE} AS cadence
      FROM wallets w JOIN networks n ON n.name = w.network LEFT JOIN sync_schedule s ON s.wallet_id = w.id
      LEFT JOIN balance_cache b ON b.wallet_id = w.id AND {OF_SOURCE}
      LEFT JOIN {_LEASED} h ON h.wallet_id = w.id
), error AS (
    SELECT network, jsonb_object_agg(coalesce(last_error, 'unknown'), wallets) AS errors
      FROM (SELECT network, last_error, count(*) AS wallets FROM wallet WHERE failed GROUP BY 1, 2) AS e GROUP BY 1
)
SELECT network, now() AS counted_at, count(*) AS wallets, count(last_synced) AS read,
       count(*) FILTER (WHERE last_synced IS NOT NULL AND NOT failed AND NOT overdue) AS fresh,
       count(*) FILTER (WHERE last_synced IS NOT NULL AND NOT failed AND overdue) AS stale,
       count(*) FILTER (WHERE last_synced IS NOT NULL AND failed) AS failing,
       count(*) FILTER (WHERE last_synced IS NULL) AS never_synced, count(*) FILTER (WHERE failed) AS failed,
       coalesce((SELECT errors FROM error e WHERE e.network = wallet.network), '{{}}') AS errors,
       count(*) FILTER (WHERE hopeless) AS hopeless, count(*) FILTER (WHERE held) AS claimed,
       count(*) FILTER (WHERE due) AS due, count(*) FILTER (WHERE overdue) AS overdue,
       count(*) FILTER (WHERE overdue AND NOT lost) AS overdue_free,
       count(*) FILTER (WHERE unscheduled) AS without_schedule, count(cadence) AS waiting,
       coalesce(sum(3600 / cadence), 0)::float8 AS reads_per_hour,
       min(last_synced) FILTER (WHERE NOT hopeless) AS oldest_read, max(last_synced) AS last_read,
       max(block_time) AS block_time, min(due_since) FILTER (WHERE overdue AND NOT lost) AS overdue_since,
       CASE WHEN count(last_synced) = 0 THEN min(created_at) FILTER (WHERE NOT hopeless) END AS unread_since,
       CASE WHEN count(last_synced) > 0 THEN {_AGES} FILTER (WHERE last_synced IS NOT NULL) END AS ages,
       false AS ages_estimated
  FROM wallet GROUP BY network
"""

MANY = 100_000
"""Wallets of a network with a balance: of more, ages and cadence are those of a sample."""
_SAMPLED = 600 * 8192.0  # bytes of a table: some 30,000 of its rows, on pages anywhere in it


def _sample_of(table: str) -> str:
    return f"TABLESAMPLE SYSTEM (least(100 * {_SAMPLED} / pg_relation_size('{table}'), 100))"


# Each table is counted by itself, and hardly a wallet joined: half the cost. The wallets of a network that have a
# balance are the rows of its source. Those that are due, failed, or are being read are few, and looked up. `sure` is
# false where that does not do: there are balances that do not say what they are of, wallets without a schedule or with
# one of another network, due times at the beginning of time, or balances of wallets without a valid address.
_BY_TABLE = f"""
WITH wallet AS MATERIALIZED (
    SELECT network, count(*) AS wallets FROM wallets GROUP BY network
), schedule AS MATERIALIZED (
    SELECT network, count(*) AS wallets FROM sync_schedule GROUP BY network
), balance AS MATERIALIZED (
    SELECT source, count(*) AS read, min(last_synced) AS oldest_read, max(last_synced) AS last_read,
           max(block_time) AS block_time
      FROM balance_cache GROUP BY source
), held AS MATERIALIZED (
    SELECT s.network, count(*) AS claimed FROM {_LEASED} AS h JOIN sync_schedule AS s USING (wallet_id)
     WHERE {_HELD} GROUP BY 1
), late AS MATERIALIZED (
    SELECT network, count(*) AS due, count(*) FILTER (WHERE overdue) AS overdue,
           count(*) FILTER (WHERE overdue AND failures = 0) AS overdue_well,
           count(*) FILTER (WHERE overdue AND NOT lost) AS overdue_free,
           min(next_sync_at) FILTER (WHERE overdue AND NOT lost) AS overdue_since
      FROM (SELECT s.network, s.failures, s.next_sync_at, s.next_sync_at <= now() - %(grace)s AS overdue,
                   h.lost IS TRUE AS lost
              FROM sync_schedule AS s LEFT JOIN {_LEASED} AS h USING (wallet_id)
             WHERE s.next_sync_at <= now() AND {_FREE}) AS d GROUP BY 1
), trouble AS MATERIALIZED (
    SELECT s.network, s.last_error, s.failures > 0 AS failed, count(*) AS wallets, count(b.wallet_id) AS read
      FROM sync_schedule AS s JOIN networks AS n ON n.name = s.network
      LEFT JOIN balance_cache AS b ON b.wallet_id = s.wallet_id AND b.source = n.source
     WHERE s.failures > 0 OR s.last_error = 'bad_address' GROUP BY 1, 2, 3
), network AS MATERIALIZED (
    SELECT w.network, n.source, w.wallets, coalesce(b.read, 0) AS read, b.oldest_read, b.last_read, b.block_time,
           coalesce(t.failed, 0) AS failed, coalesce(t.failing, 0) AS failing, t.errors,
           coalesce(t.hopeless, 0) AS hopeless, coalesce(h.claimed, 0) AS claimed, coalesce(l.due, 0) AS due,
           coalesce(l.overdue, 0) AS overdue, coalesce(l.overdue_well, 0) AS overdue_well,
           coalesce(l.overdue_free, 0) AS overdue_free, l.overdue_since,
           w.wallets = coalesce(s.wallets, 0) AND w.wallets >= coalesce(b.read, 0)
               AND coalesce(l.overdue_since > {_BEGINNING}, true) AND coalesce(t.hopeless_read, 0) = 0
               AND NOT EXISTS (SELECT FROM balance WHERE source IS NULL) AS sure
      FROM wallet AS w JOIN networks AS n ON n.name = w.network LEFT JOIN balance AS b ON b.source = n.source
      LEFT JOIN schedule AS s ON s.network = w.network LEFT JOIN held AS h ON h.network = w.network
      LEFT JOIN late AS l ON l.network = w.network
      LEFT JOIN (SELECT network, sum(wallets) FILTER (WHERE failed)::bigint AS failed,
                        sum(read) FILTER (WHERE failed)::bigint AS failing,
                        jsonb_object_agg(coalesce(last_error, 'unknown'), wallets) FILTER (WHERE failed) AS errors,
                        sum(wallets) FILTER (WHERE last_error = 'bad_address')::bigint AS hopeless,
                        sum(read) FILTER (WHERE last_error = 'bad_address')::bigint AS hopeless_read
                   FROM trouble GROUP BY network) AS t ON t.network = w.network
), unread AS MATERIALIZED (
    SELECT s.network, count(*) AS wallets
      FROM sync_schedule AS s JOIN network AS n USING (network) LEFT JOIN {_LEASED} AS h USING (wallet_id)
     WHERE s.failures = 0 AND s.next_sync_at <= now() - %(grace)s AND {_FREE}
       AND NOT EXISTS (SELECT FROM balance_cache AS b WHERE b.wallet_id = s.wallet_id AND b.source = n.source)
       AND (SELECT bool_or(wallets > read AND overdue_well > 0) FROM network) GROUP BY 1
), young AS MATERIALIZED (
    SELECT w.network, min(w.created_at) AS unread_since FROM wallets AS w JOIN sync_schedule AS s ON s.wallet_id = w.id
     WHERE w.network = ANY(ARRAY(SELECT network FROM network WHERE read = 0))
       AND s.last_error IS DISTINCT FROM 'bad_address' AND (SELECT bool_or(read = 0) FROM network) GROUP BY 1
), age AS MATERIALIZED (
    SELECT source, {_AGES} AS ages, false AS estimated FROM balance_cache
     WHERE source = ANY(ARRAY(SELECT source FROM balance WHERE read <= {MANY}))
       AND (SELECT bool_or(read <= {MANY}) FROM balance) GROUP BY 1
     UNION ALL
    SELECT source, {_AGES}, true
      FROM balance_cache {_sample_of("balance_cache")}
     WHERE source = ANY(ARRAY(SELECT source FROM balance WHERE read > {MANY}))
       AND (SELECT bool_or(read > {MANY}) FROM balance) GROUP BY 1
), cadence AS MATERIALIZED (
    SELECT network, count(cadence) AS waiting, coalesce(sum(3600 / cadence), 0)::float8 AS reads_per_hour
      FROM (SELECT s.network, {_CADENCE} AS cadence
              FROM sync_schedule AS s LEFT JOIN {_LEASED} AS h USING (wallet_id)
             WHERE s.network = ANY(ARRAY(SELECT network FROM network WHERE read <= {MANY}))
               AND (SELECT bool_or(read <= {MANY}) FROM network)
             UNION ALL
            SELECT s.network, {_CADENCE}
              FROM sync_schedule AS s {_sample_of("sync_schedule")} LEFT JOIN {_LEASED} AS h USING (wallet_id)
             WHERE s.network = ANY(ARRAY(SELECT network FROM network WHERE read > {MANY}))
               AND (SELECT bool_or(read > {MANY}) FROM network)) AS c GROUP BY 1
)
SELECT n.network, now() AS counted_at, n.wallets, n.read,
       n.read - n.failing - n.overdue_well + coalesce(u.wallets, 0) AS fresh,
       n.overdue_well - coalesce(u.wallets, 0) AS stale, n.failing,
       n.wallets - n.read AS never_synced, n.failed, coalesce(n.errors, '{{}}') AS errors, n.hopeless, n.claimed, n.due,
       n.overdue, n.overdue_free, 0 AS without_schedule, coalesce(c.waiting, 0) AS waiting,
       coalesce(c.reads_per_hour, 0) AS reads_per_hour, n.oldest_read, n.last_read,
       n.block_time, n.overdue_since, y.unread_since, a.ages, coalesce(a.estimated, false) AS ages_estimated, n.sure
  FROM network AS n LEFT JOIN unread AS u USING (network) LEFT JOIN cadence AS c USING (network)
  LEFT JOIN young AS y USING (network) LEFT JOIN age AS a USING (source)
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
    overdue_free: int = 0
    """These, but for lost ones, which are tried apart from others and more and more rarely."""
    claimed: int = 0
    without_schedule: int = 0
    """Wallets that no claim would ever take, until reconciliation finds them. They count as due and overdue."""
    waiting: int = 0
    """Wallets that wait for their next read after a good one: those whose cadence is known. Where `ages_estimated`,
    those of a sample.
    """
    reads_per_hour: float = 0.0
    """What the cadence of these comes to."""
    ages: tuple[float, ...] = ()
    """Of the balances, in seconds: one for each of AGE_SHARES; empty when none was ever read."""
    ages_estimated: bool = False
    """They are those of a sample, but for that of the oldest, which is exact."""
    oldest_read: datetime | None = None
    """When the balance was read that is the oldest, but for those of hopeless wallets."""
    last_read: datetime | None = None
    """When the newest balance was read."""
    block_time: datetime | None = None
    """The time of the newest block that a balance is of."""
    overdue_since: datetime | None = None
    """Since when the wallet is due that has been overdue for the longest, but for lost ones."""
    unread_since: datetime | None = None
    """When the oldest wallet that can be read was made, where the network has no balance at all; None: it has one."""
    condition: Condition = SOUND
    feed: FeedState = BY_CADENCE
    """How the network is kept fresh."""

    @property
    def lost(self) -> int:
        """Wallets whose worker never came back, and which nobody reads yet."""
        return self.condition.lost

    @property
    def doubted(self) -> int:
        """Wallets with a change that is held back, since one node alone says so."""
        return self.condition.doubted


def freshness(
    connection: Connection, *, grace: timedelta, timeout: int = TIMEOUT, parallel: bool = False
) -> list[NetworkFreshness]:
    """The state of each network that has wallets. `grace`: what is due for longer than this is overdue. `timeout` is in
    milliseconds. `parallel`: sooner, at the price of further processes of the database.
    """
    settings = {**_SETTINGS, "statement_timeout": str(timeout)}
    if not parallel:
        settings["max_parallel_workers_per_gather"] = "0"
    connection.exec_driver_sql(set_for_a_transaction(settings))
    parameters = {"grace": grace, "shares": list(AGE_SHARES)}
    rows = connection.exec_driver_sql(_BY_TABLE, parameters).mappings().all()
    if not all(row["sure"] for row in rows):
        rows = connection.exec_driver_sql(_OF_EACH_WALLET, parameters).mappings().all()
    known, feeds = conditions(connection), feed_states(connection)
    return [
        _of_row(row, known.get(row["network"], SOUND), feeds.get(row["network"], BY_CADENCE))
        for row in sorted(rows, key=lambda row: str(row["network"]))
    ]


def _of_row(row: RowMapping, condition: Condition, feed: FeedState) -> NetworkFreshness:
    found = {name: value for name, value in row.items() if name not in {"ages", "sure"}}
    ages = tuple(row["ages"] or ())
    if ages and row["ages_estimated"]:
        oldest = (row["counted_at"] - row["oldest_read"]).total_seconds()
        ages = (*(min(age, oldest) for age in ages[:-1]), oldest)
    return NetworkFreshness(**found, ages=ages, condition=condition, feed=feed)
