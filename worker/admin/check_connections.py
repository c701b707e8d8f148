"""Whether the database that DATABASE_URL names is what a process can work with. I/O.

Each look connects as the process does that needs it, by the same code, and tries what that process does.
"""

import asyncio
from collections.abc import Iterator

from sqlalchemy import Connection

from db.reasons import reason
from db.server_facts import facts, troubles
from worker.admin.finding import Finding

ENDPOINT_SECONDS = 10.0


def postgres(connection: Connection) -> Iterator[Finding]:
    """What of a database that answers is not as it must be, or not as it should be."""
    for trouble in troubles(facts(connection)):
        yield Finding("database", trouble.detail, trouble.to_do, warning=trouble.warning)


def endpoints_way(url: str) -> Iterator[Finding]:
    """Whether the endpoint's driver reaches the database too: it is another than the worker's."""
    import asyncpg  # the other commands do without this driver

    from db.endpoint_connections import Connector

    async def connect() -> None:
        async with asyncio.timeout(ENDPOINT_SECONDS):
            connection = await Connector(url, {}, "balance-sync-check").connect()
        connection.terminate()

    try:
        asyncio.run(connect())
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
        yield Finding("database", f"out of the endpoint's reach: {reason(error)}", "correct DATABASE_URL")
