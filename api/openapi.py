"""The OpenAPI document: Litestar makes it from the handlers' types; here is what types do not say."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
from litestar import Litestar
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme

from api.balances import UserBalances, UserBalancesInFull
from api.problems import PROBLEM_TYPE, ProblemDetails

ROUTE: Final = "/api/v1/auth/balances/user/{user_id}"
PATH: Final = ROUTE.replace("}", ":str}")
"""The route as the framework has it: any text, for the endpoint names what is no id."""

EXAMPLE: Final[dict[str, Any]] = {
    "user_id": "5c81c005-1c52-4e0d-85e2-862ee1cdd4d0",
    "total_usdt": "977.00000000",
    "balances": [
        {
            "wallet_id": "fae48f4b-9aa3-44db-9011-c4f6b91aeb0e",
            "wallet_address": "TAVFvX9tToo1UJ2h7j47jVkgQjZa8LarY8",
            "network": "tron",
            "usdt_balance": "977.00000000",
            "native_balance": "1993.89360000",
            "last_synced": "2026-01-16T09:15:30Z",
            "is_cached": True,
        },
        {
            "wallet_id": "de755c09-27e0-41cd-a791-41c5c858459c",
            "wallet_address": "0x17F4552b0c47F24F88B9569E6305413c5ff5370d",
            "network": "ethereum",
            "usdt_balance": "0.00000000",
            "native_balance": "0.00000000",
            "last_synced": "2026-01-16T09:15:30Z",
            "is_cached": True,
        },
    ],
    "synced_at": "2026-01-16T09:20:58Z",
}
"""The published contract's own."""

_FIRST, _SECOND = EXAMPLE["balances"]
EXAMPLE_IN_FULL: Final[dict[str, Any]] = {
    **EXAMPLE,
    "balances": [
        {
            **_FIRST,
            "block_number": 79200000,
            "block_time": "2026-01-16T09:14:33Z",
            "finality": "solid",
            "age_seconds": 329,
            "status": "fresh",
            "error": None,
        },
        {
            **_SECOND,
            "usdt_balance": None,
            "native_balance": None,
            "last_synced": None,
            "block_number": None,
            "block_time": None,
            "finality": None,
            "age_seconds": None,
            "status": "never_synced",
            "error": "unreachable",
        },
    ],
    "complete": False,
    "excluded": [_SECOND["wallet_id"]],
}
"""The same user with `detail=full`, one wallet of whom was never read."""

_PROBLEMS: Final = {
    400: "This is no HTTP request that can be read.",
    401: "The token is missing, not valid, or no access token.",
    403: "The token is for another user, whether or not the asked one exists.",
    405: "Only GET is served.",
    414: "The query is too long.",
    422: "The id or a parameter cannot be used; `errors` names each that is wrong.",
    500: "Something went wrong here; the log has it, under the request's id.",
    503: "What is needed does not answer in time.",
}
_ANYWHERE: Final = (400, 405, 414, 500)
_Headers = dict[str, tuple[str, dict[str, Any]]]
"""Headers of a reply: what each says, and its schema."""

_TEXT: Final = {"type": "string"}
_ALWAYS: Final[_Headers] = {
    "X-Request-ID": ("The request's id, as it was given or made here; the logs have it.", _TEXT),
    "Cache-Control": ("Only the client may keep it, and has to ask again.", {"const": "private, no-cache"}),
}
_ETAG: Final[_Headers] = {"ETag": ("Changes when a balance was read anew, or a wallet came or went.", _TEXT)}
_HEADERS: Final[dict[str, _Headers]] = {
    "200": {
        **_ETAG,
        "Balances-Complete": (
            "`false` when a wallet shown has no balance yet, and the total leaves it out.",
            {"type": "string", "enum": ["true", "false"]},
        ),
    },
    "304": _ETAG,
    "401": {"WWW-Authenticate": ("`Bearer`, and what is wrong with the token.", _TEXT)},
    "405": {"Allow": ("The method that is served.", {"type": "string", "const": "GET"})},
    "503": {"Retry-After": ("Seconds after which to try again.", {"type": "integer", "minimum": 1})},
}
"""By status. Those of 200 are of balances alone."""
_AT_TIMES: Final[_Headers] = {
    "Refresh-Limited": (
        "Only where a refresh was beyond the day's bound, the user's or that of all users: the cache has answered.",
        {"type": "string", "enum": ["user", "all"]},
    ),
    "Networks-Out": (
        "Only while networks of these wallets are out, so that none of their balances can be read: their names.",
        _TEXT,
    ),
}
_REQUEST_HEADERS: Final = {
    "If-None-Match": "The ETags of the copies that the client has, or `*`: if one is still good, the reply is 304.",
    "X-Request-ID": "An id for the logs: up to 128 letters, digits and `._:/+=@-`. Another one is replaced.",
}


