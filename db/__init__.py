"""The database: tables, queries, migrations. Knows no chain and no Celery; imports only ``config``."""

SCHEMA_VERSION = "0007"
"""The newest migration: what ``/readyz`` expects to find in ``alembic_version``."""
