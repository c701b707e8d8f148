"""What the worker's statements look at: no more than their batch, whatever the planner believes of the tables."""

from collections import Counter
from uuid import UUID, uuid4

import pytest
from leases import LEASE, SOON, good, noted, only
from sqlalchemy import Connection
from tables import Tables

from db import resync_queries as resync
from db.claims import claim_due, claim_these, request_user, request_wallets
from db.due_wallets import count_due
from db.leases import release
from db.outcomes import record
from db.session import transaction

WALLETS = 20_000
BATCH = 500


def scans(connection: Connection) -> dict[str, int]:
    """How often this transaction has gone through a whole table."""
    counted = "SELECT relname, pg_stat_get_xact_numscans(oid) FROM pg_class WHERE relname = ANY(%(names)s)"
    names = ["wallets", "sync_schedule", "balance_cache"]
    return {name: number for name, number in connection.exec_driver_sql(counted, {"names": names}) if number}


@pytest.fixture
def many(tables: Tables) -> list[UUID]:
    """Wallets of which the planner knows that nobody holds one, and that hardly any is due."""
    tables.rows(
        "INSERT INTO wallets (user_id, network, address) SELECT gen_random_uuid(), 'tron', 'T' || n"
        f" FROM generate_series(1, {WALLETS}) AS n"
    )
    tables.rows("UPDATE sync_schedule SET next_sync_at = 'infinity'")
    tables.rows("INSERT INTO balance_cache SELECT wallet_id, 1, 1, 1, now(), 'solid', now() FROM sync_schedule")
    tables.rows("VACUUM ANALYZE wallets, sync_schedule, balance_cache")
    found = tables.rows("SELECT wallet_id FROM sync_schedule ORDER BY wallet_id LIMIT %s", BATCH)
    return [row["wallet_id"] for row in found]


def make_due(tables: Tables, wallets: list[UUID]) -> None:
    tables.rows("UPDATE sync_schedule SET next_sync_at = now() WHERE wallet_id = ANY(%s)", wallets)


def test_a_batch_goes_through_no_table_however_many_times_it_was_done_before(tables: Tables, many: list[UUID]) -> None:
    for _ in range(8):  # the driver prepares what it sends often, and the server may change its mind then
        make_due(tables, many)
        with transaction() as connection:
            assert count_due(connection, "tron", bound=10 * BATCH) == BATCH
            claim = only(noted(claim_due(connection, "tron", limit=BATCH, lease=LEASE, ahead=SOON)))
            assert len(claim.wallets) == BATCH
            outcomes = [good(wallet)._replace(block_number=5, block_time=5) for wallet in many]
            assert record(connection, claim.token, outcomes, finality="solid").written == BATCH
            assert scans(connection) == {}


def test_nor_do_claims_by_id_or_requests_or_a_claim_that_finds_nothing(many: list[UUID]) -> None:
    for _ in range(8):
        with transaction() as connection:
            assert claim_due(connection, "tron", limit=BATCH, lease=LEASE, ahead=SOON) is None
            request_wallets(connection, many, cooldown=SOON)
            request_user(connection, uuid4(), ["tron"], cooldown=SOON)
            claim_these(connection, "tron", many, limit=BATCH, lease=LEASE)
            assert scans(connection) == {}


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("finds", ["count", "slice_of"])
def test_wallets_are_looked_for_with_a_plan_for_this_search_and_in_minutes(finds: str) -> None:
    """A plan for any numbers takes a slice for a tenth of the table."""
    with transaction() as connection:
        if finds == "count":
            resync.count(connection, resync.Scope())
        else:
            resync.slice_of(connection, resync.Scope(), UUID(int=0))
        shown = "SELECT current_setting('plan_cache_mode'), current_setting('statement_timeout')"
        assert tuple(connection.exec_driver_sql(shown).one()) == ("force_custom_plan", "2min")


def versions(connection: Connection) -> Counter[str]:
    """How many versions of rows this connection has made or ended lately, by table."""
    counted = """SELECT relname, pg_stat_get_xact_tuples_inserted(oid) + pg_stat_get_xact_tuples_updated(oid)
                        + pg_stat_get_xact_tuples_deleted(oid) FROM pg_class WHERE relname = ANY(%(names)s)"""
    names = ["wallets", "sync_schedule", "balance_cache", "leases", "network_state"]
    found = connection.exec_driver_sql(counted, {"names": names}).all()
    return Counter({name: number for name, number in found if number})


def test_a_claim_writes_one_row_and_a_read_costs_a_wallet_two(tables: Tables, many: list[UUID]) -> None:
    make_due(tables, many)
    with transaction() as connection:
        claim = only(noted(claim_due(connection, "tron", limit=BATCH, lease=LEASE, ahead=SOON)))
        assert versions(connection) == {"leases": 1}
        outcomes = [good(wallet)._replace(block_number=5, block_time=5) for wallet in many]
        before = versions(connection)
        assert record(connection, claim.token, outcomes, finality="solid").written == BATCH
        assert versions(connection) - before == {"leases": 1, "sync_schedule": BATCH, "balance_cache": BATCH}


def test_a_claim_that_is_handed_back_or_finds_nothing_writes_no_wallet(tables: Tables, many: list[UUID]) -> None:
    with transaction() as connection:
        assert claim_due(connection, "tron", limit=BATCH, lease=LEASE, ahead=SOON) is None
        assert versions(connection) == {}
    make_due(tables, many)
    with transaction() as connection:
        claim = only(claim_due(connection, "tron", limit=BATCH, lease=LEASE, ahead=SOON))
        release(connection, claim.token)
        assert versions(connection) == {"leases": 2}
