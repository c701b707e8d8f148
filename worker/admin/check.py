"""``celery -A worker check``: is everything that the settings name really so? The database, Redis, the networks, and
what the HTTP endpoint alone needs. I/O.
"""

from collections.abc import Iterator
from typing import Any

import redis
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from config import redis_address
from config.keys import NOT_FETCHED, Provider, public_keys, usable
from config.settings import ApiSettings, WorkerSettings, api_settings, problems
from config.values import LOOPBACK
from db import SCHEMA_VERSION
from db.rights import WORKER, is_superuser, missing, runs_as_superuser
from db.session import applied_schema, transaction
from worker.admin.check_nodes import networks
from worker.admin.finding import Finding

OLDEST_REDIS = (6, 2)
REDIS_TIMEOUT = 3.0  # seconds

CORRECT_TOKENS = "correct the JWT_ settings (README.md), or check --without-endpoint"


def findings(settings: WorkerSettings, *, with_endpoint: bool) -> Iterator[Finding]:
    """Each finding as soon as it is made. `with_endpoint`: the endpoint's own settings too."""
    yield from database(WORKER)
    yield broker(settings.redis_url.get_secret_value())
    yield from networks(settings)
    if with_endpoint:
        yield from endpoint_settings()


def database(role: str) -> Iterator[Finding]:
    """Whether it answers, gives us the rights of this role, has the schema, and is spoken to in private."""
    try:
        with transaction() as connection:
            lacking, superuser = missing(connection, role), is_superuser(connection)
            overheard, of_superuser = _overheard(connection), runs_as_superuser(connection)
        version = None if lacking else applied_schema()
    except SQLAlchemyError as error:
        # The driver's message names host and user, and neither belongs into a log.
        yield Finding("database", f"out of reach ({type(error).__name__})", "correct DATABASE_URL, or start PostgreSQL")
        return
    if lacking:
        found = f"closed to us: the role of DATABASE_URL lacks {', '.join(right.text for right in lacking)}"
        yield Finding("database", found, f"use {role}, or GRANT {role} to it (db/roles.sql, docs/security.md)")
    elif version != SCHEMA_VERSION:
        found = "without a schema" if version is None else f"schema {version}, {SCHEMA_VERSION} is wanted"
        yield Finding("database", found, "run `alembic upgrade head`")
    elif superuser:
        to_do = f"use {role} (db/roles.sql): who comes by a superuser's password owns the whole server"
        yield Finding("database", f"schema {version}, and a superuser's role", to_do, warning=True)
    elif of_superuser:
        to_do = "run db/roles.sql as that superuser, and migrate as bal_owner from now on"
        yield Finding("database", f"schema {version}, whose triggers run as a superuser", to_do, warning=True)
    else:
        yield Finding("database", f"schema {version}")
    if overheard:
        yield Finding("database", overheard, "add sslmode=verify-full to DATABASE_URL", warning=True)


def _overheard(connection: Connection) -> str:
    """What goes to another machine can be read, and changed, unless that machine proves which one it is."""
    info: Any = connection.connection.driver_connection.info  # type: ignore[union-attr]  # it is open
    mode = info.get_parameters().get("sslmode", "prefer")
    here = info.host in LOOPBACK or info.host.startswith(("/", "@"))
    return "" if here or mode == "verify-full" else f"sslmode={mode}: nothing proves which server it is that answers"


def broker(url: str) -> Finding:
    client: Any = redis_address.client(url, timeout=REDIS_TIMEOUT)
    try:
        about = client.info()
    except redis.exceptions.NoPermissionError:
        return Finding("redis", "its user may not ask INFO", "give it the rights of config/redis.acl")
    except redis.RedisError as error:
        return Finding("redis", f"out of reach ({type(error).__name__})", "correct REDIS_URL, or start Redis")
    finally:
        client.close()
    version, policy = str(about.get("redis_version", "0")), about.get("maxmemory_policy", "noeviction")
    if tuple(map(int, version.split(".")[:2])) < OLDEST_REDIS:
        return Finding("redis", f"version {version}", "use 6.2 or later")
    if policy != "noeviction":
        to_do = "set its maxmemory-policy to noeviction: a full Redis would throw messages away"
        return Finding("redis", f"maxmemory-policy {policy}", to_do)
    return Finding("redis", f"version {version}, {policy}")


def endpoint_settings() -> Iterator[Finding]:
    """What only the endpoint needs: its own settings, and the key for tokens as it would load it."""
    wrong = problems(ApiSettings)
    if of_tokens := [sentence for sentence in wrong if "JWT" in sentence]:
        yield Finding("tokens", "; ".join(of_tokens), CORRECT_TOKENS)
    if others := [sentence for sentence in wrong if "JWT" not in sentence]:
        yield Finding("endpoint", "; ".join(others), "correct these settings (README.md), or check --without-endpoint")
    if not wrong:
        yield tokens(api_settings())


def tokens(settings: ApiSettings) -> Finding:
    algorithms, pem, url = settings.jwt_algorithms, settings.jwt_public_key, settings.jwt_jwks_url
    if pem and not public_keys(pem.get_secret_value(), algorithms):
        return Finding("tokens", f"JWT_PUBLIC_KEY: is not a PEM public key for {', '.join(algorithms)}", CORRECT_TOKENS)
    if url is None:
        return Finding("tokens", "the JWT_ settings fit together")
    try:
        found = usable(Provider(url.get_secret_value()).fetch_data(), algorithms)
    except NOT_FETCHED as error:
        return Finding("tokens", f"JWT_JWKS_URL: no keys ({type(error).__name__})", "correct it, or start the provider")
    if not found:
        to_do = "correct JWT_JWKS_URL or JWT_ALGORITHMS"
        return Finding("tokens", f"JWT_JWKS_URL: no key for {', '.join(algorithms)} among its keys", to_do)
    said = f"the JWT_ settings fit together, {sum(map(len, found.values()))} of the provider's keys can be used"
    if settings.audience is None:
        to_do = "set JWT_AUDIENCE to the aud of tokens for this API"
        return Finding("tokens", f"{said}, and tokens for any program are believed", to_do, warning=True)
    return Finding("tokens", said)
