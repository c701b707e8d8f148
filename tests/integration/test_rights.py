"""Who may what in the database: each role does its work with what it has, and nothing else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from leases import claim, good, only, write
from tables import Tables

from db.rights import API, OPS, OWNER, REGISTRAR, RIGHTS, TABLES, WORKER, missing
from db.session import transaction
from devstack.roles import as_role, make_roles
from devstack.seed import TRON_ADDRESS
from devstack.stack import base58_address
from worker.sync.outcome import accounts_of

OTHERS_ADDRESS = base58_address(b"\x07" * 20)
STRANGER = "a_stranger"

Connect = Callable[[str], "psycopg.Connection[Any]"]


@pytest.fixture
def connect(database_url: str) -> Iterator[Connect]:
    """Connects as one of the roles, or as one that has no right at all."""
    opened: list[psycopg.Connection[Any]] = []
    with psycopg.connect(database_url, autocommit=True) as superuser:
        password = superuser.info.password
        there = superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", [STRANGER]).rowcount
        if not there:
            superuser.execute(f"CREATE ROLE {STRANGER} LOGIN PASSWORD '{password}'")

    def connected(role: str) -> psycopg.Connection[Any]:
        opened.append(psycopg.connect(as_role(database_url, role), autocommit=True))
        return opened[-1]

    yield connected
    for each in opened:
        each.close()


@contextmanager
def denied() -> Iterator[None]:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        yield


def test_no_function_that_runs_with_its_owners_rights_can_be_made_to_do_anothers_work(tables: Tables) -> None:
    """Whoever adds one: it is not for PUBLIC, and a caller's temporary tables are not taken for ours."""
    found = tables.rows(
        "SELECT p.oid::regprocedure::text AS name,"
        " p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) WHERE grantee = 0) AS for_anybody,"
        " coalesce((SELECT s FROM unnest(p.proconfig) AS s WHERE s LIKE 'search_path=%%'), '') AS path"
        " FROM pg_proc p WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace"
    )
    assert len(found) >= 2
    assert [each["name"] for each in found if each["for_anybody"]] == []
    assert [each["name"] for each in found if not each["path"].endswith(", pg_temp")] == []


@pytest.mark.parametrize("name", ["sync_schedule_enrol", "sync_schedule_restart"])
def test_a_role_without_rights_cannot_hang_a_triggers_function_on_a_table_of_its_own(
    connect: Connect, name: str
) -> None:
    stranger = connect(STRANGER)
    stranger.execute("CREATE TEMPORARY TABLE wallets (id uuid, network text, address text)")
    with denied():
        stranger.execute(f"CREATE TRIGGER t AFTER UPDATE ON wallets FOR EACH ROW EXECUTE FUNCTION public.{name}()")


@pytest.mark.parametrize("name", ["sync_schedule_enrol", "sync_schedule_restart"])
def test_nor_does_the_function_work_on_another_table_for_those_who_may_run_it(tables: Tables, name: str) -> None:
    tables.rows("CREATE TABLE others (id uuid, user_id uuid, network text, address text)")
    tables.rows(
        "CREATE TRIGGER t AFTER INSERT ON others REFERENCING NEW TABLE AS new_wallets"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="for the triggers of wallets alone"):
        tables.rows("INSERT INTO others VALUES (gen_random_uuid(), gen_random_uuid(), 'tron', 'T')")


def test_a_temporary_table_of_whoever_inserts_wallets_is_not_taken_for_the_schedule(
    connect: Connect, tables: Tables
) -> None:
    """Its trigger would run as the tables' owner, who may do more than insert wallets."""
    registrar = connect(REGISTRAR)
    registrar.execute("CREATE TEMPORARY TABLE sync_schedule (wallet_id uuid, network text, address text)")
    registrar.execute("CREATE TEMPORARY TABLE ran (as_whom text)")
    registrar.execute(
        "CREATE FUNCTION pg_temp.run() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO pg_temp.ran VALUES (current_user); RETURN NULL; END $$"
    )
    registrar.execute("CREATE TRIGGER t AFTER INSERT ON pg_temp.sync_schedule EXECUTE FUNCTION pg_temp.run()")
    registrar.execute(
        "INSERT INTO public.wallets (user_id, network, address) VALUES (gen_random_uuid(), 'tron', %s)", [TRON_ADDRESS]
    )
    assert registrar.execute("SELECT FROM ran").rowcount == 0
    assert len(tables.rows("SELECT FROM public.sync_schedule")) == 1, "it is enrolled where it should be"


