"""The database: tables, queries, migrations. Knows no chain and no Celery; imports only ``config``."""
