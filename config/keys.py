"""The keys that the settings name for checking tokens, each with the algorithms that fit it."""

import http.client
import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, build_opener

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

FETCH_SECONDS = 5.0  # for which a provider may take to give its keys

MAX_SET_BYTES = 1 << 20  # of a published set of keys; a large provider's has some tens of kB
MIN_RSA_BITS = 2048  # NIST SP 800-131A: shorter keys are not to be believed since 2014

NOT_FETCHED = (OSError, ValueError, http.client.HTTPException)
"""What a fetch raises when a provider is out of reach, or answers something else."""

_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


class Key(NamedTuple):
    """A key, and the algorithms that it is believed with: never those that the token would like."""

    material: Any
    algorithms: tuple[str, ...]


def public_key(text: str, algorithms: Sequence[str]) -> Key | None:
    """The key of a PEM text; None when it is none, or does not fit all of these algorithms. Pure."""
    try:
        material = jwt.get_algorithm_by_name(algorithms[0]).prepare_key(text)
    except (jwt.PyJWTError, ValueError, TypeError):
        material = None
    return Key(material, tuple(algorithms)) if set(algorithms) <= set(_fitting(material)) else None


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


class _NoRedirects(HTTPRedirectHandler):
    """The settings say whose keys are believed, and not whoever is named there."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class Provider:
    """The address where a provider publishes its keys (JWKS)."""

    def __init__(self, url: str) -> None:
        self._url = url

    def fetch_data(self) -> Any:
        """What is published there now. I/O; raises NOT_FETCHED."""
        try:
            # The settings allow no other scheme than http and https.
            with build_opener(_NoRedirects).open(self._url, timeout=FETCH_SECONDS) as reply:
                published = reply.read(MAX_SET_BYTES + 1)
        except HTTPError as error:
            error.close()
            raise
        if len(published) > MAX_SET_BYTES:
            raise ValueError("too large for a set of keys")
        return json.loads(published)


def usable(published: Any, algorithms: Sequence[str]) -> dict[str | None, Key]:
    """The keys of a JWKS that may sign tokens here, by their ids. Pure.

    A symmetric key in a public document is nobody's secret; one that is for encryption, of an algorithm that is not
    allowed, or of RSA with few bits is left out too. Raises ValueError when it is no set of keys.
    """
    entries = published.get("keys") if isinstance(published, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not a set of keys")  # noqa: TRY004  it is no argument of ours that is of another type
    found: dict[str | None, Key] = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("kty") == "oct" or entry.get("use", "sig") != "sig":
            continue
        try:
            material = jwt.PyJWK(entry).key
        except Exception:  # noqa: BLE001, S112  a malformed key raises anything, and spoils none of the others
            continue
        own, kid = entry.get("alg"), entry.get("kid")
        names = tuple(name for name in _fitting(material) if name in algorithms and own in (None, name))
        if names and isinstance(kid, str | None):
            found[kid] = Key(material, names)
    return found
