"""How a DATABASE_URL is read: by libpq's own parser, once, for every process and both drivers.

In comes the URL; out go the arguments of psycopg (worker, migrations, commands) and of asyncpg (the endpoint), which
lead to the same servers in the same way. What an operator has written holds; what the product needs is added to it.
What only one of the drivers could do is translated for the other, or refused for all.
"""

import os
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import certifi
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import PGconn

from config.hosts import NO_HOST, can_be_a_host
from config.postgres_parameters import Parameters, check, names_of_others

GONE_AFTER = 10_000  # milliseconds without a sign from the server's machine of what was sent to it
USUAL_PORT = "5432"
SOCKET_FOLDERS = ("/var/run/postgresql", "/run/postgresql", "/tmp")  # noqa: S108  where servers put their sockets
AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Red Hat
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)
"""Where systems keep the certificates that they trust."""

FOR_ASYNCPG = (
    *("passfile", "target_session_attrs", "krbsrvname", "gsslib", "sslmode", "sslcert", "sslkey", "sslpassword"),
    *("sslrootcert", "sslcrl", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version"),
)
"""The parameters that asyncpg takes by libpq's names."""

_DRIVER = re.compile(r"\Apostgres(?:ql)?(?:\+[a-z0-9]+)?://")
_POOLER = re.compile(r"(?<=[?&])pgbouncer=(\w*)(?:&|\Z)")
_SETTING = re.compile(r"(?:\A|(?<=\s))(?:-c\s*|--)([A-Za-z_][\w.-]*)\s*=((?:\\.|[^\\\s])*)", re.ASCII)
_REFUSAL = re.compile(r"startup parameter|command-line options|unrecognized configuration parameter", re.IGNORECASE)
_UNREADABLE = (
    "cannot be read: write what is special in the user's name and the password as %XX"
    " (% as %25, @ as %40, / as %2F), and name no options but libpq's"
)


def parameters(url: str) -> Parameters:
    """Libpq's parameters for a URL, with what a service file and libpq's own variables add. None of them is empty.

    Reads files, and opens no connection. Raises ValueError, with nothing of the URL in it: libpq's own messages quote
    the password.
    """
    found = _completed(_written(url))
    found["port"] = _port_of_each(found)
    if not found.get("host"):
        found["host"] = found.pop("hostaddr", "") or _socket_folder(found["port"])
    if not all(can_be_a_host(host) for host in found["host"].split(",") if not host.startswith(("/", "@"))):
        raise ValueError(NO_HOST)
    if found.get("sslrootcert") == "system":  # the wheel's libpq and asyncpg look in different places, or in none
        found["sslrootcert"] = _authorities()
    check(found)
    if int(found.get("connect_timeout", "1")) <= 0:  # libpq would wait for ever
        del found["connect_timeout"]
    return {**found, "client_encoding": "UTF8"}


def behind_pooler(url: str) -> bool:
    """Whether a URL says, as Prisma's do, that a pooler lends another connection for each transaction."""
    return bool((found := _POOLER.search(url)) and found[1].lower() in {"true", "1"})


def refuses_options(words: str) -> bool:
    """Whether a server's words at the start of a connection are that it takes no session settings there.

    Poolers say so in words of their own, and libpq passes no code on for a connection that was refused.
    """
    return bool(_REFUSAL.search(words))


def session_settings(url: str, ours: Mapping[str, object]) -> dict[str, str]:
    """The settings that a session shall have: ours, and in their place those that the operator has named."""
    return {name: str(value) for name, value in ours.items()} | _named(parameters(url).get("options", ""))


def psycopg_arguments(
    url: str,
    session: Mapping[str, object] | None = None,
    *,
    application_name: str = "balance-sync",
    connect_timeout: float = 5,
    options: bool = True,
) -> dict[str, Any]:
    """The arguments of ``psycopg.connect``. `session` is added to the settings that the URL's own options have.

    `options`: False leaves all of these settings out, for a pooler that takes none. Raises ValueError as `parameters`.
    """
    found = parameters(url)
    ours = {
        "application_name": application_name,
        "connect_timeout": str(max(round(connect_timeout), 2)),  # libpq takes whole seconds, and 2 for 1
        "tcp_user_timeout": str(GONE_AFTER),
    }
    made = ours | found
    made["options"] = _merged(found.get("options", ""), session or {}) if options else ""
    return made


def asyncpg_arguments(
    url: str,
    session: Mapping[str, object] | None = None,
    *,
    application_name: str = "balance-sync-api",
    connect_timeout: float = 2,
    options: bool = True,
    shuffled: Callable[[Sequence[int]], Sequence[int]] = tuple,
) -> dict[str, Any]:
    """The arguments of ``asyncpg.connect`` for the same. It takes `timeout` for all hosts: whoever names several
    connects to one after the other. `shuffled` gives the order of the hosts where they are to share the load.
    """
    found = parameters(url)
    hosts, ports = found["host"].split(","), found["port"].split(",")
    order = shuffled(range(len(hosts))) if found.get("load_balance_hosts") == "random" else range(len(hosts))
    settings = {"application_name": found.get("application_name", application_name)}
    merged = _merged(found.get("options", ""), session or {}) if options else ""
    if merged:
        settings["options"] = merged
    by_name = {name: found[name] for name in FOR_ASYNCPG if name in found} | _bound(found)
    return {
        "dsn": f"postgresql://?{urlencode(by_name)}",
        "host": [hosts[at] or "localhost" for at in order],
        "port": [int(ports[at]) for at in order],
        "user": found["user"],
        "password": found.get("password"),
        "database": found["dbname"],
        "timeout": float(found.get("connect_timeout", connect_timeout)),
        "server_settings": settings,
    }


def _bound(found: Parameters) -> Parameters:
    """What proves to asyncpg, which cannot bind the channel, that no one stands in between: the server's certificate.

    Neon's URLs for instance want the channel bound, with a mode in which libpq looks at no certificate.
    """
    if found.get("channel_binding") != "require":
        return {}
    return {"sslmode": "verify-full", "sslrootcert": found.get("sslrootcert") or _authorities()}


def _written(url: str) -> Parameters:
    """What a URL says, or libpq's other form, `host=… dbname=…`."""
    plain = _DRIVER.sub("postgresql://", _POOLER.sub("", url).rstrip("?&"))
    try:
        found = {name: str(value) for name, value in conninfo_to_dict(plain).items()}
    except ProgrammingError:
        raise ValueError(names_of_others(plain) or _UNREADABLE) from None
    # Unescaped, an @ or a / in a password makes its end a host, a port or a database, which errors tell of.
    astray = "@" in f"{found.get('host')}{found.get('port')}{found.get('dbname')}"
    if "://" in plain and (plain.partition("?")[0].count("@") > 1 or astray):
        raise ValueError("has more than one @: write those in the user's name and the password as %40, and / as %2F")
    return found


def _completed(written: Parameters) -> Parameters:
    """With what a service file, libpq's variables and its defaults add, in libpq's own order.

    Only a connection knows that. So one is begun that libpq gives up before it looks for a host: for a word that is
    wrong in a parameter which is looked at late.
    """
    balance, late = "load_balance_hosts", "for reading alone"
    begun = PGconn.connect_start(make_conninfo(**{**written, balance: late}).encode())
    try:
        found = {each.keyword.decode(): each.val.decode() for each in begun.info if each.val}
        said = begun.error_message.decode(errors="replace")
    finally:
        begun.finish()
    if found.get(balance) != late:
        raise ValueError("names a service that no service file has: correct service, or PGSERVICEFILE")
    if late not in said:
        raise ValueError(_told(said))
    found.pop("service", None)
    found[balance] = written.get(balance) or "disable"
    return found


def _told(said: str) -> str:
    """What libpq found wrong, without the value that it quotes."""
    if invalid := re.match(r"invalid (\w+) value", said):
        return f"has a value of {invalid[1]} that libpq does not know"
    if said.startswith("could not match"):
        return "names another number of ports than of hosts"
    if "sslmode" in said and "sslrootcert" in said:
        return "needs sslmode=verify-full with sslrootcert=system"
    return _UNREADABLE


def _port_of_each(found: Parameters) -> str:
    """The ports of all hosts, as many as there are: one may be for all, and one that is not named is the usual one."""
    hosts, ports = found.get("host", "").split(","), found.get("port", "").split(",")
    return ",".join(port or USUAL_PORT for port in (ports * len(hosts) if len(ports) == 1 else ports))


def _socket_folder(port: str) -> str:
    """The folder with the socket of a server of this machine: libpq has but one built in, asyncpg has others."""
    return next((each for each in SOCKET_FOLDERS if os.path.exists(f"{each}/.s.PGSQL.{port}")), SOCKET_FOLDERS[0])  # noqa: PTH110


def _authorities() -> str:
    """A file of the certificates that this system trusts; where it has none, Mozilla's, as requests uses them."""
    usual = ssl.get_default_verify_paths().cafile
    return next((each for each in (usual, *AUTHORITIES) if each and os.path.exists(each)), certifi.where())  # noqa: PTH110


def _named(options: str) -> dict[str, str]:
    """The settings that libpq's options name."""
    return {
        found[1].lower().replace("-", "_"): re.sub(r"\\(.)", r"\1", found[2]) for found in _SETTING.finditer(options)
    }


def _merged(options: str, session: Mapping[str, object]) -> str:
    """Options with those of our settings that they do not name."""
    named = _named(options)
    ours = [f"-c {name}={_escaped(value)}" for name, value in session.items() if name not in named]
    return " ".join([*([options] if options else []), *ours])


def _escaped(value: object) -> str:
    """As one word of the options."""
    return re.sub(r"([\\\s])", r"\\\1", str(value))
