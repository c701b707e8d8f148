"""What is shown of networks as rows: balances of another source, decimals that are registered, networks besides two."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from endpoint import ETHEREUM, TRON, Endpoint

from devstack.seed import USER

OTHER = "0x" + "11" * 20


def add_source(endpoint: Endpoint, network: str, token: str) -> int:
    """A source of a network, as a worker's start adds it."""
    add = "INSERT INTO sources (network, chain_id, token) VALUES (%s, 1, %s) ON CONFLICT DO NOTHING"
    endpoint.tables.rows(add, network, token)
    (row,) = endpoint.tables.rows("SELECT id FROM sources WHERE network = %s AND token = %s", network, token)
    return int(row["id"])


@pytest.fixture
def registered(endpoint: Endpoint) -> Any:
    """An endpoint whose networks are rows that a worker has registered; they are as before when the test is over."""
    for network in ("ethereum", "tron"):
        first = add_source(endpoint, network, f"first of {network}")
        endpoint.tables.rows(
            "UPDATE networks SET source = %s, first_source = %s WHERE name = %s", first, first, network
        )
    yield endpoint
    endpoint.tables.rows("DELETE FROM wallets")
    endpoint.tables.rows("UPDATE networks SET source = NULL, first_source = NULL, native_decimals = NULL")
    endpoint.tables.rows("DELETE FROM sources")


def shown(endpoint: Endpoint, query: str = "") -> dict[str, Any]:
    answer: dict[str, Any] = endpoint.get(query).json()
    return answer


def test_balances_of_before_there_were_sources_are_of_the_first(registered: Endpoint) -> None:
    registered.read_all()
    answer = registered.get()
    assert answer.json()["total_usdt"] == "977.00000000"
    assert answer.headers["Balances-Complete"] == "true"


def test_a_balance_of_another_source_is_as_if_it_had_never_been_read(registered: Endpoint) -> None:
    registered.read_all()
    before = registered.get().headers["ETag"]
    other = add_source(registered, "tron", "another token")
    registered.tables.rows("UPDATE networks SET source = %s WHERE name = 'tron'", other)
    registered.tables.rows("UPDATE sync_schedule SET failures = 1 WHERE wallet_id = %s", TRON)  # nobody waits for it
    answer = registered.get(headers={**registered.authorization, "If-None-Match": before})
    assert (answer.status_code, answer.headers["Balances-Complete"]) == (200, "false")
    tron, ethereum = answer.json()["balances"]
    assert tron["usdt_balance"] is tron["native_balance"] is tron["last_synced"] is None
    assert (ethereum["usdt_balance"], answer.json()["total_usdt"]) == ("0.00000000", "0.00000000")
    full = shown(registered, "?detail=full")
    assert (full["balances"][0]["status"], full["complete"], full["excluded"]) == ("never_synced", False, [str(TRON)])
    registered.tables.rows("UPDATE balance_cache SET source = %s WHERE wallet_id = %s", other, TRON)
    assert shown(registered)["total_usdt"] == "977.00000000", "the same row, of the source that is read now"


def test_a_wallet_whose_source_has_changed_is_waited_for_as_one_that_was_never_read(registered: Endpoint) -> None:
    registered.read_all()
    # Somebody has looked at it before, and was served.
    registered.tables.rows("UPDATE sync_schedule SET requested_at = now() - interval '1 day'")
    other = add_source(registered, "tron", "another token")
    registered.tables.rows("UPDATE networks SET source = %s WHERE name = 'tron'", other)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(registered.get)
        registered.await_asked(TRON)
        registered.await_message()
        registered.read(TRON, 5_000_000)
        registered.tables.rows("UPDATE balance_cache SET source = %s WHERE wallet_id = %s", other, TRON)
        assert asking.result().status_code == 200
    assert shown(registered)["total_usdt"] == "5.00000000"


def test_amounts_are_by_the_decimals_that_a_worker_has_registered(registered: Endpoint) -> None:
    registered.read_all()
    before = registered.get().headers["ETag"]
    registered.tables.rows("UPDATE networks SET native_decimals = 7 WHERE name = 'tron'")
    registered.tables.rows("UPDATE sources SET decimals = 8 WHERE network = 'tron'")
    answer = registered.get(headers={**registered.authorization, "If-None-Match": before})
    assert answer.status_code == 200, "the copy is of other amounts"
    entry = answer.json()["balances"][0]
    assert (entry["usdt_balance"], entry["native_balance"]) == ("9.77000000", "199.38936000")
    assert answer.json()["total_usdt"] == "9.77000000"


def test_wallets_on_other_networks_are_shown_each_by_its_own_decimals(registered: Endpoint) -> None:
    registered.read_all()
    registered.tables.rows("INSERT INTO networks (name, family) VALUES ('bsc', 'evm') ON CONFLICT DO NOTHING")
    (wallet,) = registered.tables.add("bsc", OTHER, user_id=USER)
    registered.read(wallet, 25 * 10**17, 10**17)
    assert shown(registered)["total_usdt"] == "979.50000000"
    (entry,) = shown(registered, "?networks=bsc")["balances"]
    assert (entry["network"], entry["usdt_balance"], entry["native_balance"]) == ("bsc", "2.50000000", "0.10000000")
    several = shown(registered, "?networks=bsc&networks=tron,ethereum")
    assert len(several["balances"]) == 3
    assert [each["network"] for each in shown(registered, "?networks=tron&networks=bsc")["balances"]] == ["tron", "bsc"]


def test_a_wallet_on_a_network_that_the_endpoint_does_not_know_is_shown_and_not_left_out_in_silence(
    registered: Endpoint,
) -> None:
    registered.read_all()
    registered.tables.rows(
        "INSERT INTO networks (name, family, native_decimals) VALUES ('elsewhere', 'evm', 18)"
        " ON CONFLICT (name) DO UPDATE SET native_decimals = 18"
    )
    its = add_source(registered, "elsewhere", "its token")
    registered.tables.rows("UPDATE networks SET source = %s, first_source = %s WHERE name = 'elsewhere'", its, its)
    registered.tables.rows("UPDATE sources SET decimals = 6 WHERE id = %s", its)
    (wallet,) = registered.tables.add("elsewhere", OTHER, user_id=USER)
    registered.read(wallet, 3_000_000)
    assert shown(registered)["total_usdt"] == "980.00000000"
    registered.tables.rows("UPDATE sources SET decimals = NULL WHERE id = %s", its)
    answer = registered.get()
    assert (answer.json()["total_usdt"], answer.headers["Balances-Complete"]) == ("977.00000000", "false")
    assert answer.json()["balances"][2]["usdt_balance"] is None, "of how many decimals nobody knows"
    registered.tables.rows("DELETE FROM wallets WHERE network = 'elsewhere'")
    assert ETHEREUM in [row["id"] for row in registered.tables.rows("SELECT id FROM wallets")]
