"""A worker's start: what it reads of each network is held against what the network has been read from.

Where a worker is told of another chain or token than before, the balances that there are are not shown any more, and no
worker that was started before with other settings writes any (``db.networks``). So a node has to prove it first: a
mistyped contract in one worker must not take a network's balances from everybody. The first source of a network is
registered with its first balances instead, which the same checks have passed.
"""

from collections.abc import Callable
from functools import partial
from secrets import token_bytes
from time import monotonic
from typing import TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, ProgrammingError

from config.network_settings import prefix
from config.networks import NetworkName
from config.settings import WorkerSettings
from db import schema_serves
from db.networks import add_missing, register, registered_source, with_wallets
from db.session import applied_schema_of, clock, until_done
from worker.errors import ReadFailed
from worker.reading import node_reader
from worker.reading.contract import ACCOUNT_BYTES
from worker.sync.first_connection import OLD_SCHEMA, PATIENCE

log = structlog.get_logger(__name__)

T = TypeVar("T")


def register_networks(settings: WorkerSettings, patience: float = PATIENCE) -> None:
    """Register what is read from another source than before. Ends the process with a sentence where that cannot be."""
    deadline = monotonic() + patience
    if not schema_serves(_in_database(applied_schema_of, deadline)):
        raise SystemExit(OLD_SCHEMA)
    known = {network: settings.known_networks[network] for network in settings.networks}
    _in_database(partial(add_missing, known=known), deadline)
    for network in settings.networks:
        own, before = settings.source(network), _in_database(partial(registered_source, network=network), deadline)
        if before is None or before == own:
            continue
        if why := _refuted(network, settings, _in_database(clock, deadline)):
            raise SystemExit(
                f"{network} has been read from {before}, these settings say {own}, and no node of them proves it"
                f" ({why.code}: {why}). What is shown stays as it is. Correct {prefix(network)}CHAIN_ID and"
                f" {prefix(network)}USDT_CONTRACT, or start the worker when a node answers."
            )
        _in_database(partial(register, chain=settings.chain(network)), deadline)
        log.warning("source_changed", network=network, before=str(before), now=str(own))


def networks_left_out(settings: WorkerSettings, patience: float = PATIENCE) -> list[NetworkName]:
    """Networks that have wallets, and no node by these settings. Ends the process as `register_networks` does."""
    found = _in_database(with_wallets, monotonic() + patience)
    return [network for network in found if network not in settings.networks]


def _refuted(network: NetworkName, settings: WorkerSettings, now: float) -> ReadFailed | None:
    """Why no node reads a balance of nobody's by these settings, with every check; None: one does."""
    reader = node_reader(network, settings)
    try:
        parts = reader.read([token_bytes(ACCOUNT_BYTES)], now, monotonic() + settings.read_limit)
        return next((part.failure for part in parts if part.failure), None)
    finally:
        for node in reader.nodes:  # the pool's processes are forked from this one, and have connections of their own
            node.session.close()


def _in_database(ask: Callable[[Connection], T], deadline: float) -> T:
    try:
        return until_done(ask, deadline)
    except ProgrammingError as error:
        raise SystemExit(
            f"The database refuses what a worker's start notes ({type(error.orig).__name__}): run `alembic upgrade"
            " head`, which makes the tables and gives the worker its rights on them."
        ) from None
    except DBAPIError as error:
        raise SystemExit(
            f"The database does not answer a worker's start ({type(error.orig).__name__}). `celery -A worker check`"
            " says more."
        ) from None
