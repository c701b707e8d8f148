"""The OpenAPI document, made from the types that check the parameters and make the replies."""

from functools import cache
from typing import Any, Final

import msgspec

from api.balances import UserBalances, UserBalancesInFull
from api.parameters import Parameters
from api.problems import PROBLEM_TYPE, ProblemDetails

ROUTE = "/api/v1/auth/balances/user/{user_id}"

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

_TRON, _ETHEREUM = EXAMPLE["balances"]
EXAMPLE_IN_FULL: Final[dict[str, Any]] = {
    **EXAMPLE,
    "balances": [
        {
            **_TRON,
            "block_number": 79200000,
            "block_time": "2026-01-16T09:14:33Z",
            "finality": "solid",
            "age_seconds": 329,
            "status": "fresh",
            "error": None,
        },
        {
            **_ETHEREUM,
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
    "excluded": [_ETHEREUM["wallet_id"]],
}
"""The same user with `detail=full`, one wallet of whom was never read."""

_REF = "#/components/schemas/{name}"
_PROBLEMS = {
    "400": "This is no HTTP request that can be read.",
    "401": "The token is missing, not valid, or no access token.",
    "403": "The token is for another user, whether or not the asked one exists.",
    "405": "Only GET is served.",
    "414": "The query is too long.",
    "422": "The id or a parameter cannot be used; `errors` names each that is wrong.",
    "431": "The headers are too large.",
    "500": "Something went wrong here; the log has it, under the request's id.",
    "503": "What is needed does not answer in time.",
}
_ANYWHERE = ("400", "405", "414", "431", "500")
_Headers = dict[str, tuple[str, dict[str, Any]]]
"""Headers of a reply: what each says, and its schema."""

_PROBLEM_HEADERS: dict[str, _Headers] = {
    "401": {"WWW-Authenticate": ("`Bearer`, and what is wrong with the token.", {"type": "string"})},
    "405": {"Allow": ("The method that is served.", {"type": "string", "const": "GET"})},
    "503": {"Retry-After": ("Seconds after which to try again.", {"type": "integer", "minimum": 1})},
}
_ALWAYS: _Headers = {
    "X-Request-ID": ("The request's id, as it was given or made here; the logs have it.", {"type": "string"}),
    "Cache-Control": ("Only the client may keep it, and has to ask again.", {"const": "private, no-cache"}),
}
_ETAG: _Headers = {"ETag": ("Changes when a balance was read anew, or a wallet came or went.", {"type": "string"})}
_COMPLETE: _Headers = {
    "Balances-Complete": (
        "`false` when a wallet shown has no balance yet, and the total leaves it out.",
        {"type": "string", "enum": ["true", "false"]},
    )
}
_LIMITED: _Headers = {
    "Refresh-Limited": (
        "Only where a refresh was beyond the day's bound, the user's or that of all users: the cache has answered.",
        {"type": "string", "enum": ["user", "all"]},
    )
}
_OUT: _Headers = {
    "Networks-Out": (
        "Only while networks of these wallets are out, so that none of their balances can be read: their names.",
        {"type": "string"},
    )
}
_REQUEST_HEADERS = {
    "If-None-Match": "The ETags of the copies that the client has, or `*`: if one is still good, the reply is 304.",
    "X-Request-ID": "An id for the logs: up to 128 letters, digits and `._:/+=@-`. Another one is replaced.",
}


@cache
def document() -> bytes:
    """The document as JSON."""
    _, components = msgspec.json.schema_components(
        [UserBalances, UserBalancesInFull, ProblemDetails, Parameters], ref_template=_REF
    )
    query = components.pop("Parameters")["properties"]
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "balance-sync",
                "version": "1",
                "description": "USDT and native balances of users' wallets on Tron and Ethereum.",
            },
            "paths": {
                ROUTE: {"get": _balances(query)},
                "/healthz": {"get": _state("getHealth", "Whether the process is alive", "alive")},
                "/readyz": {"get": _state("getReadiness", "Whether it can serve: database and schema", "ready", "503")},
                "/openapi.json": {"get": _itself()},
            },
            "components": {
                "schemas": components,
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            },
        }
    )


def _balances(query: dict[str, Any]) -> dict[str, Any]:
    in_full, plain = ({"$ref": _REF.format(name=kind.__name__)} for kind in (UserBalancesInFull, UserBalances))
    user = {"type": "string", "format": "uuid", "examples": [EXAMPLE["user_id"]]}
    return {
        "operationId": "getUserBalances",
        "summary": "Every wallet of a user with its USDT and native balance, and their USDT total",
        "security": [{"bearer": []}],
        "parameters": [
            {"name": "user_id", "in": "path", "required": True, "description": "Whose wallets.", "schema": user},
            *(_parameter(name, schema) for name, schema in query.items()),
            *(
                {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
                for name, text in _REQUEST_HEADERS.items()
            ),
        ],
        "responses": {
            "200": {
                "description": "The balances; with `detail=full` the larger form.",
                "headers": _headers(_ALWAYS | _ETAG | _COMPLETE) | _headers(_LIMITED | _OUT, required=False),
                "content": {
                    "application/json": {
                        "schema": {"oneOf": [in_full, plain]},
                        "examples": {
                            "plain": {"summary": "The contract's own", "value": EXAMPLE},
                            "full": {"summary": "With `detail=full`, a wallet never read", "value": EXAMPLE_IN_FULL},
                        },
                    }
                },
            },
            "304": {
                "description": "A copy that `If-None-Match` names is still good. Never with `refresh=true`.",
                "headers": _headers(_ALWAYS | _ETAG),
            },
            **{status: _problem(status) for status in _PROBLEMS},
        },
    }


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    # A list is comma-separated: the form style, not exploded.
    style = {"style": "form", "explode": False} if schema.get("type") == "array" else {}
    described = {"description": schema["description"]} if "description" in schema else {}
    return {"name": name, "in": "query", "required": False, **described, **style, "schema": schema}


def _state(operation: str, summary: str, status: str, *problems: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"status": {"const": status}},
        "required": ["status"],
        "additionalProperties": False,
    }
    return _open(operation, summary, schema, *_ANYWHERE, *problems)


def _itself() -> dict[str, Any]:
    return _open("getDescription", "This document", {"type": "object"}, *_ANYWHERE)


def _open(operation: str, summary: str, schema: dict[str, Any], *problems: str) -> dict[str, Any]:
    """An operation that asks for no token and takes nothing."""
    content = {"application/json": {"schema": schema}}
    return {
        "operationId": operation,
        "summary": summary,
        "security": [],
        "responses": {
            "200": {"description": "So it is.", "headers": _headers(_ALWAYS), "content": content},
            **{status: _problem(status) for status in problems},
        },
    }


def _problem(status: str) -> dict[str, Any]:
    return {
        "description": _PROBLEMS[status],
        "headers": _headers(_ALWAYS | _PROBLEM_HEADERS.get(status, {})),
        "content": {PROBLEM_TYPE: {"schema": {"$ref": _REF.format(name=ProblemDetails.__name__)}}},
    }


def _headers(described: _Headers, *, required: bool = True) -> dict[str, Any]:
    return {
        name: {"description": text, "required": required, "schema": schema}
        for name, (text, schema) in described.items()
    }
