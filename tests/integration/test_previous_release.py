"""The release before runs on today's schema, alone and beside this one, as it does while an update is rolled out.

Its statements are kept as they were sent (``tests/previous_release``), and are sent by the roles that it has.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from leases import claim, end_lease, good, only, write
from sources import read_from
from tables import Tables

from db import SCHEMA_VERSION
from db.outcomes import Recorded
from db.rights import API, OPS, WORKER
from devstack.roles import as_role

SENT = {file.stem: file.read_text() for file in (Path(__file__).parents[1] / "previous_release").glob("*.sql")}
MINUTE, LATER = timedelta(minutes=1), 4_000_000_000.0
NO_BEGINNING = float("-inf")
ITS_SCHEMA = "0006"
MAINNET = 728_126_428


class Release:
    """Its worker, its endpoint and its admin commands, each by its role. A statement is a transaction of its own."""

    def __init__(self, url: str) -> None:
        self.connections = {role: psycopg.connect(as_role(url, role), autocommit=True) for role in (WORKER, API, OPS)}

    def run(self, statement: str, role: str = WORKER, /, **parameters: Any) -> list[Any]:
        cursor = self.connections[role].execute(SENT[statement], parameters)
        return cursor.fetchall() if cursor.description else []

    def claim(self) -> tuple[UUID, dict[UUID, tuple[float, str | None, int | None]]]:
        """A batch of all that is due: its token, and of each wallet when it was due, its USDT and its block."""
        token = uuid4()
        self.run("lock", network="tron")
        of_lane = {"network": "tron", "lane": 0, "limit": 100, "ahead": MINUTE, "begin": NO_BEGINNING, "least": 1}
        rows = self.run("claim_due", token=token, lease=MINUTE, **of_lane)
        self.run("rates", network="tron")
        return token, {row[0]: (row[5], row[6], row[8]) for row in rows}

    def write(self, token: UUID, was_due: dict[UUID, float], *, usdt: int, block: int, name: str = "record") -> Any:
        wallets = list(was_due)
        alike: dict[str, Any] = {
            "due": LATER,
            "failures": 0,
            "errors": None,
            "changed": True,
            "usdt": usdt,
            "native": 5,
            "block_number": block,
            "block_time": 1_795_000_000,
            "one_block": True,
            "accounts": "00" * 20,
        }
        arrays = {name: [value] * len(wallets) for name, value in alike.items()}
        (row,) = self.run(
            name,
            token=token,
            channel="balance_sync_read",
            ids=wallets,
            was_due=list(was_due.values()),
            finality="solid",
            **arrays,
        )
        return row[:2]

    def read(self, *, usdt: int, block: int) -> Any:
        """One batch: how many outcomes it recorded, and how many balances it wrote."""
        token, found = self.claim()
        return self.write(token, {wallet: due for wallet, (due, *_) in found.items()}, usdt=usdt, block=block)

    def shown(self, user: UUID) -> dict[UUID, Any]:
        """What its endpoint shows of a user's wallets, in both details."""
        asked = {"user_id": user, "networks": ["tron"], "tags": []}
        intervals = {"deadline": MINUTE, "patience": MINUTE, "oldest": MINUTE}
        in_full = self.run("user_balances_in_full", API, **asked, **intervals)
        usual = {key: value for key, value in intervals.items() if f"%({key})s" in SENT["user_balances"]}
        plain = self.run("user_balances", API, **asked, **usual)
        assert [row[1:5] for row in plain] == [row[1:5] for row in in_full]
        return {row[1]: row[4] for row in plain}


@pytest.fixture
def before(database_url: str) -> Iterator[Release]:
    made = Release(database_url)
    yield made
    for connection in made.connections.values():
        connection.close()


USER = UUID(int=1)


@pytest.fixture
def wallets(tables: Tables) -> list[UUID]:
    return tables.add("tron", "T0", "T1", user_id=USER)


def of_todays_source(tables: Tables) -> set[UUID]:
    rows = tables.rows(
        "SELECT wallet_id FROM balance_cache b JOIN wallets w ON w.id = wallet_id JOIN networks n ON n.name = w.network"
        " WHERE coalesce(b.source, n.first_source) IS NOT DISTINCT FROM n.source"
    )
    return {row["wallet_id"] for row in rows}


def test_every_statement_that_is_kept_is_run_here() -> None:
    assert len(SENT) > 20
    own = Path(__file__).read_text()
    assert [name for name in SENT if f'"{name}"' not in own] == []


def test_its_readiness_takes_this_schema() -> None:
    assert SCHEMA_VERSION >= ITS_SCHEMA


