"""A worker's start: the networks that it reads, and what it reads of each, are noted in the database.

From then on balances of another chain or token are not shown, and no worker that was started before with other settings
writes any (``db.networks``). So the database has to be there, and to have this release's tables.
"""

from functools import partial
from time import monotonic

import structlog
from sqlalchemy.exc import DBAPIError, ProgrammingError

from config.settings import WorkerSettings
from db.networks import register
from db.session import until_done

log = structlog.get_logger(__name__)

PATIENCE = 60.0
"""Seconds for which a start waits for the database. Then the process ends, and whoever supervises it starts another."""


def register_networks(settings: WorkerSettings, patience: float = PATIENCE) -> None:
    """Register each network that has a node. Ends the process with a sentence where that cannot be done."""
    deadline = monotonic() + patience
    for network in settings.networks:
        try:
            registered = until_done(partial(register, chain=settings.chain(network)), deadline)
        except ProgrammingError as error:
            raise SystemExit(
                f"The database refuses to note what is read of {network} ({type(error.orig).__name__}): run `alembic"
                " upgrade head`, which makes the tables and gives the worker its rights on them."
            ) from None
        except DBAPIError as error:
            raise SystemExit(
                f"The database is out of reach ({type(error.orig).__name__}): what is read of {network} has to be noted"
                " there before the first read. `celery -A worker check` says more."
            ) from None
        if registered.changed:
            log.warning("source_changed", network=network, before=str(registered.before), now=str(registered.now))
