"""A statement on the driver's own connections, without its cursors.

What the driver does for a cursor costs the endpoint twice what its query costs it. Here one statement is prepared once
on each connection, sent, and waited for: the same protocol, the same types, the same errors. And whoever stops waiting
stops at once, however long the server takes: the connection is given up instead, and what runs there is cancelled.
"""

import asyncio
import re
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg_pool import AsyncConnectionPool

CANCEL_SECONDS = 2.0  # for which the server may take to hear that nobody waits for an answer any more

LOOK_SECONDS = 0.1  # after which an answer that did not come is looked for
UNUSED = 0.5  # seconds after which a connection is looked at before it is used
SHUTDOWN = "57P"  # the SQLSTATEs with which a server closes connections
# Those with which it says that a prepared statement is not what it was: its tables have changed, it is gone, or
# somebody else had prepared it, before a pooler lent the connection again.
STALE = frozenset({"0A000", "26000", "42P05"})

_GOOD = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


class _Known:
    """What is known of one connection: the statements that it has prepared, how its types are read, its last use."""

    __slots__ = ("statements", "transformer", "used_at")

    def __init__(self, connection: "Connection") -> None:
        self.statements: set[bytes] = set()
        self.transformer = Transformer(connection)
        self.used_at = 0.0


class Connection(psycopg.AsyncConnection[Any]):
    """A connection that carries what is known of it, so that the two go together when it is given up."""

    known: _Known | None = None


Pool = AsyncConnectionPool[Connection]

_abandoned: set[asyncio.Task[None]] = set()


def array(items: Iterable[object]) -> bytes:
    """An array in Postgres' notation, of what needs no quotes there."""
    return ("{" + ",".join(map(str, items)) + "}").encode()


class Prepared:
    """A statement with parameters ``%(name)s``, each of them with a cast that says its type."""

    def __init__(self, name: str, statement: str) -> None:
        self._name = name.encode()
        self.parameters: list[str] = []
        self.text = re.sub(r"%\((\w+)\)s", self._numbered, statement)
        """With ``$1`` for the first of the parameters."""

    def _numbered(self, found: re.Match[str]) -> str:
        if found[1] not in self.parameters:
            self.parameters.append(found[1])
        return f"${self.parameters.index(found[1]) + 1}"

    async def rows(self, pool: Pool, values: Mapping[str, bytes | None], seconds: float) -> list[tuple[Any, ...]]:
        """The rows for these values, each in Postgres' own text form. One round trip, but for a connection's first.

        Raises TimeoutError when there is no answer within `seconds`, and psycopg.Error: for what the server says, and
        when no connection is free in the time that the pool has for it.
        """
        for _ in range(pool.max_size):
            # Closed just as it was used, or out of date, as others of the pool may be; each is given up, so that there
            # is an end of them. Asking again does no harm.
            with suppress(_Lost):
                return await self._rows(*await _alive(pool), pool, values, seconds)
        return await self._rows(*await _alive(pool), pool, values, seconds)

    async def _rows(
        self,
        connection: Connection,
        known: _Known,
        pool: Pool,
        values: Mapping[str, bytes | None],
        seconds: float,
    ) -> list[tuple[Any, ...]]:
        try:
            result = await self._execute(connection.pgconn, known, values, seconds)
            known.transformer.set_pgresult(result)
            rows = known.transformer.load_rows(0, result.ntuples, tuple)
        except (asyncio.CancelledError, TimeoutError):
            _abandon(_cancel(pool, connection))
            raise
        except psycopg.errors.QueryCanceled:
            await pool.putconn(connection)
            raise
        except psycopg.Error as error:
            # Lost, or with a statement whose tables have changed under it: a new one has neither.
            said = error.diag.sqlstate  # None: it is not the server that said so
            await _give_up(pool, connection)
            if said is None or said.startswith(SHUTDOWN) or said in STALE:
                raise _Lost(str(error)) from error
            raise
        await pool.putconn(connection)
        return rows

    async def _execute(
        self, line: PGconn, known: _Known, values: Mapping[str, bytes | None], seconds: float
    ) -> PGresult:
        if self._name not in known.statements:
            line.send_prepare(self._name, self.text.encode())
            await _result(line, seconds)
            known.statements.add(self._name)
        line.send_query_prepared(self._name, [values[name] for name in self.parameters])
        return await _result(line, seconds)


