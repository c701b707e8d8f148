"""The endpoint's own way to the database: connections, the one statement, and the bounds of both."""

from datetime import datetime, timedelta
from time import perf_counter
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from api.balances import with_decimals
from api.conditional import Copies
from api.database import MISTAKES, UNAVAILABLE, Database, Statement
from api.limits import Bound
from api.parameters import Parameters
from api.problems import unavailable
from api.refresh import Refresher
from config.settings import ApiSettings
from db.user_balances import SCHEMA_VERSION_APPLIED, USER_BALANCES, USER_BALANCES_IN_FULL, WalletRow

log = structlog.get_logger(__name__)

GRACE = 0.5  # seconds that the server has to say that it gave a statement up; one that hangs says nothing

# By whether detail is asked for.
_USER_BALANCES = {False: Statement(USER_BALANCES), True: Statement(USER_BALANCES_IN_FULL)}
_SCHEMA_VERSION = Statement(SCHEMA_VERSION_APPLIED)


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

    def __init__(self, settings: ApiSettings, database: Database, refresher: Refresher) -> None:
        self._database, self._refresher = database, refresher
        self._decimals = {
            name: (settings.usdt_decimals(name), settings.native_decimals(name)) for name in settings.known_networks
        }
        self._patience = settings.api_database_timeout + GRACE
        active = settings.sync_interval_active
        self._intervals = {
            "patience": timedelta(seconds=active),
            "oldest": timedelta(seconds=settings.longest_interval + active),
            "deadline": timedelta(seconds=settings.refresh_deadline),
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
        except UNAVAILABLE as error:  # a primary that has become a replica, which takes no request, is one of them
            raise _unavailable(error) from error
        late = [row.wallet_id for row in found.rows if row.overdue and row.out_since is None]
        if overdue := late if found.asked_at is None else []:
            self._refresher.ask_in_background(overdue)
        return found

    async def schema_version(self) -> str | None:
        """The version of the schema that the database has. Raises Problem: 503."""
        try:
            rows = await self._database.rows(_SCHEMA_VERSION, {}, self._patience)
        except UNAVAILABLE as error:
            raise _unavailable(error) from error
        return str(rows[0][0]) if rows else None

    async def _rows(self, user_id: UUID, parameters: Parameters, copies: Copies | None, told: dict[str, Any]) -> Found:
        values: dict[str, object] = {
            **self._intervals,
            "user_id": user_id,
            "networks": parameters.networks,
            "tags": copies.tags if copies else (),  # NULL is any
        }
        began = perf_counter()
        try:
            rows = await self._database.rows(_USER_BALANCES[parameters.in_full], values, self._patience)
        finally:
            told["sql_ms"] = told.get("sql_ms", 0) + round((perf_counter() - began) * 1000, 1)
        return Found(rows[0][0] if rows else 0, [self._with_decimals(WalletRow(*row[1:])) for row in rows])

    def _with_decimals(self, row: WalletRow) -> WalletRow:
        if row.usdt_decimals is None or row.native_decimals is None:
            return with_decimals(row, *self._decimals.get(row.network, (None, None)))
        return row


def _unavailable(error: Exception) -> Exception:
    """What a request ends with: 503, unless it is a mistake of ours, which must not look like the database's."""
    if isinstance(error, MISTAKES):
        return error
    log.warning("database_unavailable", error=type(error).__name__)
    return unavailable()
