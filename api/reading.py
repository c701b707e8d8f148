"""The endpoint's own way to the database: connections, the one statement, and the bounds of both."""

from datetime import datetime
from time import perf_counter
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from api.conditional import Copies
from api.limits import Bound
from api.parameters import Parameters
from api.problems import Problem, unavailable
from api.refresh import Refresher
from config.database import connection_parameters
from config.settings import ApiSettings
from db.prepared import Connection, Pool, array
from db.user_balances import SCHEMA_VERSION_APPLIED, USER_BALANCES, USER_BALANCES_IN_FULL, WalletRow

log = structlog.get_logger(__name__)

WAITING_PER_CONNECTION = 50  # requests; whoever comes when as many wait is told to come again
GRACE = 0.5  # seconds that the server has to say that it gave a statement up; one that hangs says nothing


class Found(NamedTuple):
    """What was found for a request: the tag of it all, and the rows to show, if the client has no copy of them."""

    tag: int
    rows: list[WalletRow]
    asked_at: datetime | None = None
    """When this request asked for a read, if it did."""
    beyond: Bound | None = None
    """The bound of the day's refreshes that kept it from asking."""


class Reading:
    """Reads users' balances. One per process."""

    def __init__(self, settings: ApiSettings, pool: Pool, refresher: Refresher) -> None:
        self._pool, self._refresher = pool, refresher
        self._patience = settings.api_database_timeout + GRACE
        active, idle = settings.sync_interval_active, settings.sync_interval_idle
        self._intervals = {
            "patience": f"{active:f} s".encode(),
            "oldest": f"{idle + active:f} s".encode(),
            "deadline": f"{settings.refresh_deadline:f} s".encode(),
        }

    async def read(self, user_id: UUID, parameters: Parameters, copies: Copies | None, told: dict[str, Any]) -> Found:
        """What there is for a request; one statement, unless wallets have to be read from their chain for it.

        Raises Problem: 503.
        """
        try:
            found = await self._rows(user_id, parameters, copies, told)
            # Nobody waits for a network that is out, and no row is written for that: it is read when it is back.
            here = [row for row in found.rows if row.out_since is None]
            awaited = [row.wallet_id for row in here if row.awaited]
            wanted = [row.wallet_id for row in here if row.awaited or (parameters.refresh and not row.hopeless)]
            if wanted:
                of_user = user_id if len(wanted) > len(awaited) else None  # a first view is nobody's refresh
                asked_at, beyond = await self._refresher.read_now(wanted, of_user=of_user, anyway=awaited)
                found = (await self._rows(user_id, parameters, copies, told))._replace(asked_at=asked_at, beyond=beyond)
        except (psycopg.OperationalError, psycopg.InternalError, TimeoutError) as error:
            raise _unavailable(error) from error  # the second: a primary that has become a replica takes no request
        late = [row.wallet_id for row in found.rows if row.overdue and row.out_since is None]
        if overdue := late if found.asked_at is None else []:
            self._refresher.ask_in_background(overdue)
        return found

    async def schema_version(self) -> str | None:
        """The version of the schema that the database has. Raises Problem: 503."""
        try:
            rows = await SCHEMA_VERSION_APPLIED.rows(self._pool, {}, self._patience)
        except (psycopg.Error, TimeoutError) as error:
            raise _unavailable(error) from error
        return str(rows[0][0]) if rows else None

    async def _rows(self, user_id: UUID, parameters: Parameters, copies: Copies | None, told: dict[str, Any]) -> Found:
        values = {
            **self._intervals,
            "user_id": user_id.hex.encode(),
            "networks": array(parameters.networks),
            "tags": copies.array() if copies else b"{}",
        }
        began = perf_counter()
        try:
            statement = USER_BALANCES_IN_FULL if parameters.detail == "full" else USER_BALANCES
            rows = await statement.rows(self._pool, values, self._patience)
        finally:
            told["sql_ms"] = told.get("sql_ms", 0) + round((perf_counter() - began) * 1000, 1)
        return Found(rows[0][0] if rows else 0, [WalletRow(*row[1:]) for row in rows])


def _unavailable(error: Exception) -> Problem:
    log.warning("database_unavailable", error=type(error).__name__)
    return unavailable()


def database_pool(settings: ApiSettings) -> Pool:
    """Connections that commit each statement by itself. Opens none yet."""
    limit = round(settings.api_database_timeout * 1000)  # milliseconds
    # A plan for each user would be the same plan, at half the statement's cost.
    session = {"statement_timeout": limit, "plan_cache_mode": "force_generic_plan", "timezone": "UTC"}
    return AsyncConnectionPool(
        connection_class=Connection,
        min_size=settings.api_pool_min,
        max_size=settings.api_pool_max,
        max_waiting=settings.api_pool_max * WAITING_PER_CONNECTION,
        timeout=settings.api_database_timeout,
        # Its pauses between two tries double, and would come to last as long as an outage. Once it has given up, the
        # next request has it try at once.
        reconnect_timeout=settings.api_database_timeout,
        open=False,
        kwargs={
            **connection_parameters(settings.database_url.get_secret_value(), session),
            "autocommit": True,
            "connect_timeout": 2,
            "application_name": "balance-sync-api",
        },
    )
