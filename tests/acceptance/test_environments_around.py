"""The Redis, the files and the keys that people have: each process runs with them, or says in a sentence why not.

As ``test_environments_database.py``. `hunter2` stands in what must not be shown.
"""

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest
import redis
from certificates import Authority
from clusters import redis_cluster
from forwarding import Forwarder, port_of
from starts import ROLES, Expected, Started, contents, ends, runs

from db.rights import WORKER
from devstack.roles import as_role
from devstack.servers import HOST, ROOT, redis_server

SECRET = "hunter2-and-more"
SETTINGS = {
    "JWT_SECRET": f"{SECRET}-of-tokens-{SECRET}",
    "ETHEREUM_RPC_URLS": f"http://127.0.0.1:1/v3/{SECRET}-9a8b7c6d",
    "SYNC_LEASE": "6",
}
PROVIDER = {"JWT_SECRET": "", "JWT_ALGORITHMS": "RS256", "JWT_AUDIENCE": "us"}
WORKERS = (ROOT / "config" / "redis.acl").read_text().split("user worker on >WORKER_PASSWORD ")[1].splitlines()[0]
Make = Callable[["Place"], dict[str, str]]


class Place:
    """What the settings of a line may name."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self._server = stack.enter_context(redis_server(folder))
        self.url = self._server.url
        self.at = f"{HOST}:{port_of(self._server)}"

    def user(self, name: str, rules: str) -> str:
        with closing(redis.Redis.from_url(self.url)) as client:
            client.execute_command("ACL", "SETUSER", name, "reset", "on", f">{SECRET}", *rules.split())
        return f"{name}:{SECRET}"

    def tls(self, query: str = "") -> str:
        """The same Redis behind TLS."""
        ours = Authority(self.folder, "ours")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*ours.vouches("server", HOST))
        forwarder = self._stack.enter_context(Forwarder(port_of(self._server), context))
        return f"rediss://{self.user('app', WORKERS)}@{HOST}:{forwarder.port}/0{query.format(ours=ours.certificate)}"

    def cluster(self) -> str:
        return self._stack.enter_context(redis_cluster(self.folder))

    def file(self, text: str) -> str:
        path = self.folder / "file"
        path.write_text(text, newline="")
        return str(path)


def redis_at(url: str) -> Make:
    """A Redis that nobody has begun here."""
    return lambda _: {"REDIS_URL": url}


def settings(**more: str) -> Make:
    return lambda _: more


LINES: dict[str, tuple[Make, Mapping[str, Expected]]] = {
    "settings in files, as editors of Windows save them": (
        lambda place: {"REDIS_URL": "", "REDIS_URL_FILE": place.file(f"\ufeff{place.url}\r\n")},
        {"worker": runs(), "beat": runs(), "endpoint": runs()},
    ),
    "Redis over TLS, of a private authority": (
        lambda place: {"REDIS_URL": place.tls("?ssl_ca_certs={ours}")},
        {"worker": runs(), "beat": runs(), "check": ends("ok    redis: version 6.2.14, noeviction")},
    ),
    "Redis over TLS, of an authority that nobody knows": (
        lambda place: {"REDIS_URL": place.tls()},
        {
            "worker": ends("REDIS_URL: Redis: nobody whom we trust vouches for its certificate: name who does"),
            "beat": ends("REDIS_URL: Redis: nobody whom we trust vouches for its certificate: name who does"),
            "check": ends("nobody whom we trust vouches for its certificate"),
        },
    ),
    "a Redis where nobody listens": (
        redis_at(f"redis://:{SECRET}@{HOST}:1/0"),
        {
            "worker": runs("REDIS_URL: Redis: out of reach (ConnectionError): correct REDIS_URL, or start Redis"),
            "beat": runs("REDIS_URL: Redis: out of reach (ConnectionError): correct REDIS_URL, or start Redis"),
            "endpoint": runs(),
            "check": ends("redis: out of reach (ConnectionError)"),
            "freshness": runs("Redis is out of reach"),
        },
    ),
    "a wrong password of Redis": (
        lambda place: {"REDIS_URL": f"redis://{place.user('app', WORKERS)}-x@{place.at}/0"},
        {name: ends("its user or password is refused") for name in ("worker", "beat", "check")},
    ),
    "a user of Redis with too few rights": (
        lambda place: {"REDIS_URL": f"redis://{place.user('app', '~bal:* +@all -brpop')}@{place.at}/0"},
        {name: ends("its user may not do what a worker does: BRPOP") for name in ("worker", "check")},
    ),
    "a Redis Cluster": (
        lambda place: {"REDIS_URL": place.cluster()},
        {
            "worker": ends("REDIS_URL names a Redis Cluster"),
            "beat": ends("REDIS_URL names a Redis Cluster"),
            "check": ends("REDIS_URL names a Redis Cluster"),
        },
    ),
    "no networks file": (
        settings(NETWORKS_FILE="/no/such/networks.toml"),
        {"worker": ends("NETWORKS_FILE: "), "endpoint": ends("NETWORKS_FILE: "), "alembic": ends("NETWORKS_FILE: ")},
    ),
    "a secret that is a directory, as Docker makes where a file is missing": (
        lambda place: {"JWT_SECRET": "", "JWT_SECRET_FILE": str(place.folder)},
        {"endpoint": ends("JWT_SECRET_FILE: cannot read the file it names (IsADirectoryError): it is a directory")},
    ),
    "a SOCKS proxy": (
        settings(ALL_PROXY=f"socks5://u:{SECRET}@proxy.example:1080", ETHEREUM_RPC_URLS=f"https://n.example/{SECRET}"),
        {"worker": ends("ALL_PROXY names a SOCKS proxy")},
    ),
    "certificates of nodes that are not there": (
        settings(REQUESTS_CA_BUNDLE="/no/such/bundle.pem", ETHEREUM_RPC_URLS=f"https://n.example/{SECRET}"),
        {"worker": ends("REQUESTS_CA_BUNDLE names a file")},
    ),
    "no node": (settings(ETHEREUM_RPC_URLS=""), {"worker": ends("Set ETHEREUM_RPC_URLS"), "beat": runs()}),
    "a secret that is too short": (
        settings(JWT_SECRET="hunter2"),
        {"endpoint": ends("JWT_SECRET must have at least 32 bytes"), "check": ends("JWT_SECRET must have at least")},
    ),
    "a public key that is none": (
        settings(**PROVIDER, JWT_PUBLIC_KEY=f"{SECRET}-no-key"),
        {"endpoint": ends("JWT_PUBLIC_KEY: "), "check": ends("JWT_PUBLIC_KEY: is not a PEM public key for RS256")},
    ),
    "a provider of keys that is away": (
        settings(**PROVIDER, JWT_JWKS_URL=f"http://{HOST}:1/{SECRET}-1"),
        {"endpoint": runs("keys_not_fetched"), "check": ends("JWT_JWKS_URL: no keys")},
    ),
}
"""What is set, and what becomes of the processes for which that shows something."""


@pytest.fixture
def place() -> Iterator[Place]:
    with TemporaryDirectory(prefix="balance-sync-place-") as name, ExitStack() as stack:
        yield Place(Path(name), stack)


@pytest.mark.parametrize("line", LINES)
def test_every_process_runs_or_says_why_not(line: str, database_url: str, place: Place, tmp_path: Path) -> None:
    make, expected = LINES[line]
    made = make(place)
    with ExitStack() as stack:
        processes = []
        for name in expected:
            url = as_role(database_url, ROLES.get(name, WORKER))
            env = {"REDIS_URL": place.url, **SETTINGS, "DATABASE_URL": url, **made}
            processes.append(Started(name, env, tmp_path))
            stack.callback(processes[-1].stop)
        for each in processes:
            each.becomes(expected[each.name])
    told = [each.said for each in processes] + [contents(database_url)]
    for secret in ("hunter2", urlsplit(database_url).password or ""):
        assert not [each for each in told if secret in each]
    assert not [each for each in told if "Traceback" in each]
