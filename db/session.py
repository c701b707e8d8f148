"""One engine per process, and ``transaction()``: the only place that commits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, TypeVar

import structlog
from psycopg import Error
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from config.settings import database_settings

T = TypeVar("T")

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT = 5  # seconds
OPTIONS = {
    "statement_timeout": 15_000,  # milliseconds; the longest statement, a bulk write, takes well below a second
    "lock_timeout": 10_000,  # milliseconds
    # A plan made for one batch's numbers and the table's statistics of the moment is at times one that compares every
    # wallet with every row. Made for any numbers it looks rows up by their keys (docs/decisions/0015).
    "plan_cache_mode": "force_generic_plan",
    "enable_memoize": "off",  # no wallet is looked up twice in a batch
}


@cache
def engine() -> Engine:
    """The process's engine. Connects at first use; a forked child must make its own (``worker.app``)."""
    url = make_url(database_settings().database_url.get_secret_value()).set(drivername="postgresql+psycopg")
    return create_engine(
        url,
        pool_size=2,
        max_overflow=0,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "application_name": "balance-sync",
            "options": " ".join(f"-c {name}={value}" for name, value in OPTIONS.items()),
        },
    )


@contextmanager
def transaction() -> Iterator[Connection]:
    """A connection in a transaction that commits at the end of the block, or rolls back when it raises."""
    with engine().begin() as connection:
        try:
            yield connection
        except BaseException:
            _break_off(connection)
            raise


def twice(work: Callable[[Connection], T]) -> T:
    """What `work` gives in a transaction, which is done once more when the database broke it off: by a deadlock with
    somebody's change of several wallets, or with the connection. For work that does no harm twice.
    """
    try:
        with transaction() as connection:
            return work(connection)
    except OperationalError as error:
        log.warning("transaction_repeated", error=type(error.orig).__name__)
    with transaction() as connection:
        return work(connection)


def _break_off(connection: Connection) -> None:
    """End a statement that an exception out of a signal left running: its locks would stay, and a rollback fail."""
    if connection.invalidated:
        return
    driver: Any = connection.connection.driver_connection
    if driver.info.transaction_status == TransactionStatus.ACTIVE:
        with suppress(Error):
            driver.cancel_safe(timeout=CONNECT_TIMEOUT)
        connection.invalidate()


def applied_schema() -> str | None:
    """The version of the schema that the database has. None: it has none."""
    with transaction() as connection:
        if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
            return None
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return found


def clock(connection: Connection) -> float:
    """The database's time just now, in unix seconds."""
    return float(connection.execute(text("SELECT date_part('epoch', clock_timestamp())")).scalar_one())
