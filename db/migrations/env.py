"""Alembic's entry: runs the migrations in one transaction, one process at a time."""

from alembic import context
from sqlalchemy import text

from db.models import metadata
from db.session import engine

# Any constant will do; it keeps two deployments from migrating at once.
MIGRATION_LOCK = 0x62616C73


def run() -> None:
    with engine().connect() as connection:
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            context.run_migrations()


run()
