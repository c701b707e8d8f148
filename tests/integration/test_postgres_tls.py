"""PostgreSQL over TLS: every client of DATABASE_URL gets in by the same URLs, and says the same where it does not.

The server lets nobody in without TLS. `hunter2` stands in what must never be shown.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import psycopg
import pytest
from environment import forget_settings
from environments import QUEUE, refusal
from pools import run
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from structlog.testing import capture_logs
from tls_postgres import CERTIFIED, PASSWORD, TWICE, TlsPostgres, tls_postgres

from api.database import UNAVAILABLE, Database, Statement
from api.listening import Listener
from config.settings import Settings
from db.reasons import reason
from db.session import transaction
from db.sessions import Sessions
from devstack.product import environment
from devstack.servers import CAP, HOST, ROOT

TRUST = "sslrootcert={ours}"
IN = ""
ANOTHER = "its certificate is for another host"
NOBODY = "nobody whom we trust vouches for its certificate: name who does in sslrootcert"
OURS = "it wants a certificate of ours: name it in sslcert, its key in sslkey"
PLAIN = "its pg_hba.conf lets nobody in from here, or not without TLS"
UNTRUSTED = ("it does not trust whoever vouches for our certificate of sslcert", "it ends the connection at once")
"""By TLS 1.3 a server refuses a client's certificate after the handshake: psycopg is told why, and asyncpg is not."""

LINES: dict[str, tuple[str, dict[str, str], str | tuple[str, ...]]] = {
    "nothing is said of TLS": ("", {}, IN),
    "disable": ("sslmode=disable", {}, PLAIN),
    "allow": ("sslmode=allow", {}, IN),
    "prefer": ("sslmode=prefer", {}, IN),
    "require": ("sslmode=require", {}, IN),
    "require, and who vouches": (f"sslmode=require&{TRUST}", {}, IN),
    "require, and who does not": ("sslmode=require&sslrootcert={others}", {}, NOBODY),
    "require TLS 1.3": ("sslmode=require&ssl_min_protocol_version=TLSv1.3", {}, IN),
    "verify-ca": (f"sslmode=verify-ca&{TRUST}", {}, IN),
    "verify-ca, for another host": (f"sslmode=verify-ca&{TRUST}", {"host": HOST}, IN),
    "verify-ca, of an unknown authority": ("sslmode=verify-ca&sslrootcert={others}", {}, NOBODY),
    "verify-full": (f"sslmode=verify-full&{TRUST}", {}, IN),
    "verify-full, for another host": (f"sslmode=verify-full&{TRUST}", {"host": HOST}, ANOTHER),
    "verify-full, of an unknown authority": ("sslmode=verify-full&sslrootcert={others}", {}, NOBODY),
    "verify-full, by the system's authorities": ("sslmode=verify-full&sslrootcert=system", {}, NOBODY),
    "a bound channel": (f"sslmode=require&channel_binding=require&{TRUST}", {}, IN),
    "a wrong password": (f"sslmode=verify-full&{TRUST}", {"password": "hunter2-x"}, "its user or password is refused"),
    "a certificate instead of a password": (
        f"sslmode=verify-full&{TRUST}&sslcert={{own}}.crt&sslkey={{own}}.key",
        {"user": CERTIFIED, "password": ""},
        IN,
    ),
    "none": ("sslmode=require", {"user": CERTIFIED, "password": ""}, OURS),
    "one of another user": (
        "sslmode=require&sslcert={someone}.crt&sslkey={someone}.key",
        {"user": CERTIFIED, "password": ""},
        "our certificate is for another user",
    ),
    "one of an unknown authority": (
        "sslmode=require&sslcert={stranger}.crt&sslkey={stranger}.key",
        {"user": CERTIFIED, "password": ""},
        UNTRUSTED,
    ),
    "a certificate beside a password": ("sslmode=require&sslcert={own}.crt&sslkey={own}.key", {"user": TWICE}, IN),
    "a password alone, where both are wanted": ("sslmode=require", {"user": TWICE}, OURS),
}
"""What DATABASE_URL says, of which user and host, and the reason that is told where that leads nowhere."""


@dataclass(frozen=True)
class Servers:
    server: TlsPostgres
    files: dict[str, str]

    def url(self, query: str, more: dict[str, str]) -> str:
        return self.server.url(query.format(**self.files), **more)


