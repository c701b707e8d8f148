"""Tokens, good ones and those that a library would not make, and attacks with them.

A token is made in the test that sends it: one that was made earlier may have expired, and is refused for that alone.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.auth import Caller, Verifier
from api.problems import Problem
from config.settings import ApiSettings

DAY = 24 * 3600  # seconds
USER = UUID("5c81c005-1c52-4e0d-85e2-862ee1cdd4d0")
SECRET = "s" * 32
LONG = "s" * 64
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
EC384 = ec.generate_private_key(ec.SECP384R1())
EC521 = ec.generate_private_key(ec.SECP521R1())
ED = ed25519.Ed25519PrivateKey.generate()


def pem(key: Any) -> str:
    made: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return made.decode()


def settings(**more: Any) -> ApiSettings:
    key = {} if {"jwt_public_key", "jwt_jwks_url"} & more.keys() else {"jwt_secret": SECRET}
    return ApiSettings(**{"database_url": "postgresql://h/d", "redis_url": "redis://h", **key, **more})


def in_seconds(seconds: int) -> int:
    """A time as claims name it."""
    return int(time.time()) + seconds


def claims(**more: Any) -> dict[str, Any]:
    made = {"sub": str(USER), "exp": in_seconds(DAY), **more}
    return {name: value for name, value in made.items() if value is not None}


def signed(key: Any = SECRET, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **more: Any) -> str:
    return jwt.encode(claims(**more), key, algorithm, headers=headers)


def part(value: object) -> str:
    return encoded(json.dumps(value).encode())


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def unsigned(algorithm: str, **more: Any) -> str:
    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims(**more))}."


def by_hand(header: object, payload: str, key: bytes = SECRET.encode()) -> str:
    """A token of parts that a library would not make, with a good HS256 signature."""
    text = f"{header if isinstance(header, str) else part(header)}.{payload}"
    return f"{text}.{encoded(hmac.new(key, text.encode(), hashlib.sha256).digest())}"


HS256 = {"alg": "HS256", "typ": "JWT"}


def ask(verifier: Verifier, *headers: str) -> Caller:
    return asyncio.run(verifier.caller([header.encode("latin-1") for header in headers]))


Sent = str | list[str]
"""A token, or all of the Authorization headers of a request."""


def headers_of(sent: Sent) -> list[str]:
    return [f"Bearer {sent}"] if isinstance(sent, str) else sent


@dataclass(frozen=True)
class Attack:
    """A request that is refused, and its twin, which differs in the one thing that is attacked and is taken."""

    bad: Callable[[], Sent]
    cause: str
    """How the cause begins with which it is refused: see `refused_for`."""
    good: Callable[[], Sent] = signed
    settings: dict[str, Any] = field(default_factory=dict)


def refused_for(verifier: Verifier, sent: Sent) -> str:
    """Why a request is refused with 401: PyJWT's or our own exception, or the problem's detail if there was none."""
    with pytest.raises(Problem) as refused:
        ask(verifier, *headers_of(sent))
    problem, cause = refused.value, refused.value.__context__
    assert (problem.status, problem.headers["WWW-Authenticate"].split()[0]) == (401, "Bearer")
    if cause is None:
        return problem.detail
    has_expired = isinstance(cause, jwt.ExpiredSignatureError)
    assert problem.detail == ("The token has expired." if has_expired else "The token is not valid here.")
    return f"{type(cause).__name__}: {cause}"


def assert_that_it_fails(attack: Attack, verifier: Verifier) -> None:
    """The attack is refused for its own cause, again and again, and also after its twin was taken."""
    bad, good = attack.bad(), attack.good()
    causes = [refused_for(verifier, bad), refused_for(verifier, bad)]
    assert ask(verifier, *headers_of(good)) == Caller(str(USER), admin=False)
    causes.append(refused_for(verifier, bad))
    for cause in causes:
        assert cause.startswith(attack.cause), cause
