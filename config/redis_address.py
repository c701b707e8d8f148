"""How a REDIS_URL is read, once, for both of its clients: kombu, which Celery stands on, and redis-py.

In comes the URL in any of the spellings that people have; out comes an `Address`, and from it what each client takes.
Left to themselves the two read it differently: kombu has no `unix://`, encrypts to anybody whose certificate nobody has
checked, and wants Sentinel's servers in a form that no other program has.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from config.hosts import NO_HOST, can_be_a_host

if TYPE_CHECKING:
    from redis import Redis

SCHEMES: dict[str, tuple[bool, bool]] = {
    "redis": (False, False),
    "valkey": (False, False),
    "rediss": (True, False),
    "valkeys": (True, False),
    **dict.fromkeys(("redis+sentinel", "redis-sentinel", "sentinel"), (False, True)),
    **dict.fromkeys(("rediss+sentinel", "rediss-sentinel", "sentinels"), (True, True)),
}
"""Each with whether it is encrypted, and whether its servers are Sentinels."""
UNIX = ("unix", "redis+socket", "redis+unix")
PORTS = {True: 26379, False: 6379}
TLS_OPTIONS = ("ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
MASTERS = ("master_name", "sentinelmasterid", "service_name", "mastername")
CHECKS = ("required", "optional", "none")
OURS = (
    "socket_timeout",
    "socket_connect_timeout",
    "max_connections",
    "health_check_interval",
    "client_name",
    "protocol",
)
INSTEAD = {
    **dict.fromkeys(OURS, "the product has its own"),
    **dict.fromkeys(("ssl", "tls"), "write rediss:// for TLS"),
    **dict.fromkeys(("password", "username"), "write redis://user:password@host"),
    "decode_responses": "leave it out",
}
CLUSTER = "names a Redis Cluster, on which Celery cannot work: use one server, or servers with Sentinel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where Redis is. `tls` is None where nothing is encrypted; `path` is a socket's; `master` is Sentinel's name."""

    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = None
    tls: Mapping[str, Any] | None = None
    master: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = None


def read(url: str) -> Address:
    """What a REDIS_URL says. Pure. Raises ValueError, which shows nothing of the URL."""
    plain = _one_list_of_hosts(url)
    try:
        parts = urlsplit(plain)
        _ = parts.username, parts.password, parts.hostname
    except ValueError:
        # Python's own words quote what may be a password.
        raise ValueError("is no URL; write what is special in a user's name or password as %XX") from None
    if "cluster" in parts.scheme:
        raise ValueError(CLUSTER)
    if parts.fragment or (parts.scheme not in SCHEMES and parts.scheme not in UNIX):
        form = "redis://, rediss://, unix:// or redis+sentinel://"
        raise ValueError(f"must be a URL that begins with {form}; write # in a password as %23")
    options = {name.lower(): value for name, value in parse_qsl(parts.query, keep_blank_values=True)}
    return _socket(parts, options) if parts.scheme in UNIX else _servers(parts, options)


def _one_list_of_hosts(url: str) -> str:
    """Kombu's form of several Sentinels, a URL each, as one URL with several hosts."""
    return re.sub(r";(?:sentinel://)?(?=[^/@?]+(?::\d+)?(?:[;/?]|\Z))", ",", url) if "sentinel" in url[:16] else url


def _socket(parts: SplitResult, options: dict[str, str]) -> Address:
    _take("unix", options, ("db", "virtual_host"))
    if parts.hostname or not parts.path.strip("/"):
        raise ValueError("must name the socket's whole path after three slashes: unix:///run/redis.sock")
    database = options.get("db", options.get("virtual_host", "0"))
    return Address(path=unquote(parts.path), database=_database(database), **_credentials(parts))


def _servers(parts: SplitResult, options: dict[str, str]) -> Address:
    encrypted, sentinel = SCHEMES[parts.scheme]
    of_sentinel = (*SENTINEL_OPTIONS, *MASTERS) if sentinel else ()
    _take(parts.scheme, options, ("db", *(TLS_OPTIONS if encrypted else ()), *of_sentinel))
    hosts = _hosts(parts.netloc.rpartition("@")[2], PORTS[sentinel])
    if len(hosts) > 1 and not sentinel:
        raise ValueError(f"has several hosts: write redis+sentinel:// if they are Sentinels. If not, it {CLUSTER}")
    path = [unquote(part) for part in parts.path.split("/") if part]
    master = next((options[name] for name in MASTERS if options.get(name)), "")
    if sentinel and not master and path and not path[0].isdecimal():
        master = path.pop(0)
    if sentinel and not master:
        raise ValueError("must name Sentinel's master: redis+sentinel://host:26379/mymaster/0")
    if len(path) > 1:
        raise ValueError("must end with the number of a database, or with none")
    return Address(
        hosts=hosts,
        database=_database(path[0] if path else options.get("db", "0")),
        tls=_tls(options) if encrypted else None,
        master=master,
        **_credentials(parts),
        sentinel_username=options.get("sentinel_username") or None,
        sentinel_password=options.get("sentinel_password") or None,
    )


