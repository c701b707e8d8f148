"""Alembic's entry: runs the migrations in one transaction, one process at a time, and what follows each."""

from alembic import context
from sqlalchemy import text

from config.settings import database_settings
from db.models import metadata
from db.rights import grant
from db.session import engine
from db.wallets import limit_wallets

# Any constant will do; it keeps two deployments from migrating at once.
MIGRATION_LOCK = 0x62616C73


def run() -> None:
    with engine().connect() as connection:
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            context.run_migrations()
            limit_wallets(connection, database_settings().max_wallets_per_user)
            grant(connection)


run()
