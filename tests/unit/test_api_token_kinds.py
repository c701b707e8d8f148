"""Tokens that a provider's key has signed, and that are not for this API, or not for long enough ago."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm
from tokens import DAY, HS256, USER, ask, by_hand, in_seconds, part, settings, signed
from tokens import claims as claims_of

from api.auth import Caller, Verifier
from api.problems import Problem
from config.keys import usable

HOUR = 3600  # seconds
FOREVER = 10**11  # seconds, beyond the last of years with four digits
TIMES = ("exp", "iat", "nbf")
ADMIN = {"scope": "balances:admin"}


def reason(token: str, **more: Any) -> str | None:
    """Why a token is refused."""
    with pytest.raises(Problem) as refused:
        ask(Verifier(settings(**more)), f"Bearer {token}")
    assert refused.value.status == 401
    assert refused.value.detail in {"The token is not valid here.", "The token has expired."}, "the log alone is told"
    return refused.value.reason


@pytest.mark.parametrize(
    ("headers", "claims"),
    [
        ({"typ": "id+jwt"}, {}),
        ({"typ": "logout+jwt"}, {}),
        ({"typ": "secevent+jwt"}, {}),
        ({"typ": "dpop+jwt"}, {}),
        ({"typ": "refresh"}, {}),
        ({"typ": "JOSE"}, {}),
        ({"typ": 7}, {}),
        ({"typ": ["JWT"]}, {}),
        ({}, {"typ": "ID"}),
        ({}, {"typ": "Refresh"}),
        ({}, {"typ": "Offline"}),
        ({}, {"typ": "Logout"}),
        ({}, {"typ": ["Bearer"]}),
        ({}, {"token_use": "id"}),
        ({}, {"token_use": 0}),
        ({}, {"token_type": "refresh"}),
        ({}, {"type": "Refresh"}),
        ({}, {"at_hash": "x"}),
        ({}, {"c_hash": "x"}),
        ({}, {"events": {}}),
    ],
)
def test_a_token_that_is_not_for_apis_is_refused_however_good_its_signature(
    headers: dict[str, Any], claims: dict[str, Any]
) -> None:
    assert reason(signed_with(headers, **claims, **ADMIN)) == "not_an_access_token"


def signed_with(headers: dict[str, Any], **claims: Any) -> str:
    """With a header that the library does not look at."""
    return by_hand({**HS256, **headers}, part(claims_of(**claims)))


@pytest.mark.parametrize(
    ("headers", "claims"),
    [
        ({"typ": "JWT"}, {}),
        ({"typ": "jwt"}, {}),
        ({"typ": "at+jwt"}, {}),
        ({"typ": "AT+JWT"}, {}),
        ({"typ": "application/at+jwt"}, {}),
        ({}, {"typ": "Bearer"}),
        ({}, {"token_use": "access"}),
        ({}, {"token_type": "access"}),
        ({}, {"token_type": "Bearer"}),
        ({}, {"type": "customer"}),
        ({}, {"nonce": "x"}),
    ],
)
def test_an_access_token_is_taken_whatever_its_maker_calls_it(headers: dict[str, Any], claims: dict[str, Any]) -> None:
    assert ask(Verifier(settings()), f"Bearer {signed_with(headers, **claims)}") == Caller(str(USER), admin=False)


def test_a_token_without_a_type_is_taken() -> None:
    assert ask(Verifier(settings()), f"Bearer {signed(headers={'typ': None})}").subject == str(USER)


@pytest.mark.parametrize(
    ("claims", "more", "told"),
    [
        ({"exp": -HOUR}, {}, "expired"),
        ({"exp": None}, {}, "missing_claim"),
        ({"sub": None}, {}, "missing_claim"),
        ({"nbf": DAY}, {}, "not_yet_valid"),
        ({"iat": DAY}, {}, "not_yet_valid"),
        ({"aud": "them"}, {"jwt_audience": "us"}, "wrong_audience"),
        ({}, {"jwt_audience": "us"}, "wrong_audience"),
        ({"iss": "them"}, {"jwt_issuer": "us"}, "wrong_issuer"),
        ({}, {"jwt_issuer": "us"}, "wrong_issuer"),
        ({"sub": "x" * 9000}, {}, "malformed"),
    ],
)
def test_the_log_is_told_why_a_token_is_refused(claims: dict[str, Any], more: dict[str, Any], told: str) -> None:
    assert reason(signed(**from_now(claims)), **more) == told


def from_now(claims: dict[str, Any]) -> dict[str, Any]:
    """With times that are told in seconds from now. Made in the test: tests that were collected may have to wait."""
    return {name: in_seconds(value) if name in TIMES and value is not None else value for name, value in claims.items()}


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (None, "no_token"),
        ("Basic x", "no_token"),
        ("Bearer x", "malformed"),
        (f"Bearer {signed('t' * 32)}", "bad_signature"),
        (f"Bearer {signed('s' * 64, 'HS512')}", "algorithm_not_allowed"),
    ],
)
def test_the_log_is_told_what_is_wrong_with_a_header(header: str | None, told: str) -> None:
    with pytest.raises(Problem) as refused:
        ask(Verifier(settings()), *([] if header is None else [header]))
    assert refused.value.reason == told


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({"exp": DAY}, True),
        ({"exp": DAY, "iat": -HOUR}, True),
        ({"exp": 3 * DAY}, False),
        ({"exp": FOREVER}, False),
        ({"exp": DAY, "iat": -2 * DAY}, False),
    ],
)
def test_a_token_lives_no_longer_than_the_setting_allows(claims: dict[str, Any], *, good: bool) -> None:
    token = signed(**from_now(claims))
    assert ask(Verifier(settings()), f"Bearer {token}").subject == str(USER), "without the setting it may"
    if good:
        assert ask(Verifier(settings(jwt_max_age=2 * DAY)), f"Bearer {token}").subject == str(USER)
    else:
        assert reason(token, jwt_max_age=2 * DAY) == "lives_too_long"


def test_any_audience_is_one_that_is_asked_for_in_words() -> None:
    assert ask(Verifier(settings(jwt_audience="any")), f"Bearer {signed(aud='them')}").subject == str(USER)


@pytest.mark.parametrize(("bits", "good"), [(1024, False), (2047, False), (2048, True)])
def test_an_rsa_key_that_is_small_enough_to_be_broken_is_never_used(bits: int, *, good: bool) -> None:
    public = rsa.generate_private_key(65537, bits).public_key()
    published = {**RSAAlgorithm.to_jwk(public, as_dict=True), "kid": "one"}
    assert (usable({"keys": [published]}, ["RS256"]).keys() == {"one"}) is good
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with_it = settings(jwt_public_key=pem, jwt_algorithms="RS256")
    if good:
        assert Verifier(with_it)
    else:
        with pytest.raises(SystemExit, match=r"JWT_PUBLIC_KEY: .* 2,048 bits or more"):
            Verifier(with_it)
