"""Alembic's entry: runs each migration in a transaction of its own, one process at a time, and what follows them.

How to write one for a table of ten million rows: nothing that looks at every row may hold a lock that reads wait for. A
constraint is added NOT VALID and validated afterwards, an index made CONCURRENTLY, both in an ``autocommit_block``:
``db.schema_changes`` has the steps.
"""

import structlog
from alembic import context
from psycopg.errors import InsufficientPrivilege, InvalidSchemaName, RaiseException, ReadOnlySqlTransaction
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from config.logging import configure_logging
from config.settings import database_settings
from db import feed_models
from db.claims import limit_wallets
from db.migration_lock import take_the_lock
from db.networks import add_missing
from db.reasons import out_of_reach
from db.rights import grant
from db.schema_changes import LOCK_TIMEOUT
from db.server_facts import facts, troubles
from db.session import CONNECT_TIMEOUT
from db.sessions import Sessions

log = structlog.get_logger(__name__)

# Whoever migrates does it as the tables' owner, if he may: what a migration adds belongs to the same role as what was
# there, and the triggers' functions, which run with their owner's rights, find it theirs.
AS_THE_OWNER = text("""
DO $$
DECLARE
    owner name := coalesce(
        (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('wallets')),
        (SELECT rolname FROM pg_roles WHERE rolname = 'bal_owner' AND pg_has_role(current_user, oid, 'MEMBER')));
BEGIN
    IF owner IS NOT NULL AND owner <> current_user THEN
        IF NOT pg_has_role(current_user, owner, 'MEMBER') THEN
            RAISE EXCEPTION 'the tables belong to %: run alembic as that role (docs/operations.md, Postgres)', owner;
        END IF;
        EXECUTE format('SET ROLE %I', owner);
    END IF;
END $$
""")


def connected(migrating: Engine) -> Connection:
    """Raises SystemExit: the driver's own message names host and user, and neither belongs into a log."""
    try:
        return migrating.connect()
    except OperationalError as error:
        raise SystemExit(out_of_reach(error.orig or error)) from None


def look_at(connection: Connection) -> None:
    """Raises SystemExit where the server is none to migrate on; logs what should not be so."""
    for trouble in troubles(facts(connection)):
        if not trouble.warning:
            raise SystemExit(trouble.sentence)
        log.warning("database_unfit", reason=trouble.sentence)


def become_the_owner(connection: Connection) -> None:
    """Raises SystemExit for a role that is another one and may not."""
    try:
        connection.execute(AS_THE_OWNER)
    except DBAPIError as error:
        if not isinstance(error.orig, RaiseException):
            raise
        raise SystemExit(f"DATABASE_URL: {error.orig.diag.message_primary}") from None


def run() -> None:
    configure_logging(database_settings().log_level, database_settings().log_format)
    # A connection of its own, which takes the lock and the role with it when it closes.
    migrating = create_engine("postgresql+psycopg://", poolclass=NullPool, hide_parameters=True)
    sessions = Sessions(database_settings().database_url.get_secret_value(), {}, CONNECT_TIMEOUT)
    sessions.listen(migrating)
    with connected(migrating) as connection:
        if sessions.pooled:
            raise SystemExit(
                "DATABASE_URL: leads to a pooler, whose next client would be left with the lock and the role of this"
                " migration: migrate by the URL of PostgreSQL itself"
            )
        look_at(connection)
        take_the_lock(connection)
        connection.execute(text(f"SET lock_timeout = {LOCK_TIMEOUT}"))
        become_the_owner(connection)
        connection.commit()
        context.configure(connection=connection, target_metadata=feed_models.metadata, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
        limit_wallets(connection, database_settings().max_wallets_per_user)
        if connection.scalar(text("SELECT to_regclass('networks')")) is not None:
            add_missing(connection, database_settings().known_networks)
        grant(connection)
        connection.commit()


REFUSALS = {
    InsufficientPrivilege: "its role may not make tables in the schema: migrate as bal_owner (db/roles.sql), or"
    " GRANT CREATE ON SCHEMA to it",
    InvalidSchemaName: "its search_path names no schema that there is: CREATE SCHEMA first, or correct it",
    ReadOnlySqlTransaction: "the database takes no writes any more: name the primary",
}
"""What a database may say to a migration because of what DATABASE_URL names."""

try:
    run()
except DBAPIError as refused:
    for kind, words in REFUSALS.items():
        if isinstance(refused.orig, kind):
            raise SystemExit(f"DATABASE_URL: {words}") from None
    raise
