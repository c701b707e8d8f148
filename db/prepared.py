"""A statement on the driver's own connections, without its cursors.

What the driver does for a cursor costs the endpoint twice what its query costs it. Here one statement is prepared once
on each connection, sent, and waited for: the same protocol, the same types, the same errors. And whoever stops waiting
stops at once, however long the server takes: the connection is given up instead, and what runs there is cancelled.
"""

import asyncio
import re
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg_pool import AsyncConnectionPool

Pool = AsyncConnectionPool[Any]
Connection = psycopg.AsyncConnection[Any]

CANCEL_SECONDS = 2.0  # for which the server may take to hear that nobody waits for an answer any more

_GOOD = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)
_prepared: WeakKeyDictionary[Connection, set[bytes]] = WeakKeyDictionary()
_abandoned: set[asyncio.Task[None]] = set()


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

    async def rows(self, pool: Pool, values: Mapping[str, bytes | None]) -> list[tuple[Any, ...]]:
        """The rows for these values, each in Postgres' own text form. One round trip, but for a connection's first.

        Raises psycopg.Error: for what the server says, and when no connection is free in time.
        """
        connection = await pool.getconn()
        try:
            result = await self._execute(connection, values)
        except asyncio.CancelledError:
            _abandon(_cancel(pool, connection))
            raise
        except psycopg.errors.QueryCanceled:
            await pool.putconn(connection)
            raise
        except BaseException:
            # Lost, or with a statement whose tables have changed under it: a new one has neither.
            await connection.close()
            await pool.putconn(connection)
            raise
        await pool.putconn(connection)
        transformer = Transformer(connection)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)

    async def _execute(self, connection: Connection, values: Mapping[str, bytes | None]) -> PGresult:
        line = connection.pgconn
        known = _prepared.setdefault(connection, set())
        if self._name not in known:
            line.send_prepare(self._name, self.text.encode())
            await _result(line)
            known.add(self._name)
        line.send_query_prepared(self._name, [values[name] for name in self.parameters])
        return await _result(line)


async def _result(line: PGconn) -> PGresult:
    """What the server says to what was sent last. Raises psycopg.Error."""
    if line.flush():  # what is sent here is small: a socket that has no room for it has a server that hangs
        raise psycopg.OperationalError("the server takes nothing more")
    result = await _Answer(line).wait()
    if result.status not in _GOOD:
        raise psycopg.errors.error_from_result(result)
    return result


class _Answer:
    """The answer to one message, as it comes in."""

    def __init__(self, line: PGconn) -> None:
        self._line, self._loop = line, asyncio.get_running_loop()
        self._done: asyncio.Future[PGresult] = self._loop.create_future()
        self._results: list[PGresult] = []

    async def wait(self) -> PGresult:
        socket = self._line.socket
        self._loop.add_reader(socket, self._arrived)
        try:
            return await self._done
        finally:
            self._loop.remove_reader(socket)

    def _arrived(self) -> None:
        if self._done.done():
            return
        try:
            self._line.consume_input()
            while not self._line.is_busy():
                result = self._line.get_result()
                if result is None:
                    self._done.set_result(self._results[-1])
                    return
                self._results.append(result)
        except Exception as error:  # noqa: BLE001  it is raised where it is waited for
            self._done.set_exception(error)


async def _cancel(pool: Pool, connection: Connection) -> None:
    """Tell the server that nobody waits, within a bound, and give the connection up: the pool makes another."""
    with suppress(psycopg.Error, OSError):
        await connection.cancel_safe(timeout=CANCEL_SECONDS)
    await connection.close()
    await pool.putconn(connection)


def _abandon(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    _abandoned.add(task)
    task.add_done_callback(_abandoned.discard)
