"""The keys that the settings name for checking tokens, each with the algorithms that fit it."""

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from textwrap import wrap
from typing import Any, NamedTuple

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.utils import base64url_decode

MIN_RSA_BITS = 2048  # NIST SP 800-131A: shorter keys are not to be believed since 2014

_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


class Key(NamedTuple):
    """A key, and the algorithms that it is believed with: never those that the token would like."""

    material: Any
    algorithms: tuple[str, ...]


Keys = dict[str | None, tuple[Key, ...]]
"""By their ids. Several may have one, or none: None."""


def public_keys(text: str, algorithms: Sequence[str]) -> Keys:
    """The keys of a setting, by their ids: PEM (on one line too), base64 of that or of its bytes, a certificate, a key
    of ssh, a JWK, or several of them. Empty where no key is found, or not one for each of these algorithms. Pure.

    Raises ValueError, which does not show the text, for a private key.
    """
    found: dict[str | None, list[Key]] = {}
    for kid, material in _materials(text.strip()):
        names = tuple(name for name in algorithms if name in _fitting(material))
        if names:
            found.setdefault(kid, []).append(Key(material, names))
    fit = {name for keys in found.values() for key in keys for name in key.algorithms}
    return {kid: tuple(keys) for kid, keys in found.items()} if set(algorithms) <= fit else {}


def secrets_of(text: str) -> tuple[bytes, ...]:
    """The secrets of a JWT_SECRET: its text, or the keys of a JWK or of a set of them. Pure.

    Raises ValueError, which does not show the text, for a key of a pair.
    """
    if "-----BEGIN " in text:
        raise ValueError("is a key of a pair: put its public half into JWT_PUBLIC_KEY")
    if text.startswith("{"):
        with suppress(ValueError, TypeError, AttributeError, RecursionError):
            entries = [entry for entry in _entries(json.loads(text)) if entry.get("kty") == "oct"]
            if entries:
                return tuple(base64url_decode(entry["k"]) for entry in entries)
    return (text.encode(),)


_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_SSH = re.compile(r"(?:ssh|ecdsa)-\S+ \S+")


def _materials(text: str, depth: int = 2) -> Iterator[tuple[str | None, Any]]:
    """Every key in a text, with its id. `depth`: how often it may be in base64."""
    if text.startswith("{"):
        yield from _of_json(text)
        return
    blocks = _PEM.findall(re.sub(r"\\[rn]", "\n", text))
    for label, body in blocks:
        if "PRIVATE" in label:
            raise ValueError("is a private key, which no endpoint needs: openssl pkey -pubout makes its public half")
        lines = "\n".join(wrap("".join(body.split()), 64))
        yield None, _loaded(f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode(), _LOADERS)
    for line in [] if blocks else _SSH.findall(text):
        yield None, _loaded(line.encode(), (serialization.load_ssh_public_key,))
    if blocks or _SSH.match(text) or not depth:
        return
    try:
        raw = b64decode("".join(text.split()).replace("-", "+").replace("_", "/") + "==")
    except ValueError:
        return
    if raw.isascii():
        yield from _materials(raw.decode().strip(), depth - 1)
    else:
        yield None, _loaded(raw, _DER_LOADERS)


_LOADERS: tuple[Callable[[bytes], Any], ...] = (
    serialization.load_pem_public_key,
    lambda raw: x509.load_pem_x509_certificate(raw).public_key(),
)
_DER_LOADERS: tuple[Callable[[bytes], Any], ...] = (
    serialization.load_der_public_key,
    lambda raw: x509.load_der_x509_certificate(raw).public_key(),
)


def _loaded(raw: bytes, loaders: Sequence[Callable[[bytes], Any]]) -> Any:
    """A key; None if it is none that any of these can load."""
    for load in loaders:
        with suppress(ValueError, TypeError, UnsupportedAlgorithm):
            return load(raw)
    return None


def _of_json(text: str) -> Iterator[tuple[str | None, Any]]:
    try:
        entries = _entries(json.loads(text))
    except (ValueError, RecursionError):
        return
    for entry in entries:
        if entry.get("d"):
            raise ValueError("is a private key, which no endpoint needs: leave d and what is like it out")
        yield from _of_entry(entry)


def _fitting(material: Any) -> tuple[str, ...]:
    """The algorithms that a public key can be used with."""
    match material:
        case rsa.RSAPublicKey():
            return _RSA if material.key_size >= MIN_RSA_BITS else ()
        case ec.EllipticCurvePublicKey():
            return tuple(name for curve, name in _CURVES.items() if curve == material.curve.name)
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return ("EdDSA",)
    return ()


def usable(published: Any, algorithms: Sequence[str]) -> Keys:
    """The keys of a JWKS that may sign tokens here, by their ids. Pure.

    A symmetric key in a public document is nobody's secret; one that is for encryption, of an algorithm that is not
    allowed, or of RSA with few bits is left out too. Members that are null are as if they were not there. Raises
    ValueError when it is no set of keys.
    """
    found: dict[str | None, list[Key]] = {}
    for entry in _entries(published):
        for kid, material in _of_entry(entry):
            names = tuple(
                name for name in _fitting(material) if name in algorithms and entry.get("alg") in (None, name)
            )
            if names:
                found.setdefault(kid, []).append(Key(material, names))
    return {kid: tuple(keys) for kid, keys in found.items()}


def _entries(published: Any) -> list[dict[str, Any]]:
    """The keys of a JWKS, a JWK alone, or certificates by their ids, as Google publishes them. Raises ValueError."""
    if isinstance(published, dict):
        entries = published.get("keys")
        if entries is None and "kty" in published:
            entries = [published]
        elif entries is None and published and all(isinstance(each, str) for each in published.values()):
            entries = [{"kid": kid, "pem": each} for kid, each in published.items()]
        if isinstance(entries, list):
            return [entry for entry in entries if isinstance(entry, dict)]
    raise ValueError("not a set of keys")


def _of_entry(entry: dict[str, Any]) -> Iterator[tuple[str | None, Any]]:
    """The key of an entry that may sign, with its id; nothing where it is none."""
    uses = entry.get("key_ops")
    signs = entry.get("use") in (None, "sig") and (not isinstance(uses, list) or "verify" in uses or not uses)
    kid = entry.get("kid")
    if not signs or entry.get("kty") == "oct" or not isinstance(kid, str | None):
        return
    if isinstance(entry.get("pem"), str):
        yield from ((kid, material) for _, material in _materials(entry["pem"]))
        return
    try:
        # Null is as if it were not there, and what a key is for has been looked at.
        known = {name: value for name, value in entry.items() if value is not None and name not in {"key_ops", "use"}}
        material = jwt.PyJWK(known).key
    except Exception:  # noqa: BLE001  a malformed key raises anything, and spoils none of the others
        return
    yield kid, material
