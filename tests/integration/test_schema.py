"""What the database itself takes care of."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from environment import forget_settings
from sqlalchemy import text
from tables import Tables

from db import SCHEMA_VERSION
from db.claims import claim_due
from db.rights import OWNER
from db.session import transaction
from devstack.roles import as_role
from devstack.servers import CAP

ADDRESS = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
CHECKSUMMED = "0xdAC17F958D2ee523a2206206994597C13D831ec7"


LEASE = (
    "INSERT INTO leases (token, network, claimed_at, lane, first_due, first_id, last_due, last_id, deaths, wallet_ids)"
    " VALUES (gen_random_uuid(), 'tron', now(),"
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _as_the_owner(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who migrates."""
    monkeypatch.setenv("DATABASE_URL", as_role(database_url, OWNER))
    forget_settings()


def alembic() -> Config:
    return Config(toml_file=ROOT / "pyproject.toml")


def test_migrations_make_what_the_models_say(database_url: str) -> None:
    assert database_url
    command.check(alembic())


def test_the_newest_migration_is_the_one_the_code_expects(tables: Tables) -> None:
    assert tables.rows("SELECT version_num FROM alembic_version") == [{"version_num": SCHEMA_VERSION}]


def test_migrations_go_down_to_nothing_and_up_again(tables: Tables) -> None:
    command.downgrade(alembic(), "base")
    left = (
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relname NOT IN ('alembic_version', 'alembic_version_pkc')"
    )
    assert tables.rows(left) == []
    assert tables.rows("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace") == []
    command.upgrade(alembic(), "head")
    assert tables.add("tron", ADDRESS)


def test_the_windows_migration_takes_every_wallet_along_both_ways(tables: Tables) -> None:
    """Down with leases in hand and an outage noted: they are gone, and the wallets are due as they were."""
    command.downgrade(alembic(), "0004")
    ids = tables.add("tron", *(f"T{at}" for at in range(5)))
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '5 s' WHERE wallet_id = ANY(%s)", ids[:2])
    tables.rows(
        "UPDATE sync_schedule SET lease_token = gen_random_uuid(), lease_until = now() + interval '1 min'"
        " WHERE wallet_id = %s",
        ids[4],
    )
    tables.rows("INSERT INTO balance_cache SELECT id, 1, 2, 3, now(), 'solid', now() FROM wallets")
    kept = "SELECT wallet_id, next_sync_at, failures, account, usdt_balance FROM sync_schedule JOIN balance_cache"
    kept += " USING (wallet_id) ORDER BY wallet_id"
    before = tables.rows(kept)
    command.upgrade(alembic(), "head")
    assert tables.rows(kept) == before
    assert tables.rows("SELECT DISTINCT lane FROM sync_schedule") == [{"lane": 0}]
    assert [row["network"] for row in tables.rows("SELECT network FROM network_state ORDER BY 1")] == [
        "ethereum",
        "tron",
    ]
    assert not tables.rows("SELECT FROM pg_index WHERE NOT indisvalid")
    tables.rows("UPDATE sync_schedule SET lane = 1")
    tables.rows("UPDATE network_state SET out_since = now()")
    with transaction() as connection:
        assert claim_due(connection, "tron", limit=2, lease=timedelta(hours=1), ahead=timedelta(hours=1))
    command.downgrade(alembic(), "0004")
    assert tables.rows(kept) == before
    assert tables.add("tron", "T9")
    command.upgrade(alembic(), "head")
    assert len(tables.rows("SELECT FROM sync_schedule WHERE lane = 0")) == 6


def test_the_windows_migration_is_done_again_after_it_was_broken_off(tables: Tables) -> None:
    """It commits before it makes its index, so that nobody waits for that: what it has made by then is there."""
    command.downgrade(alembic(), "0004")
    tables.add("tron", ADDRESS)
    command.upgrade(alembic(), "0005")
    tables.rows("UPDATE alembic_version SET version_num = '0004'")
    tables.rows("DELETE FROM network_state WHERE network = 'tron'")
    command.upgrade(alembic(), "head")
    command.check(alembic())
    assert len(tables.rows("SELECT FROM network_state")) == 2


