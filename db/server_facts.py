"""What kind of server the database is, and what of it no process can work with, or should not. Pure but for `facts`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # the endpoint asks for these facts too, and does without SQLAlchemy
    from sqlalchemy import Connection

OLDEST = 140_000  # of PostgreSQL, as server_version_num has it

FACTS = """
SELECT current_setting('server_version_num')::integer,
       current_setting('server_encoding'),
       current_setting('transaction_read_only')::boolean,
       pg_is_in_recovery(),
       to_regclass('alembic_version') IS NOT NULL
"""


class Facts(NamedTuple):
    """`version` is 140005 for 14.5; `migrated` is whether migrations have run there at all."""

    version: int
    encoding: str
    read_only: bool
    replica: bool
    migrated: bool


class Trouble(NamedTuple):
    """What is not as it should be, and what to do. `warning`: processes work all the same."""

    detail: str
    to_do: str
    warning: bool = False

    @property
    def sentence(self) -> str:
        """For a log, or for a process's last words."""
        return f"DATABASE_URL: the database is {self.detail}: {self.to_do}"


def facts(connection: "Connection") -> Facts:
    """One statement."""
    return Facts(*connection.exec_driver_sql(FACTS).one())


def troubles(of: Facts) -> Iterator[Trouble]:
    """What is wrong with such a server."""
    if of.version < OLDEST:
        yield Trouble(f"PostgreSQL {of.version // 10_000}", "use PostgreSQL 14 or later")
    if of.replica or of.read_only:
        what = "a replica" if of.replica else "one that takes no writes"
        yield Trouble(what, "name the primary in DATABASE_URL, or all hosts and target_session_attrs=read-write")
    if of.encoding == "SQL_ASCII":
        to_do = "make it anew with ENCODING 'UTF8': PostgreSQL checks no text in it"
        yield Trouble(f"of encoding {of.encoding}", to_do, warning=True)
