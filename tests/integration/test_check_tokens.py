"""``celery -A worker check`` about tokens: the key is loaded, and a provider's keys are fetched."""

from typing import Any

import faults
import pytest
from checking import BY_KEY, Look, failed
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm
from proxy import Proxy


def publishes(*keys: Any) -> Any:
    """A provider's address with these keys."""
    return faults.said({"keys": list(keys)})


def public(curve: Any) -> tuple[str, dict[str, Any]]:
    """A new public key in both of the forms in which one is given."""
    made = ec.generate_private_key(curve).public_key()
    pem = made.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return pem, {**ECAlgorithm.to_jwk(made, as_dict=True), "kid": "one"}


def test_a_public_key_is_held_against_its_algorithms(look: Look) -> None:
    pem, _ = public(ec.SECP256R1())
    assert failed(look(**BY_KEY, JWT_PUBLIC_KEY=pem)) == []
    pem, _ = public(ec.SECP384R1())
    ((subject, detail, _),) = failed(look(**BY_KEY, JWT_PUBLIC_KEY=pem))
    assert (subject, detail) == ("tokens", "JWT_PUBLIC_KEY: is not a PEM public key for ES256")


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (publishes(public(ec.SECP256R1())[1]), None),
        (publishes(public(ec.SECP384R1())[1]), "no key for ES256 among its keys"),
        (publishes(), "no key for ES256 among its keys"),
        (faults.said([]), "no keys (ValueError)"),
        (faults.said("<html>"), "no keys (JSONDecodeError)"),
        (faults.said(b"", 503), "no keys (HTTP 503)"),
    ],
    ids=["a key", "of another algorithm", "none", "a list", "HTML", "out of order"],
)
def test_a_providers_keys_are_fetched(look: Look, before_ethereum: Proxy, answer: Any, detail: str | None) -> None:
    with before_ethereum.faulty(answer):
        found = look(**BY_KEY, JWT_JWKS_URL=f"{before_ethereum.url}/pass-word")
    told = [(of, said) for of, said, _ in failed(found)]
    assert told == ([] if detail is None else [("tokens", f"JWT_JWKS_URL: {detail}")])
    assert "pass-word" not in str(found), "no secret is told"


def test_tokens_for_any_program_are_warned_of(look: Look, before_ethereum: Proxy) -> None:
    with before_ethereum.faulty(publishes(public(ec.SECP256R1())[1])):
        url = f"{before_ethereum.url}/keys"
        for audience, warned in (("us", False), ("any", True)):
            found = look(**{**BY_KEY, "JWT_AUDIENCE": audience}, JWT_JWKS_URL=url)
            (tokens,) = (each for each in found if each.subject == "tokens")
            assert (tokens.ok, tokens.warning, "JWT_AUDIENCE" in tokens.to_do) == (True, warned, warned)
