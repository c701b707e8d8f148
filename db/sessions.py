"""Connections as DATABASE_URL says, each with the settings that our sessions want.

They are given as a connection starts. A pooler may refuse that, or leave them out without a word: then they are set in
each transaction instead, at the price of a round trip, since a session's own would be left to the pooler's next client.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import psycopg
import structlog
from sqlalchemy import Connection, Engine, event

from config.connections import behind_pooler, psycopg_arguments, refuses_options, session_settings
from db.transaction_settings import set_for_a_transaction

log = structlog.get_logger(__name__)

MARK = {"balance_sync.settings": "at_start"}
"""A setting that means nothing to PostgreSQL, and shows whether those of the start have arrived there."""
MARKED = "SELECT current_setting('balance_sync.settings', true)"


class Sessions:
    """How an engine connects. `pooled`: the settings are set in each transaction, and no statement is prepared."""

    def __init__(self, url: str, settings: Mapping[str, object], connect_timeout: float) -> None:
        self._url, self._settings, self._connect_timeout = url, settings, connect_timeout
        self.pooled = behind_pooler(url)

    def listen(self, engine: Engine) -> None:
        """Have an engine connect so."""
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "begin", self._begin)

    def _connect(self, _: object, __: object, ___: object, given: dict[str, Any]) -> Any:
        """A connection. Raises psycopg.Error."""
        if not self.pooled:
            try:
                connection = self._connected(given)
            except psycopg.OperationalError as error:
                if not refuses_options(str(error)):
                    raise
            else:
                with ExitStack() as unless_taken:  # closed as well where the server goes away just now
                    unless_taken.callback(connection.close)
                    if self._arrived(connection):
                        unless_taken.pop_all()
                        return connection
            self.pooled = True
            log.warning("settings_in_each_transaction", reason="a pooler takes none at the start of a connection")
        return self._connected(given)

    def _connected(self, given: Mapping[str, Any]) -> Any:
        arguments = psycopg_arguments(
            self._url, {**self._settings, **MARK}, connect_timeout=self._connect_timeout, options=not self.pooled
        )
        # A statement that one of the pooler's connections has prepared is unknown to the others.
        more = {"prepare_threshold": None} if self.pooled else {}
        return psycopg.connect(**{**given, **arguments, **more})

    @staticmethod
    def _arrived(connection: Any) -> bool:
        row = connection.execute(MARKED).fetchone()
        connection.rollback()
        return bool(row[0])

    def _begin(self, connection: Connection) -> None:
        settings = session_settings(self._url, self._settings) if self.pooled else {}
        if settings:
            connection.exec_driver_sql(set_for_a_transaction(settings))
