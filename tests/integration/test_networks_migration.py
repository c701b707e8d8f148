"""The migration to networks and sources: on a table in use, broken off anywhere, done again, and undone."""

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from environment import forget_settings
from sources import read_from
from tables import Tables

from db import schema_changes
from db.rights import OWNER
from devstack.roles import as_role

ROOT = Path(__file__).parents[2]
ADDRESS = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
CHECKSUMMED = "0xdAC17F958D2ee523a2206206994597C13D831ec7"
KEPT = (
    "SELECT w.id, w.network, w.address, s.next_sync_at, s.failures, b.usdt_balance, b.block_number, b.last_synced"
    " FROM wallets w JOIN sync_schedule s ON s.wallet_id = w.id JOIN balance_cache b USING (wallet_id) ORDER BY w.id"
)


def alembic() -> Config:
    return Config(toml_file=ROOT / "pyproject.toml")


@pytest.fixture(autouse=True)
def _as_the_owner(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who migrates."""
    monkeypatch.setenv("DATABASE_URL", as_role(database_url, OWNER))
    forget_settings()


@pytest.fixture
def before(tables: Tables) -> list[dict[str, Any]]:
    """The schema before, with wallets that were read under it."""
    command.downgrade(alembic(), "0006")
    tables.add("tron", ADDRESS, "T1")
    tables.add("ethereum", CHECKSUMMED, "nonsense")
    tables.rows("INSERT INTO balance_cache SELECT id, 977, 2, 60000000, now(), 'latest', now() FROM wallets")
    return tables.rows(KEPT)


def breaks_off_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is lost in the middle of a migration."""
    left = iter(range(steps))

    def counted(do: Any) -> Any:
        def step(*arguments: Any) -> None:
            if next(left, None) is None:
                raise ConnectionError
            do(*arguments)

        return step

    for name in ("step", "long_step"):
        monkeypatch.setattr(schema_changes, name, counted(getattr(schema_changes, name)))


def in_pieces(change: Any, to: str) -> int:
    """A migration that is broken off after its first step, then after its second, and so on until it is done."""
    for steps in range(100):
        with pytest.MonkeyPatch.context() as patched:
            breaks_off_after(steps, patched)
            try:
                change(alembic(), to)
            except ConnectionError:
                continue
            return steps
    raise AssertionError("never done")


def test_every_row_is_kept_both_ways_and_means_what_it_meant(tables: Tables, before: list[dict[str, Any]]) -> None:
    command.upgrade(alembic(), "head")
    assert tables.rows(KEPT) == before
    assert tables.rows("SELECT DISTINCT source FROM balance_cache") == [{"source": None}]
    command.check(alembic())
    read_from("tron", 1)
    command.downgrade(alembic(), "0006")
    assert tables.rows(KEPT) == before
    with pytest.raises(psycopg.errors.CheckViolation, match="ck_wallets_network"):
        tables.add("bsc", CHECKSUMMED)


def test_broken_off_anywhere_it_is_run_again_until_it_is_done_both_ways(
    tables: Tables, before: list[dict[str, Any]]
) -> None:
    assert in_pieces(command.upgrade, "head") > 20
    command.check(alembic())
    assert not tables.rows("SELECT FROM pg_constraint WHERE NOT convalidated")
    assert not tables.rows("SELECT FROM pg_index WHERE NOT indisvalid")
    assert tables.rows(KEPT) == before
    assert in_pieces(command.downgrade, "0006") > 8
    assert tables.rows("SELECT relname FROM pg_class WHERE relname ~ '^(networks|sources)' OR relname ~ '_new$'") == []
    assert tables.rows(KEPT) == before
    command.upgrade(alembic(), "head")
    command.check(alembic())


def test_what_waits_for_a_lock_lets_everybody_pass_and_asks_again(
    tables: Tables, before: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that reads a table for long: nobody else is to wait behind a migration that waits for it."""
    monkeypatch.setattr(schema_changes, "LOCK_TIMEOUT", 10)
    with psycopg.connect(tables.dsn) as report:
        report.execute("SELECT FROM balance_cache, sync_schedule, wallets")
        waited: list[float] = []

        def passes(seconds: float) -> None:
            """While it pauses no lock is waited for. The second time the report is done."""
            waited.append(seconds)
            assert tables.rows("SELECT FROM pg_locks WHERE NOT granted") == []
            if len(waited) == 2:
                report.commit()

        monkeypatch.setattr(schema_changes, "sleep", passes)
        command.upgrade(alembic(), "head")
    assert waited == [schema_changes.PAUSE] * 2
    assert tables.rows(KEPT) == before


@pytest.mark.usefixtures("before")
def test_a_table_that_is_never_free_is_named_in_a_sentence(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_changes, "LOCK_TIMEOUT", 10)
    monkeypatch.setattr(schema_changes, "TRIES", 3)
    monkeypatch.setattr(schema_changes, "sleep", lambda _: None)
    with psycopg.connect(tables.dsn) as report:
        report.execute("SELECT FROM balance_cache")
        with pytest.raises(CommandError, match=r"ALTER TABLE balance_cache .* got no lock in 3 tries"):
            command.upgrade(alembic(), "head")
    command.upgrade(alembic(), "head")
    command.check(alembic())


@pytest.mark.usefixtures("before")
def test_a_wallet_that_is_there_in_two_spellings_stops_it_with_a_sentence_and_nothing_is_lost(tables: Tables) -> None:
    """The version before told two spellings apart on Tron, where such an address is none."""
    user = uuid4()
    first, _ = tables.add("tron", CHECKSUMMED, CHECKSUMMED.upper(), user_id=user)
    with pytest.raises(CommandError, match="twice for one user and network") as stopped:
        command.upgrade(alembic(), "head")
    assert str(user) in str(stopped.value)
    assert CHECKSUMMED.lower() in str(stopped.value)
    assert len(tables.rows("SELECT FROM wallets")) == 6
    with pytest.raises(psycopg.errors.UniqueViolation):
        tables.add("tron", CHECKSUMMED, user_id=user)
    tables.rows("DELETE FROM wallets WHERE id = %s", first)
    command.upgrade(alembic(), "head")
    command.check(alembic())


def test_it_is_not_undone_under_wallets_of_networks_that_the_version_before_does_not_know(tables: Tables) -> None:
    tables.add("bsc", CHECKSUMMED)
    with pytest.raises(CommandError, match=r"delete the wallets of \['bsc'\] first"):
        command.downgrade(alembic(), "0006")
    command.upgrade(alembic(), "head")  # what came after it is undone by then
    command.check(alembic())
    tables.rows("DELETE FROM wallets")
    command.downgrade(alembic(), "0006")


def test_undone_it_leaves_no_balance_that_would_be_taken_for_one_of_todays_source(tables: Tables) -> None:
    old, new = tables.add("tron", ADDRESS, "T1")
    read_from("tron", 1)
    read_from("tron", 2)
    tables.rows("INSERT INTO balance_cache SELECT id, 977, 2, 5, now(), 'solid', now() FROM wallets")
    tables.rows(
        "UPDATE balance_cache SET source = (SELECT source FROM networks WHERE name = 'tron') WHERE wallet_id = %s", new
    )
    command.downgrade(alembic(), "0006")
    assert [row["wallet_id"] for row in tables.rows("SELECT wallet_id FROM balance_cache")] == [new]
    assert tables.schedule(old)


@pytest.mark.parametrize(
    ("network", "spellings"),
    [
        ("ethereum", [CHECKSUMMED, CHECKSUMMED.lower(), CHECKSUMMED.upper(), "0X" + CHECKSUMMED[2:]]),
        ("bsc", [CHECKSUMMED, CHECKSUMMED.lower(), CHECKSUMMED.upper(), "0X" + CHECKSUMMED[2:]]),
        ("tron", [ADDRESS]),
    ],
)
def test_a_wallet_is_there_once_for_a_user_and_network_however_its_address_is_spelt(
    tables: Tables, network: str, spellings: list[str]
) -> None:
    user = UUID(int=7)
    tables.add(network, spellings[0], user_id=user)
    for spelling in spellings:
        with pytest.raises(psycopg.errors.UniqueViolation, match="uq_wallets_user_id_network_address"):
            tables.add(network, spelling, user_id=user)
        tables.add(network, spelling, user_id=uuid4())
    tables.add("tron", ADDRESS.lower(), user_id=user)  # another address, or none: base 58 tells small letters apart
