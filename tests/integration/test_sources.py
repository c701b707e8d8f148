"""Rows know what they are of: after another chain, token or finality nothing wrong is shown, and nothing is stuck."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from environment import forget_settings
from leases import claim, claim_what_was_lost, claimed, end_lease, good, only, write
from network import Net, Scene
from running import await_lock_wait
from sources import all_made_due, chain, read_from
from structlog.testing import capture_logs
from tables import Tables

from config.networks import PRESETS, NetworkName
from config.settings import worker_settings
from db import networks
from db.freshness_queries import freshness
from db.networks import add_missing, note_decimals, register
from db.outcomes import Recorded
from db.resync_queries import Scope, count
from db.session import transaction
from devstack.chain import Chain
from devstack.servers import CAP, anvil
from worker.reading import reader_for
from worker.sync.batch import sync_due
from worker.sync.registration import networks_left_out, register_networks

OTHER_TOKEN = "TXLAQ63Xg1NAzckPwKHvzw7CSEmLMEqcdj"
MAINNET, NILE = 728_126_428, 3_448_148_188


@pytest.fixture
def read(tables: Tables) -> list[UUID]:
    """Wallets that were read before there were sources."""
    ids = tables.add("tron", "T0", "T1", "T2")
    write(only(claim()).token, *map(good, ids), block=60_000_000)
    return ids


def known(tables: Tables) -> dict[UUID, int | None]:
    """What a claim of all wallets knows of their blocks. It is undone."""
    tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    found = only(claim())
    tables.rows("DELETE FROM leases")
    return {wallet.id: wallet.block_number for wallet in found.wallets}


def of_the_source(tables: Tables) -> set[UUID]:
    rows = tables.rows(
        "SELECT wallet_id FROM balance_cache b JOIN wallets w ON w.id = wallet_id JOIN networks n ON n.name = w.network"
        " WHERE coalesce(b.source, n.first_source) = n.source"
    )
    return {row["wallet_id"] for row in rows}


def test_rows_of_before_are_of_what_the_first_worker_reads(tables: Tables, read: list[UUID]) -> None:
    assert set(known(tables).values()) == {60_000_000}
    assert not read_from("tron", MAINNET).changed
    assert set(known(tables).values()) == {60_000_000}
    assert of_the_source(tables) == set(read)
    write(only(claim()).token, good(read[0]), block=60_000_001)
    assert [tables.balance(wallet)["source"] for wallet in read[1:]] == [None, None]  # type: ignore[index]
    assert of_the_source(tables) == set(read)


@pytest.mark.parametrize(("chain_id", "token"), [(NILE, None), (MAINNET, OTHER_TOKEN)], ids=["chain", "token"])
def test_another_chain_or_token_is_read_anew_at_once_whatever_its_block_numbers_and_back_again(
    tables: Tables, read: list[UUID], chain_id: int, token: str | None
) -> None:
    read_from("tron", MAINNET)
    before = [tables.schedule(wallet) for wallet in read]
    assert read_from("tron", chain_id, token).changed
    assert [tables.schedule(wallet) for wallet in read] == before, "no wallet is written, however many there are"
    assert claim() is None
    assert all_made_due("tron") == len(read)
    found = only(claim())
    assert [(each.usdt, each.native, each.block_number, each.finality) for each in found.wallets] == [(None,) * 4] * 3
    assert write(found.token, *(good(wallet, usdt=1) for wallet in read[:2]), block=24) == Recorded(2, 2, ())
    assert of_the_source(tables) == set(read[:2])
    assert tables.balance(read[2])["usdt_balance"] == 977_000_000, "not shown, and not lost either"  # type: ignore[index]
    assert read_from("tron", MAINNET).changed
    assert all_made_due("tron") == 2
    assert known(tables) == {read[0]: None, read[1]: None, read[2]: 60_000_000}
    assert write(only(claim()).token, *map(good, read), block=59_999_999) == Recorded(3, 2, ()), "within a source"


def test_who_read_the_old_source_writes_nothing_any_more(tables: Tables, read: list[UUID]) -> None:
    read_from("tron", MAINNET)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    found = only(claim())
    read_from("tron", NILE)
    assert tables.rows("SELECT FROM leases") == []
    assert write(found.token, *map(good, read), block=60_000_009) == Recorded(0, 0, ())
    assert claimed(claim()) == set(read), "they are as due as they were"


def test_nor_does_one_whose_claim_saw_the_old_source_for_it_had_waited_for_its_turn(
    tables: Tables, read: list[UUID]
) -> None:
    """A claim's look at the network may be older than its lease, by the time that it waited for the lock."""
    read_from("tron", MAINNET)
    read_from("tron", NILE)
    read_from("tron", MAINNET)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    found = only(claim())
    tables.rows("UPDATE networks SET source = (SELECT id FROM sources WHERE chain_id = %s) WHERE name = 'tron'", NILE)
    assert write(found.token, *map(good, read), block=60_000_009) == Recorded(0, 0, ())
    assert {tables.balance(wallet)["block_number"] for wallet in read} == {60_000_000}  # type: ignore[index]
    assert tables.rows("SELECT FROM leases") == []
    assert claimed(claim()) == set(read), "they are as due as they were"


