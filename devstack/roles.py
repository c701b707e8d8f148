"""The roles of the product in a database of the devstack, as ``db/roles.sql`` makes them."""

from urllib.parse import urlsplit

import psycopg

from db.rights import API, OPS, OWNER, REGISTRAR, WORKER
from devstack.servers import ROOT

ROLES = (OWNER, WORKER, API, OPS, REGISTRAR)


def make_roles(url: str) -> None:
    """Run ``db/roles.sql`` as the superuser of this URL, and give each role the superuser's own password."""
    sql = (ROOT / "db" / "roles.sql").read_text()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.encode())
        for role in ROLES:
            connection.execute(f"ALTER ROLE {role} PASSWORD '{urlsplit(url).password}'".encode())


def as_role(url: str, role: str) -> str:
    """The same database, for a process with a role of its own."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}:{parts.password}@{host}").geturl()
