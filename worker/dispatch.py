"""How many batches are due, and as many messages. The messages carry no wallets: who claims decides which."""

from typing import Any

import structlog
from celery import beat

from config.broker import REFRESH_QUEUE, sync_queue
from config.settings import Network, worker_settings
from db.session import transaction
from db.wallets import count_due
from worker.app import app
from worker.chains import reader_for
from worker.life import make_life_sign_folder, show_life

log = structlog.get_logger(__name__)

MAX_WAITING = 40
"""Batches of one network that may wait at once."""

MAX_LOOKED_AT = 20_000
"""Wallets that a tick looks at: about a second of work. Where batches are large, fewer of them wait."""

MAX_BEFORE_A_TICK = 1000
"""Messages that may wait where beat's ticks do. Expired ones go at some 400 a second."""


def most_waiting(per_batch: int) -> int:
    """How many batches of this many wallets may wait at once. Pure.

    With half of them still waiting a tick sends none and asks the database nothing: workers have not kept up.
    """
    return min(-(-MAX_LOOKED_AT // per_batch), MAX_WAITING)


def batches_to_send(due: int, per_batch: int, waiting: int) -> int:
    """How many messages to send for `due` wallets, less those that still wait. Pure."""
    return max(min(-(-due // per_batch), most_waiting(per_batch)) - waiting, 0)


def dispatch() -> None:
    """Send a message for each batch that is due and has none."""
    for network in worker_settings().networks:
        dispatch_network(network)


def dispatch_network(network: Network) -> int:
    """Send for one network, and say how many messages. One command to Redis, one statement, and one pipeline.

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
            due = count_due(connection, network, bound=per_batch * most)
        batches = batches_to_send(due, per_batch, waiting)
        with producer.batch():
            for _ in range(batches):
                app.send_task("worker.tasks.sync_due_wallets", args=[network], queue=queue, producer=producer)
    return batches


class Scheduler(beat.Scheduler):
    """Beat's plain one: with one entry there is nothing to keep, and Celery's default one unpickles a file.

    Ticks that nobody takes are held back: without workers for a night, tens of thousands would wait, and the first
    refreshes of the morning behind them.
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
        """Send a tick, unless too many messages wait before it. What this raises, beat logs, and goes on."""
        waiting = producer.channel.waiting(REFRESH_QUEUE)
        held, self._held = self._held, waiting >= MAX_BEFORE_A_TICK
        if self._held:
            if not held:
                log.warning("ticks_held", waiting=waiting)
            return None
        return super().apply_async(entry, producer, advance, **kwargs)