MAY_NOT = [
    *((STRANGER, f"SELECT FROM {table}") for table in TABLES if table != "alembic_version"),
    *((role, f"INSERT INTO {table} SELECT * FROM {table}") for role in (API, OPS, REGISTRAR)
      for table in ("held_changes", "change_rates")),
    *((role, f"DELETE FROM {table}") for role in (API, OPS, REGISTRAR) for table in ("held_changes", "change_rates")),
    *((role, "DELETE FROM balance_cache") for role in (API, OPS, REGISTRAR, WORKER)),
    *((role, "UPDATE balance_cache SET usdt_balance = 1") for role in (API, OPS, REGISTRAR, STRANGER)),
    *(
        (role, "INSERT INTO balance_cache VALUES (gen_random_uuid(), 1, 1, 1, now(), 'solid', now())")
        for role in (API, OPS, REGISTRAR, STRANGER)
    ),
    *((role, "UPDATE sync_schedule SET address = 'T'") for role in (API, OPS, REGISTRAR, STRANGER)),
    *((role, "UPDATE sync_schedule SET network = 'tron'") for role in (API, OPS, REGISTRAR)),
    *((role, "UPDATE sync_schedule SET failures = 0") for role in (API, OPS, REGISTRAR)),
    *((role, "INSERT INTO sync_schedule (wallet_id, network, address) VALUES (gen_random_uuid(), 'tron', 'T')")
      for role in (API, REGISTRAR, STRANGER)),
    *((role, "INSERT INTO leases (network) VALUES ('tron')") for role in (API, OPS, REGISTRAR, STRANGER)),
    *((role, "UPDATE leases SET lease_until = NULL") for role in (API, OPS, REGISTRAR)),
    *((role, "DELETE FROM leases") for role in (API, OPS, REGISTRAR)),
    *((role, "UPDATE network_state SET out_since = NULL") for role in (API, OPS, REGISTRAR)),
    *((role, "DELETE FROM network_state") for role in (API, OPS, REGISTRAR, WORKER)),
    *((role, f"SELECT FROM {table}") for role in (REGISTRAR, STRANGER) for table in ("leases", "network_state")),
    *((role, "UPDATE sync_schedule SET account = NULL") for role in (API, OPS, REGISTRAR)),
    *((role, "INSERT INTO sync_schedule SELECT * FROM sync_schedule") for role in (API, OPS, REGISTRAR, WORKER)),
    *((role, "DELETE FROM sync_schedule") for role in (API, OPS, REGISTRAR, WORKER)),
    *((role, "UPDATE wallets SET address = 'T'") for role in (API, OPS, WORKER)),
    *((role, "UPDATE wallets SET user_id = gen_random_uuid()") for role in (API, OPS, WORKER, REGISTRAR)),
    *((role, "INSERT INTO wallets (user_id, network, address) VALUES (gen_random_uuid(), 'tron', 'T')")
      for role in (API, OPS, WORKER)),
    *((role, "DELETE FROM wallets") for role in (API, OPS, WORKER)),
    *((role, "UPDATE wallet_limits SET per_user = 1") for role in (API, OPS, WORKER, REGISTRAR)),
    *((role, "UPDATE alembic_version SET version_num = '1'") for role in (API, OPS, WORKER, REGISTRAR)),
    *((role, "CREATE TABLE mine (id int)") for role in (API, OPS, WORKER, REGISTRAR, STRANGER)),
    *((role, "ALTER TABLE wallets DISABLE TRIGGER ALL") for role in (API, OPS, WORKER, REGISTRAR)),
    *((role, "UPDATE sync_schedule SET forgotten_at = now()") for role in (API, REGISTRAR, STRANGER)),
    *((role, f"INSERT INTO {table}") for role in (API, OPS, REGISTRAR, STRANGER)
      for table in ("networks (name, family) VALUES ('doge', 'evm')",
                    "sources (network, chain_id, token) VALUES ('tron', 1, 'T')")),
    *((role, "UPDATE networks SET source = NULL") for role in (API, OPS, REGISTRAR, STRANGER)),
    *((role, "UPDATE networks SET name = 'doge'") for role in (API, OPS, REGISTRAR, WORKER)),
    *((role, "UPDATE sources SET chain_id = 1") for role in (API, OPS, REGISTRAR, WORKER)),
    *((role, f"DELETE FROM {table}") for role in (API, OPS, REGISTRAR, WORKER) for table in ("networks", "sources")),
    (REGISTRAR, "SELECT FROM sync_schedule"),
]  # fmt: skip


