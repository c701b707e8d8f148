"""Tokens, good ones and those that a library would not make."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.auth import Caller, Verifier
from config.settings import ApiSettings

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


def claims(**more: Any) -> dict[str, Any]:
    made = {"sub": str(USER), "exp": int(time.time()) + 600, **more}
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
