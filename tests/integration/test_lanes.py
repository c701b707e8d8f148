"""What comes in masses, by an import or a resync, has a share of each batch, and delays nobody who was there before."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import cycle
from math import ceil
from uuid import UUID

import pytest
from leases import NOTHING, claim, claimed, good, only, write
from tables import Tables

from db import claims as wallets
from db import due_wallets as queue
from db import resync_queries as resync
from db.claims import SHARE_OF_MASSES, request_wallets
from db.requests import MANY
from db.session import transaction


@pytest.fixture(autouse=True)
def _from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests make wallets due in the past, which is otherwise found within seconds."""
    monkeypatch.setattr(queue, "BEGIN_HOLDS", 0.0)


USUAL = 60
BATCH = 8


@pytest.fixture
def there(tables: Tables) -> list[UUID]:
    """Wallets that were read, and are due now."""
    ids = tables.add("tron", *(f"T{at}" for at in range(USUAL)))
    write(only(claim()).token, *map(good, ids))
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() - interval '1 s'")
    return ids


def come_in_masses(tables: Tables, number: int, statements: int = 1) -> list[UUID]:
    for at in range(statements):
        tables.rows(
            "INSERT INTO wallets (user_id, network, address)"
            " SELECT gen_random_uuid(), 'tron', 'M' || %s || '-' || i FROM generate_series(1, %s) i",
            at,
            number // statements,
        )
    return [row["id"] for row in tables.rows("SELECT id FROM wallets WHERE address LIKE 'M%%'")]


def lanes(tables: Tables, ids: list[UUID]) -> set[int]:
    return {row["lane"] for row in tables.rows("SELECT lane FROM sync_schedule WHERE wallet_id = ANY(%s)", ids)}


def claim_while_due(usual: list[UUID], limit: int = BATCH) -> Iterator[tuple[int, int]]:
    """Of each claim how many are usual, and how many came in masses, while enough usual ones are due."""
    left = set(usual)
    while len(left) >= limit:
        taken = claimed(claim(limit=limit, ahead=NOTHING))
        yield len(taken & left), len(taken - left)
        left -= taken


@pytest.mark.parametrize("statements", [1, 100], ids=["in one statement", "in many"])
def test_an_import_of_ten_times_the_table_has_a_quarter_of_each_batch_while_others_are_due(
    tables: Tables, there: list[UUID], statements: int
) -> None:
    come_in_masses(tables, 10 * USUAL, statements)
    for usual, masses in claim_while_due(there):
        assert usual >= BATCH * (1 - 1 / SHARE_OF_MASSES)
        assert usual + masses == BATCH, "no batch is less than full"


def test_those_who_were_there_are_read_within_a_quarter_more_claims_than_without_the_import(
    tables: Tables, there: list[UUID]
) -> None:
    come_in_masses(tables, 10 * USUAL)
    taken: set[UUID] = set()
    for _ in range(ceil(USUAL / BATCH * SHARE_OF_MASSES / (SHARE_OF_MASSES - 1))):
        taken |= claimed(claim(limit=BATCH, ahead=NOTHING))
    assert set(there) <= taken


def test_a_resync_of_ten_times_as_many_has_no_more(tables: Tables, there: list[UUID]) -> None:
    masses = come_in_masses(tables, 10 * USUAL)
    tables.rows("UPDATE sync_schedule SET lane = 0, next_sync_at = '2099-01-01' WHERE wallet_id = ANY(%s)", masses)
    with transaction() as connection:
        for bundle in resync.slice_of(connection, resync.Scope(), UUID(int=0)).bundles:
            resync.mark(connection, bundle)
    assert (lanes(tables, masses), lanes(tables, there)) == ({1}, {0}), "what was due keeps its place"
    for usual, _ in claim_while_due(there):
        assert usual >= BATCH * (1 - 1 / SHARE_OF_MASSES)


def test_masses_have_whole_batches_when_nobody_else_is_due_and_are_usual_once_they_were_read(tables: Tables) -> None:
    masses = come_in_masses(tables, 400)
    assert lanes(tables, masses) == {1}
    batch = only(claim(limit=400))
    assert claimed(batch) == set(masses)
    write(batch.token, *map(good, masses))
    assert lanes(tables, masses) == {0}


def test_what_is_due_soon_does_not_travel_along_in_the_place_of_masses(tables: Tables, there: list[UUID]) -> None:
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '10 s' WHERE wallet_id = ANY(%s)", there[1:])
    masses = set(come_in_masses(tables, 10 * USUAL))
    taken = claimed(claim(limit=BATCH, ahead=timedelta(hours=1)))
    assert (there[0] in taken, len(taken & masses)) == (True, BATCH - 1)


def test_in_batches_of_one_wallet_masses_have_one_of_four(
    tables: Tables, there: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    come_in_masses(tables, 10 * USUAL)
    chance = cycle([0.0, 0.25, 0.5, 0.99])
    monkeypatch.setattr(wallets, "random", lambda: next(chance))
    claims = claim_while_due(there, limit=1)
    taken = [next(claims) for _ in range(40)]
    assert (sum(usual for usual, _ in taken), sum(masses for _, masses in taken)) == (30, 10)


def test_a_few_new_wallets_are_not_behind_an_import(tables: Tables) -> None:
    come_in_masses(tables, 10 * USUAL)
    (new,) = tables.add("tron", "T")
    assert lanes(tables, [new]) == {0}
    assert new in claimed(claim(limit=BATCH))


@pytest.mark.parametrize(("number", "lane"), [(MANY, 0), (MANY + 1, 1)])
def test_a_request_for_very_many_wallets_is_one_for_masses(tables: Tables, number: int, lane: int) -> None:
    ids = come_in_masses(tables, number)
    tables.rows("UPDATE sync_schedule SET lane = 0, next_sync_at = '2099-01-01'")
    with transaction() as connection:
        request_wallets(connection, ids, cooldown=NOTHING)
    assert lanes(tables, ids) == {lane}
