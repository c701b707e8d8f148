"""What Postgres knows of the wallets: one statement over the tables, bounded on the server and here. I/O."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from threading import Event, Timer
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from config.networks import NetworkName
from db.freshness_queries import NetworkFreshness, freshness
from db.session import transaction

STATEMENTS = 2  # of a pass that take long: the second one is for tables of which the first one cannot be sure
HUNG_AFTER = 5.0  # seconds beyond the server's own bound, after which its connection is given up


class GivenUp(SQLAlchemyError):
    """The database did not answer, and its connection was given up."""


def look(grace: timedelta, timeout: float) -> dict[NetworkName, NetworkFreshness]:
    """All that is known in Postgres, within `timeout` seconds for a statement. Raises SQLAlchemyError.

    `grace`: what is due for longer than this is overdue.
    """
    with bounded_transaction(STATEMENTS * timeout + HUNG_AFTER) as connection:
        return {each.network: each for each in freshness(connection, grace=grace, timeout=round(timeout * 1000))}


@contextmanager
def bounded_transaction(seconds: float) -> Iterator[Connection]:
    """A transaction, its end among it, that is given up with its connection after so many seconds. Raises GivenUp."""
    with ExitStack() as until_ended, transaction() as connection:
        until_ended.enter_context(given_up_after(connection, seconds))
        yield connection


@contextmanager
def given_up_after(connection: Connection, seconds: float) -> Iterator[None]:
    """End a connection whose server does not answer at all: that one bounds no statement either, and a machine that
    is gone says nothing, for hours. The driver takes that for the server's doing: hence GivenUp in place of its error.
    """
    driver: Any = connection.connection.driver_connection
    given_up = Event()
    timer = Timer(seconds, _end, [driver.fileno(), given_up])
    timer.daemon = True
    timer.start()
    try:
        yield
    except SQLAlchemyError as error:
        if given_up.is_set():
            raise GivenUp(f"timeout after {seconds:g} s") from error
        raise
    finally:
        timer.cancel()


def _end(descriptor: int, given_up: Event) -> None:
    """Shut a connection's socket, which whoever waits at it notices."""
    given_up.set()
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as found:
        found.shutdown(socket.SHUT_RDWR)
