"""Keys as providers and secret stores give them, and sets of keys as providers publish them."""

import asyncio
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from published_keys import EC, OTHER_RSA, PUBLISHED, RSA, certificate, certificate_pem, jwk
from tokens import LONG, USER, ask, pem, settings, signed

from api.auth import Verifier
from config.keys import public_keys, secrets_of, usable

ALGORITHMS = ("RS256",)
Form = Callable[[Any], str]


def der(key: Any) -> bytes:
    made: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return made


def private_pem(key: Any) -> str:
    made: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.decode()


def base64(text: str | bytes) -> str:
    return b64encode(text.encode() if isinstance(text, str) else text).decode()


FORMS: dict[str, Form] = {
    "PEM": pem,
    "PEM with Windows' line ends": lambda key: pem(key).replace("\n", "\r\n"),
    "PEM on one line, with \\n in it": lambda key: pem(key).replace("\n", "\\n"),
    "PEM on one line, with \\r\\n in it": lambda key: pem(key).replace("\n", "\\r\\n"),
    "PEM on one line, with blanks": lambda key: " ".join(pem(key).split("\n")),
    "PEM on one line, with nothing": lambda key: pem(key).replace("\n", ""),
    "PEM that YAML has indented": lambda key: "\n    ".join(pem(key).split("\n")),
    "PEM of PKCS#1": lambda key: key.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode(),
    "PEM with words around it": lambda key: f"Bag Attributes\n  friendlyName: x\n{pem(key)}\n",
    "base64 of PEM": lambda key: base64(pem(key)),
    "base64 of PEM on lines": lambda key: "\n".join([base64(pem(key))[:60], base64(pem(key))[60:]]),
    "base64 of base64 of PEM": lambda key: base64(base64(pem(key))),
    "Keycloak's, base64 of the key alone": lambda key: base64(der(key)),
    "base64url without padding": lambda key: urlsafe_b64encode(der(key)).decode().rstrip("="),
    "a certificate": certificate_pem,
    "a certificate on one line": lambda key: certificate_pem(key).replace("\n", "\\n"),
    "x5c, base64 of a certificate": lambda key: base64(certificate(key).public_bytes(Encoding.DER)),
    "a key of ssh": lambda key: key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
    "a JWK": lambda key: json.dumps(jwk(key)),
    "a JWK on lines": lambda key: json.dumps(jwk(key), indent=2),
    "base64 of a JWK": lambda key: base64(json.dumps(jwk(key))),
    "a JWKS": lambda key: json.dumps({"keys": [jwk(key)]}),
    "Google's certificates by their ids": lambda key: json.dumps({"one": certificate_pem(key)}),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_token_is_checked_by_a_key_in_each_form(form: Form) -> None:
    own = settings(jwt_public_key=form(RSA), jwt_algorithms="RS256")
    assert ask(Verifier(own), f"Bearer {signed(RSA, 'RS256')}").subject == str(USER)
    assert is_refused(own, signed(OTHER_RSA, "RS256"))


def is_refused(own: Any, token: str) -> bool:
    try:
        ask(Verifier(own), f"Bearer {token}")
    except Exception as refused:  # noqa: BLE001  a Problem
        return getattr(refused, "status", None) == 401
    return False


@pytest.mark.parametrize(
    "text",
    [
        pem(OTHER_RSA) + pem(RSA),
        pem(OTHER_RSA).replace("\n", "\\n") + "\\n" + pem(RSA).replace("\n", "\\n"),
        json.dumps({"keys": [jwk(OTHER_RSA, "old"), jwk(RSA, "new")]}),
        json.dumps({"keys": [jwk(OTHER_RSA, None), jwk(RSA, None)]}),
        certificate_pem(RSA) + pem(OTHER_RSA),
    ],
    ids=["PEM twice", "on one line", "JWKS", "JWKS without ids", "a certificate and a key"],
)
def test_there_may_be_two_keys_while_one_is_replaced(text: str) -> None:
    own = settings(jwt_public_key=text, jwt_algorithms="RS256")
    for key in (RSA, OTHER_RSA):
        assert ask(Verifier(own), f"Bearer {signed(key, 'RS256')}").subject == str(USER)
    third = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert is_refused(own, signed(third, "RS256"))


def test_keys_of_two_kinds_are_each_used_with_what_fits_them() -> None:
    own = settings(jwt_public_key=pem(RSA) + pem(EC), jwt_algorithms="RS256,ES256")
    for key, algorithm in ((RSA, "RS256"), (EC, "ES256")):
        assert ask(Verifier(own), f"Bearer {signed(key, algorithm)}").subject == str(USER)


@pytest.mark.parametrize("text", [private_pem(RSA), private_pem(RSA).replace("\n", "\\n"), base64(private_pem(RSA))])
def test_a_private_key_is_refused_with_what_to_do_and_not_shown(text: str) -> None:
    with pytest.raises(SystemExit) as stop:
        Verifier(settings(jwt_public_key=text, jwt_algorithms="RS256"))
    said = str(stop.value)
    assert "JWT_PUBLIC_KEY: is a private key, which no endpoint needs: openssl pkey -pubout" in said
    assert text[40:60] not in said


def test_a_private_jwk_is_refused_too() -> None:
    made = json.dumps({**jwk(EC), "d": "AA"})
    with pytest.raises(ValueError, match="is a private key") as refused:
        public_keys(made, ("ES256",))
    assert jwk(EC)["x"] not in str(refused.value)


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----", "{", "{}", "[]"])
def test_what_is_no_key_is_none(text: str) -> None:
    assert public_keys(text, ALGORITHMS) == {}


def test_a_secret_may_be_a_jwk_or_several() -> None:
    one, two = (urlsafe_b64encode(text.encode()).decode().rstrip("=") for text in (LONG, LONG[::-1] + "x"))
    secrets = secrets_of(json.dumps({"keys": [{"kty": "oct", "k": one}, {"kty": "oct", "k": two}]}))
    assert secrets == (LONG.encode(), (LONG[::-1] + "x").encode())
    assert secrets_of(json.dumps({"kty": "oct", "k": one})) == (LONG.encode(),)
    assert secrets_of('{"any": "text that is a secret"}') == (b'{"any": "text that is a secret"}',)
    own = settings(jwt_secret=json.dumps({"kty": "oct", "k": one}))
    assert ask(Verifier(own), f"Bearer {signed(LONG)}").subject == str(USER)


def test_a_short_secret_in_a_jwk_is_as_short() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        settings(jwt_secret=json.dumps({"kty": "oct", "k": urlsafe_b64encode(b"x" * 31).decode()}))


def test_a_public_key_is_no_secret() -> None:
    """PyJWT refuses to sign or check with it, so that every token would be refused without a reason."""
    with pytest.raises(ValueError, match="JWT_SECRET is a key of a pair: put its public half into JWT_PUBLIC_KEY"):
        settings(jwt_secret=pem(RSA))


@pytest.mark.parametrize(("published", "kid"), PUBLISHED.values(), ids=PUBLISHED)
def test_the_keys_of_each_provider_are_found(published: Any, kid: str | None) -> None:
    of_provider = {"jwt_jwks_url": "https://them.example/keys", "jwt_audience": "any", "jwt_algorithms": "RS256,ES256"}
    verifier = Verifier(settings(**of_provider))
    give(verifier, published)
    headers = {} if kid is None else {"kid": kid}
    assert ask(verifier, f"Bearer {signed(RSA, 'RS256', headers=headers)}").subject == str(USER)
    third = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(Exception, match="not valid here"):
        ask(verifier, f"Bearer {signed(third, 'RS256', headers=headers)}")


def give(verifier: Verifier, published: Any) -> None:
    """What a provider's address answers from now on."""

    keys: Any = verifier._keys
    keys._client = SimpleNamespace(fetch_data=lambda: json.loads(json.dumps(published)))
    asyncio.run(keys._fetch())


def test_a_key_that_may_not_check_is_left_out() -> None:
    assert usable({"keys": [jwk(RSA, key_ops=["encrypt"])]}, ALGORITHMS) == {}
    assert usable({"keys": [jwk(RSA, use="enc")]}, ALGORITHMS) == {}