class Alive(msgspec.Struct, frozen=True):
    """The process is alive; nothing else is asked."""

    status: Literal["alive"] = "alive"


class Ready(msgspec.Struct, frozen=True):
    """The database answers, and its schema is one that the code knows."""

    status: Literal["ready"] = "ready"


def _problems(*statuses: int) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(
            ProblemDetails, description=_PROBLEMS[status], media_type=PROBLEM_TYPE, generate_examples=False
        )
        for status in statuses
    }


BALANCES: Final[dict[str, Any]] = {
    "operation_id": "getUserBalances",
    "summary": "Every wallet of a user with its USDT and native balance, and their USDT total",
    "security": [{"bearer": []}],
    "responses": {
        200: ResponseSpec(
            UserBalancesInFull | UserBalances,  # type: ignore[arg-type]  # it takes any type
            description="The balances; with `detail=full` the larger form.",
            generate_examples=False,
        ),
        304: ResponseSpec(
            None, description="A copy that `If-None-Match` names is still good. Not with `refresh=true`."
        ),
        **_problems(*_PROBLEMS),
    },
}
HEALTH: Final[dict[str, Any]] = {
    "operation_id": "getHealth",
    "summary": "Whether the process is alive",
    "responses": _problems(*_ANYWHERE),
}
READINESS: Final[dict[str, Any]] = {
    "operation_id": "getReadiness",
    "summary": "Whether it can serve: database and schema",
    "responses": _problems(*_ANYWHERE, 503),
}
"""What the decorator of each handler is told besides its path."""


def document(handlers: Sequence[Any], networks: Sequence[str]) -> bytes:
    """The document of these handlers as JSON, for wallets on these networks."""
    bearer = SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")
    config = OpenAPIConfig(
        title="balance-sync",
        version="1",
        description="USDT and native balances of users' wallets.",
        components=Components(security_schemes={"bearer": bearer}),
    )
    # An application of its own, that never serves: the one that does has no pages of documentation besides.
    made = Litestar(handlers, openapi_config=config, logging_config=None).openapi_schema.to_schema()
    for schema in made["components"]["schemas"].values():
        schema["additionalProperties"] = False
    for path in made["paths"].values():
        for status, response in path["get"]["responses"].items():
            response["headers"] = _described(_ALWAYS | (_HEADERS.get(status, {}) if status != "200" else {}))
    _complete(made["paths"][ROUTE]["get"], networks)
    return msgspec.json.encode(made)


def _complete(balances: dict[str, Any], networks: Sequence[str]) -> None:
    """What the types of the contract's route do not say."""
    for parameter in balances["parameters"]:
        schema = parameter["schema"]
        if parameter["name"] == "networks":
            parameter |= {"style": "form", "explode": False}  # comma-separated
            items = {"type": "string", "enum": list(networks)}
            parameter["schema"] = {"type": "array", "items": items, "minItems": 1, "examples": [[networks[0]]]}
        elif parameter["name"] == "detail":
            schema |= {"type": "string", "enum": ["full"]}
    balances["parameters"] += [
        {"name": name, "in": "header", "required": False, "description": text, "schema": _TEXT}
        for name, text in _REQUEST_HEADERS.items()
    ]
    good = balances["responses"]["200"]
    good["headers"] |= _described(_HEADERS["200"]) | _described(_AT_TIMES, required=False)
    good["content"]["application/json"]["examples"] = {
        "plain": {"summary": "The contract's own", "value": EXAMPLE},
        "full": {"summary": "With `detail=full`, a wallet never read", "value": EXAMPLE_IN_FULL},
    }


def _described(headers: _Headers, *, required: bool = True) -> dict[str, Any]:
    return {
        name: {"description": text, "required": required, "schema": schema} for name, (text, schema) in headers.items()
    }
