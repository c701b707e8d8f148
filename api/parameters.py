"""What a request asks for: the path's id and the query's parameters, each checked and named when it is wrong."""

import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import parse_qsl
from uuid import UUID

from litestar import Request, Response
from litestar.exceptions import ValidationException
from litestar.params import PathParameter, QueryParameter

from api.problems import ParameterError, Problem, unprocessable

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_BOOLEAN: Final = {"type": "boolean", "enum": None, "default": False}
"""How the documentation shows a flag, whose two words are all that is taken."""

UserId = Annotated[UUID, PathParameter(description="Whose wallets.")]
Networks = Annotated[
    list[str] | None,
    QueryParameter(description="Only wallets on these, comma-separated. Omitted: all.", min_items=1),
]
Refresh = Annotated[
    Literal["true", "false"],
    QueryParameter(
        description="`true`: read the blockchain now instead of the cache, within a deadline.", schema_extra=_BOOLEAN
    ),
]
IncludePending = Annotated[
    Literal["true", "false"],
    QueryParameter(description="Reserved: accepted, checked, changes nothing yet.", schema_extra=_BOOLEAN),
]
Detail = Annotated[
    Literal["full"] | None,
    QueryParameter(
        description="`full`: each wallet's block, age, status and error too, and which wallets the total lacks."
    ),
]

_WANTED: Final = {
    "refresh": "must be true or false",
    "include_pending": "must be true or false",
    "detail": "must be full",
}
_ONCE: Final = "must be given once"


class Parameters(NamedTuple):
    """What is asked for of a user's wallets."""

    networks: Sequence[str] | None = None
    """None: all, those included that the endpoint's settings do not know."""
    refresh: bool = False
    in_full: bool = False


def user_id_of(text: str) -> UUID:
    """The path's id. Raises Problem: 422."""
    if not _UUID.fullmatch(text):
        raise unprocessable(ParameterError("user_id", "must be a UUID"))
    return UUID(text)


def networks_of(given: Sequence[str] | None) -> Sequence[str] | None:
    """The networks that are asked for: those of each list that was given. None: all."""
    return None if given is None else sorted({name for names in given for name in names.split(",")})


def check(query: bytes, known: Sequence[str], mistyped: Collection[str] = ()) -> None:
    """Raise Problem, 422, with each parameter that is wrong, in the order in which they were given.

    `mistyped` are those that the framework has found; it does not see which are given twice, nor which networks there
    are.
    """
    errors: dict[ParameterError, None] = {}
    seen = set()
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name == "networks":
            if not set(text.split(",")) <= set(known):
                errors[ParameterError(name, f"must be comma-separated out of {', '.join(known)}")] = None
        elif name in _WANTED:
            if name in seen:
                errors[ParameterError(name, _ONCE)] = None
            if name in mistyped or (name == "detail" and text != "full"):  # msgspec takes the word null for none
                errors[ParameterError(name, _WANTED[name])] = None
            seen.add(name)
    if errors:
        raise unprocessable(*errors)


def told_by_parameter(
    request: Request[Any, Any, Any], error: ValidationException, known: Sequence[str]
) -> Response[bytes]:
    """An exception handler for parameters that are not of their type."""
    mistyped = {each["key"] for each in error.extra or () if isinstance(each, dict)}
    try:
        check(request.scope["query_string"], known, mistyped)
    except Problem as problem:
        return problem.response()
    return unprocessable(*(ParameterError(name, "cannot be used") for name in sorted(mistyped))).response()
