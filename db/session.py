"""One engine per process, and ``transaction()``: the only place that commits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from threading import Lock
from time import monotonic, sleep
from typing import Any, TypeVar

import structlog
from psycopg import Error
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError

from config.settings import database_settings
from db.sessions import Sessions

T = TypeVar("T")

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT = 5  # seconds
PAUSES = (0.05, 2.0)  # seconds between two tries to write: the first, and the longest, to which it doubles
OPTIONS = {
    "statement_timeout": 15_000,  # milliseconds; the longest statement, a bulk write, takes well below a second
    # Milliseconds. What our own statements lock they lock for less; whoever locks rows for long is passed over.
    "lock_timeout": 1_000,
    # A worker that is stopped in the middle of a claim holds up its network's others for so long at the most.
    "idle_in_transaction_session_timeout": 15_000,
    # A plan made for one batch's numbers and the table's statistics of the moment is at times one that compares every
    # wallet with every row. Made for any numbers it looks rows up by their keys (docs/decisions/0020).
    "plan_cache_mode": "force_generic_plan",
    "enable_memoize": "off",  # no wallet is looked up twice in a batch
}


_one_thread = Lock()


def engine() -> Engine:
    """The process's engine. Connects at first use; a forked child must make its own (``worker.app``)."""
    with _one_thread:  # two that began together would each make one
        return _made()


def forget_engine() -> None:
    """Have the next use make a new one. Closes nothing: a forked child's connections are its parent's."""
    _made.cache_clear()


@cache
def _made() -> Engine:
    made = create_engine(
        "postgresql+psycopg://",
        pool_size=2,
        max_overflow=0,
        hide_parameters=True,  # customers' balances
    )
    Sessions(database_settings().database_url.get_secret_value(), OPTIONS, CONNECT_TIMEOUT).listen(made)
    event.listen(made, "checkout", _still_there)
    event.listen(made, "handle_error", _lost_when_read_only)
    return made


def _still_there(connection: Any, *_: object) -> None:
    """Before each use, without a round trip: a server that has ended the connection has said so by now."""
    try:
        connection.pgconn.consume_input()  # its last words
        connection.pgconn.consume_input()  # and the end
    except Error:
        raise DisconnectionError from None


def _lost_when_read_only(context: ExceptionContext) -> None:
    """A primary that has become a replica keeps its connections. A new one leads to the new primary."""
    if isinstance(context.original_exception, ReadOnlySqlTransaction):
        context.is_disconnect = True


@contextmanager
def transaction() -> Iterator[Connection]:
    """A connection in a transaction that commits at the end of the block, or rolls back when it raises."""
    with engine().begin() as connection:
        try:
            yield connection
        except BaseException:
            _break_off(connection)
            raise


def until_done(work: Callable[[Connection], T], deadline: float) -> T:
    """What `work` gives in a transaction, which is done anew for as long as the database breaks it off: by a deadlock
    with somebody's change of several wallets, a lock that it waited for in vain, or with the connection, as in a
    failover. For work that does no harm when it is done again.

    `deadline` is a moment of the monotonic clock. Past it, and for any other error, raises what SQLAlchemy raises.
    """
    pause = PAUSES[0]
    while True:
        try:
            with transaction() as connection:
                return work(connection)
        except DBAPIError as error:
            passing = isinstance(error, OperationalError) or error.connection_invalidated
            if not passing or monotonic() + pause > deadline:
                raise
            log.warning("transaction_repeated", error=type(error.orig).__name__)
        sleep(pause)
        pause = min(pause * 2, PAUSES[1])


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
        return applied_schema_of(connection)


def applied_schema_of(connection: Connection) -> str | None:
    """The same on this connection."""
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def clock(connection: Connection) -> float:
    """The database's time just now, in unix seconds."""
    return float(connection.execute(text("SELECT date_part('epoch', clock_timestamp())")).scalar_one())
