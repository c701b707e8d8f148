"""The lock that keeps two deployments from migrating one database at once."""

from time import monotonic, sleep

import structlog
from sqlalchemy import Connection, text

log = structlog.get_logger(__name__)

MIGRATION_LOCK = 0x62616C73
"""Any constant of 31 bits will do."""
PATIENCE = 1800.0
"""Seconds for which a migration waits for another one. An index on ten million rows takes minutes."""
TOLD_EACH = 60.0
"""Seconds between two lines that say so."""
PAUSE = 0.5
"""Seconds between two tries."""

_TAKE = text("SELECT pg_try_advisory_lock(:key)")
_HOLDER = text("""
SELECT pid FROM pg_locks
 WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = :key AND objsubid = 1
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")


def take_the_lock(connection: Connection, patience: float = PATIENCE, told_each: float = TOLD_EACH) -> None:
    """Asked for again and again: an index that is made CONCURRENTLY would wait for whoever waits for its lock.

    Raises SystemExit with a sentence after `patience`: the lock is a session's, and one that nobody uses any more, as
    behind a machine that is gone, may keep it for hours.
    """
    began, told_at = monotonic(), -told_each
    while not connection.scalar(_TAKE, {"key": MIGRATION_LOCK}):
        pid = connection.scalar(_HOLDER, {"key": MIGRATION_LOCK})
        connection.rollback()
        waited = monotonic() - began
        if waited > patience:
            raise SystemExit(
                f"Another `alembic upgrade` has held the migrations' lock for {patience:.0f} s, as the server's process"
                f" {pid}. Let it end, or end it by SELECT pg_terminate_backend({pid}), and run this one again."
            )
        if waited - told_at >= told_each:
            told_at = waited
            log.warning(
                "migration_awaited", pid=pid, reason="another `alembic upgrade` runs: this one goes on after it"
            )
        sleep(PAUSE)
