"""The OpenAPI document, made from the types that check the parameters and make the replies."""

from functools import cache
from typing import Any

import msgspec

from api.balances import UserBalances
from api.parameters import Parameters
from api.problems import PROBLEM_TYPE, ProblemDetails

ROUTE = "/api/v1/auth/balances/user/{user_id}"
_REF = "#/components/schemas/{name}"
_PROBLEMS = {
    "401": "The token is missing or not valid.",
    "403": "The token is for another user.",
    "422": "The id or a parameter cannot be used; `errors` names it.",
    "503": "The database does not answer; `Retry-After` says when to try again.",
}
_CACHE_HEADERS = {
    "Balances-Complete": {
        "description": "`false` when a wallet has no balance yet, and the total leaves it out.",
        "schema": {"type": "string", "enum": ["true", "false"]},
    }
}


@cache
def document() -> bytes:
    """The document as JSON."""
    (_, _, _), components = msgspec.json.schema_components(
        [UserBalances, ProblemDetails, Parameters], ref_template=_REF
    )
    query = components.pop("Parameters")["properties"]
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "balance-sync", "version": "1", "description": "Balances of a user's wallets."},
            "paths": {ROUTE: {"get": _operation(query)}},
            "components": {
                "schemas": components,
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            },
        }
    )


def _operation(query: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": "getUserBalances",
        "summary": "Every wallet of a user with its USDT and native balance, and their USDT total",
        "security": [{"bearer": []}],
        "parameters": [
            {"name": "user_id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}},
            *(_parameter(name, schema) for name, schema in query.items()),
        ],
        "responses": {
            "200": {
                "description": "The balances.",
                "headers": _CACHE_HEADERS,
                "content": {"application/json": {"schema": {"$ref": _REF.format(name="UserBalances")}}},
            },
            **{status: _problem(text) for status, text in _PROBLEMS.items()},
        },
    }


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    # A list is comma-separated: the form style, not exploded.
    style = {"style": "form", "explode": False} if schema.get("type") == "array" else {}
    return {"name": name, "in": "query", "required": False, **style, "schema": schema}


def _problem(description: str) -> dict[str, Any]:
    content = {PROBLEM_TYPE: {"schema": {"$ref": _REF.format(name="ProblemDetails")}}}
    return {"description": description, "content": content}
