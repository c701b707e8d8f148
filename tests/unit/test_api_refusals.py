"""What the access log is told of who asks, and of who is refused."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgi import ask
from structlog.testing import capture_logs
from tokens import DAY, USER, in_seconds, settings, signed

from api import auth
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


def test_a_reason_is_a_warning_once_a_minute_with_its_request_and_how_often_it_was_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where there is no access log too."""
    clock = [1000.0]
    monkeypatch.setattr(auth, "monotonic", lambda: clock[0])
    app = create_app(settings(log_level="WARNING"))

    def refused(header: str | None, request_id: str) -> None:
        headers = {"x-request-id": request_id} | ({} if header is None else {"authorization": header})
        assert ask(app, ROUTE.format(user_id=USER), b"", **headers).status == 401

    expired = f"Bearer {signed(exp=1)}"
    with capture_logs() as logs:
        for second, header in enumerate((expired, expired, None, f"Bearer {signed('t' * 32)}", expired)):
            clock[0] = 1000.0 + second
            refused(header, f"r{second}")
        clock[0] += auth.TOLD_SECONDS
        refused(expired, "r9")
    told = [(line["event"], line["log_level"], line["reason"], line["more"], line["request_id"]) for line in logs]
    assert told == [
        ("token_refused", "warning", "expired", 0, "r0"),
        ("token_refused", "warning", "no_token", 0, "r2"),
        ("token_refused", "warning", "bad_signature", 0, "r3"),
        ("token_refused", "warning", "expired", 2, "r9"),
    ]


PROVIDERS = {"jwt_issuer": "https://them.example/", "jwt_audience": "us", "jwt_max_age": "3600"}
GOOD = {"iss": "https://them.example/", "aud": "us"}


@pytest.mark.parametrize(
    ("claims", "more", "reason"),
    [
        (GOOD | {"iss": "https://them.example"}, {}, "wrong_issuer"),
        ({"aud": "us"}, {}, "wrong_issuer"),
        (GOOD | {"aud": "others"}, {}, "wrong_audience"),
        ({"iss": "https://them.example/"}, {}, "wrong_audience"),
        (GOOD | {"nbf": timedelta(days=1)}, {}, "not_yet_valid"),
        (GOOD | {"iat": 1000 * in_seconds(DAY)}, {}, "not_yet_valid"),
        (GOOD | {"exp": None}, {}, "missing_claim"),
        (GOOD | {"sub": None}, {}, "missing_claim"),
        (GOOD | {"exp": timedelta(seconds=60)}, {"jwt_user_claim": "oid"}, "missing_claim"),
        (GOOD | {"exp": "soon"}, {}, "malformed"),
        (GOOD, {}, "lives_too_long"),
        (GOOD | {"exp": timedelta(seconds=60), "typ": "ID"}, {}, "not_an_access_token"),
    ],
)
def test_each_reason_has_a_word_of_its_own(claims: dict[str, Any], more: dict[str, str], reason: str) -> None:
    app = create_app(settings(**PROVIDERS, **more))
    # Moments are counted from now: a table is made when tests are collected, and a minute is over by then.
    made: dict[str, Any] = {
        name: in_seconds(int(value.total_seconds())) if isinstance(value, timedelta) else value
        for name, value in claims.items()
    }
    with capture_logs() as logs:
        answer = ask(app, ROUTE.format(user_id=USER), authorization=f"Bearer {signed(**made)}")
    assert {line["reason"] for line in logs if line["event"] == "token_refused"} == {reason}
    assert {line["reason"] for line in logs if line["event"] == "request"} == {reason}
    assert reason not in answer.body.decode(), "a client is not told"


def test_an_algorithm_that_is_not_allowed_has_one_too() -> None:
    app = create_app(settings(jwt_algorithms="HS256"))
    with capture_logs() as logs:
        ask(app, ROUTE.format(user_id=USER), authorization=f"Bearer {signed('s' * 64, 'HS512')}")
    assert [line["reason"] for line in logs if line["event"] == "token_refused"] == ["algorithm_not_allowed"]
