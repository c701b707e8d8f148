"""The databases that people have: each process, as the README starts it, runs on them or says in a sentence why not.

None shows a password, and none ends in a traceback. `hunter2` stands in what must not be shown.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from starts import ROLES, Expected, Started, contents, ends, runs

from db.migration_lock import MIGRATION_LOCK
from db.rights import OWNER, WORKER
from devstack.roles import as_role, make_roles
from devstack.servers import HOST, Server

SECRET = "hunter2-and-more"
SETTINGS = {
    "JWT_SECRET": f"{SECRET}-of-tokens-{SECRET}",
    "ETHEREUM_RPC_URLS": f"http://127.0.0.1:1/v3/{SECRET}-9a8b7c6d",
    "SYNC_LEASE": "6",
}
Change = Callable[[str], str]
"""What becomes of a DATABASE_URL."""
Line = tuple[Change, Mapping[str, Expected]]


def same(url: str) -> str:
    return url


def put(old: str, new: str) -> Change:
    return lambda url: url.replace(old, new)


def with_password(url: str) -> str:
    return url.replace(f":{urlsplit(url).password}@", f":{SECRET}@")


def as_a_stranger(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"stranger:hunter2-x@{parts.hostname}:{parts.port}").geturl()


def named(url: str) -> str:
    """Libpq's other form."""
    found: Any = psycopg.conninfo.conninfo_to_dict(url)
    return " ".join(f"{name}={value}" for name, value in found.items())


def database(name: str) -> Change:
    return lambda url: f"{url.rpartition('/')[0]}/{name}"


def query(words: str) -> Change:
    return lambda url: f"{url}?{words}"


OUT = "DATABASE_URL: the database is out of reach: "
REFUSED, NOBODY = f"{OUT}its user or password is refused", f"{OUT}nobody listens there"
SAID = "database: out of reach: its user or password is refused"
COMMAND = "The database is out of reach: its user or password is refused: correct DATABASE_URL"
UNKNOWN = f"{OUT}its host's name is not known here"
NO_DATABASE = f"{OUT}it has no such database"
NO_TLS = f"{OUT}it has no TLS: leave sslmode out, or turn TLS on there"
NO_SCHEMA = "DATABASE_URL: the database has no schema"
ASCII = "DATABASE_URL: the database is of encoding SQL_ASCII: make it anew with ENCODING 'UTF8'"
LACKS = "DATABASE_URL: its role lacks "
NO_WRITES = "DATABASE_URL: the database is one that takes no writes: name the primary in DATABASE_URL"
ALL_RUN = dict.fromkeys(("worker", "beat", "endpoint", "freshness", "resync"), runs())

LINES: dict[str, Line] = {
    "a good one": (same, {**ALL_RUN, "alembic": runs(), "check": ends("ok    database: schema")}),
    "in libpq's other form": (named, {"worker": runs(), "endpoint": runs()}),
    "several hosts, of which the first is away": (
        put(f"@{HOST}", f"@{HOST}:1,{HOST}"),
        {"worker": runs(), "endpoint": runs(), "alembic": runs()},
    ),
    "a wrong password": (
        with_password,
        {
            "alembic": ends(REFUSED),
            "worker": ends(REFUSED),
            "beat": runs(),
            "endpoint": runs(REFUSED),
            "check": ends(SAID),
            "freshness": ends(COMMAND),
            "resync": ends(COMMAND),
        },
    ),
    "a user that is not there": (put("//bal_", "//nobody_"), {"worker": ends(REFUSED), "endpoint": runs(REFUSED)}),
    "a database that is not there": (database("none"), {"worker": ends(NO_DATABASE), "endpoint": runs(NO_DATABASE)}),
    "a port where nobody listens": (
        lambda _: f"postgresql://app:{SECRET}@{HOST}:1/name",
        {"alembic": ends(NOBODY), "worker": runs(NOBODY), "endpoint": runs(NOBODY)},
    ),
    "a host that nobody knows": (
        lambda _: f"postgresql://app:{SECRET}@no-such-host.invalid/name",
        {"alembic": ends(UNKNOWN), "worker": runs(UNKNOWN), "endpoint": runs(UNKNOWN)},
    ),
    "TLS, which the server has not": (
        query("sslmode=require"),
        {"alembic": ends(NO_TLS), "worker": ends(NO_TLS), "endpoint": runs(NO_TLS)},
    ),
    "a password that is not percent-encoded": (
        lambda _: f"postgresql://app:{SECRET}%et@{HOST}:1/name",
        {"beat": ends("DATABASE_URL: cannot be read: write what is special"), "freshness": ends("as %XX")},
    ),
    "another program's parameter": (
        query("schema=mine"),
        {"alembic": ends("DATABASE_URL: has schema, which is another program's"), "endpoint": ends("search_path")},
    ),
    "no schema": (
        database("bare"),
        {
            "worker": ends("run `alembic upgrade head` first"),
            "endpoint": runs(NO_SCHEMA),
            "check": ends("database: without a schema"),
            "freshness": ends("The database is without a schema: run `alembic upgrade head`"),
        },
    ),
    "a schema of before": (
        database("older"),
        {
            "worker": ends("run `alembic upgrade head` first"),
            "endpoint": runs("DATABASE_URL: the database has schema 0006, 0008 is wanted: run `alembic upgrade head`"),
            "check": ends("database: schema 0006, 0008 is wanted"),
        },
    ),
    "a role without rights": (
        as_a_stranger,
        {"worker": ends(LACKS), "endpoint": runs(LACKS), "check": ends("the role of DATABASE_URL lacks ")},
    ),
    "tables that belong to another role": (
        put("//bal_owner", "//bal_worker"),
        {"alembic": ends("DATABASE_URL: the tables belong to bal_owner: run alembic as that role")},
    ),
    "a role that may make no tables": (
        lambda url: as_role(database("bare")(url), WORKER),
        {"alembic": ends("DATABASE_URL: its role may not make tables in the schema: migrate as bal_owner")},
    ),
    "a schema of one's own that nobody has made": (
        lambda url: database("bare")(url) + "?options=-csearch_path%3Dmine",
        {"alembic": ends("DATABASE_URL: its search_path names no schema that there is: CREATE SCHEMA first")},
    ),
    "a database that checks no text": (
        database("ascii"),
        {"worker": runs(ASCII), "endpoint": runs(ASCII), "alembic": runs(ASCII), "check": ends("encoding SQL_ASCII")},
    ),
    "one that takes no writes": (
        query("options=-cdefault_transaction_read_only%3Don"),
        {"alembic": ends(NO_WRITES), "worker": runs(NO_WRITES), "endpoint": runs(NO_WRITES)},
    ),
}
"""What is done to each process's DATABASE_URL, and what becomes of the processes for which that shows something."""


