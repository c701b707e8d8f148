"""Wallets whose schedule is missing or wrong, however that came: found and mended. Plain SQL in the driver's own form.

A trigger gives each new wallet its row, but not where triggers are off: a logical replica that was promoted, a restore,
a bulk load under ``session_replication_role = replica``.
"""

from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection

TIMEOUT = 20_000  # milliseconds; a pass over ten million wallets takes seconds

PIECE = 20_000
"""Wallets that one transaction enrols: a second's work."""

_ALONE = "SELECT pg_try_advisory_xact_lock(hashtext('balance_sync_reconcile'))"

# What Postgres counts of changes. As long as as many rows came and went here as there, a pass would find nothing.
_CHANGES = """
SELECT w.n_tup_ins - s.n_tup_ins, w.n_tup_del - s.n_tup_del, w.n_tup_upd,
       pg_relation_filenode(w.relid), pg_relation_filenode(s.relid), (SELECT stats_reset FROM pg_stat_database
                                                                       WHERE datname = current_database())
  FROM pg_stat_user_tables w, pg_stat_user_tables s
 WHERE w.relid = to_regclass('wallets') AND s.relid = to_regclass('sync_schedule')
"""

ENROL = """
INSERT INTO sync_schedule (wallet_id, network, address, next_sync_at, lane)
SELECT id, network, address, now(), 1 FROM wallets AS w
 WHERE NOT EXISTS (SELECT FROM sync_schedule WHERE wallet_id = w.id){more}
    ON CONFLICT DO NOTHING
"""
_ENROL_SOME = ENROL.format(more=f" LIMIT {PIECE}")

# What was read of it is another wallet's: whatever is read next is newer.
_MEND = """
WITH mended AS (
    UPDATE sync_schedule AS s
       SET network = w.network, address = w.address, account = NULL, next_sync_at = now(), lane = 1, failures = 0,
           last_error = NULL
      FROM wallets AS w
     WHERE w.id = s.wallet_id AND (w.network, w.address) IS DISTINCT FROM (s.network, s.address)
 RETURNING s.wallet_id
), doubted AS (
    UPDATE balance_cache AS b SET block_number = 1 FROM mended AS m WHERE b.wallet_id = m.wallet_id
)
SELECT count(*) FROM mended
"""

# Later than anything that code of ours decides: a clock was wrong. Along the queue from its end: few are there.
_MEND_DUES = """
UPDATE sync_schedule SET next_sync_at = now(), lane = 1
 WHERE network = %(network)s AND lane = %(lane)s AND next_sync_at > now() + %(longest)s + interval '1 minute'
   AND (last_error IS DISTINCT FROM 'bad_address' OR next_sync_at > now() + interval '2 days')
"""


class Changes(NamedTuple):
    """Of the two tables since their statistics began. Alike twice: hardly anything can have gone missing in between."""

    inserted: int
    deleted: int
    updated: int
    wallets_file: int
    schedule_file: int
    counted_since: object


def changes(connection: Connection) -> Changes | None:
    """What has changed, or None without the tables."""
    row = connection.exec_driver_sql(_CHANGES).one_or_none()
    return None if row is None else Changes(*row)


def reconcile(connection: Connection, longest: timedelta) -> int | None:
    """Enrol wallets that have no schedule, PIECE at the most, mend what is wrong, and say how many that were.

    A pass over all. No wallet waits for longer than `longest`, the longest interval. None: another does it just now.
    """
    if not connection.exec_driver_sql(_ALONE).scalar_one():
        return None
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {TIMEOUT}")
    mended = connection.exec_driver_sql(_ENROL_SOME).rowcount
    mended += int(connection.exec_driver_sql(_MEND).scalar_one())
    networks = connection.exec_driver_sql("SELECT network FROM network_state").scalars().all()
    for network in networks:
        for lane in (0, 1):
            of_lane = {"network": network, "lane": lane, "longest": longest}
            mended += connection.exec_driver_sql(_MEND_DUES, of_lane).rowcount
    return mended