@pytest.mark.parametrize(("role", "statement"), MAY_NOT, ids=lambda value: value)
def test_a_role_may_not_do_what_is_not_its_work(connect: Connect, role: str, statement: str) -> None:
    with denied():
        connect(role).execute(statement)


@pytest.mark.parametrize("role", RIGHTS)
def test_each_role_has_its_rights_and_lacks_them_when_they_are_taken_away(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, database_url: str, role: str
) -> None:
    from environment import forget_settings

    monkeypatch.setenv("DATABASE_URL", as_role(database_url, role))
    forget_settings()
    with transaction() as connection:
        assert missing(connection, role) == []
    for right in RIGHTS[role]:
        tables.rows(f"REVOKE {right.text} FROM {role}")
    with transaction() as connection:
        lacking = missing(connection, role)
    assert {each.text for each in lacking} == {
        f"{right.privilege}{f' ({column})' if column else ''} ON {table}"
        for right in RIGHTS[role]
        for table in right.tables
        for column in (right.columns or ("",))
    }


def test_the_registrar_keeps_wallets_and_reads_their_balances(connect: Connect, tables: Tables) -> None:
    registrar = connect(REGISTRAR)
    insert = "INSERT INTO wallets (user_id, network, address) VALUES (gen_random_uuid(), 'tron', %s) RETURNING id"
    found = registrar.execute(insert, [TRON_ADDRESS]).fetchone()
    assert found
    (wallet,) = found
    write(only(claim()).token, good(wallet))
    assert registrar.execute("SELECT usdt_balance FROM balance_cache").fetchone() == (977_000_000,)
    registrar.execute("UPDATE wallets SET address = %s", [OTHERS_ADDRESS])
    assert tables.balance(wallet) is None
    assert tables.schedule(wallet)["address"] == OTHERS_ADDRESS
    registrar.execute("DELETE FROM wallets")
    assert tables.rows("SELECT FROM sync_schedule") == []


