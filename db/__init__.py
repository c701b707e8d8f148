"""The database: tables, queries, migrations. Knows no chain and no Celery; imports only ``config``."""

SCHEMA_VERSION = "0008"
"""The newest migration: what ``/readyz`` expects to find in ``alembic_version``."""


def schema_serves(version: str | None) -> bool:
    """Whether this release works on a schema; None: there is none. A newer one has all that this code needs: a release
    adds first, and takes away in a later one.
    """
    return version is not None and version >= SCHEMA_VERSION
