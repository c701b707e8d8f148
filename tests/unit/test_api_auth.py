"""Who may ask: good tokens, what is remembered of them, and what each may read."""

from datetime import datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import jwt
import pytest
from tokens import (
    DAY,
    EC,
    EC384,
    EC521,
    ED,
    LONG,
    RSA,
    SECRET,
    USER,
    ask,
    in_seconds,
    pem,
    refused_for,
    settings,
    signed,
)

from api.auth import LEEWAY, Caller, Verifier, check_may_read
from api.problems import Problem

OTHER = UUID("11111111-1c52-4e0d-85e2-862ee1cdd4d0")


def caller(token: str, **more: Any) -> Caller:
    return ask(Verifier(settings(**more)), f"Bearer {token}")


@pytest.mark.parametrize(
    ("key", "algorithm", "more"),
    [
        (SECRET, "HS256", {}),
        (LONG, "HS384", {"jwt_secret": LONG, "jwt_algorithms": "HS384"}),
        (LONG, "HS512", {"jwt_secret": LONG, "jwt_algorithms": "HS256,HS512"}),
        *(
            (RSA, name, {"jwt_public_key": pem(RSA), "jwt_algorithms": "RS256,RS384,RS512,PS256,PS384,PS512"})
            for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
        ),
        (EC, "ES256", {"jwt_public_key": pem(EC), "jwt_algorithms": "ES256"}),
        (EC384, "ES384", {"jwt_public_key": pem(EC384), "jwt_algorithms": "ES384"}),
        (EC521, "ES512", {"jwt_public_key": pem(EC521), "jwt_algorithms": "ES512"}),
        (ED, "EdDSA", {"jwt_public_key": pem(ED), "jwt_algorithms": "EdDSA"}),
        (SECRET, "HS256", {"jwt_audience": "us", "jwt_issuer": "them"}),
    ],
)
def test_a_good_token_names_its_user(key: Any, algorithm: str, more: dict[str, Any]) -> None:
    assert caller(signed(key, algorithm, aud="us", iss="them"), **more) == Caller(str(USER), admin=False)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_a_scheme_may_be_written_in_any_case(scheme: str) -> None:
    assert ask(Verifier(settings()), f"{scheme} {signed()}").subject == str(USER)


@pytest.mark.parametrize(("late", "taken"), [(LEEWAY - 1, True), (LEEWAY, False)])
def test_a_token_that_has_just_expired_is_taken_within_the_clocks_leeway(
    late: int, monkeypatch: pytest.MonkeyPatch, *, taken: bool
) -> None:
    exp = in_seconds(DAY)
    verifier, token = Verifier(settings()), signed(exp=exp)
    clock = SimpleNamespace(now=lambda tz: datetime.fromtimestamp(exp + late, tz))
    monkeypatch.setattr("jwt.api_jwt.datetime", clock)
    if taken:
        assert ask(verifier, f"Bearer {token}").subject == str(USER)
    else:
        assert refused_for(verifier, token) == "ExpiredSignatureError: Signature has expired"


def test_a_token_that_was_good_is_not_taken_after_it_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    exp = in_seconds(DAY)
    verifier, header = Verifier(settings()), f"Bearer {signed(exp=exp)}"
    taken = ask(verifier, header)
    monkeypatch.setattr(jwt, "decode_complete", lambda *_, **__: pytest.fail("it is checked anew"))
    monkeypatch.setattr("api.auth.time", lambda: exp + LEEWAY - 1)
    assert ask(verifier, header) == taken == Caller(str(USER), admin=False)
    monkeypatch.setattr("api.auth.time", lambda: exp + LEEWAY)
    with pytest.raises(pytest.fail.Exception, match="it is checked anew"):
        ask(verifier, header)


def test_what_is_remembered_of_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.auth.MAX_REMEMBERED", 3)
    verifier = Verifier(settings())
    for number in range(6):
        assert ask(verifier, f"Bearer {signed(jti=str(number))}").subject == str(USER)
    assert len(verifier._remembered) == 3


@pytest.mark.parametrize(
    ("more", "admin"),
    [
        ({"scope": "balances:admin"}, True),
        ({"scope": "openid balances:admin x"}, True),
        ({"scope": ["openid", "balances:admin"]}, True),
        ({"scp": ["balances:admin"]}, True),
        ({"scopes": "balances:admin"}, False),
        ({"scope": "balances:administrator"}, False),
        ({"scope": "Balances:Admin"}, False),
        ({"scope": {"balances:admin": True}}, False),
        ({"scope": [["balances:admin"]]}, False),
        ({"role": "balances:admin"}, False),
        ({}, False),
    ],
)
def test_the_admin_scope_may_read_every_user(more: dict[str, Any], *, admin: bool) -> None:
    assert caller(signed(**more)).may_read(OTHER) is admin


@pytest.mark.parametrize(
    ("subject", "may"),
    [
        (str(USER), True),
        (str(USER).upper(), True),
        (str(OTHER), False),
        ("", False),
        ("admin", False),
        (USER.hex, True),
        (f"urn:uuid:{USER}", True),
        (f"{{{USER}}}", True),
        (f"{USER}x", False),
        (f"{USER}\n", False),
        (OTHER.hex, False),
    ],
)
def test_a_user_may_read_their_own_balances_alone(subject: str, *, may: bool) -> None:
    asking = Caller(subject, admin=False)
    assert asking.may_read(USER) is may
    if not may:
        with pytest.raises(Problem) as refused:
            check_may_read(asking, USER)
        assert refused.value.status == 403


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        ("no key", "RS256"),
        (pem(EC), "RS256"),
        (pem(RSA), "ES256"),
        (pem(RSA), "RS256,ES256"),
        (pem(EC384), "ES256"),
        (pem(EC), "ES256,ES384"),
        (pem(ED), "ES256"),
        (pem(RSA), "EdDSA"),
    ],
)
def test_a_public_key_that_does_not_fit_its_algorithms_stops_the_start(key: str, algorithms: str) -> None:
    with pytest.raises(SystemExit, match="JWT_PUBLIC_KEY: is not a PEM public key for"):
        Verifier(settings(jwt_public_key=key, jwt_algorithms=algorithms))
