"""How many batches are due, and as many messages. The messages carry no wallets: who claims decides which."""

from datetime import timedelta
from math import inf
from time import monotonic
from typing import Any

import structlog
from celery import beat
from sqlalchemy.exc import DBAPIError

from config.broker import TICKS_QUEUE, sync_queue
from config.networks import NetworkName
from config.settings import worker_settings
from db.due_wallets import count_due
from db.enrolment import Changes, changes, reconcile
from db.leases import count_lost
from db.networks import make_due
from db.session import transaction
from worker.app import app
from worker.liveness import make_life_sign_folder, show_life
from worker.reading import reader_for

log = structlog.get_logger(__name__)

MAX_WAITING = 40
"""Batches of one network that may wait at once."""

MAX_LOOKED_AT = 20_000
"""Wallets that a tick looks at: about a second of work. Where batches are large, fewer of them wait."""

MAX_TICKS = 10
"""Ticks that may wait: one has all to say that ten have."""

RECONCILED_EACH = 20.0  # seconds
PASSED_EACH = 3600.0  # seconds
MOST_PIECES = 10  # that one tick mends: some seconds' work


def most_waiting(per_batch: int) -> int:
    """How many batches of this many wallets may wait at once. Pure.

    With half of them still waiting a tick sends none and asks the database nothing: workers have not kept up.
    """
    return min(-(-MAX_LOOKED_AT // per_batch), MAX_WAITING)


def batches_to_send(due: int, per_batch: int, waiting: int) -> int:
    """How many messages to send for `due` wallets, less those that still wait. Pure."""
    return max(min(-(-due // per_batch), most_waiting(per_batch)) - waiting, 0)


def dispatch() -> None:
    """Send a message for each batch that is due and has none. What goes wrong with one network is no other's."""
    for network in (*worker_settings().networks, None):
        try:
            if network:
                dispatch_network(network)
            else:
                reconciliation.look()
        except DBAPIError as error:
            log.warning("dispatch_failed", error=type(error.orig).__name__)


class Reconciliation:
    """Finds wallets without a schedule. Postgres' own counts say when a pass over the tables may find any; they may be
    lost in a crash, so there is one now and then in any case.
    """

    def __init__(self) -> None:
        self._looked_at = self._passed_at = -inf
        self._seen: Changes | None = None

    def look(self) -> None:
        """Not more often than each RECONCILED_EACH seconds. Up to MOST_PIECES, as long as there is more to mend."""
        now = monotonic()
        if now - self._looked_at < RECONCILED_EACH:
            return
        self._looked_at = now
        with transaction() as connection:
            found = changes(connection)
        if found is not None and found == self._seen and now - self._passed_at < PASSED_EACH:
            return
        longest, mended = timedelta(seconds=worker_settings().sync_interval_idle), 0
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


reconciliation = Reconciliation()


def dispatch_network(network: NetworkName) -> int:
    """Send for one network, and say how many messages. One command to Redis, two statements, and one pipeline; after a
    change of source it makes some of the network's wallets due first.

    Two of these at once may send twice as many as are due: a message too many finds nothing.
    """
    queue = sync_queue(network)
    producer: Any
    with app.producer_pool.acquire(block=True) as producer:
        waiting = producer.channel.waiting(queue)
        per_batch = reader_for(network).max_wallets
        most = most_waiting(per_batch)
        if waiting * 2 >= most:
            return 0
        with transaction() as connection:
            make_due(connection, network)
            due = count_due(connection, network, bound=per_batch * most)
            due += count_lost(connection, network) * per_batch  # a batch each, whatever its size
        batches = batches_to_send(due, per_batch, waiting)
        with producer.batch():
            for _ in range(batches):
                app.send_task("worker.tasks.sync_due_wallets", args=[network], queue=queue, producer=producer)
    return batches


class Scheduler(beat.Scheduler):
    """Beat's plain one: with one entry there is nothing to keep, and Celery's default one unpickles a file.

    Ticks that nobody takes are held back: without workers for a night, tens of thousands would wait.
    """

    _held = False

    def setup_schedule(self) -> None:
        make_life_sign_folder()
        super().setup_schedule()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One round of beat's, which shows that it comes round."""
        show_life("beat")
        return float(super().tick(*args, **kwargs))

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Send a tick, unless enough of them wait. What this raises, beat logs, and goes on."""
        waiting = producer.channel.waiting(TICKS_QUEUE)
        held, self._held = self._held, waiting >= MAX_TICKS
        if self._held:
            if not held:
                log.warning("ticks_held", waiting=waiting)
            return None
        return super().apply_async(entry, producer, advance, **kwargs)
