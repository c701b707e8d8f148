"""Wallets whose schedule is missing or wrong, however that came: found and mended. Plain SQL in the driver's own form.

A trigger gives each new wallet its row, but not where triggers are off: a logical replica that was promoted, a restore,
a bulk load under ``session_replication_role = replica``.
"""

from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection

DAY = timedelta(days=1)
"""A wallet without a valid address may wait so long (``worker.schedule``)."""

TIMEOUT = 120_000  # milliseconds; a pass over ten million wallets takes seconds

# What Postgres counts of changes. As long as as many rows came and went here as there, a pass would find nothing.
_CHANGES = """
SELECT w.n_tup_ins - s.n_tup_ins, w.n_tup_del - s.n_tup_del,
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
_ENROL_ALL = ENROL.format(more="")

_MEND_NETWORKS = """
UPDATE sync_schedule AS s
   SET network = w.network, address = w.address, account = NULL, next_sync_at = now(), lane = 1, failures = 0,
       last_error = NULL
  FROM wallets AS w WHERE w.id = s.wallet_id AND w.network <> s.network
"""

# Later than anything that code of ours decides. Along the queue from its end: few are there.
_MEND_DUES = """
UPDATE sync_schedule SET next_sync_at = now(), lane = 1
 WHERE network = %(network)s AND lane = %(lane)s AND next_sync_at > now() + %(longest)s
"""


class Changes(NamedTuple):
    """Of the two tables since their statistics began. Alike twice: nothing can have gone missing in between."""

    inserted: int
    deleted: int
    wallets_file: int
    schedule_file: int
    counted_since: object


def changes(connection: Connection) -> Changes | None:
    row = connection.exec_driver_sql(_CHANGES).one_or_none()
    return None if row is None else Changes(*row)


def reconcile(connection: Connection, longest: timedelta) -> int:
    """Enrol every wallet that has no schedule, mend what is wrong, and say how many that were. A pass over all.

    No wallet waits for more than a day longer than `longest`.
    """
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {TIMEOUT}")
    mended = sum(connection.exec_driver_sql(statement).rowcount for statement in (_ENROL_ALL, _MEND_NETWORKS))
    networks = connection.exec_driver_sql("SELECT network FROM network_state").scalars().all()
    for network in networks:
        for lane in (0, 1):
            of_lane = {"network": network, "lane": lane, "longest": longest + DAY}
            mended += connection.exec_driver_sql(_MEND_DUES, of_lane).rowcount
    return mended
