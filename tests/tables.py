"""A test's own look at the tables, apart from the code's."""

from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row


class Tables:
    """A test's own look at the tables: plain SQL, on a connection apart from the code's."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    @property
    def dsn(self) -> str:
        """For another connection like this one. The driver's own has no password."""
        info = self.connection.info
        return f"{info.dsn} password={info.password}"

    def add(self, network: str, *addresses: str, user_id: UUID | None = None) -> list[UUID]:
        """Insert wallets as the API does, and return their ids in order."""
        user = user_id or uuid4()
        rows = [(uuid4(), user, network, address) for address in addresses]
        with self.connection.cursor() as cursor:
            cursor.executemany("INSERT INTO wallets (id, user_id, network, address) VALUES (%s, %s, %s, %s)", rows)
        return [row[0] for row in rows]

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchall() if cursor.description is not None else []

    def schedule(self, wallet_id: UUID) -> dict[str, Any]:
        (row,) = self.rows("SELECT * FROM sync_schedule WHERE wallet_id = %s", wallet_id)
        return row

    def balance(self, wallet_id: UUID) -> dict[str, Any] | None:
        rows = self.rows("SELECT * FROM balance_cache WHERE wallet_id = %s", wallet_id)
        return rows[0] if rows else None
