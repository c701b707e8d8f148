"""Where a token's claims say who the user is and what it may do: providers have different places for that. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

_DASHED = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_FORMS = re.compile(rf"(?:urn:uuid:)?{_DASHED}|\{{{_DASHED}\}}|[0-9a-f]{{32}}", re.ASCII | re.IGNORECASE)
DEEPEST = 16
"""Objects within objects that a path leads through; a token of 8 kB could have thousands."""


def claim(claims: Mapping[str, Any], path: str, depth: int = DEEPEST) -> Any:
    """What stands at a path: a claim's name, or names with dots between them. None: nothing, or null.

    A name that has dots itself, as `https://app.example/user_id`, is looked for as a whole first.
    """
    if path in claims:
        return claims[path]
    for dot in re.finditer(r"\.", path) if depth else ():
        inner = claims.get(path[: dot.start()])
        if isinstance(inner, Mapping):
            found = claim(inner, path[dot.end() :], depth - 1)
            if found is not None:
                return found
    return None


def user_named(claims: Mapping[str, Any], paths: Sequence[str]) -> str | None:
    """The user whom the first of these paths names that names one."""
    for path in paths:
        found = claim(claims, path)
        if isinstance(found, str) and found:
            return found
    return None


def is_user(named: str, user_id: UUID) -> bool:
    """Whether a claim names this user, in any of the forms in which ids are written."""
    return bool(_FORMS.fullmatch(named)) and UUID(named) == user_id


def words(claims: Mapping[str, Any], paths: Sequence[str]) -> frozenset[str]:
    """The scopes or roles that stand at any of these paths: between blanks or commas, as a list, or as Zitadel has
    them, the names of an object. A claim that is `true` counts as that word.
    """
    found: set[str] = set()
    for path in paths:
        value = claim(claims, path)
        if isinstance(value, str):
            found.update(re.split(r"[\s,]+", value))
        elif isinstance(value, list):
            found.update(item for item in value if isinstance(item, str))
        elif isinstance(value, Mapping):  # each with what it is granted for: {"admin": {"organisation": "its.example"}}
            found.update(name for name, granted in value.items() if isinstance(granted, Mapping) and granted)
        elif value is True:
            found.add("true")
    return frozenset(found - {""})
