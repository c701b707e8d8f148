"""What stands before a PostgreSQL and takes no session settings as a connection starts, as poolers do."""

import os
import shutil
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import psycopg
import pytest

from devstack.roles import ROLES
from devstack.servers import HOST, free_port, running

REFUSALS = {
    "rds proxy": "Feature not supported: RDS Proxy currently doesn't support command-line options",
    "neon": "unsupported startup parameter in options: lock_timeout",
    "pgbouncer": "unsupported startup parameter: options",
}
"""In whose words a pooler refuses them."""
ENCRYPTION = (80877103, 80877104)  # asked for by TLS, by GSSAPI
Manner = Literal["rds proxy", "neon", "pgbouncer", "in silence"]


@dataclass
class Pooler:
    """A port that leads to a server, but for the options: refused in somebody's words, or left out in silence.

    `started` is what each client's start named.
    """

    server_url: str
    manner: Manner = "in silence"
    started: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listening = socket.create_server((HOST, 0))
        self._open: list[socket.socket] = [self._listening]
        self._threads: list[threading.Thread] = []
        parts = urlsplit(self.server_url)
        self._to = (parts.hostname or HOST, parts.port or 5432)
        port = self._listening.getsockname()[1]
        self.url = parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{HOST}:{port}").geturl()

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _run(self, work: Any, *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments))
        self._threads[-1].start()

    def _accept(self) -> None:
        with self._listening, suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._open.append(client)
                self._run(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, struct.error), client:
            packet = _startup(client)
            while struct.unpack("!i", packet[:4])[0] in ENCRYPTION:
                client.sendall(b"N")
                packet = _startup(client)
            packet = self._without_options(client, packet)
            if not packet:
                return
            with socket.create_connection(self._to) as server:
                self._open.append(server)
                server.sendall(struct.pack("!i", len(packet) + 4) + packet)
                self._run(_pass_on, server, client)
                _pass_on(client, server)

    def _without_options(self, client: socket.socket, packet: bytes) -> bytes:
        code, words = packet[:4], packet[4:].split(b"\0")
        if struct.unpack("!i", code)[0] >> 16 != 3:
            return packet
        named = dict(zip(words[0::2], words[1::2], strict=False))
        named.pop(b"", None)
        self.started.append({name.decode(): value.decode() for name, value in named.items()})
        if b"options" in named and self.manner != "in silence":
            fields = b"SFATAL\0C08P01\0M" + REFUSALS[self.manner].encode() + b"\0\0"
            client.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)
            return b""
        named.pop(b"options", None)
        return code + b"".join(name + b"\0" + value + b"\0" for name, value in named.items()) + b"\0"


def _startup(client: socket.socket) -> bytes:
    """The first packet of a connection, without its length."""
    (length,) = struct.unpack("!i", _exactly(client, 4))
    return _exactly(client, length - 4)


def _exactly(client: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = client.recv(size - len(found))
        if not more:
            raise OSError("closed")
        found += more
    return found


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while sent := source.recv(65536):
            target.sendall(sent)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextmanager
def pooler(server_url: str, manner: Manner) -> Iterator[Pooler]:
    """One that stands before the server of a URL."""
    with Pooler(server_url, manner) as found:
        yield found


@contextmanager
def real_pgbouncer(database_url: str) -> Iterator[str]:
    """A PgBouncer that lends a connection for each transaction; the URL through it, for the same user.

    It knows each of our roles, who have the superuser's password. Skips the test where there is no PgBouncer.
    """
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if not program:
        pytest.skip("needs PgBouncer, which no package of Python or Node has: apt-get install pgbouncer")
    parts, port = urlsplit(database_url), free_port()
    url = parts._replace(netloc=f"{parts.username}:{parts.password}@{HOST}:{port}").geturl()
    with TemporaryDirectory(prefix="balance-sync-pgbouncer-") as name:
        folder = Path(name)
        users = (parts.username, *ROLES)
        (folder / "users").write_text("".join(f'"{user}" "{parts.password}"\n' for user in users))
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={parts.hostname} port={parts.port}\n[pgbouncer]\nlisten_addr = {HOST}\n"
            f"listen_port = {port}\nauth_type = scram-sha-256\nauth_file = {folder / 'users'}\n"
            "pool_mode = transaction\ndefault_pool_size = 2\nunix_socket_dir =\n"
            "ignore_startup_parameters = extra_float_digits\n"
        )
        for each in (folder, *folder.iterdir()):
            each.chmod(0o755)
        user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root

        def answers() -> bool:
            try:
                psycopg.connect(url).close()
            except psycopg.OperationalError:
                return False
            return True

        with running("pgbouncer", [program, folder / "pgbouncer.ini"], folder, ready=answers, user=user):
            yield url
