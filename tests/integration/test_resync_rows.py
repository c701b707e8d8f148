"""Wallets of a scope are found, made due and watched: in Postgres, with claims and writes as the worker makes them."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from leases import LATER, LEASE, SOON, WAS_DUE, claim, claimed, good, noted, only, write
from tables import Tables

from db import resync_queries as resync
from db.claims import claim_due
from db.leases import release
from db.outcomes import Outcome, record
from db.resync_queries import Bundle, Scope, Seen, Wanted
from db.session import transaction

TEN_MINUTES = timedelta(minutes=10)


def found(scope: Scope) -> set[UUID]:
    wallets = [wallet for bundle in resync.slices(scope, transaction) for wallet in ids(bundle)]
    assert len(wallets) == len(set(wallets)) == sum(counted(scope).wallets.values())
    return set(wallets)


def counted(scope: Scope) -> Wanted:
    with transaction() as connection:
        return resync.count(connection, scope)


def ids(bundle: Bundle | None) -> list[UUID]:
    return [UUID(each) for each in bundle.ids.strip("{}").split(",")] if bundle else []


def mark(*wallets: UUID, forget: bool = False) -> tuple[Bundle | None, Bundle | None]:
    with transaction() as connection:
        bundle = Bundle("tron", len(wallets), "{" + ",".join(map(str, wallets)) + "}")
        return resync.mark(connection, bundle, forget=forget)


def marked(*wallets: UUID) -> Bundle:
    due, locked = mark(*wallets)
    assert due is not None
    assert locked is None
    return due


def look(bundle: Bundle) -> Seen:
    with transaction() as connection:
        return resync.look(connection, bundle)


@pytest.fixture
def rested(tables: Tables) -> list[UUID]:
    """Three wallets that were read a minute ago, and are due far in the future."""
    wallets = tables.add("tron", "T0", "T1", "T2")
    write(only(claim()).token, *(good(wallet) for wallet in wallets))
    tables.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 minute'")
    tables.rows("UPDATE balance_cache SET last_synced = now() - interval '1 minute'")
    return wallets


def due(tables: Tables) -> set[UUID]:
    return {row["wallet_id"] for row in tables.rows("SELECT wallet_id FROM sync_schedule WHERE next_sync_at <= now()")}


@pytest.fixture
def several(tables: Tables) -> dict[str, UUID]:
    """Wallets that differ in what scopes look at."""
    names = ["fresh", "old", "failed", "ethereum", "never", "mine"]
    user = uuid4()
    made = {
        name: tables.add(
            "ethereum" if name == "ethereum" else "tron", f"T{name}", user_id=user if name == "mine" else None
        )[0]
        for name in names
    }
    for network in ("tron", "ethereum"):
        batch = only(claim(network))
        write(batch.token, *(good(each.id) for each in batch.wallets if each.id != made["never"]))
    tables.rows("UPDATE balance_cache SET last_synced = now() - interval '11 min' WHERE wallet_id = %s", made["old"])
    tables.rows("UPDATE sync_schedule SET failures = 2, last_error = 'throttled' WHERE wallet_id = %s", made["failed"])
    return made


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"fresh", "old", "failed", "ethereum", "never", "mine"}),
        ({"older_than": TEN_MINUTES}, {"old", "never"}),
        ({"older_than": TEN_MINUTES * 2}, {"never"}),
        ({"failed": True}, {"failed"}),
        ({"network": "ethereum"}, {"ethereum"}),
        ({"network": "tron", "failed": True}, {"failed"}),
        ({"network": "ethereum", "failed": True}, set()),
        ({"wallet_ids": ("fresh", "old")}, {"fresh", "old"}),
        ({"wallet_ids": ("fresh", "old"), "older_than": TEN_MINUTES}, {"old"}),
        ({"user_ids": ("mine",)}, {"mine"}),
        ({"user_ids": ("mine",), "wallet_ids": ("fresh",)}, set()),
    ],
    # A set's own text is another one in each process.
    ids=lambda value: str(value) if isinstance(value, dict) else " ".join(sorted(value)) or "none",
)
def test_a_scope_is_all_that_it_says_at_once(
    tables: Tables, several: dict[str, UUID], given: dict[str, Any], expected: set[str]
) -> None:
    given = dict(given)
    if "wallet_ids" in given:
        given["wallet_ids"] = tuple(several[name] for name in given["wallet_ids"])
    if "user_ids" in given:
        (row,) = tables.rows("SELECT user_id FROM wallets WHERE id = %s", several["mine"])
        given["user_ids"] = (row["user_id"],)
    assert found(Scope(**given)) == {several[name] for name in expected}


def test_wallets_without_a_valid_address_are_counted_and_left_out_unless_they_are_named_or_asked_for_as_failed(
    tables: Tables, rested: list[UUID]
) -> None:
    tables.rows("UPDATE sync_schedule SET failures = 1, last_error = 'bad_address' WHERE wallet_id = %s", rested[0])
    assert counted(Scope()) == Wanted({"tron": 2}, {"tron": 1})
    assert found(Scope()) == set(rested[1:])
    for scope in (Scope(wallet_ids=(rested[0],), failed=True), Scope(failed=True)):
        assert counted(scope) == Wanted({"tron": 1}, {})
        assert found(scope) == {rested[0]}


def test_what_there_is_not_is_told(rested: list[UUID], tables: Tables) -> None:
    (row,) = tables.rows("SELECT user_id FROM wallets WHERE id = %s", rested[0])
    nobody, nothing = uuid4(), uuid4()
    with transaction() as connection:
        assert resync.unknown(connection, Scope(wallet_ids=(rested[0],), user_ids=(row["user_id"],))) == ([], [])
        scope = Scope(wallet_ids=(nothing, rested[0]), user_ids=(nobody, row["user_id"]))
        assert resync.unknown(connection, scope) == ([nothing], [nobody])


def test_many_wallets_come_in_bundles_that_hold_each_once(tables: Tables) -> None:
    tables.rows(
        "INSERT INTO wallets (user_id, network, address)"
        " SELECT gen_random_uuid(), CASE WHEN i %% 3 = 0 THEN 'tron' ELSE 'ethereum' END, 'T' || i"
        " FROM generate_series(1, %s) i",
        2 * resync.BUNDLE + 100,
    )
    bundles = list(resync.slices(Scope(), transaction))
    assert len(found(Scope())) == 2 * resync.BUNDLE + 100
    assert all(len(ids(bundle)) == bundle.wallets <= resync.BUNDLE for bundle in bundles)
    networks = {row["id"]: row["network"] for row in tables.rows("SELECT id, network FROM wallets")}
    assert all(networks[wallet] == bundle.network for bundle in bundles for wallet in ids(bundle))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_slices_hold_each_wallet_once_whatever_their_size(
    tables: Tables, rested: list[UUID], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    first, last = UUID(int=0), UUID(int=2**128 - 1)
    for edge in (first, last):
        tables.rows("INSERT INTO wallets (id, user_id, network, address) VALUES (%s, %s, 'bsc', '0x0')", edge, uuid4())
    monkeypatch.setattr(resync, "SLICE", size)
    assert found(Scope()) == {first, last, *rested}
    assert found(Scope(network="tron")) == set(rested)
    assert found(Scope(wallet_ids=(last, rested[0]))) == {last, rested[0]}


def test_a_marked_wallet_is_due_now_and_its_cadence_is_left_alone(tables: Tables, rested: list[UUID]) -> None:
    marked(*rested[:2])
    assert due(tables) == set(rested[:2])
    assert [tables.schedule(wallet)["requested_at"] for wallet in rested] == [None] * 3


def test_what_was_due_before_keeps_its_place_before_the_others(tables: Tables, rested: list[UUID]) -> None:
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() - interval '1 h' WHERE wallet_id = %s", rested[0])
    before = tables.schedule(rested[0])
    assert set(ids(marked(*rested))) == set(rested)
    assert tables.schedule(rested[0]) == before


def test_a_wallet_under_a_lease_keeps_it_and_is_read_once_more(tables: Tables, rested: list[UUID]) -> None:
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() WHERE wallet_id = %s", rested[0])
    held = only(claim(ahead=timedelta(0)))
    leases, due_at = tables.rows("SELECT * FROM leases"), tables.schedule(rested[0])["next_sync_at"]
    bundle = marked(rested[0])
    assert tables.rows("SELECT * FROM leases") == leases
    assert tables.schedule(rested[0])["next_sync_at"] == due_at, "its write is not dropped"
    write(held.token, good(rested[0]))
    assert look(bundle) == Seen(0, {}, 0, bundle), "that read began before it was asked for"
    again = only(claim())
    write(again.token, good(rested[0]))
    assert look(bundle) == Seen(1, {}, 0, None)


def test_a_row_that_is_being_written_is_passed_over_and_told(tables: Tables, rested: list[UUID]) -> None:
    with psycopg.connect(tables.dsn) as writer:
        writer.execute("SELECT FROM sync_schedule WHERE wallet_id = %s FOR UPDATE", [rested[0]])
        now_due, locked = mark(*rested, uuid4())
    assert set(ids(now_due)) == set(rested[1:])
    assert locked == Bundle("tron", 1, "{" + str(rested[0]) + "}")


def test_a_wallet_that_is_gone_is_neither_due_nor_locked(rested: list[UUID]) -> None:
    assert mark(uuid4()) == (None, None)
    assert ids(marked(rested[0], uuid4())) == [rested[0]]


def test_a_wallet_is_done_when_it_was_claimed_anew_and_its_lease_given_back(rested: list[UUID]) -> None:
    bundle = marked(*rested)
    assert look(bundle) == Seen(0, {}, 0, bundle)
    batch = only(claim())
    assert look(bundle).open == bundle, "it is being read"
    throttled = Outcome(rested[1], WAS_DUE[rested[1]], LATER, 1, "throttled")
    write(batch.token, good(rested[0]), throttled)
    seen = look(bundle)
    assert (seen.read, seen.failed, seen.gone, ids(seen.open)) == (1, {"throttled": 1}, 0, [rested[2]])
    assert seen.open
    write(only(claim()).token, good(rested[2]))
    assert look(seen.open) == Seen(1, {}, 0, None)


def test_a_lease_that_was_handed_back_unread_is_no_read(rested: list[UUID]) -> None:
    bundle = marked(rested[0])
    held = only(claim())
    with transaction() as connection:
        release(connection, held.token)
    assert look(bundle).open is not None
    write(only(claim()).token, good(rested[0]))
    assert look(bundle) == Seen(1, {}, 0, None)


def test_a_wallet_that_was_never_read_is_done_after_its_first_read(tables: Tables) -> None:
    wallets = tables.add("tron", "T0")
    bundle = marked(*wallets)
    assert look(bundle).open is not None
    write(only(claim()).token, good(wallets[0]))
    assert look(bundle) == Seen(1, {}, 0, None)


def test_a_deleted_wallet_is_not_waited_for(tables: Tables, rested: list[UUID]) -> None:
    bundle = marked(*rested)
    tables.rows("DELETE FROM wallets WHERE id = %s", rested[0])
    seen = look(bundle)
    assert (seen.gone, set(ids(seen.open))) == (1, set(rested[1:]))


def test_a_claim_that_began_before_the_mark_and_saw_it_counts(tables: Tables, rested: list[UUID]) -> None:
    # A claim's time is its transaction's start: here it is before the mark, and the read after it.
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() WHERE wallet_id = %s", rested[0])
    with transaction() as connection:
        connection.exec_driver_sql("SELECT now()")
        bundle = marked(*rested)
        late = only(noted(claim_due(connection, "tron", limit=1000, lease=LEASE, ahead=SOON)))
    assert claimed(late) == {rested[0]}
    with transaction() as connection:
        read = good(rested[0])._replace(block_number=11, block_time=1_795_000_000)
        record(connection, late.token, [read], finality="solid")
    seen = look(bundle)
    assert (seen.read, seen.open and set(ids(seen.open))) == (1, set(rested[1:]))


def test_what_is_forgotten_is_shown_until_the_next_read_overwrites_it_by_any_block_and_once(
    tables: Tables, rested: list[UUID]
) -> None:
    """A believed lie does not outlive its discovery: its block may be years ahead."""
    tables.rows("UPDATE balance_cache SET block_number = 90_000_000")
    before = tables.rows("SELECT * FROM balance_cache ORDER BY wallet_id")
    due, locked = mark(*rested[:2], forget=True)
    assert (due and due.wallets, locked) == (2, None)
    assert tables.rows("SELECT * FROM balance_cache ORDER BY wallet_id") == before
    tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    found = only(claim())
    blocks = {wallet.id: (wallet.usdt, wallet.block_number) for wallet in found.wallets}
    assert blocks == dict(zip(rested, [(977_000_000, 0)] * 2 + [(977_000_000, 90_000_000)], strict=True))
    assert write(found.token, *(good(wallet, usdt=1) for wallet in rested), block=60_000_000).written == 2
    tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    found = only(claim())
    assert {wallet.block_number for wallet in found.wallets} == {60_000_000, 90_000_000}
    assert write(found.token, *(good(wallet, usdt=2) for wallet in rested), block=59_999_999).written == 0


def test_a_failed_read_leaves_it_forgotten_and_so_does_one_that_had_begun_before(
    tables: Tables, rested: list[UUID]
) -> None:
    """Somebody who reads a wallet just now may be told the lie, and write it after it was forgotten."""
    tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    liar = only(claim())
    mark(*rested, forget=True)
    write(liar.token, *(good(wallet) for wallet in rested), block=90_000_000)
    failed = only(claim())
    assert {wallet.block_number for wallet in failed.wallets} == {0}
    write(failed.token, *(Outcome(wallet, WAS_DUE[wallet], 0.0, 1, "unreachable") for wallet in rested))
    found = only(claim())
    assert {wallet.block_number for wallet in found.wallets} == {0}
    assert write(found.token, *(good(wallet) for wallet in rested), block=60_000_000).written == 3


def test_a_wallet_that_is_due_already_is_forgotten_where_it_stands(tables: Tables, rested: list[UUID]) -> None:
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() - interval '1 minute'")
    place = "SELECT next_sync_at, lane, requested_at FROM sync_schedule ORDER BY wallet_id"
    before = tables.rows(place)
    mark(*rested, forget=True)
    assert tables.rows(place) == before
    assert len(tables.rows("SELECT FROM sync_schedule WHERE forgotten_at > now() - interval '1 minute'")) == 3
    mark(*rested)
    assert len(tables.rows("SELECT FROM sync_schedule WHERE forgotten_at IS NOT NULL")) == 3
