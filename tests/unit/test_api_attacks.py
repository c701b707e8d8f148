"""Attacks with tokens, each beside a twin that is good: what is refused is refused for the attack alone."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tokens import (
    DAY,
    EC,
    EC384,
    HS256,
    LONG,
    RSA,
    USER,
    Attack,
    assert_that_it_fails,
    by_hand,
    claims,
    encoded,
    in_seconds,
    part,
    pem,
    settings,
    signed,
    unsigned,
)

from api.auth import MAX_TOKEN_BYTES, Verifier

OWN = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(EC384.public_key()))
OTHER_EC384 = ec.generate_private_key(ec.SECP384R1())
OTHER_RSA = rsa.generate_private_key(65537, 2048)
WITH_RSA = {"jwt_public_key": pem(RSA), "jwt_algorithms": "RS256"}
WITH_EC384 = {"jwt_public_key": pem(OTHER_EC384), "jwt_algorithms": "ES384"}

# Why PyJWT, or the verifier itself, refuses a request.
ONE_HEADER = "One Authorization header"
FORM = "The Authorization header must be of the form"
NOT_READ = "The token is not valid here."  # before anybody parses it
PARTS = "DecodeError: Not enough segments"
FORGED = "InvalidSignatureError: Signature verification failed"
ALGORITHM = "InvalidAlgorithmError: The specified alg value is not allowed"
EXP = "DecodeError: Expiration Time claim (exp) must be an integer"
SUBJECT = "InvalidSubjectError: Subject must be a string"
EARLY = "ImmatureSignatureError: The token is not yet valid"
MISSING = "MissingRequiredClaimError: Token is missing"
THIEF = "t" * 32  # who signs with a secret of their own


def expires(exp: str) -> str:
    """A well-signed token with this text for its time."""
    return by_hand(HS256, encoded(f'{{"sub": "{USER}", "exp": {exp}}}'.encode()))


def with_alg(**header: Any) -> Callable[[], str]:
    return lambda: by_hand(header, part(claims()))


def padded(length: int) -> str:
    return signed().ljust(length)


DEEP = '{"alg": "HS256", "x": %s}'
ATTACKS: dict[str, Attack] = {
    "no header": Attack(list, ONE_HEADER),
    "an empty header": Attack(lambda: [""], FORM),
    "a scheme alone": Attack(lambda: ["Bearer"], PARTS),
    "a scheme and a blank": Attack(lambda: ["Bearer "], PARTS),
    "a token alone": Attack(lambda: [signed()], FORM),
    "another scheme": Attack(lambda: [f"Basic {signed()}"], FORM),
    "a scheme of ours": Attack(lambda: [f"Token {signed()}"], FORM),
    "two headers": Attack(lambda: [f"Bearer {signed()}", f"Bearer {signed()}"], ONE_HEADER),
    "two tokens": Attack(lambda: [f"Bearer {signed()}, Bearer {signed()}"], "DecodeError: Invalid"),
    "not a token": Attack(lambda: "a.b.c", "DecodeError: Invalid header padding"),
    "two parts": Attack(lambda: signed().rpartition(".")[0], PARTS),
    "letters of another script": Attack(lambda: f"{signed()}\u00e9", NOT_READ),
    "a part too many": Attack(lambda: f"{signed()}.{part({})}", "DecodeError: Invalid payload padding"),
    "a byte too many": Attack(lambda: f"{signed()}x", FORGED),
    "a NUL": Attack(lambda: f"{signed()}\0", "DecodeError: Invalid crypto padding"),
    "another secret": Attack(lambda: signed(THIEF), FORGED),
    "an empty secret": Attack(
        lambda: by_hand(HS256, part(claims()), b""), FORGED, lambda: by_hand(HS256, part(claims()))
    ),
    "no signature": Attack(lambda: f"{signed().rpartition('.')[0]}.", FORGED),
    "an algorithm that is not allowed": Attack(
        lambda: signed(LONG, "HS512"), ALGORITHM, lambda: signed(LONG), {"jwt_secret": LONG}
    ),
    **{
        f"alg {name!r}": Attack(partial(unsigned, name), ALGORITHM, with_alg(**HS256))
        for name in ("none", "None", "NONE", "nOnE", "", " none")
    },
    "alg none with a public key": Attack(lambda: unsigned("none"), ALGORITHM, lambda: signed(RSA, "RS256"), WITH_RSA),
    "alg none with a signature": Attack(with_alg(alg="none"), ALGORITHM, with_alg(alg="HS256")),
    "no alg": Attack(
        with_alg(typ="JWT"), "InvalidAlgorithmError: Algorithm not specified", with_alg(typ="JWT", alg="HS256")
    ),
    "alg of another type": Attack(with_alg(alg=["HS256"]), ALGORITHM, with_alg(alg="HS256")),
    "the public key as a secret": Attack(
        lambda: by_hand(HS256, part(claims()), pem(RSA).encode()), ALGORITHM, lambda: signed(RSA, "RS256"), WITH_RSA
    ),
    "another kind of key": Attack(lambda: signed(EC, "ES256"), ALGORITHM, lambda: signed(RSA, "RS256"), WITH_RSA),
    "another key of the kind": Attack(
        lambda: signed(OTHER_RSA, "RS256"), FORGED, lambda: signed(RSA, "RS256"), WITH_RSA
    ),
    "an allowed kind, another padding": Attack(
        lambda: signed(RSA, "PS256"), ALGORITHM, lambda: signed(RSA, "RS256"), WITH_RSA
    ),
    "an allowed algorithm's name, another's signature": Attack(
        lambda: f"{part({'alg': 'RS256'})}.{signed(RSA, 'PS256').partition('.')[2]}",
        FORGED,
        lambda: signed(RSA, "RS256"),
        WITH_RSA,
    ),
    **{
        f"a secret of another's, with {name}": Attack(
            partial(signed, THIEF, headers=header), FORGED, partial(signed, headers=header)
        )
        for name, header in {
            "a kid that is a path": {"kid": "../../dev/null"},
            "a kid that is SQL": {"kid": "' UNION SELECT 1 --"},
            "a jku": {"jku": "https://evil.example/keys"},
            "an x5u": {"x5u": "https://evil.example/keys"},
        }.items()
    },
    "a kid of another type": Attack(
        with_alg(**HS256, kid={"a": 1}), "InvalidTokenError: Key ID header", with_alg(**HS256, kid="a")
    ),
    "a jwk of its own": Attack(
        lambda: signed(EC384, "ES384", headers={"jwk": OWN}),
        FORGED,
        lambda: signed(OTHER_EC384, "ES384", headers={"jwk": OWN}),
        WITH_EC384,
    ),
    "a crit that nobody knows": Attack(
        with_alg(**HS256, crit=["x"], x=1), "InvalidTokenError: Unsupported critical extension", with_alg(**HS256, x=1)
    ),
    "nested without end": Attack(
        lambda: by_hand(encoded((DEEP % ("[" * 5000)).encode()), part(claims())),
        "DecodeError: Invalid header string:",
        lambda: by_hand(encoded((DEEP % "[[[]]]").encode()), part(claims())),
    ),
    "expired": Attack(
        lambda: signed(exp=in_seconds(-60)), "ExpiredSignatureError:", lambda: signed(exp=in_seconds(60 * 60))
    ),
    "no exp": Attack(lambda: signed(exp=None), f'{MISSING} the "exp"'),
    "exp that is no number": Attack(lambda: signed(exp="never"), EXP),
    "exp without end": Attack(lambda: expires("1e999"), EXP, lambda: expires("1e99")),
    "exp that is no JSON": Attack(lambda: expires("NaN"), EXP, lambda: expires("1e10")),
    "from the future": Attack(
        lambda: signed(nbf=in_seconds(DAY)), f"{EARLY} (nbf)", lambda: signed(nbf=in_seconds(-DAY))
    ),
    "made in the future": Attack(
        lambda: signed(iat=in_seconds(DAY)), f"{EARLY} (iat)", lambda: signed(iat=in_seconds(-DAY))
    ),
    "no subject": Attack(lambda: signed(sub=None), f'{MISSING} the "sub"'),
    "a subject that is a number": Attack(lambda: by_hand(HS256, part({**claims(), "sub": 7})), SUBJECT),
    "a subject that is a list": Attack(lambda: by_hand(HS256, part({**claims(), "sub": [str(USER)]})), SUBJECT),
    "claims that are a list": Attack(
        lambda: by_hand(HS256, part([claims()])),
        "DecodeError: Invalid payload string: must be a json object",
        lambda: by_hand(HS256, part(claims())),
    ),
    "another issuer": Attack(
        lambda: signed(iss="others"),
        "InvalidIssuerError: Invalid issuer",
        lambda: signed(iss="them"),
        {"jwt_issuer": "them"},
    ),
    "no issuer": Attack(
        signed,
        f'{MISSING} the "iss"',
        lambda: signed(iss="them"),
        {"jwt_issuer": "them"},
    ),
    "an issuer that is a list": Attack(
        lambda: by_hand(HS256, part({**claims(), "iss": ["them"]})),
        "InvalidIssuerError: Payload Issuer (iss) must be a string",
        lambda: by_hand(HS256, part({**claims(), "iss": "them"})),
        {"jwt_issuer": "them"},
    ),
    "another audience": Attack(
        lambda: signed(aud="others"),
        "InvalidAudienceError: Audience doesn't match",
        lambda: signed(aud=["others", "us"]),
        {"jwt_audience": "us"},
    ),
    "no audience": Attack(
        signed,
        f'{MISSING} the "aud"',
        lambda: signed(aud="us"),
        {"jwt_audience": "us"},
    ),
    "too long": Attack(lambda: signed(filler="x" * 9000), NOT_READ, lambda: signed(filler="x" * 5900)),
    "a blank too long": Attack(lambda: padded(MAX_TOKEN_BYTES + 1), NOT_READ, lambda: padded(MAX_TOKEN_BYTES)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_token_that_proves_nothing_is_refused_for_that_and_its_good_twin_is_taken(attack: str) -> None:
    assert_that_it_fails(ATTACKS[attack], Verifier(settings(**ATTACKS[attack].settings)))
