"""What a request asks for: the path's id and the query's parameters, each checked and named when it is wrong."""

import re
from collections.abc import Iterable
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from api.problems import ParameterError, unprocessable
from config.settings import NETWORKS, Network

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_BOOLEANS = {"true": True, "false": False}


class Parameters(msgspec.Struct, frozen=True):
    """The query's parameters, all optional; others are ignored."""

    networks: Annotated[tuple[Network, ...], Meta(min_length=1, description="Only wallets on these.")] = NETWORKS
    refresh: Annotated[bool, Meta(description="Read the blockchain now instead of the cache.")] = False
    include_pending: Annotated[bool, Meta(description="Reserved: accepted, checked, changes nothing yet.")] = False


def user_id_of(text: str) -> UUID:
    """The path's id. Raises Problem: 422."""
    if not _UUID.fullmatch(text):
        raise unprocessable(ParameterError("user_id", "must be a UUID"))
    return UUID(text)


def parameters_of(query: Iterable[tuple[str, str]]) -> Parameters:
    """The query's parameters. Raises Problem: 422 that names each one that is wrong."""
    known = Parameters.__struct_fields__
    given: dict[str, str] = {}
    errors = []
    for name, value in query:
        if name not in known:
            continue
        if name in given:
            errors.append(ParameterError(name, "must be given once"))
        given[name] = value
    values = {name: value.split(",") if name == "networks" else _BOOLEANS.get(value) for name, value in given.items()}
    for name, parsed in values.items():
        if parsed is None:
            errors.append(ParameterError(name, "must be true or false"))
        elif isinstance(parsed, list) and not set(parsed) <= set(NETWORKS):
            errors.append(ParameterError(name, f"must be comma-separated out of {', '.join(NETWORKS)}"))
    if errors:
        raise unprocessable(*errors)
    return msgspec.convert(values, Parameters)
