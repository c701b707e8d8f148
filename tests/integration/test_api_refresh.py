"""A refresh end to end on a real PostgreSQL and Redis; the test stands in for the worker."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from endpoint import ENV, ETHEREUM, TRON, Endpoint, hung, waiting_requests
from leases import claim_ids, good, only, write

from api.listening import APPLICATION_NAME
from devstack.product import api, token
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


def test_a_message_expires_when_nobody_can_rely_on_it_any_more(endpoint: Endpoint) -> None:
    endpoint.read_all()
    asked = datetime.now(UTC)
    endpoint.get("?refresh=true&networks=tron")
    expires = datetime.fromisoformat(json.loads(endpoint.await_message())["headers"]["expires"])
    deadline = timedelta(seconds=float(ENV["REFRESH_DEADLINE"]))
    # Whoever asked last before the request would have been renewed waits for one deadline more.
    assert asked + 2 * deadline <= expires <= datetime.now(UTC) + 2 * deadline


def test_a_refresh_that_nobody_answers_is_served_from_the_cache_at_its_deadline(endpoint: Endpoint) -> None:
    endpoint.read_all()
    began = time.monotonic()
    body = endpoint.get("?refresh=true").json()
    assert 3 <= time.monotonic() - began < 10
    assert [(entry["usdt_balance"], entry["is_cached"]) for entry in body["balances"]] == [
        ("977.00000000", True),
        ("0.00000000", True),
    ]


def read_what_is_asked_for(
    endpoint: Endpoint, asking: list[Future[requests.Response]], read: Callable[[str], None]
) -> int:
    """Until all are answered. How many messages there were, those included that nobody waited for."""
    messages = 0
    while not all(each.done() for each in asking):
        if found := endpoint.redis.blpop(["bal:refresh"], timeout=0.1):
            messages += 1
            read(found[1].decode())
    return messages + int(endpoint.redis.llen("bal:refresh"))


def test_many_refreshes_at_once_ask_for_one_read_of_each_network_or_two(endpoint: Endpoint) -> None:
    """Whoever asks after a read began shares the next, or has its answer, as a cached one, if it was just written."""
    endpoint.read_all()

    def read(message: str) -> None:
        wait_for(lambda: waiting_requests(endpoint) >= sum(not each.done() for each in asking), what="all to have come")
        assert endpoint.redis.llen("bal:refresh") <= 1, "no more than one waits for each network"
        endpoint.read(*((TRON, 1) if "tron" in message else (ETHEREUM, 2)))

    with ThreadPoolExecutor(12) as pool:
        asking = [pool.submit(endpoint.get, "?refresh=true") for _ in range(12)]
        messages = read_what_is_asked_for(endpoint, asking, read)
    assert 2 <= messages <= 4
    answers = [each.result().json()["balances"] for each in asking]
    assert {tuple(entry["usdt_balance"] for entry in entries) for entries in answers} == {("0.00000100", "0.00000200")}
    assert [False, False] in [[entry["is_cached"] for entry in entries] for entries in answers]


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
        endpoint.redis.connection_pool.disconnect()
    endpoint.redis.flushall()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(endpoint.get, "?refresh=true&networks=tron")
        assert str(TRON) in endpoint.await_message(), "it sends again as soon as it can"
        endpoint.read(TRON, 3_000_000)
        assert not asking.result().json()["balances"][0]["is_cached"]


def test_a_wallet_that_is_being_read_is_read_again_by_whoever_holds_it(endpoint: Endpoint) -> None:
    endpoint.read_all()
    endpoint.get("?refresh=true&networks=ethereum")  # from here on it sends at once
    endpoint.await_message()
    endpoint.tables.rows("UPDATE sync_schedule SET next_sync_at = now() WHERE wallet_id = %s", TRON)
    batch = only(claim_ids([TRON]))
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(endpoint.get, "?refresh=true&networks=tron")
        asked = "SELECT FROM sync_schedule WHERE requested_at > claimed_at AND wallet_id = %s"
        wait_for(lambda: bool(endpoint.tables.rows(asked, TRON)), what="the request to be made")
        assert write(batch.token, good(TRON, 1_000_000)).asked_again == (TRON,)
        write(only(claim_ids([TRON])).token, good(TRON, 2_000_000))
        (entry,) = asking.result().json()["balances"]
    assert (entry["usdt_balance"], entry["is_cached"]) == ("2.00000000", False)
    assert endpoint.redis.llen("bal:refresh") == 0, "its holder sends for it"


@pytest.fixture
def second(endpoint: Endpoint, database_url: str, redis_process: Server, tmp_path: Path) -> Iterator[Endpoint]:
    """Another process of the same endpoint."""
    env = {**ENV, "DATABASE_URL": database_url, "REDIS_URL": redis_process.url}
    with api(tmp_path / "second", env) as server:
        yield Endpoint(server, endpoint.tables, redis_process.url)


def test_two_processes_share_a_read_or_two(endpoint: Endpoint, second: Endpoint) -> None:
    endpoint.read_all()

    def read(message: str) -> None:
        assert str(TRON) in message
        assert endpoint.redis.llen("bal:refresh") == 0, "nobody sends while a message waits"
        while write(only(claim_ids([TRON])).token, good(TRON, 2_000_000)).asked_again:
            pass  # somebody asked between the two: its holder reads it again

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(each.get, "?refresh=true&networks=tron") for each in (endpoint, second) for _ in range(4)]
        for each in (endpoint, second):
            wait_for(lambda each=each: waiting_requests(each) >= 4, what="all to have come")  # type: ignore[misc]
        messages = read_what_is_asked_for(endpoint, asking, read)
    assert 1 <= messages <= 2
    entries = [each.result().json()["balances"][0] for each in asking]
    assert {entry["usdt_balance"] for entry in entries} == {"2.00000000"}
    assert False in {entry["is_cached"] for entry in entries}


def listening(endpoint: Endpoint) -> list[int]:
    found = "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"
    return [row["pid"] for row in endpoint.tables.rows(found, APPLICATION_NAME)]


def test_a_process_listens_on_one_connection_and_makes_it_anew_when_it_is_killed(endpoint: Endpoint) -> None:
    endpoint.read_all()
    wait_for(lambda: len(listening(endpoint)) == 1, what="it to listen")
    (killed,) = listening(endpoint)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(endpoint.get, "?refresh=true&networks=tron")
        endpoint.await_message()
        endpoint.tables.rows("SELECT pg_terminate_backend(%s)", killed)
        endpoint.read(TRON, 1_000_000)
        assert not asking.result().json()["balances"][0]["is_cached"]
    wait_for(lambda: [pid for pid in listening(endpoint) if pid != killed] != [], what="it to listen again")
    assert len(listening(endpoint)) == 1


@contextmanager
def asked(endpoint: Endpoint, query: str) -> Iterator[None]:
    """A request that has been sent, from a client that goes away at the end of the block without its answer."""
    connection = http.client.HTTPConnection(urlsplit(endpoint.server.url).netloc)
    headers = {"Authorization": f"Bearer {token(ENV, USER)}"}
    connection.request("GET", f"/api/v1/auth/balances/user/{USER}{query}", headers=headers)
    try:
        yield
    finally:
        connection.close()


def test_a_client_that_goes_away_is_not_waited_for_and_others_are(endpoint: Endpoint) -> None:
    endpoint.read_all()
    with ThreadPoolExecutor(1) as pool:
        with asked(endpoint, "?refresh=true&networks=tron"):
            endpoint.await_message()
            asking = pool.submit(endpoint.get, "?refresh=true&networks=tron")
            wait_for(lambda: waiting_requests(endpoint) >= 2, what="both to be waiting")
        wait_for(lambda: '"status":499' in endpoint.server.log.read_text(), what="it to be known")
        log = endpoint.server.log.read_text()
        endpoint.read(TRON, 1_000_000)
        assert not asking.result().json()["balances"][0]["is_cached"]
    assert "refresh_deadline_passed" not in log
    assert "Traceback" not in endpoint.server.log.read_text()