def test_the_roles_can_be_made_again_and_take_over_what_somebody_else_has_made(
    database_url: str, tables: Tables
) -> None:
    for table in TABLES:
        tables.rows(f"ALTER TABLE {table} OWNER TO postgres")
    make_roles(database_url)
    owners = tables.rows("SELECT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert {row["tableowner"] for row in owners} == {OWNER}
    assert not tables.rows("SELECT rolsuper FROM pg_roles WHERE rolname = %s", OWNER)[0]["rolsuper"]


def migrated_as(url: str, monkeypatch: pytest.MonkeyPatch, down_to: str = "") -> None:
    from pathlib import Path

    from alembic import command
    from alembic.config import Config
    from environment import forget_settings

    monkeypatch.setenv("DATABASE_URL", url)
    forget_settings()
    config = Config(toml_file=Path(__file__).parents[2] / "pyproject.toml")
    if down_to:
        command.downgrade(config, down_to)
    else:
        command.upgrade(config, "head")


def test_whoever_may_act_as_the_owner_migrates_as_the_owner(
    database_url: str, connect: Connect, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a superuser adds would be out of the triggers' reach, who are the owner's."""
    migrated_as(as_role(database_url, OWNER), monkeypatch, down_to="0003")
    assert tables.rows("SELECT to_regclass('wallet_limits') AS there") == [{"there": None}]
    migrated_as(database_url, monkeypatch)
    assert tables.rows("SELECT tableowner FROM pg_tables WHERE tablename = 'wallet_limits'") == [{"tableowner": OWNER}]
    insert_wallets(connect(REGISTRAR), uuid4(), 1)


def test_nobody_else_migrates(database_url: str, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(STRANGER)
    with pytest.raises(SystemExit, match=f"DATABASE_URL: the tables belong to {OWNER}: run alembic as that role"):
        migrated_as(as_role(database_url, STRANGER), monkeypatch)


def test_who_owned_the_tables_before_can_go_on_until_everything_runs_by_its_role(
    database_url: str, connect: Connect, tables: Tables
) -> None:
    connect(STRANGER)
    for table in ("wallets", "sync_schedule", "balance_cache"):
        tables.rows(f"ALTER TABLE {table} OWNER TO {STRANGER}")
    try:
        make_roles(database_url)
        connect(STRANGER).execute("UPDATE balance_cache SET usdt_balance = 1")
    finally:
        tables.rows(f"REVOKE {OWNER} FROM {STRANGER}")
    with denied():
        connect(STRANGER).execute("UPDATE balance_cache SET usdt_balance = 1")


def forge(tables: Tables, **columns: object) -> None:
    """What nobody may do but a superuser, or an owner who has lost his way."""
    for name, value in columns.items():
        tables.rows(f"UPDATE sync_schedule SET {name} = %s", value)


@pytest.mark.parametrize(
    "forged",
    [
        {"address": OTHERS_ADDRESS},
        {"account": b"\x07" * 20},
        {"address": OTHERS_ADDRESS, "account": b"\x07" * 20},
    ],
    ids=str,
)
def test_an_address_in_the_schedule_that_is_not_the_wallets_is_never_read_for_it(
    tables: Tables, forged: dict[str, object]
) -> None:
    (wallet,) = tables.add("tron", TRON_ADDRESS)
    forge(tables, **forged)
    found = only(claim())
    assert found.wallets[0].address == TRON_ADDRESS
    assert [base58_address(account) for account in accounts_of(found, "tron") if account] == [TRON_ADDRESS]
    assert tables.balance(wallet) is None


def test_a_wallet_that_the_schedule_has_on_another_network_is_read_on_neither(tables: Tables) -> None:
    tables.add("tron", TRON_ADDRESS)
    forge(tables, network="ethereum")
    assert claim("tron") is None
    found = only(claim("ethereum"))
    assert (found.wallets[0].address, accounts_of(found, "tron")) == (None, [None])


def insert_wallets(connection: "psycopg.Connection[Any]", user: UUID, number: int) -> None:
    connection.execute(
        "INSERT INTO wallets (user_id, network, address) SELECT %s, 'tron', gen_random_uuid()::text"
        " FROM generate_series(1, %s)",
        [user, number],
    )


@pytest.fixture
def at_most_ten(tables: Tables) -> UUID:
    """A user, where none may have more than ten wallets."""
    tables.rows("UPDATE wallet_limits SET per_user = 10")
    return uuid4()


def test_a_user_has_no_more_wallets_than_the_cap_however_they_come(
    connect: Connect, tables: Tables, at_most_ten: UUID
) -> None:
    registrar = connect(REGISTRAR)
    insert_wallets(registrar, at_most_ten, 10)
    for number in (1, 11):
        with pytest.raises(psycopg.errors.CheckViolation, match="would have more than 10 wallets") as refused:
            insert_wallets(registrar, at_most_ten, number)
        assert refused.value.diag.constraint_name == "wallets_per_user"
        assert "MAX_WALLETS_PER_USER" in (refused.value.diag.message_hint or "")
    insert_wallets(registrar, uuid4(), 10)
    assert len(tables.rows("SELECT FROM sync_schedule")) == 20


def test_those_who_insert_for_one_user_at_the_same_time_do_not_go_past_the_cap_together(
    connect: Connect, tables: Tables, at_most_ten: UUID
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from running import await_lock_wait

    first, second = connect(REGISTRAR), connect(REGISTRAR)
    with ThreadPoolExecutor(1) as pool:
        with first.transaction():
            insert_wallets(first, at_most_ten, 6)
            waits = pool.submit(insert_wallets, second, at_most_ten, 6)
            await_lock_wait(tables.rows)
        with pytest.raises(psycopg.errors.CheckViolation):
            waits.result()
    assert len(tables.rows("SELECT FROM wallets")) == 6


def test_the_cap_is_looked_up_by_the_index_whatever_a_session_did_before(connect: Connect, tables: Tables) -> None:
    """A plan that was made for an empty table goes through all of a full one, for each wallet that is inserted."""
    registrar = connect(REGISTRAR)
    insert_wallets(registrar, uuid4(), 1)
    insert_wallets(registrar, uuid4(), 5000)
    with registrar.transaction():
        before = tables_scanned(registrar)
        for _ in range(3):
            insert_wallets(registrar, uuid4(), 1)
        assert tables_scanned(registrar) == before
    assert len(tables.rows("SELECT FROM wallets")) == 5004


def tables_scanned(connection: "psycopg.Connection[Any]") -> int:
    found = connection.execute("SELECT pg_stat_get_xact_numscans('wallets'::regclass)").fetchone()
    return int(found[0]) if found else -1


def test_the_setting_is_taken_over_by_a_migration(
    database_url: str, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_WALLETS_PER_USER", "7")
    migrated_as(as_role(database_url, OWNER), monkeypatch)
    assert tables.rows("SELECT per_user FROM wallet_limits") == [{"per_user": 7}]
