"""Requests for a read: marked in Postgres, shared, and answered by a read that began after them."""

import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from itertools import count
from uuid import UUID, uuid4

import psycopg
import pytest
from environment import forget_settings
from leases import claim, claim_ids, claimed, good, only, write
from structlog.testing import capture_logs
from tables import Tables

from config.settings import worker_settings
from db.claims import Requested, request_user, request_wallets
from db.outcomes import record
from db.session import transaction
from devstack.product import environment
from devstack.servers import ROOT

COOLDOWN = timedelta(hours=1)


@pytest.fixture
def rested(tables: Tables) -> list[UUID]:
    """Two wallets of one user that were read a day ago and are due far in the future."""
    ids = tables.add("tron", "T0", "T1")
    write(only(claim()).token, *(good(wallet) for wallet in ids))
    tables.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 day'")
    tables.rows("UPDATE balance_cache SET last_synced = now() - interval '1 day'")
    return ids


def ask(tables: Tables, wallet: UUID, cooldown: timedelta = COOLDOWN) -> Requested:
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
    leases, due = tables.rows("SELECT * FROM leases"), tables.schedule(rested[0])["next_sync_at"]
    ask(tables, rested[0])
    assert tables.rows("SELECT * FROM leases") == leases, "a lease is not cut short"
    assert tables.schedule(rested[0])["next_sync_at"] == due, "nor is its write dropped"
    assert claim_ids(rested) is None
    assert set(write(found.token, *(good(wallet) for wallet in rested)).asked_again) == set(rested)
    assert claimed(claim_ids(rested)) == set(rested)


def test_a_request_during_the_second_read_of_a_crowd_makes_no_third(tables: Tables, rested: list[UUID]) -> None:
    ask(tables, rested[0])
    first = only(claim_ids(rested))
    assert set(ask(tables, rested[0]).networks) == set(rested), "it came during the first read"
    write(first.token, *(good(wallet) for wallet in rested))
    second = only(claim_ids(rested))
    assert ask(tables, rested[0]) == Requested({}, ()), "read within the cool-down"
    assert write(second.token, *(good(wallet) for wallet in rested)).asked_again == ()
    assert claim_ids(rested) is None


def test_one_wallet_is_asked_for_whenever_it_was_read_last(tables: Tables, rested: list[UUID]) -> None:
    tables.rows("UPDATE sync_schedule SET claimed_at = now()")
    with transaction() as connection:
        asked = request_wallets(connection, [rested[0], uuid4()], cooldown=timedelta(0))
    assert asked == Requested({rested[0]: "tron"}, ())
    assert claimed(claim_ids(rested)) == {rested[0]}


def test_a_request_passes_over_rows_that_a_worker_is_writing(tables: Tables, rested: list[UUID]) -> None:
    with psycopg.connect(tables.dsn) as writer:
        writer.execute("SELECT FROM sync_schedule WHERE wallet_id = %s FOR UPDATE", [rested[0]])
        assert ask(tables, rested[0]) == Requested({rested[1]: "tron"}, (rested[0],))


