"""How the endpoint connects to Postgres: to the hosts of DATABASE_URL, one after the other, and through poolers.

asyncpg alone gives all hosts together one time-out, so that a first one which hangs keeps it from the second.
"""

from collections.abc import Mapping
from random import sample
from typing import Any

import asyncpg
import structlog
from asyncpg.exceptions import CannotConnectNowError, TargetServerAttributeNotMatched, TooManyConnectionsError

from config.connections import asyncpg_arguments, behind_pooler, parameters, refuses_options, session_settings
from db.transaction_settings import set_for_a_transaction

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 2.0
LONGEST_NAME = 63  # characters of ASCII; a server makes something else of others, and cuts off what is more

_NEXT = (OSError, TimeoutError, CannotConnectNowError, TargetServerAttributeNotMatched, TooManyConnectionsError)
"""What leads to the next host, as it does in libpq."""


class Connector:
    """Makes connections for one DATABASE_URL with these settings of a session.

    `pooled`: a pooler takes no settings as a connection starts, and lends another connection for each transaction. So
    each statement is in a transaction with the settings, and none is prepared for longer.
    """

    def __init__(self, url: str, session: Mapping[str, object], application_name: str) -> None:
        named = parameters(url).get("application_name", application_name)
        named = session_settings(url, {"application_name": named})["application_name"]
        self._name = named.encode("ascii", "replace").decode()[:LONGEST_NAME]
        self._url, self._session = url, session
        self._first = 0  # of the hosts: the one to begin with
        self.pooled = behind_pooler(url)

    async def connect(self, *_: object, **given: Any) -> Any:
        """A connection, within a time for each host. Takes what asyncpg's pool gives to whoever connects for it.

        Raises what asyncpg raises, of the host that was asked last.
        """
        more: dict[str, Any] = {
            name: given[name] for name in ("loop", "connection_class", "record_class") if name in given
        }
        more["command_timeout"] = given.get("command_timeout")
        if not self.pooled:
            try:
                connection = await self._to_a_host(more | {"max_cached_statement_lifetime": 0})
            except asyncpg.PostgresError as error:
                if not refuses_options(str(error)):
                    raise
            else:
                # The name is among the options, and the server tells what it has of it by itself.
                if connection.get_settings().application_name == self._name:
                    return connection
                connection.terminate()
            self.pooled = True
            log.warning("settings_in_each_transaction", reason="a pooler takes none at the start of a connection")
        return await self._to_a_host(more | {"statement_cache_size": 0})

    async def _to_a_host(self, more: Mapping[str, Any]) -> Any:
        arguments = asyncpg_arguments(
            self._url,
            {**self._session, "application_name": self._name},
            connect_timeout=CONNECT_SECONDS,
            options=not self.pooled,
            shuffled=lambda order: sample(order, len(order)),
        )
        if not self.pooled:
            del arguments["server_settings"]["application_name"]
        hosts, ports = arguments.pop("host"), arguments.pop("port")
        self._first %= len(hosts)
        for left in reversed(range(len(hosts))):
            at = self._first
            try:
                return await asyncpg.connect(**arguments, **more, host=hosts[at], port=ports[at])
            except BaseException as error:
                # Who is cancelled may have waited for this host: the next connection begins with the next one.
                self._first = (at + 1) % len(hosts)
                if not left or not isinstance(error, _NEXT):
                    raise
        raise AssertionError("the last host returns or raises")

    def in_transaction(self) -> str:
        """The statement that sets the settings for one transaction."""
        return set_for_a_transaction(session_settings(self._url, self._session))