def test_a_wallet_inserted_with_plain_sql_is_due_at_once(tables: Tables) -> None:
    (wallet,) = tables.add("tron", ADDRESS)
    row = tables.schedule(wallet)
    assert (row["network"], row["address"], row["lease_token"], row["failures"]) == ("tron", ADDRESS, None, 0)
    assert tables.rows("SELECT next_sync_at <= now() AS due, lane FROM sync_schedule") == [{"due": True, "lane": 0}]


def test_a_few_new_wallets_are_usual_and_an_import_comes_in_masses_however_it_is_cut(tables: Tables) -> None:
    lanes = "SELECT lane, count(*) FROM sync_schedule GROUP BY lane ORDER BY lane"
    tables.add("tron", *(f"T{n}" for n in range(210)))  # a statement each
    assert tables.rows(lanes) == [{"lane": 0, "count": 200}, {"lane": 1, "count": 10}]
    tables.rows(
        "INSERT INTO wallets (user_id, network, address) SELECT gen_random_uuid(), 'ethereum', 'e' || n"
        " FROM generate_series(1, 201) AS n"
    )
    assert tables.rows(lanes) == [{"lane": 0, "count": 200}, {"lane": 1, "count": 211}]
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '1 hour'")
    tables.add("tron", ADDRESS)
    assert tables.rows(lanes)[0] == {"lane": 0, "count": 201}


def test_many_wallets_in_one_statement_are_enrolled_by_one_statement(tables: Tables) -> None:
    tables.rows(
        "INSERT INTO wallets (user_id, network, address) SELECT gen_random_uuid(), 'tron', 'T' || n"
        " FROM generate_series(1, 5000) AS n"
    )
    assert tables.rows("SELECT count(*) FROM sync_schedule")[0]["count"] == 5000


def give_balance(tables: Tables, wallet: Any) -> None:
    tables.rows(
        "INSERT INTO balance_cache VALUES (%s, 977000000, 1, 5, now(), 'solid', now())",
        wallet,
    )


def test_a_deleted_wallet_leaves_nothing_behind(tables: Tables) -> None:
    (wallet,) = tables.add("tron", ADDRESS)
    give_balance(tables, wallet)
    tables.rows("DELETE FROM wallets")
    assert tables.rows("SELECT FROM sync_schedule") == tables.rows("SELECT FROM balance_cache") == []


def test_another_address_takes_the_old_balance_the_lease_and_the_failures_away(tables: Tables) -> None:
    (wallet,) = tables.add("tron", "no address")
    give_balance(tables, wallet)
    tables.rows(
        "UPDATE sync_schedule SET lease_token = %s, lease_until = 'infinity', failures = 3, next_sync_at = 'infinity',"
        " account = %s",
        uuid4(),
        bytes(20),
    )
    tables.rows("UPDATE wallets SET address = %s", ADDRESS)
    row = tables.schedule(wallet)
    assert tables.balance(wallet) is None
    assert (row["address"], row["failures"]) == (ADDRESS, 0)
    assert row["lease_token"] is row["lease_until"] is row["account"] is None
    assert tables.rows("SELECT FROM sync_schedule WHERE next_sync_at <= now()")


def test_a_change_of_anything_else_of_a_wallet_changes_no_balance(tables: Tables) -> None:
    (wallet,) = tables.add("tron", ADDRESS)
    give_balance(tables, wallet)
    tables.rows("UPDATE wallets SET user_id = gen_random_uuid(), address = address")
    assert tables.balance(wallet) is not None


