"""What the access log is told of who asks, and of who is refused."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgi import ask
from structlog.testing import capture_logs
from tokens import USER, settings, signed

from api.app import create_app
from api.openapi import ROUTE

ADMIN = {"scope": "balances:admin"}


def told(header: str | None, user: UUID | str = USER) -> Mapping[str, Any]:
    """The access log's line of a request, up to where the database would be asked."""
    app = create_app(settings())
    headers = {} if header is None else {"authorization": header}
    with capture_logs() as logs:
        ask(app, ROUTE.format(user_id=user), b"detail=none", **headers)
    (line,) = (each for each in logs if each["event"] == "request")
    return line


@pytest.mark.parametrize(
    ("header", "user", "status", "reason"),
    [
        (None, USER, 401, "no_token"),
        ("Bearer x", USER, 401, "malformed"),
        (f"Bearer {signed('t' * 32)}", USER, 401, "bad_signature"),
        (f"Bearer {signed(exp=1)}", USER, 401, "expired"),
        (f"Bearer {signed(typ='Refresh')}", USER, 401, "not_an_access_token"),
        (f"Bearer {signed()}", uuid4(), 403, "another_user"),
    ],
)
def test_a_refusal_is_told_with_its_reason_and_whose_it_was(
    header: str | None, user: UUID, status: int, reason: str
) -> None:
    line = told(header, user)
    assert (line["status"], line["reason"], line["client"]) == (status, reason, "198.51.100.9")
    assert "admin" not in line
    for part in (header or "").removeprefix("Bearer ").split("."):
        assert len(part) < 2 or part not in str(line), "nothing of the token is told"


@pytest.mark.parametrize(
    ("claims", "user", "admin"),
    [
        ({}, USER, False),
        (ADMIN, USER, False),  # it would have been let in without
        ({**ADMIN, "sub": str(USER).upper()}, USER, False),
        (ADMIN, uuid4(), True),
    ],
)
def test_the_admin_scope_is_told_of_where_it_let_somebody_in(
    claims: dict[str, Any], user: UUID, *, admin: bool
) -> None:
    line = told(f"Bearer {signed(**claims)}", user)  # then a parameter is wrong, and the database not asked
    assert (line["status"], line.get("admin"), "reason" in line) == (422, True if admin else None, False)


@pytest.mark.parametrize(
    ("subject", "shown"), [("\x1b[2J", r"\x1b[2J"), ("a\nb", r"a\nb"), ("é\x7f", "\\xe9\\x7f"), ("\u202e", r"\u202e")]
)
def test_a_subject_is_told_without_control_characters(subject: str, shown: str) -> None:
    assert told(f"Bearer {signed(sub=subject)}")["subject"] == shown
