"""Requests for a read: marked in Postgres, shared, and answered by a read that began after them."""

from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from leases import SOON, claim, claim_ids, claimed, good, only, write
from tables import Tables

from db.session import transaction
from db.wallets import Requested, request_user, request_wallets


@pytest.fixture
def rested(tables: Tables) -> list[UUID]:
    """Two wallets of one user that were read a minute ago and are due far in the future."""
    ids = tables.add("tron", "T0", "T1")
    write(only(claim()).token, *(good(wallet) for wallet in ids))
    tables.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 minute'")
    tables.rows("UPDATE balance_cache SET last_synced = now() - interval '1 minute'")
    return ids


def ask(tables: Tables, wallet: UUID, cooldown: timedelta = SOON) -> Requested:
    (row,) = tables.rows("SELECT user_id FROM wallets WHERE id = %s", wallet)
    with transaction() as connection:
        return request_user(connection, row["user_id"], ["tron", "ethereum"], cooldown=cooldown)


def test_a_request_makes_wallets_due_and_they_are_claimed_by_their_ids(tables: Tables, rested: list[UUID]) -> None:
    assert claim_ids(rested) is None
    assert set(ask(tables, rested[0]).networks) == set(rested)
    assert claimed(claim_ids(rested)) == set(rested)


def test_a_message_that_comes_twice_finds_nothing(tables: Tables, rested: list[UUID]) -> None:
    ask(tables, rested[0])
    found = only(claim_ids(rested))
    assert claim_ids(rested) is None
    write(found.token, *(good(wallet) for wallet in rested))
    assert ask(tables, rested[0]) == Requested({}, ()), "read within the cool-down"
    assert claim_ids(rested) is None


def test_a_request_during_a_read_is_answered_by_another_read(tables: Tables, rested: list[UUID]) -> None:
    ask(tables, rested[0])
    found = only(claim_ids(rested))
    lease_end = tables.schedule(rested[0])["lease_until"]
    ask(tables, rested[0])
    assert tables.schedule(rested[0])["lease_until"] == lease_end, "a lease is not cut short"
    assert claim_ids(rested) is None
    assert set(write(found.token, *(good(wallet) for wallet in rested)).asked_again) == set(rested)
    assert claimed(claim_ids(rested)) == set(rested)


def test_one_wallet_is_asked_for_whenever_it_was_read_last(tables: Tables, rested: list[UUID]) -> None:
    tables.rows("UPDATE sync_schedule SET claimed_at = now()")
    with transaction() as connection:
        asked = request_wallets(connection, [rested[0], uuid4()], cooldown=timedelta(0))
    assert asked == Requested({rested[0]: "tron"}, ())
    assert claimed(claim_ids(rested)) == {rested[0]}


def test_a_request_passes_over_rows_that_a_worker_is_writing(tables: Tables, rested: list[UUID]) -> None:
    with psycopg.connect(tables.connection.info.dsn) as writer:
        writer.execute("SELECT FROM sync_schedule WHERE wallet_id = %s FOR UPDATE", [rested[0]])
        assert ask(tables, rested[0]) == Requested({rested[1]: "tron"}, (rested[0],))


def test_a_task_asks_again_for_a_row_that_was_being_written(
    tables: Tables, rested: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker import tasks

    wallet = rested[0]
    with psycopg.connect(tables.connection.info.dsn) as writer:
        writer.execute("SELECT FROM sync_schedule WHERE wallet_id = %s FOR UPDATE", [wallet])
        # The row is free again by the time that the task has paused.
        monkeypatch.setattr(tasks, "sleep", lambda _: writer.rollback())
        tasks.sync_wallet.run(str(wallet))
    assert tables.schedule(wallet)["requested_at"] is not None
