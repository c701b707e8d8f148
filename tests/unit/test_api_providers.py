"""Who may ask with a token of a provider: good tokens, and a table of attacks."""

import asyncio
import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs
from tokens import (
    DAY,
    EC,
    HS256,
    RSA,
    USER,
    Attack,
    ask,
    assert_that_it_fails,
    by_hand,
    claims,
    encoded,
    in_seconds,
    part,
    pem,
    refused_for,
    settings,
    signed,
)

from api.auth import Caller, Verifier
from api.keys import ProviderKeys

WITH_PROVIDER = {
    "jwt_jwks_url": "https://provider.example/keys",
    "jwt_algorithms": "RS256,ES256",
    "jwt_audience": "any",
}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, ["tokens_of_any_audience"]),
        ({"jwt_issuer": "them"}, ["tokens_of_any_audience"]),
        ({"jwt_audience": "us"}, []),
    ],
)
def test_a_provider_whose_every_token_is_believed_is_told_of(
    more: dict[str, str], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = Verifier(settings(**{**WITH_PROVIDER, **more}))
    monkeypatch.setattr(verifier._keys, "version", lambda: 0)
    with capture_logs() as logs:
        verifier.look_for_keys()
    assert [line["event"] for line in logs] == told


def from_provider(verifier: Verifier, *published: dict[str, Any]) -> Verifier:
    """With the keys of a provider, who was asked for them and nothing else."""
    assert isinstance(verifier._keys, ProviderKeys)
    verifier._keys._client = SimpleNamespace(fetch_data=lambda: {"keys": list(published)})  # type: ignore[assignment]
    asyncio.run(verifier._keys._fetch())
    return verifier


def jwk(key: Any, kid: str, kind: Any) -> dict[str, Any]:
    return {**json.loads(kind.to_jwk(key.public_key())), "kid": kid}


PUBLISHED = [jwk(RSA, "rsa", jwt.algorithms.RSAAlgorithm), jwk(EC, "ec", jwt.algorithms.ECAlgorithm)]
FOREIGN = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = pem(RSA).encode()


def rs256(key: Any = RSA, algorithm: str = "RS256", kid: str | None = "rsa", **header: Any) -> str:
    """A token with claims that are good, signed by the provider if nothing else is said."""
    return signed(key, algorithm, headers={**({} if kid is None else {"kid": kid}), **header})


def forged(**header: Any) -> Attack:
    """With the key of a stranger, and something in the header that is to have it believed."""
    return Attack(partial(rs256, FOREIGN, **header), FORGED, partial(rs256, **header))


def with_secret(secret: bytes) -> Attack:
    """With something that everybody knows as the secret of HS256."""
    return Attack(lambda: by_hand({**HS256, "kid": "rsa"}, part(claims()), secret), ALGORITHM, rs256)


def with_claims(**more: Any) -> str:
    """Claims that PyJWT would not sign."""
    return jwt.PyJWS().encode(json.dumps({**claims(), **more}).encode(), RSA, "RS256", headers={"kid": "rsa"})


def with_kid(kid: object) -> str:
    """A kid that PyJWT would not sign."""
    text = f"{part({'alg': 'RS256', 'kid': kid})}.{part(claims())}"
    signature = jwt.get_algorithm_by_name("RS256").sign(text.encode(), RSA)
    return f"{text}.{encoded(signature)}"


FORGED = "InvalidSignatureError: Signature verification failed"
ALGORITHM = "InvalidAlgorithmError: The specified alg value is not allowed"
UNKNOWN = "UnknownKey: "
OF_PROVIDER = {
    "a jku": forged(jku="https://evil.example/keys"),
    "an x5u": forged(x5u="https://evil.example/keys"),
    "a jwk of its own": forged(jwk=jwk(FOREIGN, "rsa", jwt.algorithms.RSAAlgorithm)),
    "a jwk and a kid of its own": Attack(
        lambda: rs256(FOREIGN, kid="own", jwk=jwk(FOREIGN, "own", jwt.algorithms.RSAAlgorithm)),
        UNKNOWN,
        lambda: rs256(jwk=jwk(FOREIGN, "own", jwt.algorithms.RSAAlgorithm)),
    ),
    "alg none": Attack(lambda: f"{part({'alg': 'none', 'kid': 'rsa'})}.{part(claims())}.", ALGORITHM, rs256),
    "alg none with a signature": Attack(
        lambda: by_hand({"alg": "none", "kid": "rsa"}, part(claims())), ALGORITHM, rs256
    ),
    "the public key as a secret": with_secret(PUBLIC),
    "the published key as a secret": with_secret(json.dumps(PUBLISHED[0]).encode()),
    "its modulus as a secret": with_secret(PUBLISHED[0]["n"].encode()),
    "an empty secret": with_secret(b""),
    "a kid of another key's type": Attack(
        lambda: rs256(EC, "ES256", "rsa"), ALGORITHM, lambda: rs256(EC, "ES256", "ec")
    ),
    "a kid of another key's type, the other way": Attack(lambda: rs256(kid="ec"), ALGORITHM, rs256),
    "an algorithm that is not allowed": Attack(lambda: rs256(algorithm="PS256"), ALGORITHM, rs256),
    "no kid where there are several": Attack(lambda: rs256(kid=None), UNKNOWN, rs256),
    "a kid that is a path": Attack(lambda: rs256(kid="../../dev/null"), UNKNOWN, rs256),
    "a kid of another type": Attack(
        lambda: with_kid(["rsa"]),
        "InvalidTokenError: Key ID header",
        lambda: with_kid("rsa"),
    ),
    "expired": Attack(lambda: with_claims(exp=in_seconds(-60)), "ExpiredSignatureError: ", with_claims),
    "no exp": Attack(
        lambda: with_claims(exp=None), 'MissingRequiredClaimError: Token is missing the "exp" claim', with_claims
    ),
    "from the future": Attack(
        lambda: with_claims(nbf=in_seconds(DAY)),
        "ImmatureSignatureError: The token is not yet valid (nbf)",
        lambda: with_claims(nbf=in_seconds(-DAY)),
    ),
    "a subject that is a number": Attack(
        lambda: with_claims(sub=7), "InvalidSubjectError: Subject must be a string", with_claims
    ),
}


@pytest.mark.parametrize("attack", OF_PROVIDER)
def test_a_token_that_proves_nothing_is_refused_beside_a_providers_keys_and_its_good_twin_is_taken(
    attack: str,
) -> None:
    assert_that_it_fails(OF_PROVIDER[attack], from_provider(Verifier(settings(**WITH_PROVIDER)), *PUBLISHED))


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(RSA, "RS256", "rsa"), (EC, "ES256", "ec")])
def test_a_token_of_a_provider_names_its_user(key: Any, algorithm: str, kid: str) -> None:
    verifier = from_provider(Verifier(settings(**WITH_PROVIDER)), *PUBLISHED)
    assert ask(verifier, f"Bearer {signed(key, algorithm, headers={'kid': kid})}") == Caller(str(USER), admin=False)


def test_a_token_that_was_taken_is_not_when_its_key_was_withdrawn() -> None:
    verifier = from_provider(Verifier(settings(**WITH_PROVIDER)), *PUBLISHED)
    token = rs256()
    assert ask(verifier, f"Bearer {token}").subject == str(USER)
    from_provider(verifier, PUBLISHED[1])
    assert refused_for(verifier, token) == UNKNOWN