def _take(scheme: str, options: Mapping[str, str], taken: tuple[str, ...]) -> None:
    for name in options:
        if name in INSTEAD and name not in taken:
            raise ValueError(f"takes no {name}: {INSTEAD[name]}")
    if not options.keys() <= set(taken):
        named = [name for name in taken if name not in {"virtual_host", *MASTERS[1:]}]
        raise ValueError(f"takes {', '.join(named)} after a ? with {scheme}://, and nothing else")


def _credentials(parts: SplitResult) -> dict[str, Any]:
    if parts.username and parts.password is None:
        raise ValueError(
            "has a user's name and no password: write redis://:password@host, or redis://user:password@host"
        )
    user, password = parts.username, parts.password
    return {"username": unquote(user) if user else None, "password": unquote(password) if password else None}


def _hosts(text: str, port: int) -> tuple[tuple[str, int], ...]:
    found = []
    for each in text.split(","):
        try:
            one = urlsplit(f"//{each.strip()}")
            host, own = one.hostname, one.port
        except ValueError:
            raise ValueError("has a port that is none: write # / ? @ and : in a password as %XX") from None
        if not host:
            raise ValueError("names no host: redis://host:6379/0")
        if not can_be_a_host(host):
            raise ValueError(NO_HOST)
        found.append((host, own or port))
    return tuple(found)


def _database(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("must end with the number of a database, or with none")
    return int(text)


def _tls(options: Mapping[str, str]) -> dict[str, Any]:
    """In redis-py's words, with its defaults: the certificate and the host's name are checked."""
    found: dict[str, Any] = {name: options[name] for name in TLS_OPTIONS if name in options}
    checks = found.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")  # as Celery's docs spell it
    if checks not in CHECKS:
        raise ValueError("takes ssl_cert_reqs=required, which is the default, or ssl_cert_reqs=none")
    named = found.get("ssl_check_hostname", "true").lower()
    if named not in {"true", "false", "1", "0", "yes", "no"}:
        raise ValueError("takes ssl_check_hostname=true, which is the default, or ssl_check_hostname=false")
    return found | {
        "ssl_cert_reqs": checks,
        "ssl_check_hostname": checks != "none" and named in {"true", "1", "yes"},
    }


Kombus = tuple[str, dict[str, Any] | Literal[False], dict[str, Any]]


def kombus(url: str, timeouts: Mapping[str, float] | None = None) -> Kombus:
    """Celery's `broker_url` and `broker_use_ssl` for a REDIS_URL, and what comes to its transport's options.

    `timeouts` are those of these options, which the Sentinels are not given otherwise.
    """
    at = read(url)
    tls: dict[str, Any] | Literal[False] = False if at.tls is None else dict(at.tls)
    named = "" if at.password is None else f"{quote(at.username or '', safe='')}:{quote(at.password, safe='')}@"
    if at.path:
        return f"redis+socket://{named}{quote(at.path)}?{urlencode({'virtual_host': at.database})}", tls, {}
    hosts = [f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in at.hosts]
    if at.master:
        each = ";".join(f"sentinel://{named}{host}/{at.database}" for host in hosts)
        return each, tls, {"master_name": at.master, "sentinel_kwargs": _of_sentinels(at) | dict(timeouts or {})}
    return f"redis://{named}{hosts[0]}/{at.database}", tls, {}


def _of_sentinels(at: Address) -> dict[str, Any]:
    """How the Sentinels themselves are spoken to; time-outs come with the client."""
    tls = {} if at.tls is None else {"ssl": True, **at.tls}
    return tls | {"username": at.sentinel_username, "password": at.sentinel_password}


def client(url: str, *, timeout: float, **options: Any) -> "Redis[bytes]":
    """A client of redis-py's. `timeout` is in seconds, for a connection and for each reply. Opens none yet."""
    # It takes as long to load as much of a process, and not everybody who reads a URL needs it.
    from redis import Redis
    from redis.sentinel import Sentinel

    at = read(url)
    timeouts = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    named: dict[str, Any] = {"db": at.database, "username": at.username, "password": at.password, **options}
    if at.path:
        return Redis(unix_socket_path=at.path, socket_timeout=timeout, **named)
    named |= timeouts if at.tls is None else {"ssl": True, **timeouts, **at.tls}
    if at.master:
        sentinels: Any = Sentinel(at.hosts, sentinel_kwargs=_of_sentinels(at) | timeouts, **named)
        found: Redis[bytes] = sentinels.master_for(at.master)
        return found
    host, port = at.hosts[0]
    return Redis(host=host, port=port, **named)
