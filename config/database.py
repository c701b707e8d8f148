"""Of the endpoint until it takes ``config.connections.asyncpg_arguments``."""

from collections.abc import Mapping
from typing import Any

from config.connections import psycopg_arguments


def connection_parameters(url: str, settings: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Libpq's parameters for a URL. Raises ValueError, with nothing of the URL in it."""
    return psycopg_arguments(url, settings)
