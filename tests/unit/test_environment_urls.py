"""What people put into DATABASE_URL and REDIS_URL, line by line: how it is read, or in what words it is refused.

`hunter2` stands in what must never be shown. The servers that people have are in ``integration/test_environments.py``.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from environments import DATABASE, PASSWORD, QUEUE, loaded, refusal

from config.connections import asyncpg_arguments, psycopg_arguments
from config.redis_address import Address, read
from config.settings import Settings, WorkerSettings
from db.endpoint_connections import Connector

OURS = {"statement_timeout": 15000, "jit": "off"}


def of_asyncpg(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments for asyncpg, by libpq's names."""
    found: dict[str, Any] = {name: each[-1] for name, each in parse_qs(urlsplit(arguments["dsn"]).query).items()}
    return {
        **found,
        **arguments["server_settings"],
        "host": ",".join(arguments["host"]),
        "port": ",".join(map(str, arguments["port"])),
        "user": arguments["user"],
        "password": arguments["password"],
        "dbname": arguments["database"],
        "connect_timeout": arguments["timeout"],
    }


HOSTS: dict[str, dict[str, str]] = {
    "postgresql://u:hunter2@h/d": {"host": "h", "port": "5432", "user": "u", "password": PASSWORD, "dbname": "d"},
    "postgres://u:hunter2@h:6432/d": {"host": "h", "port": "6432"},
    "postgresql+psycopg://u:hunter2@h/d": {"host": "h"},
    "postgresql+psycopg2://u:hunter2@h/d": {"host": "h"},
    "postgresql+asyncpg://u:hunter2@h/d": {"host": "h"},
    "postgresql://u:hunter2@[2001:db8::1]:5433/d": {"host": "2001:db8::1", "port": "5433"},
    "postgresql://u:hunter2@h1:5432,h2:5433/d": {"host": "h1,h2", "port": "5432,5433"},
    "postgresql://u:hunter2@h1,h2/d": {"host": "h1,h2", "port": "5432,5432"},
    "postgresql://u:hunter2@h1,h2/d?port=6432": {"host": "h1,h2", "port": "6432,6432"},
    "postgresql://u:hunter2@/d?host=h1,h2&port=5432,5433": {"host": "h1,h2", "port": "5432,5433"},
    "postgresql://u:hunter2@[::1],h2:1/d": {"host": "::1,h2", "port": "5432,1"},
    "postgresql://u@%2Fcloudsql%2Fp%3Ar%3Ai/d": {"host": "/cloudsql/p:r:i"},
    "postgresql://u:hunter2@/d?host=/cloudsql/p:r:i": {"host": "/cloudsql/p:r:i", "password": PASSWORD},
    "postgresql:///d?host=/nowhere&user=u": {"host": "/nowhere", "user": "u", "dbname": "d"},
    "postgresql://u@/d?hostaddr=192.0.2.1": {"host": "192.0.2.1"},
    "host=h port=1 dbname=d user=u password='hunter2 x'": {"host": "h", "port": "1", "password": "hunter2 x"},
    "postgresql://h/d?user=u&password=hunter2": {"user": "u", "password": PASSWORD},
    "postgresql://u%40tenant:hunter2@h/d": {"user": "u@tenant"},
    "postgresql://u:hunter2%40%2F%3A%23%25@h/d": {"password": "hunter2@/:#%"},
    "postgresql://u:hunter2[]{}!$^*()~@h/d": {"password": "hunter2[]{}!$^*()~"},
    "postgresql://u:hunter2+x@h/d": {"password": "hunter2+x"},
    "postgresql://u:hunter2#x@h/d": {"password": "hunter2#x"},
    "postgresql://u:hunter2?x@h/d": {"password": "hunter2?x"},
    "postgresql://u:%C3%A9hunter2@h/d": {"password": "\u00e9hunter2"},
    "postgresql://u:hunter2@h": {"dbname": "u"},
    "postgresql://u:hunter2@h/?dbname=d": {"dbname": "d"},
    "postgresql://u:hunter2@h/a%20b": {"dbname": "a b"},
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "sslmode=require": {"sslmode": "require"},
    "sslmode=disable": {"sslmode": "disable"},
    "sslmode=verify-full": {"sslmode": "verify-full"},
    "ssl=true": {"sslmode": "require"},
    "sslmode=verify-full&sslrootcert={file}": {"sslmode": "verify-full", "sslrootcert": "{file}"},
    "sslcert={file}&sslkey={file}&sslmode=require": {"sslcert": "{file}", "sslkey": "{file}"},
    "sslnegotiation=direct&sslmode=require": {"sslnegotiation": "direct"},
    "ssl_min_protocol_version=TLSv1.3": {"ssl_min_protocol_version": "TLSv1.3"},
    "target_session_attrs=read-write": {"target_session_attrs": "read-write"},
    "target_session_attrs=primary": {"target_session_attrs": "primary"},
    "application_name=mine": {"application_name": "mine"},
    "connect_timeout=30": {"connect_timeout": 30.0},
    "options=-csearch_path%3Dbal": {"options": "-csearch_path=bal -c statement_timeout=15000 -c jit=off"},
    "options=-c%20search_path%3Dbal": {"options": "-c search_path=bal -c statement_timeout=15000 -c jit=off"},
    "options=--jit%3Don": {"options": "--jit=on -c statement_timeout=15000"},
    "options=-c%20Statement_Timeout%3D1": {"options": "-c Statement_Timeout=1 -c jit=off"},
    "options=-c%20my.x%3Da%5C%20b": {"options": r"-c my.x=a\ b -c statement_timeout=15000 -c jit=off"},
    "": {"options": "-c statement_timeout=15000 -c jit=off", "target_session_attrs": "any", "sslmode": "prefer"},
    "pgbouncer=true": {"sslmode": "prefer"},
    "pgbouncer=true&sslmode=require": {"sslmode": "require"},
    "sslmode=require&pgbouncer=true": {"sslmode": "require"},
}
ELSEWHERE: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "a service": ("postgresql://?service=mine", {}, {"host": "sh", "port": "77", "dbname": "sd", "password": PASSWORD}),
    "what the URL says goes before the service": ("postgresql://h/?service=mine", {}, {"host": "h", "dbname": "sd"}),
    "PGSERVICE": ("postgresql://", {"PGSERVICE": "mine"}, {"host": "sh", "dbname": "sd", "port": "77"}),
    "PGHOST, PGPASSWORD": ("postgresql:///d", {"PGHOST": "eh", "PGUSER": "eu", "PGPASSWORD": PASSWORD}, {"host": "eh"}),
    "PGOPTIONS": (DATABASE, {"PGOPTIONS": "-c jit=on"}, {"options": "-c jit=on -c statement_timeout=15000"}),
    "PGSSLMODE": (DATABASE, {"PGSSLMODE": "require"}, {"sslmode": "require"}),
    "PGTARGETSESSIONATTRS": (DATABASE, {"PGTARGETSESSIONATTRS": "read-write"}, {"target_session_attrs": "read-write"}),
    "PGAPPNAME": (DATABASE, {"PGAPPNAME": "theirs"}, {"application_name": "theirs"}),
    "PGCONNECT_TIMEOUT": (DATABASE, {"PGCONNECT_TIMEOUT": "9"}, {"connect_timeout": 9.0}),
    "PGPASSFILE": ("postgresql://u@h/d", {"PGPASSFILE": "/some/where"}, {"passfile": "/some/where"}),
}
DRIVERS_OWN = {"sslcertmode", "sslcompression", "sslsni", "gssencmode", "gssdelegation", "client_encoding"} | {
    *("channel_binding", "load_balance_hosts", "tcp_user_timeout"),
}
"""Parameters of libpq's that say nothing of where a connection leads, or are asyncpg's only way too."""


