"""Who may do what with the tables: each process and each neighbour has a role with no more than it needs.

``db/roles.sql`` makes the roles; ``alembic upgrade head`` gives them their rights (``db/migrations/env.py``), so that a
new table has them from its first moment; ``celery -A worker check`` names those that are missing.
"""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # the endpoint asks for its rights too, and does without SQLAlchemy
    from sqlalchemy import Connection


class Right(NamedTuple):
    """A privilege on some tables, or on some columns of one."""

    privilege: str
    tables: tuple[str, ...]
    columns: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As GRANT has it."""
        columns = f" ({', '.join(self.columns)})" if self.columns else ""
        return f"{self.privilege}{columns} ON {', '.join(self.tables)}"


_OF_WHAT = Right("SELECT", ("networks", "sources"))

_ASK = (
    Right("SELECT", ("wallets", "balance_cache", "sync_schedule", "leases", "network_state", "alembic_version")),
    _OF_WHAT,
    Right("UPDATE", ("sync_schedule",), ("requested_at", "next_sync_at", "lane")),  # a refresh, a resync
)

# Where a wallet has no schedule, or one of another network (db.enrolment). What is read of a wallet is what `wallets`
# says: the network and the address are copies there.
_ENROL = Right("INSERT", ("sync_schedule",), ("wallet_id", "network", "address", "next_sync_at", "lane"))

# `resync --forget` notes when: what was read before may be overwritten by an older block. It changes no balance.
FORGET = Right("UPDATE", ("sync_schedule",), ("forgotten_at",))

# What the feed of blocks keeps.
_FEED = ("watched", "touches", "feed_cursor", "feed_blocks")
_SEE_FEED = Right("SELECT", ("feed_cursor", "touches"))

READ_SCHEMA = Right("SELECT", ("alembic_version",))

WORKER, API, OPS, REGISTRAR = "bal_worker", "bal_api", "bal_ops", "bal_registrar"
OWNER = "bal_owner"

RIGHTS: dict[str, tuple[Right, ...]] = {
    API: _ASK,
    OPS: (*_ASK, _ENROL, FORGET, Right("SELECT", ("held_changes",)), _SEE_FEED),
    WORKER: (
        Right("SELECT", ("wallets", "sync_schedule", "balance_cache", "alembic_version")),
        _ENROL,
        FORGET,
        Right(
            "UPDATE",
            ("sync_schedule",),
            (
                "account",
                "address",
                "claimed_at",
                "failures",
                "lane",
                "last_changed_at",
                "last_error",
                "lease_token",
                "lease_until",
                "network",
                "next_sync_at",
                "requested_at",
            ),
        ),
        Right("INSERT", ("balance_cache", "leases", "network_state", "held_changes", "change_rates")),
        Right("UPDATE", ("balance_cache", "leases", "network_state", "held_changes", "change_rates")),
        Right("SELECT", ("leases", "network_state", "held_changes", "change_rates")),
        Right("DELETE", ("leases", "held_changes", "touches", "feed_blocks")),
        *(Right(privilege, _FEED) for privilege in ("SELECT", "INSERT", "UPDATE")),
        # At its start, what it reads.
        _OF_WHAT,
        Right("INSERT", ("networks", "sources")),
        Right(
            "UPDATE",
            ("networks",),
            (
                "due_up_to",
                "family",
                "first_source",
                "native_decimals",
                "native_symbol",
                "registered_at",
                "source",
            ),
        ),
        Right("UPDATE", ("sources",), ("decimals",)),
    ),
    # Whoever keeps the wallets: the API's own backend. Its wallets' balances are for it to read.
    REGISTRAR: (
        Right("SELECT", ("wallets", "balance_cache")),
        _OF_WHAT,
        Right("INSERT", ("wallets",)),
        Right("DELETE", ("wallets",)),
        Right("UPDATE", ("wallets",), ("network", "address")),
    ),
}
"""What each role needs, and has. The owner, who migrates, has all by owning the tables."""

TABLES = (
    "networks",
    "sources",
    "wallets",
    "sync_schedule",
    "leases",
    "network_state",
    "balance_cache",
    "held_changes",
    "change_rates",
    "watched",
    "touches",
    "feed_cursor",
    "feed_blocks",
    "wallet_limits",
    "alembic_version",
)

_THERE = "SELECT rolname FROM pg_roles WHERE rolname = ANY(%(roles)s)"


def grant(connection: "Connection") -> None:
    """Give those of the roles that there are exactly their rights on the tables. For the tables' owner."""
    if connection.exec_driver_sql("SELECT to_regclass('feed_cursor')").scalar_one() is None:
        return  # a schema of before, which a downgrade made
    there = connection.exec_driver_sql(_THERE, {"roles": list(RIGHTS)}).scalars().all()
    for role in there:
        connection.exec_driver_sql(f"REVOKE ALL ON {', '.join(TABLES)} FROM {role}")
        for right in RIGHTS[role]:
            connection.exec_driver_sql(f"GRANT {right.text} TO {role}")


LACKING = """
SELECT privilege, relation, field
  FROM unnest(%(privileges)s::text[], %(relations)s::text[], %(fields)s::text[]) WITH ORDINALITY
    AS wanted (privilege, relation, field, place)
 WHERE CASE WHEN field = ''
            THEN has_table_privilege(to_regclass(relation), privilege)
              OR (privilege <> 'DELETE' AND NOT EXISTS (
                   SELECT FROM pg_attribute
                    WHERE attrelid = to_regclass(relation) AND attnum > 0 AND NOT attisdropped
                      AND NOT has_column_privilege(attrelid, attnum, CASE privilege WHEN 'DELETE' THEN 'SELECT'
                                                                                    ELSE privilege END)))
            ELSE has_column_privilege(to_regclass(relation),
                                      (SELECT attnum FROM pg_attribute
                                        WHERE attrelid = to_regclass(relation) AND attname = field), privilege)
       END IS FALSE
 ORDER BY place
"""
"""Which rights whoever is connected lacks. One on each column is as good as one on the table, which PostgreSQL itself
does not say; DELETE is none of a column's. A table or column that an older schema has not is none of them."""


def wanted(role: str) -> dict[str, list[str]]:
    """The parameters of `LACKING` for a role."""
    each = [
        (right.privilege, table, column)
        for right in RIGHTS[role]
        for table in right.tables
        for column in right.columns or ("",)
    ]
    privileges, relations, fields = map(list, zip(*each, strict=True))
    return {"privileges": privileges, "relations": relations, "fields": fields}


def lacking(privilege: str, relation: str, field: str) -> Right:
    """The right that a row of `LACKING` is about."""
    return Right(privilege, (relation,), (field,) if field else ())


def missing(connection: "Connection", role: str) -> list[Right]:
    """Which of a role's rights whoever is connected lacks, on the tables that there are."""
    return [lacking(*row) for row in connection.exec_driver_sql(LACKING, wanted(role))]


def is_superuser(connection: "Connection") -> bool:
    """Whether whoever is connected may do anything at all."""
    return bool(connection.exec_driver_sql("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").scalar_one())


_OWNED = """
SELECT EXISTS (SELECT FROM pg_proc JOIN pg_roles ON pg_roles.oid = proowner
                WHERE prosecdef AND rolsuper AND pronamespace = current_schema()::regnamespace)
"""


def runs_as_superuser(connection: "Connection") -> bool:
    """Whether a trigger's function has a superuser's rights, by belonging to one."""
    return bool(connection.exec_driver_sql(_OWNED).scalar_one())
