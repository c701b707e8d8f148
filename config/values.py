"""What a setting's value may be: the kinds of values, each with its check.

A check looks at files that a value names, and does nothing else; what is wrong raises ValueError.
"""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, IPvAnyNetwork, SecretStr

from config import certificates
from config.connections import asyncpg_arguments, parameters
from config.files import clean
from config.postgres_parameters import check_certificates
from config.redis_address import read

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _is_text(value: SecretStr) -> SecretStr:
    try:
        value.get_secret_value().encode()
    except UnicodeEncodeError:
        raise ValueError("must be text in UTF-8") from None
    return value


def split(text: str) -> tuple[str, ...]:
    """A list's items: between commas, blanks or line ends, or as JSON or YAML have them."""
    with suppress(ValueError, RecursionError):
        items = json.loads(text) if text.startswith("[") else None
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return tuple(item for item in map(clean, items) if item)
    return tuple(item for item in map(clean, re.split(r"[,\s]+", text)) if item not in {"", "-"})


def _split(value: object) -> object:
    return split(value) if isinstance(value, str) else value


def _with_scheme(*schemes: str) -> Callable[[SecretStr], SecretStr]:
    def check(value: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(value.get_secret_value())
            _ = parts.port
        except ValueError:
            # Python's own words quote what may be a password.
            raise ValueError("is no URL; write what is special in a user's name or password as %XX") from None
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"must be a URL that begins with {' or '.join(s + '://' for s in schemes)}")
        if re.search(r"\s", value.get_secret_value()):
            raise ValueError("has a blank or a line end in it: write a blank as %20")
        return value

    return check


_OF_DATABASE = re.compile(r"postgres(?:ql)?(?:\+[a-z0-9]+)?://|(?!.*://)\s*[a-z_]+\s*=", re.DOTALL)
"""A URL, or libpq's other form: `host=… dbname=…`."""


def _as_both_drivers_read_it(value: SecretStr) -> SecretStr:
    url = _is_text(value).get_secret_value()
    if not _OF_DATABASE.match(url):
        raise ValueError("must be a URL that begins with postgresql:// or postgres://")
    if "\0" in url:
        raise ValueError("has a character in it that no setting can have")
    asyncpg_arguments(url)
    check_certificates(parameters(url))
    return value


def _as_both_clients_read_it(value: SecretStr) -> SecretStr:
    tls = read(_is_text(value).get_secret_value()).tls
    if tls is not None:
        certificates.check(tls)
    return value


NAMED = re.compile(r"([A-Za-z0-9-]{1,40})=(?=[A-Za-z][A-Za-z0-9+.-]*://)", re.ASCII)


def named_url(value: str) -> tuple[str, str]:
    """The name and the URL of `NAME=URL`; the name is empty where the value is a URL alone."""
    found = NAMED.match(value)
    return (found[1], value[found.end() :]) if found else ("", value)


def _named(value: SecretStr) -> SecretStr:
    """A node's URL, which an operator may have given a name: NAME=URL."""
    _with_scheme("http", "https")(SecretStr(named_url(value.get_secret_value())[1]))
    return value


def overheard(url: str) -> bool:
    """Whether a request to this URL leaves the machine in the clear."""
    parts = urlsplit(named_url(url)[1])
    return parts.scheme != "https" and parts.hostname not in LOOPBACK


def _not_overheard(value: SecretStr) -> SecretStr:
    if overheard(value.get_secret_value()):
        raise ValueError("must be a URL that begins with https://, but for one of this machine")
    return value


def _not_too_slow(value: float) -> float:
    if 0 < value < 0.1:  # noqa: PLR2004  at 60 s of lease a read takes 25, and at first two requests
        raise ValueError("must be 0, or 0.1 or more")
    return value


def _in_small_letters(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _in_capitals(value: object) -> object:
    return {"WARN": "WARNING"}.get(value.upper(), value.upper()) if isinstance(value, str) else value


Seconds = Annotated[float, Field(gt=0, le=30 * 24 * 3600)]
PerSecond = Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False), AfterValidator(_not_too_slow)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_as_both_drivers_read_it)]
RedisUrl = Annotated[SecretStr, AfterValidator(_as_both_clients_read_it)]
HttpUrl = Annotated[SecretStr, AfterValidator(_with_scheme("http", "https"))]
KeysUrl = Annotated[HttpUrl, AfterValidator(_not_overheard)]
NodeUrls = Annotated[tuple[Annotated[SecretStr, AfterValidator(_named)], ...], BeforeValidator(_split)]
Words = Annotated[tuple[str, ...], BeforeValidator(_split)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_in_capitals)]
LogFormat = Annotated[Literal["console", "json"], BeforeValidator(_in_small_letters)]
Subnets = Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(_split)]
Secret = Annotated[SecretStr, AfterValidator(_is_text)]
Secrets = Annotated[tuple[Secret, ...], BeforeValidator(_split)]