def assert_both_read(url: str, expected: Mapping[str, Any]) -> None:
    """Both drivers are given the same, to the last parameter, and what is expected."""
    named: Any = {"application_name": "ours", "connect_timeout": 5}
    libpq, other = psycopg_arguments(url, OURS, **named), of_asyncpg(asyncpg_arguments(url, OURS, **named))
    libpq["connect_timeout"] = float(libpq["connect_timeout"])
    both = {name: value for name, value in libpq.items() if name not in DRIVERS_OWN}
    assert both == {name: value for name, value in other.items() if value is not None}
    assert {name: libpq[name] for name in expected} == expected


@pytest.mark.parametrize("url", HOSTS)
def test_both_drivers_are_led_to_the_same_server(url: str) -> None:
    assert_both_read(url, HOSTS[url])
    assert loaded(Settings, {"DATABASE_URL": url}).database_url.get_secret_value() == url


@pytest.mark.parametrize("query", PARAMETERS)
def test_both_drivers_are_given_the_same_parameters(query: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o600)
    file = str(tmp_path / "file")
    expected = {name: str(value).format(file=file) for name, value in PARAMETERS[query].items()}
    if "connect_timeout" in expected:
        expected["connect_timeout"] = PARAMETERS[query]["connect_timeout"]
    assert_both_read(f"{DATABASE}?{query.format(file=file)}", expected)


