"""What a request asks for: the path's id and the query's parameters, each checked and named when it is wrong."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api.problems import ParameterError, unprocessable
from config.networks import NetworkName
from config.settings import NETWORKS

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_BOOLEANS = {"true": True, "false": False}


class Parameters(msgspec.Struct, frozen=True):
    """The query's parameters, all optional; others are ignored."""

    networks: Annotated[
        tuple[NetworkName, ...],
        Meta(min_length=1, description="Only wallets on these, comma-separated. Omitted: all.", examples=[["tron"]]),
    ] = NETWORKS
    refresh: Annotated[
        bool, Meta(description="`true`: read the blockchain now instead of the cache, within a deadline.")
    ] = False
    include_pending: Annotated[bool, Meta(description="Reserved: accepted, checked, changes nothing yet.")] = False
    detail: Annotated[
        Literal["full"] | UnsetType,
        Meta(description="`full`: each wallet's block, age, status and error too, and which wallets the total lacks."),
    ] = UNSET


DEFAULTS = Parameters()


def user_id_of(text: str) -> UUID:
    """The path's id. Raises Problem: 422."""
    if not _UUID.fullmatch(text):
        raise unprocessable(ParameterError("user_id", "must be a UUID"))
    return UUID(text)


def parameters_of(query: bytes) -> Parameters:
    """The query's parameters. Raises Problem: 422 that names each one that is wrong."""
    if not query:
        return DEFAULTS
    values: dict[str, Any] = {}
    errors = []
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in Parameters.__struct_fields__:
            continue
        if name in values:
            errors.append(ParameterError(name, "must be given once"))
        values[name], wrong = _value(name, text)
        if wrong:
            errors.append(ParameterError(name, wrong))
    if errors:
        raise unprocessable(*errors)
    return Parameters(**values)


def _value(name: str, text: str) -> tuple[Any, str | None]:
    """A parameter's value, or what is wrong with it."""
    if name == "networks":
        networks = tuple(text.split(","))
        known = set(networks) <= set(NETWORKS)
        return networks, None if known else f"must be comma-separated out of {', '.join(NETWORKS)}"
    if name == "detail":
        return text, None if text == "full" else "must be full"
    return _BOOLEANS.get(text), None if text in _BOOLEANS else "must be true or false"
