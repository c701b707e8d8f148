"""Which of libpq's parameters the product takes, and what it says of the others. It looks at files.

Every process refuses the same ones, so that no half of the product runs where the other cannot.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qsl

from config.certificates import POSTGRES, wrong_authorities, wrong_pair

Parameters = dict[str, str]
"""By libpq's names."""

NUMBERS = (
    *("connect_timeout", "tcp_user_timeout"),
    *("keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval"),
)
FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")

ONLY: dict[str, frozenset[str]] = {
    "target_session_attrs": frozenset({"any", "read-write", "primary"}),
    "sslcertmode": frozenset({"allow"}),
    "gssencmode": frozenset({"disable", "prefer"}),
    "gssdelegation": frozenset({"0"}),
}
"""Parameters of which only some values can be kept by every process."""

INSTEAD = {
    "target_session_attrs": "the product writes: use read-write or primary",
    "client_encoding": "the product speaks UTF-8 to every server",
    "hostaddr": "name the server in host alone",
    "replication": "this is no connection for statements",
    "sslcrldir": "put the lists into one file, and name it in sslcrl",
    "requirepeer": "the endpoint's driver cannot keep it",
    "require_auth": "the endpoint's driver cannot keep it: bound it in the server's pg_hba.conf",
    "sslkeylogfile": "it would write down keys",
}
"""Why a parameter is refused, or what does the same."""

NEVER = (
    *("hostaddr", "replication", "sslcrldir", "requirepeer", "require_auth", "sslkeylogfile"),
    *("scram_client_key", "scram_server_key", "oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope"),
)

OF_OTHERS = {
    "schema": "options=-csearch_path%3DNAME says the same",
    "currentschema": "options=-csearch_path%3DNAME says the same",
    "search_path": "options=-csearch_path%3DNAME says the same",
    "ssl_mode": "sslmode=verify-full",
    "sslaccept": "sslmode=verify-full, or sslmode=require for accept_invalid_certs",
    "sslca": "sslrootcert=FILE",
    "ssl_ca": "sslrootcert=FILE",
    "sslrootca": "sslrootcert=FILE",
    "statement_timeout": "options=-cstatement_timeout%3D15000 says the same",
    **dict.fromkeys(
        (
            *("connection_limit", "pool_timeout", "pool_size", "max_overflow", "pool_recycle", "socket_timeout"),
            *("statement_cache_size", "prepared_statement_cache_size", "prepared_statements", "preparethreshold"),
            *("prepare_threshold", "binary_parameters", "pool_max_conns", "pool_min_conns", "pool_mode", "timeout"),
            *(
                "command_timeout",
                "connection_timeout",
                "pgbouncer_pool_mode",
                "supa",
                "uselibpqcompat",
                "channelbinding",
            ),
        ),
        "leave it out",
    ),
}
"""Parameters of other programs' URLs, which libpq does not know, each with what to write instead."""


def names_of_others(url: str) -> str:
    """What to write instead of a parameter that is another program's; empty where none is in the URL.

    Only names of this list are told: anything else may be the end of a password with a ? in it.
    """
    for name, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True):
        if name.lower() in OF_OTHERS:
            return f"has {name.lower()}, which is another program's and not libpq's: {OF_OTHERS[name.lower()]}"
    return ""


def check(found: Parameters) -> None:
    """Raises ValueError, which names the parameter and shows no value, if not every process can do as it says."""
    if wrong := next(_wrong(found), ""):
        raise ValueError(wrong)


def check_certificates(found: Parameters) -> None:
    """The same for what is in the files of certificates and keys. Each driver would find it out by itself at its first
    connection, and say it in words of its own. It reads the files: for a start, not for each connection.
    """
    if found["sslmode"] != "disable" and (wrong := _wrong_certificates(found)):
        raise ValueError(wrong)


def _wrong(found: Parameters) -> Iterator[str]:
    if not found.get("user"):
        yield "names no user, and this process's user id has no name: write the user"
    if not all(port == "" or (port.isdecimal() and 0 < int(port) < 2**16) for port in found["port"].split(",")):
        yield "has a port that is none: a number from 1 to 65535"
    yield from (
        f"has a value of {name} that is no number"
        for name in NUMBERS
        if not found.get(name, "0").removeprefix("-").isdecimal()
    )
    if found.get("client_encoding", "utf8").lower().replace("-", "") not in {"utf8", "unicode", "auto"}:
        yield _refused("client_encoding", found)
    yield from (_refused(name, found) for name, taken in ONLY.items() if found.get(name) and found[name] not in taken)
    yield from (_refused(name, found) for name in NEVER if found.get(name))
    yield from _wrong_files(found)


def _wrong_files(found: Parameters) -> Iterator[str]:
    for name in FILES:
        if found.get(name) and not os.access(found[name], os.R_OK):
            yield f"names a file in {name} that this process cannot read: correct {name}, or mount the file"
    if found.get("sslkey") and found["sslmode"] != "disable" and _open_to_others(Path(found["sslkey"])):
        yield "names a key in sslkey that others can read, which libpq refuses: give it mode 0600 (root's own: 0640)"


def _wrong_certificates(found: Parameters) -> str:
    if all(host.startswith(("/", "@")) for host in found.get("host", "").split(",")):
        return ""  # no TLS is spoken over sockets
    if found.get("sslrootcert") and (why := wrong_authorities(found["sslrootcert"], POSTGRES)):
        return why
    # What is not named libpq and asyncpg take from the user's own folder, if it is there.
    certificate = found.get("sslcert") or _of_the_user("postgresql.crt")
    key = found.get("sslkey") or _of_the_user("postgresql.key")
    if not certificate:  # a key alone is left unused
        return ""
    if not key:
        return "names a certificate in sslcert, and no key in sslkey: name both"
    if _is_der(key) and not wrong_authorities(certificate, POSTGRES):
        return ""
    return wrong_pair(certificate, key, POSTGRES, found.get("sslpassword", ""))


def _of_the_user(name: str) -> str:
    """The file that is taken where none is named; empty: there is none."""
    with suppress(RuntimeError, OSError):  # a user without a home
        file = Path.home() / ".postgresql" / name
        return str(file) if file.exists() else ""
    return ""


def _is_der(key: str) -> bool:
    """Whether a key is in libpq's other form, which Python cannot load: a sequence of ASN.1."""
    with suppress(OSError):
        return Path(key).read_bytes()[:1] == b"\x30"
    return False


def _refused(name: str, found: Parameters) -> str:
    value = f"={found[name]}" if name in ONLY else ""  # one of libpq's own words, and no secret
    return f"has {name}{value}, which cannot be kept: {INSTEAD.get(name, 'leave it out')}"


def _open_to_others(key: Path) -> bool:
    """Whether libpq takes a file of a key for one that is no secret."""
    known = key.stat()
    allowed = stat.S_IRWXU | (stat.S_IRGRP if known.st_uid == 0 else 0)
    return stat.S_ISREG(known.st_mode) and bool(stat.S_IMODE(known.st_mode) & ~allowed)
