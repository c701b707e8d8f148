"""A refresh end to end on a real PostgreSQL and Redis; the test stands in for the worker."""

import time
from concurrent.futures import ThreadPoolExecutor

from endpoint import ENV, ETHEREUM, TRON, Endpoint, hung, waiting_requests

from devstack.seed import USER
from devstack.servers import Server, wait_for


def test_a_refresh_waits_for_the_read_that_it_asked_for(endpoint: Endpoint) -> None:
    endpoint.read_all()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(endpoint.get, "?refresh=true&networks=tron")
        assert "worker.tasks.sync_wallets" in endpoint.await_message()
        endpoint.read(TRON, 1_000_000_000)
        (entry,) = asking.result().json()["balances"]
    assert (entry["usdt_balance"], entry["is_cached"]) == ("1000.00000000", False)


def test_a_message_holds_ids_and_nothing_else(endpoint: Endpoint) -> None:
    endpoint.read_all()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(endpoint.get, "?refresh=true&networks=tron")
        message = endpoint.await_message()
        asking.result()
    for secret in (ENV["JWT_SECRET"], "Bearer", "977", "postgresql", "redis://"):
        assert secret not in message


def test_a_refresh_that_nobody_answers_is_served_from_the_cache_at_its_deadline(endpoint: Endpoint) -> None:
    endpoint.read_all()
    began = time.monotonic()
    body = endpoint.get("?refresh=true").json()
    assert 3 <= time.monotonic() - began < 10
    assert [(entry["usdt_balance"], entry["is_cached"]) for entry in body["balances"]] == [
        ("977.00000000", True),
        ("0.00000000", True),
    ]


def test_many_refreshes_at_once_ask_for_one_read_of_each_network(endpoint: Endpoint) -> None:
    endpoint.read_all()
    with ThreadPoolExecutor(12) as pool:
        asking = [pool.submit(endpoint.get, "?refresh=true") for _ in range(12)]
        messages = sorted(endpoint.await_message() for _ in range(2))
        wait_for(lambda: waiting_requests(endpoint) >= 12, what="all to be waiting")
        endpoint.read(TRON, 1)
        endpoint.read(ETHEREUM, 2)
        answers = [each.result().json()["balances"] for each in asking]
    assert len(messages) == 2
    assert endpoint.redis.llen("bal:refresh") == 0
    assert {tuple((entry["usdt_balance"], entry["is_cached"]) for entry in entries) for entries in answers} == {
        (("0.00000100", False), ("0.00000200", False))
    }


def test_a_wallet_never_read_is_waited_for_on_a_plain_read_and_null_if_nobody_reads_it(endpoint: Endpoint) -> None:
    endpoint.read(ETHEREUM, 0)
    response = endpoint.get()
    assert [entry["usdt_balance"] for entry in response.json()["balances"]] == [None, "0.00000000"]
    assert response.headers["Balances-Complete"] == "false"
    endpoint.tables.rows("UPDATE sync_schedule SET requested_at = NULL")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(endpoint.get)
        wait_for(lambda: waiting_requests(endpoint) >= 1, what="the request to have come")
        endpoint.read(TRON, 5_000_000)
        (tron, ethereum) = asking.result().json()["balances"]
    assert tron["usdt_balance"] == "5.00000000"
    assert ethereum["is_cached"]


def test_a_wallet_that_nobody_reads_or_that_failed_makes_one_request_wait_and_not_each(endpoint: Endpoint) -> None:
    endpoint.read(ETHEREUM, 0)
    assert endpoint.get().headers["Balances-Complete"] == "false"
    endpoint.tables.rows("UPDATE sync_schedule SET requested_at = requested_at - interval '1 second'")
    for change in ("SELECT 1", "UPDATE sync_schedule SET claimed_at = now(), failures = 1, last_error = 'unreachable'"):
        endpoint.tables.rows(change)
        began = time.monotonic()
        assert endpoint.get().json()["balances"][0]["usdt_balance"] is None
        assert time.monotonic() - began < 2.9, "no wait for the deadline"


def test_a_wallet_with_a_bad_address_makes_nobody_wait(endpoint: Endpoint) -> None:
    endpoint.read_all()
    (bad,) = endpoint.tables.add("tron", "no address", user_id=USER)
    endpoint.tables.rows("UPDATE sync_schedule SET last_error = 'bad_address', failures = 1 WHERE wallet_id = %s", bad)
    began = time.monotonic()
    assert endpoint.get().json()["balances"][2]["usdt_balance"] is None
    assert time.monotonic() - began < 2.9, "no wait for the deadline"


def test_an_overdue_wallet_is_asked_for_without_waiting(endpoint: Endpoint) -> None:
    endpoint.read_all()
    endpoint.tables.rows("UPDATE sync_schedule SET next_sync_at = now() - interval '1 hour'")
    began = time.monotonic()
    assert endpoint.get().json()["balances"][0]["is_cached"]
    assert time.monotonic() - began < 2.9, "no wait for the deadline"
    assert {"tron" in endpoint.await_message(), "tron" in endpoint.await_message()}
    assert endpoint.tables.schedule(TRON)["requested_at"] is not None


def test_with_redis_hung_plain_reads_go_on_and_a_refresh_answers_from_the_cache(
    endpoint: Endpoint, redis_process: Server
) -> None:
    endpoint.read_all()
    with hung(redis_process):
        for _ in range(3):
            began = time.monotonic()
            assert endpoint.get("?refresh=true").json()["balances"][0]["is_cached"]
            assert time.monotonic() - began < 10
        began = time.monotonic()
        assert endpoint.get().status_code == 200
        assert time.monotonic() - began < 2.9, "no wait for the deadline"