@pytest.fixture(scope="module")
def databases(template: str) -> Iterator[str]:
    """The URL of a good database, beside one without a schema, one of before, and one that checks no text."""
    with psycopg.connect(template, autocommit=True) as superuser:
        superuser.execute("CREATE DATABASE good TEMPLATE template_migrated")
        superuser.execute("CREATE DATABASE older TEMPLATE template_migrated")
        superuser.execute("CREATE DATABASE bare")
        superuser.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
        superuser.execute("CREATE ROLE stranger LOGIN PASSWORD 'hunter2-x'")
    make_roles(database("ascii")(template))
    with psycopg.connect(database("older")(template)) as superuser:
        superuser.execute("UPDATE alembic_version SET version_num = '0006'")
    yield database("good")(template)
    with psycopg.connect(template, autocommit=True) as superuser:
        for name in ("good", "older", "bare", "ascii"):
            superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")
        superuser.execute("DROP ROLE stranger")


@contextmanager
def all_of(line: Line, url: str, redis_url: str, folder: Path) -> Iterator[list[Started]]:
    """The processes of a line; a migration comes before the others, as it does everywhere."""
    change, expected = line
    with ExitStack() as stack:
        begun: dict[str, Started] = {}
        for name in sorted(expected, key=lambda each: each != "alembic"):
            env = {**SETTINGS, "REDIS_URL": redis_url, "DATABASE_URL": change(as_role(url, ROLES.get(name, WORKER)))}
            begun[name] = Started(name, env, folder)
            stack.callback(begun[name].stop)
            if name == "alembic":
                begun[name].becomes(expected[name])
        for name, each in begun.items():
            each.becomes(expected[name])
        yield list(begun.values())


@pytest.mark.parametrize("line", LINES)
def test_every_process_runs_or_says_why_not(line: str, databases: str, redis_process: Server, tmp_path: Path) -> None:
    with all_of(LINES[line], databases, redis_process.url, tmp_path) as processes:
        pass
    told = [each.said for each in processes] + [contents(databases)]
    for secret in (SECRET, "hunter2", urlsplit(databases).password or ""):
        assert not [each for each in told if secret in each]
    assert not [each for each in told if "Traceback" in each]


def test_a_migration_says_that_it_waits_for_another(databases: str, redis_process: Server, tmp_path: Path) -> None:
    with psycopg.connect(databases, autocommit=True) as another:
        another.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        env = {**SETTINGS, "REDIS_URL": redis_process.url, "DATABASE_URL": as_role(databases, OWNER)}
        migration = Started("alembic", env, tmp_path)
        try:
            migration.says("migration_awaited")
            another.execute("SELECT pg_advisory_unlock(%s)", (MIGRATION_LOCK,))
            migration.becomes(runs())
        finally:
            migration.stop()
