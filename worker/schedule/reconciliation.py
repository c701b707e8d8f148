"""Finds wallets without a schedule, which no claim would ever take, and enrols them."""

from datetime import timedelta
from math import inf
from time import monotonic

import structlog

from config.settings import WorkerSettings, worker_settings
from db.enrolment import Changes, changes, reconcile
from db.session import transaction
from worker.feed.policy import STRETCHES

log = structlog.get_logger(__name__)

LOOKED_EACH = 20.0  # seconds
PASSED_EACH = 3600.0  # seconds
MOST_PIECES = 10  # that one tick mends: some seconds' work


class Reconciliation:
    """Postgres' own counts of changed rows say when a pass over the tables may find anything. A crash may lose these
    counts, so there is a pass now and then in any case.
    """

    def __init__(self) -> None:
        self._looked_at = self._passed_at = -inf
        self._seen: Changes | None = None

    def look(self) -> None:
        """Not more often than each LOOKED_EACH seconds. Up to MOST_PIECES, as long as there is more to mend."""
        now = monotonic()
        if now - self._looked_at < LOOKED_EACH:
            return
        self._looked_at = now
        with transaction() as connection:
            found = changes(connection)
        if found is not None and found == self._seen and now - self._passed_at < PASSED_EACH:
            return
        longest, mended = _longest_interval(worker_settings()), 0
        for _ in range(MOST_PIECES):
            with transaction() as connection:
                some = reconcile(connection, longest)
            mended += some or 0
            if not some:
                # What was mended has changed the counts.
                self._seen, self._passed_at = (found if some == 0 and not mended else None), now
                break
        if mended:
            log.warning("schedules_mended", wallets=mended)


def _longest_interval(settings: WorkerSettings) -> timedelta:
    """No wallet is left alone for longer: by the sweep beside the feed, or a cadence that a small quota stretches."""
    return timedelta(seconds=max(settings.sync_interval_sweep, settings.sync_interval_idle * max(STRETCHES)))
