"""How many batches are due, and as many messages. The messages carry no wallets: who claims decides which."""

from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError

from config.broker import sync_queue
from config.networks import NetworkName
from config.settings import worker_settings
from db.due_wallets import count_due
from db.freshness_policy import fall_back
from db.leases import count_lost
from db.networks import make_due
from db.session import transaction
from db.touches import count_touched
from worker.app import app
from worker.ops_notes import ops_notes
from worker.reading import reader_for
from worker.schedule.reconciliation import Reconciliation

log = structlog.get_logger(__name__)

MAX_WAITING = 40
"""Batches of one network that may wait at once."""

MAX_LOOKED_AT = 20_000
"""Wallets that a tick looks at: about a second of work. Where batches are large, fewer of them wait."""

reconciliation = Reconciliation()


def most_waiting(per_batch: int) -> int:
    """How many batches of this many wallets may wait at once. Pure.

    With half of them still waiting a tick sends none and asks the database nothing: workers have not kept up.
    """
    return min(-(-MAX_LOOKED_AT // per_batch), MAX_WAITING)


def batches_to_send(due: int, per_batch: int, waiting: int) -> int:
    """How many messages to send for `due` wallets, less those that still wait. Pure."""
    return max(min(-(-due // per_batch), most_waiting(per_batch)) - waiting, 0)


def dispatch() -> None:
    """Send a message for each batch that is due and has none. What goes wrong with one network is no other's.

    Operators are shown when this was last done for any network: then beat, Redis, a worker and Postgres were there.
    """
    done = 0
    for network in (*worker_settings().networks, None):
        try:
            if network:
                dispatch_network(network)
                done += 1
            else:
                reconciliation.look()
        except DBAPIError as error:
            log.warning("dispatch_failed", network=network, error=type(error.orig).__name__)
    if done:
        ops_notes().dispatched()


def dispatch_network(network: NetworkName) -> int:
    """Send for one network, and say how many messages. One command to Redis, some statements, and one pipeline; after a
    change of source, or a gap of the feed, it makes some of the network's wallets due first.

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
        with transaction() as connection:  # alone, for it keeps thousands of rows locked
            if fall_back(connection, network, spread=worker_settings().sync_interval_idle):
                log.warning("feed_stands_still", network=network)
            make_due(connection, network)
        with transaction() as connection:
            due = count_due(connection, network, bound=per_batch * most)
            due += count_touched(connection, network, bound=per_batch * most)
            due += count_lost(connection, network) * per_batch  # a batch each, whatever its size
        batches = batches_to_send(due, per_batch, waiting)
        with producer.batch():
            for _ in range(batches):
                app.send_task("worker.tasks.sync_due_wallets", args=[network], queue=queue, producer=producer)
    return batches
