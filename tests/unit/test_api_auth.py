"""Who may ask: good tokens, and a table of attacks."""

import json
import time
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tokens import (
    EC,
    EC384,
    EC521,
    ED,
    HS256,
    LONG,
    RSA,
    SECRET,
    USER,
    ask,
    by_hand,
    claims,
    encoded,
    part,
    pem,
    settings,
    signed,
    unsigned,
)

from api.auth import Caller, Verifier, check_may_read
from api.problems import Problem

OTHER = UUID("11111111-1c52-4e0d-85e2-862ee1cdd4d0")
ENDLESS = b'{"sub": "a", "exp": 1e999}'
WITH_RSA = {"jwt_public_key": pem(RSA), "jwt_algorithms": "RS256"}


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


OWN = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(EC384.public_key()))
WITH_EC384 = {"jwt_public_key": pem(ec.generate_private_key(ec.SECP384R1())), "jwt_algorithms": "ES384"}
ATTACKS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "no header": ([], {}),
    "an empty header": ([""], {}),
    "a scheme alone": (["Bearer"], {}),
    "a scheme and a blank": (["Bearer "], {}),
    "a token alone": ([signed()], {}),
    "another scheme": ([f"Basic {signed()}"], {}),
    "a scheme of ours": ([f"Token {signed()}"], {}),
    "two headers": ([f"Bearer {signed()}", f"Bearer {signed()}"], {}),
    "two tokens": ([f"Bearer {signed()}, Bearer {signed()}"], {}),
    "not a token": (["Bearer a.b.c"], {}),
    "two parts": ([f"Bearer {signed().rpartition('.')[0]}"], {}),
    "letters of another script": (["Bearer \u00e9.b.c"], {}),
    "a part too many": ([f"Bearer {signed()}.{part({})}"], {}),
    "a byte too many": ([f"Bearer {signed()}x"], {}),
    "a NUL": ([f"Bearer {signed()}\0"], {}),
    "another secret": ([f"Bearer {signed('t' * 32)}"], {}),
    "an empty secret": ([f"Bearer {by_hand(HS256, part(claims()), b'')}"], {}),
    "an algorithm that is not allowed": ([f"Bearer {signed(LONG, 'HS512')}"], {"jwt_secret": LONG}),
    **{f"alg {name!r}": ([f"Bearer {unsigned(name)}"], {}) for name in ("none", "None", "NONE", "nOnE", "", " none")},
    "alg none with a public key": ([f"Bearer {unsigned('none')}"], WITH_RSA),
    "alg none with a signature": ([f"Bearer {by_hand({'alg': 'none'}, part(claims()))}"], {}),
    "no alg": ([f"Bearer {by_hand({'typ': 'JWT'}, part(claims()))}"], {}),
    "alg of another type": ([f"Bearer {by_hand({'alg': ['HS256']}, part(claims()))}"], {}),
    "the public key as a secret": ([f"Bearer {by_hand(HS256, part(claims()), pem(RSA).encode())}"], WITH_RSA),
    "another kind of key": ([f"Bearer {signed(EC, 'ES256')}"], WITH_RSA),
    "another key of the kind": ([f"Bearer {signed(rsa.generate_private_key(65537, 2048), 'RS256')}"], WITH_RSA),
    "an allowed kind, another padding": ([f"Bearer {signed(RSA, 'PS256')}"], WITH_RSA),
    "a kid that is a path": ([f"Bearer {signed('t' * 32, headers={'kid': '../../dev/null'})}"], {}),
    "a kid that is SQL": ([f"Bearer {signed('t' * 32, headers={'kid': chr(39) + ' UNION SELECT 1 --'})}"], {}),
    "a kid of another type": ([f"Bearer {by_hand({**HS256, 'kid': {'a': 1}}, part(claims()))}"], {}),
    "a jku": ([f"Bearer {signed('t' * 32, headers={'jku': 'https://evil.example/keys'})}"], {}),
    "an x5u": ([f"Bearer {signed('t' * 32, headers={'x5u': 'https://evil.example/keys'})}"], {}),
    "a jwk of its own": ([f"Bearer {signed(EC384, 'ES384', headers={'jwk': OWN})}"], WITH_EC384),
    "a crit that nobody knows": ([f"Bearer {by_hand({**HS256, 'crit': ['x'], 'x': 1}, part(claims()))}"], {}),
    "nested without end": ([f"Bearer {encoded(b'[' * 5000)}.e30.e30"], {}),
    "expired": ([f"Bearer {signed(exp=int(time.time()) - 60)}"], {}),
    "no exp": ([f"Bearer {signed(exp=None)}"], {}),
    "exp that is no number": ([f"Bearer {signed(exp='never')}"], {}),
    "exp without end": ([f"Bearer {by_hand(HS256, encoded(ENDLESS))}"], {}),
    "exp that is no JSON": ([f"Bearer {by_hand(HS256, encoded(ENDLESS.replace(b'1e999', b'NaN')))}"], {}),
    "from the future": ([f"Bearer {signed(nbf=int(time.time()) + 600)}"], {}),
    "made in the future": ([f"Bearer {signed(iat=int(time.time()) + 600)}"], {}),
    "no subject": ([f"Bearer {signed(sub=None)}"], {}),
    "a subject that is a number": ([f"Bearer {by_hand(HS256, part({**claims(), 'sub': 7}))}"], {}),
    "a subject that is a list": ([f"Bearer {by_hand(HS256, part({**claims(), 'sub': [str(USER)]}))}"], {}),
    "claims that are a list": ([f"Bearer {by_hand(HS256, part([claims()]))}"], {}),
    "another issuer": ([f"Bearer {signed(iss='others')}"], {"jwt_issuer": "them"}),
    "no issuer": ([f"Bearer {signed()}"], {"jwt_issuer": "them"}),
    "an issuer that is a list": (
        [f"Bearer {by_hand(HS256, part({**claims(), 'iss': ['them']}))}"],
        {"jwt_issuer": "them"},
    ),
    "another audience": ([f"Bearer {signed(aud='others')}"], {"jwt_audience": "us"}),
    "no audience": ([f"Bearer {signed()}"], {"jwt_audience": "us"}),
    "too long": ([f"Bearer {signed(filler='x' * 9000)}"], {}),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_token_that_proves_nothing_is_refused_with_401(attack: str) -> None:
    headers, more = ATTACKS[attack]
    verifier = Verifier(settings(**more))
    for _ in range(2):  # nothing that was refused is remembered as good
        with pytest.raises(Problem) as refused:
            ask(verifier, *headers)
        assert refused.value.status == 401
        assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_that_has_just_expired_is_taken_within_the_clocks_leeway() -> None:
    assert caller(signed(exp=int(time.time()) - 3)).subject == str(USER)


def test_a_token_that_was_good_is_not_taken_after_it_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier, token = Verifier(settings()), signed(exp=int(time.time()) + 1)
    assert ask(verifier, f"Bearer {token}").subject == str(USER)
    ((remembered, (expires, *_)),) = verifier._remembered.items()
    assert (remembered.decode(), round(expires - time.time())) in [(token, 10), (token, 11)]
    monkeypatch.setattr("api.auth.time", lambda: expires)
    monkeypatch.setattr(jwt, "decode_complete", lambda *_, **__: pytest.fail("it is checked anew"))
    with pytest.raises(pytest.fail.Exception, match="it is checked anew"):
        ask(verifier, f"Bearer {token}")


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
        (USER.hex, False),
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
