"""Steps of a migration on tables that are in use: each waits for a lock for a moment only, and is tried again.

Whoever waits for a lock has everybody else wait behind him, and the endpoint gives up after two seconds. So a step that
does not get its lock within ``lock_timeout`` lets everybody pass and asks again. Steps are called in an
``autocommit_block``: each is a transaction of its own, and can be done again after the migration was broken off.
"""

from time import sleep

import structlog
from alembic.util import CommandError
from psycopg.errors import DeadlockDetected, LockNotAvailable, UniqueViolation
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

log = structlog.get_logger(__name__)

LOCK_TIMEOUT = 1000
"""Milliseconds for which a step waits for its lock."""

TRIES = 120
PAUSE = 1.0
"""Seconds between two of them: whoever has waited gets done meanwhile."""

_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%(name)s)"


def step(connection: Connection, statement: str) -> None:
    """Run a statement that locks a table for a moment, again and again until it gets the lock."""
    connection.exec_driver_sql(f"SET lock_timeout = {LOCK_TIMEOUT}")
    for tries in range(1, TRIES + 1):
        try:
            connection.exec_driver_sql(statement)
        except DBAPIError as error:
            if not isinstance(error.orig, LockNotAvailable | DeadlockDetected):
                raise
            log.warning("migration_waits", tries=tries, statement=statement.strip().splitlines()[0])
        else:
            return
        sleep(PAUSE)
    raise CommandError(
        f"{statement.strip()} got no lock in {TRIES} tries: some transaction keeps the table for long (see"
        " pg_stat_activity). What is done so far does no harm: end that transaction, and run alembic upgrade again"
    )


def long_step(connection: Connection, statement: str) -> None:
    """Run a statement that goes through a table, and that nobody waits for: VALIDATE, or an index CONCURRENTLY."""
    connection.exec_driver_sql("SET lock_timeout = 0")  # it waits for older transactions, and nobody waits behind it
    connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"SET lock_timeout = {LOCK_TIMEOUT}")


def add_constraint(connection: Connection, table: str, name: str, rule: str) -> None:
    """Add a constraint to a table, unless it is there: first for what is written from now on, then for all rows."""
    there = f"SELECT FROM pg_constraint WHERE conname = '{name}' AND conrelid = '{table}'::regclass"
    add = f"ALTER TABLE {table} ADD CONSTRAINT {name} {rule} NOT VALID"
    step(connection, f"DO $$ BEGIN IF NOT EXISTS ({there}) THEN {add}; END IF; END $$")
    long_step(connection, f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


def replace_unique_index(connection: Connection, table: str, name: str, columns: str, *, twice: str) -> None:
    """Put a unique index of other columns in the place of one, without a moment in which there is none.

    `twice`: how a person is told of rows that the new one does not allow.
    """
    new = f"{name}_new"
    if not connection.exec_driver_sql(_VALID, {"name": new}).scalar_one_or_none():
        long_step(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {new}")  # an attempt that was broken off leaves one
        try:
            long_step(connection, f"CREATE UNIQUE INDEX CONCURRENTLY {new} ON {table} ({columns})")
        except DBAPIError as error:
            if not isinstance(error.orig, UniqueViolation):
                raise
            long_step(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {new}")
            raise CommandError(f"{twice} {error.orig.diag.message_detail}") from None
    long_step(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    step(connection, f"ALTER INDEX {new} RENAME TO {name}")
