"""Alembic's entry: runs the migrations in one transaction, one process at a time, and what follows each."""

from alembic import context
from sqlalchemy import text

from config.logging import configure_logging
from config.settings import database_settings
from db.models import metadata
from db.rights import grant
from db.session import engine
from db.wallets import limit_wallets

# Any constant will do; it keeps two deployments from migrating at once.
MIGRATION_LOCK = 0x62616C73

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
        EXECUTE format('SET LOCAL ROLE %I', owner);
    END IF;
END $$
""")


def run() -> None:
    configure_logging(database_settings().log_level, database_settings().log_format)
    with engine().connect() as connection:
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            connection.execute(AS_THE_OWNER)
            context.run_migrations()
            limit_wallets(connection, database_settings().max_wallets_per_user)
            grant(connection)


run()
