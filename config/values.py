"""What a setting's value may be: the kinds of values, each with its check. Pure; what is wrong raises ValueError."""

import re
from collections.abc import Callable
from typing import Annotated
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, IPvAnyNetwork, SecretStr

from config.database import connection_parameters

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _is_text(value: SecretStr) -> SecretStr:
    try:
        value.get_secret_value().encode()
    except UnicodeEncodeError:
        raise ValueError("must be text in UTF-8") from None
    return value


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _with_scheme(*schemes: str) -> Callable[[SecretStr], SecretStr]:
    def check(value: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(value.get_secret_value())
            if not parts.scheme.startswith("postgres"):  # which may have several hosts, each with a port
                _ = parts.port
        except ValueError:
            # Python's own words quote what may be a password.
            raise ValueError("is no URL; write what is special in a user's name or password as %XX") from None
        if parts.scheme not in schemes or not (parts.hostname or parts.scheme.startswith(("postgresql", "unix"))):
            raise ValueError(f"must be a URL that begins with {' or '.join(s + '://' for s in schemes)}")
        return value

    return check


def _as_libpq_reads_it(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    found = connection_parameters(url)
    # Unescaped, an @ or a / in a password makes its end a host, a port or a database, which errors tell of.
    if url.partition("?")[0].count("@") > 1 or "@" in f"{found.get('host')}{found.get('port')}{found.get('dbname')}":
        raise ValueError("has more than one @: write those in the user's name and the password as %40, and / as %2F")
    return value


TLS_OPTIONS = ("ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")
REDIS_OPTIONS = {"redis": (), "rediss": TLS_OPTIONS, "unix": ("db",)}


def _redis_as_all_read_it(value: SecretStr) -> SecretStr:
    """In redis-py's spelling. Its options are those that kombu can be given as well (``config.broker.location``)."""
    parts = urlsplit(value.get_secret_value())
    options, known = dict(parse_qsl(parts.query, keep_blank_values=True)), REDIS_OPTIONS[parts.scheme]
    if not options.keys() <= set(known):
        raise ValueError(f"takes {' and '.join(known) or 'no options'} after a ?, with {parts.scheme}://")
    if parts.scheme == "unix" and (parts.hostname or not parts.path):
        raise ValueError("must name the socket's whole path after three slashes: unix:///run/redis.sock")
    database = options.get("db", "0") if parts.scheme == "unix" else parts.path.strip("/")
    if database and not database.isdecimal():
        raise ValueError("must end with the number of a database, or with none")
    if "ssl_cert_reqs" in options:
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].lower().removeprefix("cert_")  # as Celery's docs spell it
        if options["ssl_cert_reqs"] not in {"none", "optional", "required"}:
            raise ValueError("takes ssl_cert_reqs=required, which is the default, or ssl_cert_reqs=none")
    query = f"?{urlencode(options)}" if options else ""
    return SecretStr(f"{parts.scheme}://{parts.netloc}{parts.path}{query}")


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


Seconds = Annotated[float, Field(gt=0, le=30 * 24 * 3600)]
PerSecond = Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False), AfterValidator(_not_too_slow)]
DatabaseUrl = Annotated[
    SecretStr,
    AfterValidator(_with_scheme("postgresql", "postgresql+psycopg", "postgres")),
    AfterValidator(_as_libpq_reads_it),
]
RedisUrl = Annotated[
    SecretStr, AfterValidator(_with_scheme("redis", "rediss", "unix")), AfterValidator(_redis_as_all_read_it)
]
HttpUrl = Annotated[SecretStr, AfterValidator(_with_scheme("http", "https"))]
KeysUrl = Annotated[HttpUrl, AfterValidator(_not_overheard)]
NodeUrls = Annotated[tuple[Annotated[SecretStr, AfterValidator(_named)], ...], BeforeValidator(_split)]
Words = Annotated[tuple[str, ...], BeforeValidator(_split)]
Subnets = Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(_split)]
Secret = Annotated[SecretStr, AfterValidator(_is_text)]
Secrets = Annotated[tuple[Secret, ...], BeforeValidator(_split)]
