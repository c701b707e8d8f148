"""Reads that somebody asked for: the request is noted in Postgres, one batch is read here, the others elsewhere.

Nothing here knows Celery: what sends a batch to another process comes in as an argument.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from time import monotonic, sleep
from uuid import UUID

import structlog
from sqlalchemy import Connection

from config.networks import NetworkName
from config.settings import worker_settings
from db.claims import Requested, request_wallets
from db.requests import LOCKED_PAUSE
from db.session import transaction
from worker.reading import reader_for
from worker.sync.batch import sync_these

log = structlog.get_logger(__name__)

Request = Callable[[Connection], Requested]
Send = Callable[[NetworkName, Sequence[UUID]], bool]
"""Has another process sync wallets of a network, before what is merely due. False: the queue is out of reach."""


def sync_requested(request: Request, cooldown: timedelta, send: Send) -> None:
    """Make a request, and sync what it asks for: one network here, and the others by `send`, so that a network that
    hangs does not hold up another.
    """
    asked = _request(request, cooldown)
    batches = [
        (network, ids)
        for network in worker_settings().networks
        if (ids := [wallet for wallet, its_network in asked.items() if its_network == network])
    ]
    for network, ids in batches[1:]:
        if not send(network, first_batch(network, ids)):
            break  # each further message would be waited for as long
    for network, ids in batches[:1]:
        sync_one_batch(network, ids, send)


def sync_one_batch(network: NetworkName, wallet_ids: Sequence[UUID], send: Send) -> None:
    """Sync as many of these wallets as one request takes, and `send` those that were asked for again meanwhile."""
    send(network, sync_these(network, first_batch(network, wallet_ids)))


def first_batch(network: NetworkName, wallet_ids: Sequence[UUID]) -> Sequence[UUID]:
    """What one request takes: however much is asked for, one batch overtakes others', and the rest is merely due."""
    return wallet_ids[: reader_for(network).max_wallets]


def _request(request: Request, cooldown: timedelta) -> dict[UUID, NetworkName]:
    """What is to be read, by wallet. A row that is being written is asked for again when it is free."""
    patience = monotonic() + worker_settings().request_limit
    with transaction() as connection:
        found = request(connection)
    asked = dict(found.networks)
    while found.locked and monotonic() < patience:
        sleep(LOCKED_PAUSE)
        with transaction() as connection:
            found = request_wallets(connection, found.locked, cooldown=cooldown)
        asked |= found.networks
    if found.locked:
        log.warning("rows_locked", wallets=len(found.locked))
    return asked