def test_its_worker_and_its_endpoint_go_on_after_the_migration(
    before: Release, tables: Tables, wallets: list[UUID]
) -> None:
    assert before.read(usdt=977, block=60) == (2, 2)
    assert before.shown(USER) == dict.fromkeys(wallets, 977)
    assert of_todays_source(tables) == set(wallets)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    assert before.read(usdt=978, block=59) == (2, 0), "an older block"


def test_what_it_wrote_before_and_beside_a_new_worker_is_of_the_first_source(
    before: Release, tables: Tables, wallets: list[UUID]
) -> None:
    before.read(usdt=977, block=60)
    read_from("tron", MAINNET)
    assert of_todays_source(tables) == set(wallets)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    found = only(claim())
    assert {wallet.block_number for wallet in found.wallets} == {60}
    assert write(found.token, good(wallets[0], usdt=978), block=61) == Recorded(1, 1, ())
    tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    token, seen = before.claim()
    assert {wallet: (int(usdt or 0), block) for wallet, (_, usdt, block) in seen.items()} == {
        wallets[0]: (978, 61),
        wallets[1]: (977, 60),
    }
    assert before.write(token, {wallet: due for wallet, (due, *_) in seen.items()}, usdt=979, block=61) == (2, 2)
    (new,) = tables.add("tron", "T2", user_id=USER)
    assert before.read(usdt=980, block=62) == (1, 1)
    assert of_todays_source(tables) == {*wallets, new}
    assert before.shown(USER) == {wallets[0]: 979, wallets[1]: 979, new: 980}
    tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    assert {wallet.usdt for wallet in only(claim()).wallets} == {979, 980}


def test_a_batch_of_each_release_keeps_the_other_off(before: Release, tables: Tables, wallets: list[UUID]) -> None:
    token, found = before.claim()
    assert found.keys() == set(wallets)
    assert claim() is None
    before.run("release", token=token)
    ours = only(claim())
    assert before.claim()[1] == {}
    end_lease(tables)
    before.run("end_leases", network="tron")
    lost = before.run("take_lost", network="tron", token=token, lease=MINUTE)
    assert [(set(ids), deaths) for ids, deaths in lost] == [(set(wallets), 1)]
    rows = before.run("claim_lost", network="tron", token=token, wallet_ids=wallets)
    assert write(ours.token, *map(good, wallets)) == Recorded(0, 0, ())
    due = {row[0]: row[5] for row in rows}
    assert before.write(token, due, usdt=1, block=5, name="record_free") == (2, 2)


def test_whoever_asks_for_wallets_is_served_by_either(before: Release, wallets: list[UUID]) -> None:
    before.read(usdt=977, block=60)
    asks = {"cooldown": timedelta(0), "patience": timedelta(days=1)}
    asked = before.run("request_for_user", API, user_id=USER, networks=["tron"], **asks)
    assert {row[0] for row in asked if row[3]} == set(wallets)
    before.run("request_for_wallets", API, wallet_ids=wallets, **asks)
    write(only(claim()).token, good(wallets[0]), block=61)
    seen = before.run("last_reads", API, wallet_ids=wallets)
    assert [row[2] for row in seen] == [True, True]
    rows = before.run("claim_these", network="tron", token=uuid4(), lease=MINUTE, wallet_ids=wallets, limit=10)
    assert [row[0] for row in rows] == [wallets[1]]


def test_its_admin_commands_see_and_mark_what_both_have_read(
    before: Release, tables: Tables, wallets: list[UUID]
) -> None:
    read_from("tron", MAINNET)
    write(only(claim()).token, *map(good, wallets))
    before.run("enrol", OPS)
    (whole,) = [row for row in before.run("freshness", OPS, grace=MINUTE, shares=[0.5]) if not row[1]]
    assert whole[3:6] == (2, 2, 2)
    marked = before.run("mark", OPS, ids=wallets)
    seen = before.run("look", OPS, ids=wallets, claimed=marked[0][2])
    assert [(row[0], row[2]) for row in seen] == [("open", 2)]
    before.run("conditions", OPS)
    before.run("network_out", network="tron", reason="unreachable")
    before.run("network_back", network="tron")
    assert before.run("mend") == [(0,)]
    assert before.run("count_due", network="tron", lane=1, limit=9, ahead=MINUTE, begin=NO_BEGINNING)[0][0] == 2
    hold = {"ids": wallets[:1], "usdt": [1], "native": [1], "blocks": [9]}
    before.run("hold", **hold)
    assert [row[0] for row in before.run("held", wallet_ids=wallets)] == wallets[:1]
    before.run("count_rates", network="tron", wallets=10, changed=1, fallen=0, most=100)
    assert tables.rows("SELECT wallets FROM change_rates") == [{"wallets": 10}]