def test_a_batch_that_was_lost_with_its_worker_is_still_tried_apart(tables: Tables, read: list[UUID]) -> None:
    """What killed a worker may do so on another chain as well: it is the wallet's."""
    read_from("tron", MAINNET)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    claim()
    end_lease(tables)
    lost = only(claim_what_was_lost())
    read_from("tron", NILE)
    assert tables.rows("SELECT deaths, lease_until FROM leases") == [{"deaths": 1, "lease_until": None}]
    assert write(lost.token, *map(good, read)) == Recorded(0, 0, ())
    assert claimed(claim_what_was_lost()) == set(read)


def test_a_start_with_the_same_settings_changes_nothing_and_uses_no_number_up(tables: Tables, read: list[UUID]) -> None:
    first = read_from("tron", MAINNET)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    found = only(claim())
    for _ in range(3):
        assert not read_from("tron", MAINNET).changed
    assert first.before is None
    assert write(found.token, *map(good, read), block=60_000_001) == Recorded(3, 3, ())
    read_from("tron", NILE)
    assert [row["id"] for row in tables.rows("SELECT id FROM sources ORDER BY id")] == [1, 2]


def test_of_two_starts_at_once_the_second_knows_of_the_first(tables: Tables, read: list[UUID]) -> None:
    read_from("tron", MAINNET)
    with ThreadPoolExecutor() as pool:
        with transaction() as first:
            register(first, chain("tron", NILE))
            second = pool.submit(read_from, "tron", MAINNET)
            await_lock_wait(tables.rows)
        registered = second.result(CAP)
    assert registered.before is not None
    assert (registered.before.chain_id, registered.now.chain_id, registered.changed) == (NILE, MAINNET, True)
    assert of_the_source(tables) == set(read)