def test_a_user_has_an_ethereum_address_once_however_it_is_spelt_and_a_tron_address_as_it_is(tables: Tables) -> None:
    user = uuid4()
    tables.add("ethereum", CHECKSUMMED, user_id=user)
    tables.add("ethereum", CHECKSUMMED.lower(), user_id=uuid4())
    with pytest.raises(psycopg.errors.UniqueViolation):
        tables.add("ethereum", CHECKSUMMED.lower(), user_id=user)
    tables.add("tron", ADDRESS, ADDRESS.lower(), user_id=user)


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE wallets SET address = ''", "ck_wallets_address_length"),
        ("UPDATE wallets SET address = repeat('T', 129)", "ck_wallets_address_length"),
        ("UPDATE sync_schedule SET failures = -1", "ck_sync_schedule_failures_not_negative"),
        ("UPDATE sync_schedule SET last_error = repeat('x', 65)", "ck_sync_schedule_last_error_length"),
        ("UPDATE sync_schedule SET lane = 2", "ck_sync_schedule_lane"),
        (f"{LEASE} 3, NULL, NULL, NULL, NULL, 0, '{{}}')", "ck_leases_lane"),
        (f"{LEASE} 2, NULL, NULL, NULL, NULL, -1, '{{}}')", "ck_leases_deaths_not_negative"),
        (f"{LEASE} 2, NULL, NULL, NULL, NULL, 0, '{{NULL}}')", "ck_leases_wallets"),
        (f"{LEASE} 0, NULL, NULL, NULL, NULL, 0, '{{}}')", "ck_leases_window"),
        (f"{LEASE} 1, now(), gen_random_uuid(), now(), NULL, 0, '{{}}')", "ck_leases_window"),
        (f"{LEASE} 0, now(), gen_random_uuid(), '-infinity', gen_random_uuid(), 0, '{{}}')", "ck_leases_window"),
        ("UPDATE balance_cache SET usdt_balance = -1", "ck_balance_cache_usdt_balance_not_negative"),
        ("UPDATE balance_cache SET native_balance = -1", "ck_balance_cache_native_balance_not_negative"),
        ("UPDATE balance_cache SET block_number = 0", "ck_balance_cache_block_number_positive"),
        ("UPDATE balance_cache SET finality = 'perhaps'", "ck_balance_cache_finality"),
    ],
)
def test_what_cannot_be_is_refused(tables: Tables, statement: str, constraint: str) -> None:
    (wallet,) = tables.add("tron", ADDRESS)
    give_balance(tables, wallet)
    with pytest.raises(psycopg.errors.CheckViolation, match=constraint):
        tables.rows(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO wallets (user_id, network, address) VALUES (gen_random_uuid(), 'doge', 'D')",
        "UPDATE wallets SET network = 'doge'",
    ],
)
def test_a_wallet_of_an_unknown_network_is_refused_with_the_name_of_the_table_that_knows_them(
    tables: Tables, statement: str
) -> None:
    (wallet,) = tables.add("tron", ADDRESS)
    with pytest.raises(psycopg.errors.ForeignKeyViolation) as refused:
        tables.rows(statement)
    assert refused.value.diag.constraint_name == "fk_wallets_network"
    assert refused.value.diag.message_detail == 'Key (network)=(doge) is not present in table "networks".'
    assert tables.schedule(wallet)["network"] == "tron"


def test_a_network_with_wallets_cannot_be_deleted_and_one_without_goes_with_its_sources(tables: Tables) -> None:
    tables.add("tron", ADDRESS)
    tables.rows("INSERT INTO sources (network, chain_id, token) VALUES ('tron', 1, 'T')")
    tables.rows("UPDATE networks SET (source, first_source) = (SELECT id, id FROM sources) WHERE name = 'tron'")
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="fk_wallets_network"):
        tables.rows("DELETE FROM networks")
    tables.rows("DELETE FROM wallets")
    tables.rows("DELETE FROM networks WHERE name = 'tron'")
    assert tables.rows("SELECT FROM sources") == []


def test_a_transaction_that_raises_leaves_nothing(tables: Tables) -> None:
    insert = text("INSERT INTO wallets (user_id, network, address) VALUES (gen_random_uuid(), 'tron', 'T')")

    def insert_and_fail() -> None:
        with transaction() as connection:
            connection.execute(insert)
            raise LookupError

    with pytest.raises(LookupError):
        insert_and_fail()
    assert tables.rows("SELECT FROM wallets") == []


def test_two_migrations_at_once_do_not_collide(tables: Tables) -> None:
    command.downgrade(alembic(), "base")
    upgrade = [sys.executable, "-m", "alembic", "upgrade", "head"]
    processes = [subprocess.Popen(upgrade, cwd=ROOT) for _ in range(2)]
    assert [process.wait(CAP) for process in processes] == [0, 0]
    assert tables.add("tron", ADDRESS)
