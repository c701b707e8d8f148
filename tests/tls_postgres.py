"""A PostgreSQL that lets nobody in without TLS, of the system's own packages: the one of Python's wheel has no TLS."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from certificates import Authority

from devstack.servers import HOST, SUPERUSER, free_port, running

NAME = "localhost"
"""The host that the server's certificate is for. Its address is not."""
PASSWORD = "hunter2-of-a-user"
CERTIFIED, TWICE = "certified", "twice"
"""Users that have to show a certificate: instead of a password, and beside one."""
HBA = f"""
hostssl all {CERTIFIED} {HOST}/32 cert
hostssl all {TWICE} {HOST}/32 scram-sha-256 clientcert=verify-ca
hostssl all all {HOST}/32 scram-sha-256
"""
FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/bin")


@dataclass(frozen=True)
class TlsPostgres:
    """The server, and whoever vouches for it."""

    port: int
    ours: Authority
    others: Authority

    def url(self, query: str = "", *, user: str = SUPERUSER, password: str = PASSWORD, host: str = NAME) -> str:
        named = f"{user}:{password}" if password else user
        return f"postgresql://{named}@{host}:{self.port}/postgres?{query}"


def programs() -> Path:
    """The folder of a PostgreSQL with TLS. Skips the test where there is none."""
    for pattern in FOLDERS:
        for folder in sorted(Path("/").glob(pattern.removeprefix("/")), reverse=True):
            if (folder / "initdb").exists() and "--with-openssl" in _built_with(folder):
                return folder
    pytest.skip("needs a PostgreSQL with TLS, which no package of Python or Node has: apt-get install postgresql")


def _built_with(folder: Path) -> str:
    config = folder / "pg_config"
    if not config.exists():
        return ""
    return subprocess.run([config, "--configure"], capture_output=True, text=True, check=False).stdout


@contextmanager
def tls_postgres(folder: Path) -> Iterator[TlsPostgres]:
    """A server with a certificate for `NAME`, which clients have to connect to by TLS."""
    found = programs()
    ours, others = Authority(folder, "ours"), Authority(folder, "others")
    data, user = folder / "data", "nobody" if os.geteuid() == 0 else None
    data.mkdir()
    password = folder / "password"
    password.write_text(PASSWORD)
    if user:
        shutil.chown(data, user)
    made: list[str | Path] = [found / "initdb", "-D", data, "-U", SUPERUSER, "--pwfile", password]
    made += ["-A", "scram-sha-256", "-E", "UTF8", "--locale", "C", "--no-sync"]
    subprocess.run(made, check=True, capture_output=True, user=user, cwd=folder)
    for file in (*ours.vouches("server", NAME), ours.certificate):
        at = Path(shutil.copy2(file, data))
        if user:
            shutil.chown(at, user)
    (data / "pg_hba.conf").write_text(HBA)
    port = free_port()
    options = {"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key", "ssl_ca_file": "ours.pem"}
    options |= {"fsync": "off", "listen_addresses": HOST, "port": str(port), "unix_socket_directories": ""}
    words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    server = TlsPostgres(port, ours, others)

    def answers() -> bool:
        try:
            psycopg.connect(server.url("sslmode=require"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    with running("postgres-tls", [found / "postgres", "-D", data, *words], folder, ready=answers, user=user, cwd=data):
        yield server
