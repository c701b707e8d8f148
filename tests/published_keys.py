"""A provider that publishes keys, in the fetcher's stead, and what a test makes of them."""

import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from api.keys import ProviderKeys, UnknownKey

MAX_AGE = 3600.0
ALL = ("RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA")
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
AS_JWK: dict[type, Any] = {
    rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
    ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
    ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
}


def jwk(key: Any, kid: str | None = "one", **more: Any) -> dict[str, Any]:
    made = next(algorithm for kind, algorithm in AS_JWK.items() if isinstance(key, kind)).to_jwk(key.public_key())
    return {**json.loads(made), **({} if kid is None else {"kid": kid}), **more}


class Provider:
    """What a provider's address answers, in the fetcher's stead: the keys, or an error."""

    def __init__(self, *entries: Any) -> None:
        self.answer: Any = {"keys": list(entries)}
        self.asked = 0

    def fetch_data(self) -> Any:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def keys_from(provider: Provider) -> ProviderKeys:
    made = ProviderKeys("https://provider.example/keys", ALL, MAX_AGE)
    made._client = provider  # type: ignore[assignment]
    return made


def token(kid: str | None, key: Any = EC, algorithm: str = "ES256") -> bytes:
    return jwt.encode({"sub": "x"}, key, algorithm, headers={"kid": kid} if kid else None).encode()


async def is_known(made: ProviderKeys, kid: str | None) -> bool:
    try:
        await made.of(token(kid))
    except UnknownKey:
        return False
    return True