@pytest.fixture(scope="module")
def servers_with_tls() -> Iterator[Servers]:
    with TemporaryDirectory(prefix="balance-sync-tls-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with tls_postgres(folder) as server:
            with psycopg.connect(server.url("sslmode=require"), autocommit=True) as superuser:
                superuser.execute(f"CREATE ROLE {CERTIFIED} LOGIN")
                superuser.execute(f"CREATE ROLE {TWICE} LOGIN PASSWORD '{PASSWORD}'")
            server.ours.vouches(CERTIFIED)
            server.ours.vouches("someone")
            server.others.vouches("stranger")
            (folder / "broken.key").touch(0o600)
            files = {"ours": "ours.pem", "others": "others.pem", "own": CERTIFIED}
            files |= {each: each for each in ("someone", "stranger", "broken")}
            yield Servers(server, {name: str(folder / file) for name, file in files.items()})


def worker(_: str) -> str:
    """Why a worker's connection is refused; empty: it is not. So each of these."""
    try:
        with transaction() as connection:
            assert connection.scalar(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    except DBAPIError as error:
        return reason(error.orig or error)
    return IN


def migrations(url: str) -> str:
    migrating = create_engine("postgresql+psycopg://", poolclass=NullPool)
    Sessions(url, {}, CAP).listen(migrating)
    try:
        with migrating.connect() as connection:
            assert connection.scalar(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    except DBAPIError as error:
        return reason(error.orig or error)
    return IN


def endpoint(url: str) -> str:
    said = []

    async def work(database: Database) -> None:
        try:
            (row,) = await database.rows(Statement("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), {}, CAP)
            assert row[0]
        except UNAVAILABLE as error:
            said.append(reason(error))

    run(url, work)
    return "".join(said)


def listener(url: str) -> str:
    async def listen() -> None:
        heard = asyncio.Event()

        def hear(_: UUID | None) -> None:
            heard.set()

        listening = asyncio.create_task(Listener(url, hear).run())
        told = asyncio.create_task(heard.wait())
        async with asyncio.timeout(CAP):
            while not (told.done() or logs):  # noqa: ASYNC110  a line in the log wakes nobody
                await asyncio.sleep(0.01)
        for task in (listening, told):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    with capture_logs() as logs:
        asyncio.run(listen())
    return str(logs[0]["reason"]) if logs else IN


CLIENTS: dict[str, Callable[[str], str]] = {
    "worker": worker,
    "migrations": migrations,
    "endpoint": endpoint,
    "listener": listener,
}


@pytest.mark.parametrize("line", LINES)
def test_every_client_comes_in_or_says_the_same_of_why_not(
    servers_with_tls: Servers, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, more, expected = LINES[line]
    url = servers_with_tls.url(query, more)
    monkeypatch.setenv("DATABASE_URL", url)
    forget_settings()
    said = {name: client(url) for name, client in CLIENTS.items()}
    forget_settings()
    words = (expected,) if isinstance(expected, str) else expected
    assert all(any(each == word or (word and each.startswith(word)) for word in words) for each in said.values()), said
    assert "hunter2" not in str(said)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("sslmode=verify-full&sslrootcert={own}.key", "names a file without certificates in sslrootcert"),
        ("sslmode=verify-full&sslrootcert={own}.absent", "names a file in sslrootcert that this process cannot read"),
        ("sslmode=require&sslcert={own}.crt&sslkey={stranger}.key", "names a key in sslkey that does not belong"),
        ("sslmode=require&sslcert={own}.crt&sslkey={broken}.key", "names no key in sslkey"),
        ("sslmode=require&sslcert={own}.crt", "names a certificate in sslcert, and no key in sslkey"),
        ("sslmode=require&sslcert={own}.crt&sslkey={own}.crt", "names a key in sslkey that others can read"),
    ],
)
def test_files_that_do_not_do_stop_every_start_before_a_connection(
    servers_with_tls: Servers, query: str, sentence: str
) -> None:
    said = refusal(Settings, {**QUEUE, "DATABASE_URL": servers_with_tls.url(query, {})})
    assert said.splitlines()[1].startswith("  DATABASE_URL: names ")
    assert sentence in said


@pytest.mark.parametrize(
    ("line", "code"), [("verify-full", 0), ("verify-full, for another host", 1), ("one of an unknown authority", 1)]
)
def test_the_schema_is_made_over_tls_or_a_sentence_says_why_not(
    servers_with_tls: Servers, line: str, code: int
) -> None:
    query, more, expected = LINES[line]
    done: Any = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=ROOT,
        env=environment({"DATABASE_URL": servers_with_tls.url(query, more)}),
        capture_output=True,
        text=True,
        timeout=CAP,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said
    assert PASSWORD not in said
    if code:
        word = expected if isinstance(expected, str) else expected[0]
        assert f"DATABASE_URL: the database is out of reach: {word}. Correct it" in said