def test_a_task_asks_again_for_a_row_that_was_being_written(
    tables: Tables, rested: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker import tasks
    from worker.sync import on_request

    wallet = rested[0]
    with psycopg.connect(tables.dsn) as writer:
        writer.execute("SELECT FROM sync_schedule WHERE wallet_id = %s FOR UPDATE", [wallet])
        # The row is free again by the time that the task has paused.
        monkeypatch.setattr(on_request, "sleep", lambda _: writer.rollback())
        tasks.sync_wallet.run(str(wallet))
    assert tables.schedule(wallet)["requested_at"] is not None


def test_a_row_that_stays_locked_holds_up_the_others_for_a_while_and_no_longer(
    tables: Tables, rested: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker import tasks
    from worker.sync import on_request

    clock = count(step=0.1)  # seconds: a look at it, or a pause, takes so long
    monkeypatch.setattr(on_request, "monotonic", clock.__next__)
    monkeypatch.setattr(on_request, "sleep", lambda _: next(clock))
    (row,) = tables.rows("SELECT user_id FROM wallets WHERE id = %s", rested[0])
    with psycopg.connect(tables.dsn) as writer, capture_logs() as logs:
        writer.execute("SELECT FROM sync_schedule WHERE wallet_id = %s FOR UPDATE", [rested[0]])
        tasks.refresh_user.run(str(row["user_id"]))
    assert [(line["event"], line["wallets"]) for line in logs] == [("rows_locked", 1)]
    assert tables.schedule(rested[1])["requested_at"] is not None
    assert next(clock) >= worker_settings().request_limit, "it has had a while"


def test_a_task_that_cannot_send_a_message_says_so_and_goes_on(database_url: str, rested: list[UUID]) -> None:
    code = f"from uuid import UUID; from worker.tasks import _send; _send('tron', [UUID('{rested[0]}')])"
    env = environment({"DATABASE_URL": database_url, "REDIS_URL": "redis://127.0.0.1:1/0"})
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "refresh_not_sent" in done.stdout


def test_a_request_from_the_future_is_none(tables: Tables) -> None:
    """Somebody's clock was wrong: taken for one, it would have its wallet read again and again until then."""
    (wallet,) = tables.add("tron", "T0")
    tables.rows("UPDATE sync_schedule SET requested_at = now() + interval '1 day'")
    assert write(only(claim()).token, good(wallet)).asked_again == ()
    assert tables.schedule(wallet)["next_sync_at"].year == 2099
    tables.rows("UPDATE sync_schedule SET next_sync_at = now(), claimed_at = now() - interval '1 hour'")
    with transaction() as connection:
        request_wallets(connection, [wallet], cooldown=timedelta(seconds=5))
    assert tables.rows("SELECT requested_at <= now() AS now FROM sync_schedule") == [{"now": True}]


def test_a_request_that_was_made_since_a_transaction_began_is_one(tables: Tables, rested: list[UUID]) -> None:
    """What began first may come second: the request is neither lost nor made twice."""
    with transaction() as earlier:
        earlier.exec_driver_sql("SELECT now()")
        assert set(ask(tables, rested[0]).networks) == set(rested)
        again = request_wallets(earlier, rested, cooldown=COOLDOWN)
        assert set(again.networks) == set(rested)
        unchanged = earlier.exec_driver_sql("SELECT bool_and(requested_at > now()) FROM sync_schedule").scalar_one()
        assert unchanged, "the other's request stands"
    found = only(claim_ids(rested))
    with transaction() as earlier:
        earlier.exec_driver_sql("SELECT now()")
        ask(tables, rested[0])
        made = [good(each.id)._replace(was_due=each.due_at, block_number=10, block_time=1) for each in found.wallets]
        assert set(record(earlier, found.token, made, finality="solid").asked_again) == set(rested)


@pytest.mark.parametrize("reachable", [True, False])
def test_one_network_is_read_here_and_the_others_are_sent_until_the_queue_is_out_of_reach(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, *, reachable: bool
) -> None:
    from worker.sync import on_request

    user, sent = uuid4(), list[tuple[str, int]]()
    for name in ("ETHEREUM", "TRON", "BSC"):
        monkeypatch.setenv(f"{name}_RPC_URLS", "http://127.0.0.1:1")  # nobody has to be there: no address is one
    forget_settings()
    tables.rows("INSERT INTO networks (name, family) VALUES ('bsc', 'evm') ON CONFLICT DO NOTHING")
    for network in ("bsc", "tron", "ethereum"):
        tables.rows(
            "INSERT INTO wallets (user_id, network, address) VALUES (%s, %s, 'A'), (%s, %s, 'B')",
            *(user, network, user, network),
        )

    def send(network: str, wallet_ids: Sequence[UUID]) -> bool:
        if wallet_ids:
            sent.append((network, len(wallet_ids)))
        return reachable

    request = partial(request_user, user_id=user, networks=["ethereum", "tron", "bsc"], cooldown=COOLDOWN)
    on_request.sync_requested(request, COOLDOWN, send)
    assert sent == [("tron", 2), ("bsc", 2)][: 2 if reachable else 1]
    tried = tables.rows("SELECT DISTINCT network FROM sync_schedule WHERE last_error = 'bad_address'")
    assert [row["network"] for row in tried] == ["ethereum"]
