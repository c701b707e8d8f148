"""What operators are told of policies and feeds: read from the real tables, as the roles that read it may."""

from datetime import timedelta

import pytest
from environment import forget_settings
from tables import Tables

from db import rights
from db.feed_state import BY_CADENCE, feed_states
from db.freshness_queries import NetworkFreshness, freshness
from db.session import transaction
from devstack.roles import as_role

CURSOR = (
    "INSERT INTO feed_cursor (network, policy, reason, read_every, block_number, block_time, since, good_until,"
    " missed_usdt, missed_native, jumps, reorganisations, requests_a_day)"
    " VALUES (%s, 'feed', 'many_wallets', 6, 100, now() - interval '4 s', 90, now() + interval '9 s', 1, 2, 3, 4, 500)"
)
TOUCH = "INSERT INTO touches (wallet_id, block_number, network, due_at) VALUES (%s, %s, %s, now() + %s)"


def seen() -> dict[str, NetworkFreshness]:
    with transaction() as connection:
        return {each.network: each for each in freshness(connection, grace=timedelta(minutes=1))}


def test_a_network_that_never_had_a_feed_is_kept_fresh_by_the_cadence(tables: Tables) -> None:
    tables.add("tron", "T1")
    assert seen()["tron"].feed == BY_CADENCE


@pytest.mark.parametrize("role", [rights.WORKER, rights.OPS])
def test_policy_feed_and_touches_of_each_network_are_told(
    role: str, tables: Tables, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tables.add("tron", "T1", "T2")
    (other,) = tables.add("ethereum", "0x1")
    for network in ("tron", "ethereum"):
        tables.rows(CURSOR, network)
    tables.rows(TOUCH, first, 99, "tron", timedelta(seconds=-30))
    tables.rows(TOUCH, first, 100, "tron", timedelta(seconds=-20))
    tables.rows(TOUCH, second, 100, "tron", timedelta(minutes=5))
    monkeypatch.setenv("DATABASE_URL", as_role(database_url, role))
    forget_settings()
    found = {network: each.feed for network, each in seen().items()}
    tron = found["tron"]
    assert (tron.policy, tron.reason, tron.read_every, tron.requests_a_day) == ("feed", "many_wallets", 6, 500)
    assert (tron.block_number, tron.covers) == (100, True)
    assert (tron.missed_usdt, tron.missed_native, tron.jumps, tron.reorganisations) == (1, 2, 3, 4)
    assert tron.now
    assert tron.block_time
    assert timedelta(seconds=4) <= tron.now - tron.block_time < timedelta(minutes=10)
    assert tron.touches == 2, "one of the three waits until its wallet may be read again"
    assert tron.oldest_touch
    assert timedelta(seconds=30) <= tron.now - tron.oldest_touch < timedelta(minutes=10)
    assert (found["ethereum"].touches, found["ethereum"].oldest_touch) == (0, None)
    assert other


def test_a_read_counts_as_owed_for_long_only_where_nobody_makes_it(tables: Tables) -> None:
    held, free = tables.add("tron", "T1", "T2")
    tables.rows(CURSOR, "tron")
    tables.rows(TOUCH, held, 99, "tron", timedelta(hours=-1))
    tables.rows(TOUCH, free, 99, "tron", timedelta(seconds=-20))
    tables.rows(
        "INSERT INTO leases (token, lane, network, claimed_at, lease_until, wallet_ids)"
        " VALUES (gen_random_uuid(), 2, 'tron', now(), now() + interval '1 minute', ARRAY[%s])",
        held,
    )
    with transaction() as connection:
        state = feed_states(connection)["tron"]
    assert state.touches == 2
    assert state.now
    assert state.oldest_touch
    assert state.now - state.oldest_touch < timedelta(minutes=30)


def test_nothing_is_covered_where_blocks_are_missing(tables: Tables) -> None:
    tables.add("tron", "T1")
    tables.rows(CURSOR, "tron")
    tables.rows("UPDATE feed_cursor SET since = NULL, block_number = NULL, block_time = NULL, good_until = NULL")
    with transaction() as connection:
        state = feed_states(connection)["tron"]
    assert (state.covers, state.block_number, state.block_time, state.good_until) == (False, None, None, None)