def test_a_tick_makes_a_piece_of_a_large_network_due_and_leaves_whoever_is_read_or_was(
    tables: Tables, read: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = sorted([*read, *tables.add("tron", *(f"T{at}" for at in range(3, 9))), *tables.add("ethereum", "0x1")])
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '1 hour'")
    read_from("tron", MAINNET)
    read_from("tron", NILE)
    monkeypatch.setattr(networks, "_MAKE_DUE", networks._MAKE_DUE.replace(f"LIMIT {networks.PIECE}", "LIMIT 4"))
    due = "SELECT wallet_id FROM sync_schedule WHERE next_sync_at <= now() AND network = 'tron'"
    with transaction() as connection:
        assert networks.make_due(connection, "tron") in (3, 4)
    assert {row["wallet_id"] for row in tables.rows(due)} <= set(ids[:4])
    found = only(claim(limit=1, ahead=timedelta(0)))
    write(found.token, good(found.wallets[0].id), block=24)
    all_made_due("tron")
    still = claimed(found)
    assert {row["wallet_id"] for row in tables.rows(due)} == {
        row["wallet_id"] for row in tables.rows("SELECT wallet_id FROM sync_schedule WHERE network = 'tron'")
    } - still
    assert {row["lane"] for row in tables.rows("SELECT lane FROM sync_schedule WHERE next_sync_at <= now()")} == {1}
    assert all_made_due("tron") == 0


def test_a_tick_does_not_move_what_is_read_from_the_new_source_just_now(tables: Tables, read: list[UUID]) -> None:
    """Its holder would write nothing: a wallet that is due at another time than it was claimed at has changed."""
    read_from("tron", MAINNET)
    read_from("tron", NILE)
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '1 minute'")
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() WHERE wallet_id = %s", read[0])
    found = only(claim(limit=2))
    assert all_made_due("tron") == 1
    assert write(found.token, *(good(wallet.id) for wallet in found.wallets), block=24) == Recorded(2, 2, ())


def test_a_balance_of_another_source_is_neither_fresh_nor_young(read: list[UUID]) -> None:
    read_from("tron", MAINNET)
    hour = timedelta(hours=1)

    def shown() -> tuple[int, int, int]:
        with transaction() as connection:
            (state,) = freshness(connection, grace=hour)
            old = count(connection, Scope(older_than=hour)).wallets
        return state.read, state.fresh, sum(old.values())

    assert shown() == (3, 3, 0)
    read_from("tron", NILE)
    assert shown() == (0, 0, 3)
    all_made_due("tron")
    write(only(claim()).token, good(read[0]))
    assert shown() == (1, 1, 2)


def test_names_are_added_and_what_is_known_of_a_network_stays(tables: Tables) -> None:
    read_from("tron", MAINNET)
    row = "SELECT * FROM networks WHERE name = 'tron'"
    before = tables.rows(row)
    with transaction() as connection:
        add_missing(connection, PRESETS)
    assert tables.rows(row) == before
    assert {each["name"] for each in tables.rows("SELECT name FROM networks")} == set(PRESETS)


# With the worker's own code, over real chains.


@pytest.fixture
def elsewhere(tmp_path: Path) -> Any:
    """Another chain, whose blocks have lower numbers."""
    with anvil(tmp_path, "elsewhere", 4242, 1) as evm:
        made = Chain(evm.url)
        token = made.deploy_token(mined=True)
        made.ask("evm_setIntervalMining", 0)
        made.ask("evm_setAutomine", True)
        yield evm.url, made, token


def started(settings: Any, **changes: str) -> None:
    """A worker is started with these settings, and beat's tick comes."""
    settings(**changes)
    reader_for.cache_clear()
    register_networks(worker_settings())
    all_made_due("ethereum")


def balances(tables: Tables, ids: list[UUID]) -> list[tuple[int, int]]:
    found = [tables.balance(wallet) for wallet in ids]
    return [(int(row["usdt_balance"]), row["source"]) for row in found if row]


def test_a_network_goes_to_a_chain_with_lower_numbers_and_back(
    tables: Tables, settings: Any, nets: dict[NetworkName, Net], elsewhere: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, evm, token = elsewhere
    started(settings)
    scene = Scene(nets["ethereum"], tables)
    scene.sync()
    assert scene.fresh()
    at_home = balances(tables, scene.ids)
    evm.mint(token, [(holder, 7 + at) for at, holder in enumerate(scene.holders)])
    evm.set_native([(holder, 5) for holder in scene.holders])
    assert evm.head() < nets["ethereum"].chain.head()
    with monkeypatch.context() as there:
        for name, value in {
            "ETHEREUM_CHAIN_ID": "4242",
            "ETHEREUM_USDT_CONTRACT": "0x" + token.hex(),
            "ETHEREUM_RPC_URLS": url,
        }.items():
            there.setenv(name, value)
        forget_settings()
        reader_for.cache_clear()
        with capture_logs() as logs:
            register_networks(worker_settings())
        assert [line["event"] for line in logs] == ["source_changed"]
        assert all_made_due("ethereum") == len(scene.ids)
        with capture_logs() as logs:
            sync_due("ethereum")
        (line,) = logs
        assert (line["event"], line["wallets"], line["written"], line["failed"]) == ("batch_synced", 3, 3, 0)
        assert scene.errors() == {None}
        assert [usdt for usdt, _ in balances(tables, scene.ids)] == [7 + at for at in range(len(scene.ids))]
    forget_settings()
    started(settings)
    sync_due("ethereum")
    assert scene.fresh()
    assert balances(tables, scene.ids) == at_home


def test_a_worker_that_was_started_before_the_change_reads_nothing_any_more(
    tables: Tables, settings: Any, nets: dict[NetworkName, Net]
) -> None:
    started(settings)
    scene = Scene(nets["ethereum"], tables)
    scene.sync()
    read_from("ethereum", 4242)
    all_made_due("ethereum")
    with capture_logs() as logs:
        assert sync_due("ethereum") == ()
    (line,) = [line for line in logs if line["event"] == "source_differs"]
    assert (line["log_level"], line["network"]) == ("error", "ethereum")
    assert tables.rows("SELECT FROM leases") == []
    assert len(tables.rows("SELECT FROM sync_schedule WHERE next_sync_at <= now()")) == len(scene.ids)


def test_a_finality_that_is_behind_fails_nothing_and_keeps_what_is_newer_until_it_gets_there(
    tables: Tables, settings: Any, nets: dict[NetworkName, Net]
) -> None:
    settings(TRON_FINALITY="latest")
    scene = Scene(nets["tron"], tables)
    scene.sync()
    newest = [tables.balance(wallet) for wallet in scene.ids]
    settings(TRON_FINALITY="solid")
    reader_for.cache_clear()
    with capture_logs() as logs:
        sync_due("tron")
        scene.sync()
    assert scene.errors() == {None}
    assert {row["failures"] for row in tables.rows("SELECT failures FROM sync_schedule")} == {0}
    assert [tables.balance(wallet) for wallet in scene.ids] == newest
    assert {line["event"] for line in logs} == {"batch_synced"}
    assert not tables.rows("SELECT FROM sync_schedule WHERE next_sync_at <= now()"), "each waits for its next time"
    scene.net.chain.mine(2)
    scene.sync()
    assert {tables.balance(wallet)["finality"] for wallet in scene.ids} == {"solid"}  # type: ignore[index]
    assert scene.fresh()


REGISTERED = (
    "SELECT n.family, n.native_symbol, n.native_decimals, s.decimals, s.chain_id, s.token"
    " FROM networks n JOIN sources s ON s.id = n.source WHERE n.source = n.first_source"
)


def test_what_a_network_is_read_from_is_registered_with_its_first_balances(
    tables: Tables, settings: Any, nets: dict[NetworkName, Net]
) -> None:
    settings()
    register_networks(worker_settings())
    assert tables.rows(REGISTERED) == [], "nobody has proved anything yet"
    scene = Scene(nets["ethereum"], tables)
    scene.sync()
    (row,) = tables.rows(REGISTERED)
    its = worker_settings().chain("ethereum")
    assert (row["chain_id"], row["token"]) == worker_settings().source("ethereum")
    assert (row["family"], row["native_symbol"], row["native_decimals"]) == ("evm", its.network.native_symbol, 18)
    assert row["decimals"] == 6, "as the chain says"
    assert {tables.balance(wallet)["source"] for wallet in scene.ids} != {None}  # type: ignore[index]


def test_a_start_with_another_token_that_no_node_proves_takes_nothing_from_anybody(
    tables: Tables, settings: Any, nets: dict[NetworkName, Net]
) -> None:
    settings()
    scene = Scene(nets["ethereum"], tables)
    scene.sync()
    before = tables.rows("SELECT * FROM networks ORDER BY name"), scene.rows()
    settings(ETHEREUM_USDT_CONTRACT="0x00000000000000000000000000000000deadbeef", ETHEREUM_USDT_DECIMALS="6")
    with pytest.raises(SystemExit, match="no node of them proves it") as ended:
        register_networks(worker_settings())
    assert "ETHEREUM_USDT_CONTRACT" in str(ended.value)
    assert (tables.rows("SELECT * FROM networks ORDER BY name"), scene.rows()) == before
    other = nets["ethereum"].chain.deploy_token()
    nets["ethereum"].chain.mint(other, [(b"\x01" * 20, 5)])
    settings(ETHEREUM_USDT_CONTRACT="0x" + other.hex(), ETHEREUM_USDT_DECIMALS="6")
    with capture_logs() as logs:
        register_networks(worker_settings())
    assert [line["event"] for line in logs] == ["source_changed"]
    assert not of_the_source(tables)


def test_who_reads_another_source_says_nothing_of_the_networks_outages(
    tables: Tables, settings: Any, nets: dict[NetworkName, Net]
) -> None:
    settings(ETHEREUM_RPC_URLS="http://127.0.0.1:1")
    Scene(nets["ethereum"], tables)
    reader_for.cache_clear()
    out = "SELECT reason FROM network_state WHERE out_since IS NOT NULL"
    sync_due("ethereum")
    assert tables.rows(out) == [{"reason": "unreachable"}], "its node rests from now on"
    tables.rows("UPDATE network_state SET out_since = NULL, reason = NULL")
    read_from("ethereum", 5)
    for _ in range(3):
        sync_due("ethereum")
    assert tables.rows(out) == []


def test_the_decimals_of_a_token_stay_its_own_when_another_one_is_read(tables: Tables) -> None:
    """The endpoint would show amounts wrong by any factor, and the workers take every node for a liar."""
    decimals = "SELECT s.decimals FROM networks n JOIN sources s ON s.id = n.source WHERE n.name = 'tron'"
    first = read_from("tron", MAINNET).source_id
    with transaction() as connection:
        note_decimals(connection, first, 6, by_settings=False)
        note_decimals(connection, first, 18, by_settings=False)
    assert tables.rows(decimals) == [{"decimals": 6}], "another node's word against the first one's"
    read_from("tron", MAINNET, OTHER_TOKEN)
    with transaction() as connection:
        note_decimals(connection, first, 6, by_settings=True)
    assert tables.rows(decimals) == [{"decimals": None}]
    read_from("tron", MAINNET)
    assert tables.rows(decimals) == [{"decimals": 6}], "what was found stays true"
    with transaction() as connection:
        note_decimals(connection, first, 8, by_settings=True)
    assert tables.rows(decimals) == [{"decimals": 8}], "a proxy was upgraded, and the settings and the chain say so"


def test_a_start_without_a_database_ends_with_a_sentence(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings()
    monkeypatch.setenv("DATABASE_URL", "postgresql://bal_worker:secret-word@127.0.0.1:1/nowhere")
    forget_settings()
    with pytest.raises(SystemExit, match="does not answer") as ended:
        register_networks(worker_settings(), patience=0.0)
    assert "secret-word" not in str(ended.value)


def test_nor_does_the_look_for_wallets_without_nodes_end_in_a_traceback(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings()
    monkeypatch.setenv("DATABASE_URL", "postgresql://bal_worker:secret-word@127.0.0.1:1/nowhere")
    forget_settings()
    with pytest.raises(SystemExit, match="does not answer") as ended:
        networks_left_out(worker_settings(), patience=0.0)
    assert "secret-word" not in str(ended.value)


def test_nor_without_the_tables_of_this_release(settings: Any, tables: Tables) -> None:
    settings()
    tables.rows("ALTER TABLE networks RENAME TO elsewhere")
    with pytest.raises(SystemExit, match="alembic upgrade head"):
        register_networks(worker_settings())
