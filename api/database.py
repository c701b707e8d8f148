"""The endpoint's connections to Postgres: asyncpg's pool, with the bounds and the second try that it lacks.

asyncpg prepares each statement once on each connection and sends one message a request. Its defaults suit a program
that changes its connections' state; the endpoint's statements each stand alone and are safe to repeat.
"""

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final

import asyncpg
from asyncpg.exceptions import (
    AdminShutdownError,
    CrashShutdownError,
    DuplicatePreparedStatementError,
    FeatureNotSupportedError,
    InvalidSQLStatementNameError,
    PostgresConnectionError,
    ReadOnlySQLTransactionError,
)
from asyncpg.pool import PoolConnectionProxy

from config.settings import ApiSettings
from db.endpoint_connections import Connector

APPLICATION_NAME: Final = "balance-sync-api"
CANCEL_SECONDS: Final = 2.0
"""For which the server may take to hear that nobody waits for a statement any more; then its connection is closed."""
WAITING_PER_CONNECTION: Final = 50
"""Requests. Whoever comes when as many wait for a connection is told at once to come again."""
TRIES: Final = 3

UNAVAILABLE: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What `Database.rows` raises: the server's errors, the driver's, and those of the way to the server."""

_LOST: Final = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server's last word came just as the next statement was sent
    PostgresConnectionError,
    AdminShutdownError,
    CrashShutdownError,
    ConnectionError,
    ReadOnlySQLTransactionError,  # the server has become a replica since the connection was made
    # A pooler has lent another server connection, which lacks the statement or has it from somebody else.
    InvalidSQLStatementNameError,
    DuplicatePreparedStatementError,
    # A prepared statement whose tables have changed: "cached plan must not change result type".
    FeatureNotSupportedError,
)

MISTAKES: Final = (
    asyncpg.SyntaxOrAccessError,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    ValueError,
)
"""What is wrong with a statement or its values: a fault of ours, which no other connection would mend."""


class NoConnectionFree(TimeoutError):
    """Others have used all connections for as long as one may wait for one, or too many wait already."""


class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg publishes no types
    """A connection whose prepared statements have names that no other process gives.

    asyncpg counts them from one in each process. Behind a pooler that lends a server's connection to several
    processes, the name of one would be another's statement.
    """

    _process = secrets.token_hex(8)
    _numbers = count()

    def _get_unique_id(self, prefix: str) -> str:
        return f"{prefix}_{self._process}_{next(self._numbers)}"


class Statement:
    """A statement with parameters ``%(name)s``, as psycopg and the worker have them, each with a cast to its type."""

    def __init__(self, text: str) -> None:
        self.parameters: list[str] = []
        self.text = re.sub(r"%\((\w+)\)s", self._numbered, text)
        """With ``$1`` for the first of the parameters."""

    def _numbered(self, found: re.Match[str]) -> str:
        if found[1] not in self.parameters:
            self.parameters.append(found[1])
        return f"${self.parameters.index(found[1]) + 1}"

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """The values in the order of the parameters."""
        return [values[name] for name in self.parameters]


class Database:
    """Connections that commit each statement by itself. One pool per process; made within an event loop."""

    def __init__(self, settings: ApiSettings) -> None:
        self._seconds = settings.api_database_timeout
        self._most = settings.api_pool_max * WAITING_PER_CONNECTION
        self._waiting = 0
        self._first = settings.api_pool_min
        self._background: set[asyncio.Task[Any]] = set()
        # A plan for each user would be the same plan, at half the statement's cost.
        limit = round(self._seconds * 1000)  # milliseconds
        session = {"statement_timeout": limit, "plan_cache_mode": "force_generic_plan", "timezone": "UTC"}
        self._connector = Connector(settings.database_url.get_secret_value(), session, APPLICATION_NAME)
        self._pool = asyncpg.create_pool(
            connect=self._connector.connect,
            connection_class=Connection,
            min_size=0,  # with more it would not start while the database is away
            max_size=settings.api_pool_max,
            max_queries=10**9,  # no connection is given up for its age
            reset=_nothing,  # there is nothing to undo after these statements, and it would be a second round trip
            command_timeout=CANCEL_SECONDS,  # of what has no time-out of its own: to tell the server to cancel
        )

    async def open(self) -> None:
        """Begin to connect. The database may be away: whoever asks for rows connects then."""
        await self._pool
        for _ in range(self._first):
            self._later(self._connect())

    async def close(self) -> None:
        """Wait for nobody."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._pool.terminate()

    async def rows(self, statement: Statement, values: Mapping[str, object], seconds: float) -> list[asyncpg.Record]:
        """The rows for these values. One round trip, but for a connection's first.

        Raises UNAVAILABLE: TimeoutError when there is no answer within `seconds`, or no connection within
        API_DATABASE_TIMEOUT. Who is cancelled stops at once, and so does the statement.
        """
        arguments = statement.arguments(values)
        for tries_left in reversed(range(TRIES)):
            connection = await self._acquired()
            try:
                rows = await self._rows_of(connection, statement.text, arguments, seconds)
            except BaseException as error:
                # The server may take its time to cancel the statement: nobody waits for that.
                self._later(self._pool.release(connection, timeout=CANCEL_SECONDS))
                if not (tries_left and is_lost(error)):
                    raise
                # Closed while nobody used it, or out of date; the others of the pool may be so too.
                await self._pool.expire_connections()
            else:
                await self._pool.release(connection)
                return rows
        raise AssertionError("the last try returns or raises")

    async def _rows_of(
        self, connection: PoolConnectionProxy, text: str, arguments: Sequence[object], seconds: float
    ) -> list[Any]:
        rows: list[Any]
        if not self._connector.pooled:
            rows = await connection.fetch(text, *arguments, timeout=seconds)
            return rows
        async with asyncio.timeout(seconds), connection.transaction():
            await connection.execute(self._connector.in_transaction())
            rows = await connection.fetch(text, *arguments)
            return rows

    async def _acquired(self) -> PoolConnectionProxy:
        if self._waiting >= self._most:
            raise NoConnectionFree
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):  # the pool's own would begin a task for it
                return await self._pool.acquire()
        except TimeoutError:
            raise NoConnectionFree from None
        finally:
            self._waiting -= 1

    async def _connect(self) -> None:
        await self._pool.release(await self._acquired())

    def _later(self, work: Any) -> None:
        """Do it in the background; that it failed matters to nobody, for the pool makes another connection."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()


def is_lost(error: BaseException) -> bool:
    """Whether a connection is of no use any more, and another one may be."""
    return isinstance(error, _LOST) and not isinstance(error, ValueError)


async def _nothing(_: object) -> None:
    pass
