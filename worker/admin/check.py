"""``celery -A worker check``: is everything that the settings name really so? The database, Redis, the networks, and
what the HTTP endpoint alone needs. I/O.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from config.key_fetching import NOT_FETCHED, Provider, why_not
from config.keys import public_keys, usable
from config.ops_settings import OpsSettings
from config.settings import ApiSettings, WorkerSettings, api_settings, problems
from config.values import LOOPBACK
from db import SCHEMA_VERSION, schema_serves
from db.reasons import reason
from db.rights import WORKER, is_superuser, missing, runs_as_superuser
from db.session import applied_schema, transaction
from worker.admin import check_connections, check_redis
from worker.admin.check_nodes import networks
from worker.admin.finding import Finding

REDIS_TIMEOUT = 3.0  # seconds

CORRECT_TOKENS = "correct the JWT_ settings (docs/configuration.md), or check --without-endpoint"


def findings(settings: WorkerSettings, *, with_endpoint: bool) -> Iterator[Finding]:
    """Each finding as soon as it is made. `with_endpoint`: the endpoint's own settings too."""
    of_database = list(database(WORKER))
    yield from of_database
    yield from broker(settings.redis_url.get_secret_value())
    yield from networks(settings)
    yield from operators_settings()
    if with_endpoint:
        yield from endpoint_settings(reachable=all(found.ok for found in of_database))


def database(role: str) -> Iterator[Finding]:
    """Whether it answers, gives us the rights of this role, has the schema, and is spoken to in private."""
    try:
        with transaction() as connection:
            lacking, superuser = missing(connection, role), is_superuser(connection)
            overheard, of_superuser = _overheard(connection), runs_as_superuser(connection)
            yield from check_connections.postgres(connection)
        version = None if lacking else applied_schema()
    except SQLAlchemyError as error:
        # The driver's message names host and user, and neither belongs into a log.
        why = reason(error.orig if isinstance(error, DBAPIError) and error.orig else error)
        yield Finding("database", f"out of reach: {why}", "correct DATABASE_URL, or start PostgreSQL")
        return
    if lacking:
        found = f"closed to us: the role of DATABASE_URL lacks {', '.join(right.text for right in lacking)}"
        yield Finding("database", found, f"use {role}, or GRANT {role} to it (db/roles.sql, docs/security.md)")
    elif not schema_serves(version):
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


def broker(url: str) -> Iterator[Finding]:
    """Whether a worker can use Redis."""
    yield from check_redis.broker(url, REDIS_TIMEOUT)


def operators_settings() -> Iterator[Finding]:
    """What the process of metrics and the operator's page alone needs, where it is wrong. It may run elsewhere."""
    if wrong := problems(OpsSettings):
        yield Finding("ops", "; ".join(wrong), "correct these settings (docs/configuration.md)")


def endpoint_settings(*, reachable: bool) -> Iterator[Finding]:
    """What only the endpoint needs: its settings, its driver's way to a database that is reachable, keys for tokens."""
    wrong = problems(ApiSettings)
    if of_tokens := [sentence for sentence in wrong if "JWT" in sentence]:
        yield Finding("tokens", "; ".join(of_tokens), CORRECT_TOKENS)
    if others := [sentence for sentence in wrong if "JWT" not in sentence]:
        yield Finding(
            "endpoint", "; ".join(others), "correct these settings (docs/configuration.md), or check --without-endpoint"
        )
    if not wrong:
        if reachable:
            yield from check_connections.endpoints_way(api_settings().database_url.get_secret_value())
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
        return Finding("tokens", f"JWT_JWKS_URL: no keys ({why_not(error)})", "correct it, or start the provider")
    if not found:
        to_do = "correct JWT_JWKS_URL or JWT_ALGORITHMS"
        return Finding("tokens", f"JWT_JWKS_URL: no key for {', '.join(algorithms)} among its keys", to_do)
    said = f"the JWT_ settings fit together, {sum(map(len, found.values()))} of the provider's keys can be used"
    if settings.audience is None:
        to_do = "set JWT_AUDIENCE to the aud of tokens for this API"
        return Finding("tokens", f"{said}, and tokens for any program are believed", to_do, warning=True)
    return Finding("tokens", said)
