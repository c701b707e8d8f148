"""How a DATABASE_URL is read: by libpq's own parser, once, for every process and driver."""

from collections.abc import Mapping
from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict


def connection_parameters(url: str, settings: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Libpq's parameters for a URL. Settings of the session are added to those that the URL's own options have.

    Raises ValueError, with nothing of the URL in it: libpq's own message quotes the password.
    """
    try:
        found = conninfo_to_dict(url.replace("postgresql+psycopg://", "postgresql://", 1))
    except ProgrammingError:
        raise ValueError(
            "cannot be read: write what is special in the user's name and the password as %XX"
            " (% as %25, @ as %40, / as %2F), and name no options but libpq's"
        ) from None
    if settings:
        own = [str(found["options"])] if found.get("options") else []
        found["options"] = " ".join([*own, *(f"-c {name}={value}" for name, value in settings.items())])
    return found
