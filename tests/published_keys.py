"""What providers publish as their keys, and a provider in the fetcher's stead."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from api.keys import ProviderKeys, UnknownKey

MAX_AGE = 3600.0
ALL = ("RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA")
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
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


def certificate(key: Any) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "them")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    return made.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())


def certificate_pem(key: Any) -> str:
    return certificate(key).public_bytes(Encoding.PEM).decode()


ENCRYPTS = jwk(OTHER_RSA, "enc", use="enc", alg="RSA-OAEP")
PUBLISHED: dict[str, tuple[dict[str, Any], str | None]] = {
    "Auth0": ({"keys": [jwk(RSA, "a0", use="sig", alg="RS256", x5t="t", x5c=["MII="])]}, "a0"),
    "Keycloak, with a key for encryption": ({"keys": [ENCRYPTS, jwk(RSA, "kc", use="sig", alg="RS256")]}, "kc"),
    "Cognito, two keys": (
        {"keys": [jwk(OTHER_RSA, "c1", use="sig", alg="RS256"), jwk(RSA, "c2", use="sig", alg="RS256")]},
        "c2",
    ),
    "Entra, no algorithm named": ({"keys": [jwk(RSA, "e1", use="sig", x5t="t", issuer="https://them")]}, "e1"),
    "Supabase, what it is for": ({"keys": [jwk(RSA, "s1", key_ops=["verify"], ext=True, alg="RS256")]}, "s1"),
    "Firebase": ({"keys": [jwk(RSA, "f1", use="sig", alg="RS256"), jwk(OTHER_RSA, "f2", use="sig")]}, "f1"),
    "Firebase, certificates": ({"f1": certificate_pem(OTHER_RSA), "f2": certificate_pem(RSA)}, "f2"),
    "Zitadel": ({"keys": [jwk(RSA, "z1", use="sig", alg="RS256"), jwk(OTHER_RSA, "z2", use="sig")]}, "z1"),
    "null members": ({"keys": [jwk(RSA, "n1", use=None, alg=None, key_ops=None, x5c=None)]}, "n1"),
    "a null id": ({"keys": [{**jwk(RSA), "kid": None}]}, "any"),
    "no ids": ({"keys": [jwk(OTHER_RSA, None), jwk(RSA, None)]}, "any"),
    "no ids, and none in the token": ({"keys": [jwk(OTHER_RSA, None), jwk(RSA, None)]}, None),
    "one id for two keys": ({"keys": [jwk(OTHER_RSA, "same"), jwk(RSA, "same")]}, "same"),
    "one id for keys of two kinds": ({"keys": [jwk(EC, "same"), jwk(RSA, "same")]}, "same"),
    "one key alone": (jwk(RSA, "one"), "one"),
    "one key, and no id in the token": ({"keys": [jwk(RSA, "one")]}, None),
    "something else among them": ({"keys": ["x", None, {"kty": "XYZ", "kid": "y"}, jwk(RSA, "one")]}, "one"),
}
"""What each provider publishes, in a shape made by hand, and the id in a token that RSA has signed."""


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