class _Lost(psycopg.OperationalError):
    """The server closed the connection, or the statement is no longer what was prepared on it."""


async def _alive(pool: Pool) -> tuple[Connection, _Known]:
    """A connection, and not one that the server has closed while nobody used it: that shows when it is read from."""
    now = monotonic()
    while True:
        connection = await pool.getconn()
        known = connection.known = connection.known or _Known(connection)
        try:
            if now - known.used_at > UNUSED:
                connection.pgconn.consume_input()
        except psycopg.OperationalError:
            await _give_up(pool, connection)
        else:
            known.used_at = now
            return connection, known


async def _result(line: PGconn, seconds: float) -> PGresult:
    """What the server says to what was sent last. Raises psycopg.Error, TimeoutError."""
    result = await _Answer(line).wait(seconds)
    if result.status not in _GOOD:
        raise psycopg.errors.error_from_result(result)
    return result


class _Answer:
    """The answer to one message, as it comes in; what the socket has no room for is sent before.

    A message of thousands of ids is larger than the buffers of many a connection. While it is on its way the server is
    read from too, as libpq asks: it may not take more before it has been heard.
    """

    __slots__ = ("_deadline", "_done", "_line", "_loop", "_results", "_timer", "_unsent")

    def __init__(self, line: PGconn) -> None:
        self._line, self._loop = line, asyncio.get_running_loop()
        self._done: asyncio.Future[PGresult] = self._loop.create_future()
        self._results: list[PGresult] = []
        self._unsent = False

    async def wait(self, seconds: float) -> PGresult:
        """Raises psycopg.Error, TimeoutError."""
        self._unsent = bool(self._line.flush())
        # A connection that is lost as it is sent to may have its last word, and nothing more will come.
        self._take()
        if self._done.done():
            return self._done.result()
        socket = self._line.socket
        self._deadline = self._loop.time() + seconds
        self._loop.add_reader(socket, self._arrived)
        if self._unsent:
            self._loop.add_writer(socket, self._arrived)
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)
        try:
            return await self._done
        finally:
            self._timer.cancel()
            self._loop.remove_reader(socket)
            if self._unsent:
                self._loop.remove_writer(socket)

    def _look(self) -> None:
        """An event loop need not tell of a connection that was reset, and a server that hangs tells nothing."""
        self._arrived()
        if not self._done.done():
            if self._loop.time() >= self._deadline:
                self._done.set_exception(TimeoutError())
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def _arrived(self) -> None:
        """Something has come in, or there is room for more to be sent."""
        if self._done.done():
            return
        try:
            self._line.consume_input()
            if self._unsent and not self._line.flush():
                self._unsent = False
                self._loop.remove_writer(self._line.socket)
            self._take()
        except Exception as error:  # noqa: BLE001  it is raised where it is waited for
            self._done.set_exception(error)

    def _take(self) -> None:
        """What has come in so far."""
        while not self._line.is_busy():
            result = self._line.get_result()
            if result is None:
                if not self._results:
                    raise psycopg.OperationalError("there is no answer")
                self._done.set_result(self._results[-1])
                return
            self._results.append(result)


async def _cancel(pool: Pool, connection: Connection) -> None:
    """Tell the server that nobody waits, within a bound, and give the connection up: the pool makes another."""
    with suppress(psycopg.Error, OSError):
        await connection.cancel_safe(timeout=CANCEL_SECONDS)
    await _give_up(pool, connection)


async def _give_up(pool: Pool, connection: Connection) -> None:
    """The pool makes another. Nothing is left of this one: what is known of a connection refers to it too."""
    connection.known = None
    await connection.close()
    await pool.putconn(connection)


def _abandon(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    _abandoned.add(task)
    task.add_done_callback(_abandoned.discard)
