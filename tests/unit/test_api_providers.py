"""Who may ask with a token of a provider: good tokens, and a table of attacks."""

import json
import time
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs
from tokens import EC, HS256, RSA, USER, ask, by_hand, claims, part, pem, settings, signed

from api.auth import Caller, Verifier
from api.keys import ProviderKeys
from api.problems import Problem

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
    """With the keys of a provider, who is asked nothing but them."""
    assert isinstance(verifier._keys, ProviderKeys)
    verifier._keys._client = SimpleNamespace(fetch_data=lambda: {"keys": list(published)})  # type: ignore[assignment]
    return verifier


def jwk(key: Any, kid: str, kind: Any) -> dict[str, Any]:
    return {**json.loads(kind.to_jwk(key.public_key())), "kid": kid}


PUBLISHED = [jwk(RSA, "rsa", jwt.algorithms.RSAAlgorithm), jwk(EC, "ec", jwt.algorithms.ECAlgorithm)]
FOREIGN = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = pem(RSA).encode()
OF_PROVIDER = {
    "a jku": signed(FOREIGN, "RS256", headers={"kid": "rsa", "jku": "https://evil.example/keys"}),
    "an x5u": signed(FOREIGN, "RS256", headers={"kid": "rsa", "x5u": "https://evil.example/keys"}),
    "a jwk of its own": signed(
        FOREIGN, "RS256", headers={"kid": "rsa", "jwk": jwk(FOREIGN, "rsa", jwt.algorithms.RSAAlgorithm)}
    ),
    "a jwk and a kid of its own": signed(
        FOREIGN, "RS256", headers={"kid": "own", "jwk": jwk(FOREIGN, "own", jwt.algorithms.RSAAlgorithm)}
    ),
    "alg none": f"{part({'alg': 'none', 'kid': 'rsa'})}.{part(claims())}.",
    "alg none with a signature": by_hand({"alg": "none", "kid": "rsa"}, part(claims())),
    "the public key as a secret": by_hand({**HS256, "kid": "rsa"}, part(claims()), PUBLIC),
    "the published key as a secret": by_hand(
        {**HS256, "kid": "rsa"}, part(claims()), json.dumps(PUBLISHED[0]).encode()
    ),
    "its modulus as a secret": by_hand({**HS256, "kid": "rsa"}, part(claims()), PUBLISHED[0]["n"].encode()),
    "an empty secret": by_hand({**HS256, "kid": "rsa"}, part(claims()), b""),
    "a kid of another key's type": signed(EC, "ES256", headers={"kid": "rsa"}),
    "a kid of another key's type, the other way": signed(RSA, "RS256", headers={"kid": "ec"}),
    "an algorithm that is not allowed": signed(RSA, "PS256", headers={"kid": "rsa"}),
    "no kid where there are several": signed(RSA, "RS256"),
    "a kid that is a path": signed(FOREIGN, "RS256", headers={"kid": "../../dev/null"}),
    "a kid of another type": by_hand({**HS256, "kid": ["rsa"]}, part(claims())),
    "expired": signed(RSA, "RS256", headers={"kid": "rsa"}, exp=int(time.time()) - 60),
    "no exp": signed(RSA, "RS256", headers={"kid": "rsa"}, exp=None),
    "from the future": signed(RSA, "RS256", headers={"kid": "rsa"}, nbf=int(time.time()) + 600),
    "a subject that is a number": jwt.PyJWS().encode(
        json.dumps({**claims(), "sub": 7}).encode(), RSA, "RS256", headers={"kid": "rsa"}
    ),
}


@pytest.mark.parametrize("attack", OF_PROVIDER)
def test_a_token_that_proves_nothing_is_refused_beside_a_providers_keys(attack: str) -> None:
    verifier = from_provider(Verifier(settings(**WITH_PROVIDER)), *PUBLISHED)
    for _ in range(2):
        with pytest.raises(Problem) as refused:
            ask(verifier, f"Bearer {OF_PROVIDER[attack]}")
        assert refused.value.status == 401
        assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(RSA, "RS256", "rsa"), (EC, "ES256", "ec")])
def test_a_token_of_a_provider_names_its_user(key: Any, algorithm: str, kid: str) -> None:
    verifier = from_provider(Verifier(settings(**WITH_PROVIDER)), *PUBLISHED)
    assert ask(verifier, f"Bearer {signed(key, algorithm, headers={'kid': kid})}") == Caller(str(USER), admin=False)