@pytest.mark.parametrize(("url", "variables", "expected"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_services_and_libpqs_own_variables_hold_for_both(
    url: str, variables: dict[str, str], expected: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "services").write_text(
        "[mine]\nhost=sh\nport=77\ndbname=sd\nuser=su\npassword=hunter2\noptions=-c search_path=x\n"
    )
    with patch.dict(os.environ, {"PGSERVICEFILE": str(tmp_path / "services"), **variables}):
        assert_both_read(url, expected)


def test_a_channel_that_asyncpg_cannot_bind_is_proved_by_the_certificate() -> None:
    """Neon's own URL."""
    url = f"{DATABASE}?sslmode=require&channel_binding=require"
    assert psycopg_arguments(url)["channel_binding"] == "require"
    other = of_asyncpg(asyncpg_arguments(url))
    assert other["sslmode"] == "verify-full"
    assert Path(other["sslrootcert"]).exists()


def test_the_systems_own_authorities_are_a_file_for_both() -> None:
    url = f"{DATABASE}?sslmode=verify-full&sslrootcert=system"
    found = psycopg_arguments(url)["sslrootcert"]
    assert Path(found).stat().st_size > 1000
    assert of_asyncpg(asyncpg_arguments(url))["sslrootcert"] == found


def test_hosts_that_share_the_load_are_shuffled_by_both() -> None:
    url = "postgresql://u@h1:1,h2:2/d?load_balance_hosts=random"
    assert psycopg_arguments(url)["load_balance_hosts"] == "random"
    found = asyncpg_arguments(url, shuffled=lambda order: [*reversed(order)])
    assert (found["host"], found["port"]) == (["h2", "h1"], [2, 1])


REFUSED_DATABASES: dict[str, str] = {
    "mysql://u:hunter2@h/d": "must be a URL that begins with postgresql:// or postgres://",
    "jdbc:postgresql://h/d?password=hunter2": "must be a URL that begins with",
    "Host=h;Password=hunter2": "must be a URL that begins with",
    "hunter2": "must be a URL that begins with",
    "postgresql//u:hunter2@h/d": "must be a URL that begins with",
    "DATABASE_URL=postgresql://u:hunter2@h/d": "must be a URL that begins with",
    "postgresql://u:hunter2%et@h/d": "cannot be read: write what is special",
    "postgresql://u:hunter2@x@h/d": "has more than one @",
    "postgresql://u:12/hunter2@h/d": "has more than one @",
    "postgresql://u:hunter2@h/d?schema=mine": "has schema, which is another program's and not libpq's: options=",
    "postgresql://u:hunter2@h/d?currentSchema=mine": "has currentschema, which is another program's",
    "postgresql://u:hunter2@h/d?connection_limit=5": "has connection_limit, which is another program's",
    "postgresql://u:hunter2@h/d?sslaccept=strict": "has sslaccept, which is another program's and not libpq's: sslmode",
    "postgresql://u:hunter2@h/d?pool_timeout=1&x=hunter2": "has pool_timeout, which is another program's",
    "postgresql://u:hunter2@h/d?statement_timeout=5": "has statement_timeout, which is another program's",
    "postgresql://u:hunter2@h/d?hunter2=1": "name no options but libpq's",
    "postgresql://u:hunter2@h/d?sslmode=no-verify": "has a value of sslmode that libpq does not know",
    "postgresql://u:hunter2@h/d?sslmode=hunter2": "has a value of sslmode that libpq does not know",
    "postgresql://u:hunter2@h/d?sslmode=require&sslrootcert=system": "needs sslmode=verify-full with sslrootcert",
    "postgresql://u:hunter2@h/d?sslrootcert=/hunter2": "names a file in sslrootcert that this process cannot read",
    "postgresql://u:hunter2@h/d?sslcert=/hunter2": "names a file in sslcert that this process cannot read",
    "postgresql://u:hunter2@h/d?target_session_attrs=standby": "has target_session_attrs=standby, which cannot be kept",
    "postgresql://u:hunter2@h/d?target_session_attrs=read-only": "the product writes",
    "postgresql://u:hunter2@h/d?target_session_attrs=hunter2": "has a value of target_session_attrs that libpq does",
    "postgresql://u:hunter2@h/d?require_auth=scram-sha-256": "has require_auth, which cannot be kept",
    "postgresql://u:hunter2@h/d?hostaddr=192.0.2.1": "has hostaddr, which cannot be kept: name the server in host",
    "postgresql://u:hunter2@h/d?replication=database": "has replication, which cannot be kept",
    "postgresql://u:hunter2@h/d?client_encoding=latin1": "has client_encoding, which cannot be kept",
    "postgresql://u:hunter2@h/d?requirepeer=postgres": "has requirepeer, which cannot be kept",
    "postgresql://u:hunter2@h/d?gssencmode=require": "gssencmode",
    "postgresql://u:hunter2@h/d?oauth_client_secret=hunter2": "has oauth_client_secret, which cannot be kept",
    "postgresql://u:hunter2@h/d?connect_timeout=hunter2": "has a value of connect_timeout that is no number",
    "postgresql://u:hunter2@h/d?keepalives_idle=5s": "has a value of keepalives_idle that is no number",
    "postgresql://u:hunter2@h/d?service=hunter2": "names a service that no service file has",
    "postgresql://u:hunter2@h:99999/d": "has a port that is none",
    "postgresql://u:hunter2@h:port/d": "has a port that is none",
    "postgresql://u:hunter2@h1,h2/d?port=1,2,3": "names another number of ports than of hosts",
    "postgresql://u:hunter2@[::1/d": "cannot be read",
    "postgresql://u:hunter2@a..b/d": "names a host that is none",
    f"postgresql://u:hunter2@h,{'x' * 64}.example/d": "names a host that is none",
}


@pytest.mark.parametrize("url", REFUSED_DATABASES)
def test_a_database_that_not_every_process_could_use_is_refused_in_words(url: str) -> None:
    said = refusal(Settings, {"DATABASE_URL": url})
    assert REFUSED_DATABASES[url] in said
    assert "  DATABASE_URL: " in said


def test_a_key_that_others_can_read_is_refused_in_words(tmp_path: Path) -> None:
    """Kubernetes mounts secrets with mode 0644, and libpq refuses a key that has it."""
    (tmp_path / "key").touch(0o644)
    said = refusal(Settings, {"DATABASE_URL": f"{DATABASE}?sslkey={tmp_path / 'key'}&sslcert={tmp_path / 'key'}"})
    assert "names a key in sslkey that others can read, which libpq refuses: give it mode 0600" in said


REDIS: dict[str, Address] = {
    "redis://h": Address(hosts=(("h", 6379),)),
    "redis://h:1/3": Address(hosts=(("h", 1),), database=3),
    "redis://h/": Address(hosts=(("h", 6379),)),
    "redis://h?db=4": Address(hosts=(("h", 6379),), database=4),
    "redis://:hunter2@h": Address(hosts=(("h", 6379),), password=PASSWORD),
    "redis://u:hunter2@h": Address(hosts=(("h", 6379),), username="u", password=PASSWORD),
    "redis://u:hunter2%40%2F%25@h": Address(hosts=(("h", 6379),), username="u", password="hunter2@/%"),
    "redis://u:hunter2@x@h": Address(hosts=(("h", 6379),), username="u", password="hunter2@x"),
    "redis://:hunter2%@h": Address(hosts=(("h", 6379),), password="hunter2%"),
    "redis://:@h": Address(hosts=(("h", 6379),)),
    "redis://[2001:db8::1]:1/0": Address(hosts=(("2001:db8::1", 1),)),
    "valkey://h": Address(hosts=(("h", 6379),)),
    "rediss://h": Address(hosts=(("h", 6379),), tls={"ssl_cert_reqs": "required", "ssl_check_hostname": True}),
    "valkeys://h": Address(hosts=(("h", 6379),), tls={"ssl_cert_reqs": "required", "ssl_check_hostname": True}),
    "rediss://h?ssl_cert_reqs=CERT_NONE": Address(
        hosts=(("h", 6379),), tls={"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    ),
    "rediss://h?ssl_check_hostname=false": Address(
        hosts=(("h", 6379),), tls={"ssl_cert_reqs": "required", "ssl_check_hostname": False}
    ),
    "unix:///run/r.sock": Address(path="/run/r.sock"),
    "unix:///run/r.sock?db=2": Address(path="/run/r.sock", database=2),
    "unix://u:hunter2@/run/r.sock": Address(path="/run/r.sock", username="u", password=PASSWORD),
    "redis+socket:///run/r.sock?virtual_host=2": Address(path="/run/r.sock", database=2),
    "redis+sentinel://s1,s2:7/m": Address(hosts=(("s1", 26379), ("s2", 7)), master="m"),
    "redis+sentinel://u:hunter2@s1/m/2": Address(
        hosts=(("s1", 26379),), master="m", database=2, username="u", password=PASSWORD
    ),
    "redis-sentinel://s1,s2/3?sentinelMasterId=m": Address(
        hosts=(("s1", 26379), ("s2", 26379)), master="m", database=3
    ),
    "sentinel://s1:1;sentinel://s2:2/m": Address(hosts=(("s1", 1), ("s2", 2)), master="m"),
    "rediss+sentinel://s1/m?sentinel_password=hunter2": Address(
        hosts=(("s1", 26379),),
        master="m",
        sentinel_password=PASSWORD,
        tls={"ssl_cert_reqs": "required", "ssl_check_hostname": True},
    ),
}
REFUSED_REDIS: dict[str, str] = {
    "http://hunter2": "must be a URL that begins with redis://",
    "hunter2": "must be a URL that begins with redis://",
    "h:6379": "must be a URL that begins with redis://",
    "redis://hunter2@h": "has a user's name and no password: write redis://:password@host",
    "redis://u:12#hunter2@h/0": "write # in a password as %23",
    "redis://u:hunter2#x@h/0": "as %23",
    "redis://u:hunter2/x@h/0": "has a port that is none: write # / ? @ and : in a password as %XX",
    "redis://u:hunter2@a..b/0": "names a host that is none",
    f"redis://u:hunter2@{'x' * 64}.example/0": "names a host that is none",
    "redis+sentinel://u:hunter2@s1,s..2/m": "names a host that is none",
    "redis://u:1?hunter2@h/0": "takes db after a ? with redis://, and nothing else",
    "redis://u:[hunter2]@h/0": "is no URL; write what is special",
    "redis://h:99999": "has a port that is none",
    "redis://h:hunter2": "has a port that is none",
    "redis://": "names no host",
    "redis://h/hunter2": "must end with the number of a database, or with none",
    "redis://h/0/hunter2": "must end with the number of a database, or with none",
    "redis://h/-1": "must end with the number of a database, or with none",
    "redis://h?ssl=true": "takes no ssl: write rediss:// for TLS",
    "redis://h?ssl_cert_reqs=none": "takes db after a ? with redis://, and nothing else",
    "redis://h?password=hunter2": "takes no password: write redis://user:password@host",
    "redis://h?socket_timeout=5": "takes no socket_timeout: the product has its own",
    "redis://h?hunter2=5": "takes db after a ? with redis://, and nothing else",
    "rediss://h?ssl_cert_reqs=hunter2": "takes ssl_cert_reqs=required, which is the default, or ssl_cert_reqs=none",
    "rediss://h?ssl_check_hostname=hunter2": "takes ssl_check_hostname=true, which is the default",
    "rediss://h?ssl_ca_certs=/hunter2": "names a file in ssl_ca_certs that this process cannot read",
    "redis://h1:6379,h2:6379": "names a Redis Cluster, on which Celery cannot work",
    "redis+cluster://h": "names a Redis Cluster, on which Celery cannot work",
    "rediss+cluster://u:hunter2@h": "names a Redis Cluster, on which Celery cannot work",
    "redis+sentinel://s1,s2": "must name Sentinel's master: redis+sentinel://host:26379/mymaster/0",
    "redis+sentinel://s1/0": "must name Sentinel's master",
    "unix://hunter2/redis.sock": "must name the socket's whole path after three slashes",
    "unix://": "must name the socket's whole path after three slashes",
    "unix:///r.sock?hunter2=1": "takes db after a ? with unix://, and nothing else",
}


@pytest.mark.parametrize("url", REDIS)
def test_redis_is_found_by_each_spelling_of_its_url(url: str) -> None:
    assert read(loaded(WorkerSettings, {**QUEUE, "REDIS_URL": url}).redis_url.get_secret_value()) == REDIS[url]


@pytest.mark.parametrize("url", REFUSED_REDIS)
def test_a_redis_that_not_every_process_could_use_is_refused_in_words(url: str) -> None:
    said = refusal(WorkerSettings, {**QUEUE, "REDIS_URL": url})
    assert "  REDIS_URL: " in said
    assert REFUSED_REDIS[url] in said


def test_the_endpoint_begins_with_any_of_the_hosts_that_share_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []

    async def connect(**arguments: Any) -> None:
        begun.append(arguments["port"])
        raise asyncpg.InvalidPasswordError("enough")

    monkeypatch.setattr(asyncpg, "connect", connect)
    for _ in range(60):
        connector = Connector("postgresql://u@a:1,b:2/d?load_balance_hosts=random", {}, "test")
        with pytest.raises(asyncpg.InvalidPasswordError):
            asyncio.run(connector.connect())
    assert set(begun) == {1, 2}
