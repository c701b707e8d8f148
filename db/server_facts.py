"""What kind of server the database is, for ``celery -A worker check``."""

from typing import NamedTuple

from sqlalchemy import Connection, text

_FACTS = text("""
SELECT current_setting('server_version_num')::integer,
       current_setting('server_encoding'),
       current_setting('transaction_read_only')::boolean,
       pg_is_in_recovery()
""")


class Facts(NamedTuple):
    """`version` is 140005 for 14.5."""

    version: int
    encoding: str
    read_only: bool
    replica: bool


def facts(connection: Connection) -> Facts:
    """One statement."""
    return Facts(*connection.execute(_FACTS).one())
