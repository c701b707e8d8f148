"""A refresh end to end on a real PostgreSQL and Redis; the test stands in for the worker."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from endpoint import (
    DEADLINE,
    ENV,
    ETHEREUM,
    IMPATIENT,
    TRON,
    Endpoint,
    StartEndpoint,
    log_line,
    log_lines,
    waiting_requests,
)
from leases import claim_ids, good, only, write
from running import hung

from api.listening import APPLICATION_NAME
from devstack.product import api
from devstack.seed import USER
from devstack.servers import Server, wait_for


def test_a_refresh_waits_for_the_read_that_it_asked_for(endpoint: Endpoint) -> None:
    endpoint.read_all()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(endpoint.get, "?refresh=true&networks=tron")
        assert endpoint.await_message().task == "worker.tasks.sync_wallets"
        endpoint.read(TRON, 1_000_000_000)
        (entry,) = asking.result().json()["balances"]
    assert (entry["usdt_balance"], entry["is_cached"]) == ("1000.00000000", False)


def test_a_message_holds_ids_and_nothing_else(endpoint: Endpoint) -> None:
    endpoint.read_all()
    with endpoint.asked("?refresh=true&networks=tron"):
        message = endpoint.await_message()
    assert message.body.startswith(f'[["tron", ["{TRON}"]], {{}}, ')
    for secret in (ENV["JWT_SECRET"], "Bearer", "977000000", "977.00", "postgresql", "redis://", str(USER)):
        assert secret not in message.text


def test_a_message_expires_when_nobody_can_rely_on_it_any_more(endpoint: Endpoint) -> None:
    endpoint.read_all()
    asked = datetime.now(UTC)
    with endpoint.asked("?refresh=true&networks=tron"):
        expires = datetime.fromisoformat(endpoint.await_message().headers["expires"])
    # Whoever asked last before the request would have been renewed waits for one deadline more.
    assert asked <= expires - 2 * timedelta(seconds=DEADLINE) <= datetime.now(UTC)


def test_a_refresh_that_nobody_answers_is_served_from_the_cache_at_its_deadline(impatient: Endpoint) -> None:
    impatient.read_all()
    began = time.monotonic()
    response, waited = impatient.waited("?refresh=true")
    assert waited
    assert time.monotonic() - began >= float(IMPATIENT["REFRESH_DEADLINE"])
    assert [(entry["usdt_balance"], entry["is_cached"]) for entry in response.json()["balances"]] == [
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


def test_many_refreshes_at_once_ask_for_one_read_of_each_network(endpoint: Endpoint) -> None:
    """Whoever asks once a wallet has been read has that answer, as a cached one: it was just written."""
    endpoint.read_all()

    def read(message: str) -> None:
        wait_for(lambda: waiting_requests(endpoint) >= sum(not each.done() for each in asking), what="all to have come")
        endpoint.read(*((TRON, 1) if str(TRON) in message else (ETHEREUM, 2)))

    with ThreadPoolExecutor(12) as pool:
        asking = [pool.submit(endpoint.get, "?refresh=true") for _ in range(12)]
        messages = read_what_is_asked_for(endpoint, asking, read)
    assert messages == 2
    answers = [each.result().json()["balances"] for each in asking]
    assert {tuple(entry["usdt_balance"] for entry in entries) for entries in answers} == {("0.00000100", "0.00000200")}
    assert [False, False] in [[entry["is_cached"] for entry in entries] for entries in answers]


def test_a_wallet_never_read_is_null_if_nobody_reads_it(impatient: Endpoint) -> None:
    impatient.read(ETHEREUM, 0)
    response, waited = impatient.waited()
    assert [entry["usdt_balance"] for entry in response.json()["balances"]] == [None, "0.00000000"]
    assert (waited, response.headers["Balances-Complete"]) == (True, "false")


def test_a_wallet_never_read_is_waited_for_on_a_plain_read(endpoint: Endpoint) -> None:
    endpoint.read(ETHEREUM, 0)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(endpoint.get)
        endpoint.await_asked(TRON)
        assert endpoint.await_message().arguments == ["tron", [str(TRON)]]
        endpoint.read(TRON, 5_000_000)
        (tron, ethereum) = asking.result().json()["balances"]
    assert (tron["usdt_balance"], tron["is_cached"]) == ("5.00000000", False)
    assert ethereum["is_cached"]


@pytest.mark.parametrize(
    "change",
    [
        "requested_at = now() - interval '1 hour'",
        "requested_at = now() - interval '2 hours', claimed_at = now() - interval '1 hour', failures = 1",
    ],
)
def test_a_wallet_that_nobody_reads_or_that_failed_makes_one_request_wait_and_not_each(
    endpoint: Endpoint, change: str
) -> None:
    endpoint.read(ETHEREUM, 0)
    with endpoint.asked(""):
        endpoint.await_asked(TRON)
        endpoint.await_message()
    endpoint.tables.rows(f"UPDATE sync_schedule SET {change} WHERE wallet_id = %s", TRON)
    response, waited = endpoint.waited()
    assert response.json()["balances"][0]["usdt_balance"] is None
    assert not waited


def test_a_wallet_with_a_bad_address_makes_nobody_wait(endpoint: Endpoint) -> None:
    endpoint.read_all()
    (bad,) = endpoint.tables.add("tron", "no address", user_id=USER)
    endpoint.tables.rows("UPDATE sync_schedule SET last_error = 'bad_address', failures = 1 WHERE wallet_id = %s", bad)
    response, waited = endpoint.waited()
    assert response.json()["balances"][2]["usdt_balance"] is None
    assert not waited


def test_an_overdue_wallet_is_asked_for_without_waiting(endpoint: Endpoint) -> None:
    endpoint.read_all()
    endpoint.tables.rows("UPDATE sync_schedule SET next_sync_at = now() - interval '2 hours'")
    response, waited = endpoint.waited()
    assert response.json()["balances"][0]["is_cached"]
    assert not waited
    messages = sorted(endpoint.await_message().arguments for _ in range(2))
    assert messages == [["ethereum", [str(ETHEREUM)]], ["tron", [str(TRON)]]]
    assert endpoint.tables.schedule(TRON)["requested_at"] is not None


def test_with_redis_hung_plain_reads_go_on_and_a_refresh_at_its_deadline_answers_from_the_cache(
    impatient: Endpoint, redis_process: Server
) -> None:
    impatient.read_all()
    with hung(redis_process):
        for _ in range(3):
            response, waited = impatient.waited("?refresh=true")
            assert (response.json()["balances"][0]["is_cached"], waited) == (True, True)
        response, waited = impatient.waited()
        assert (response.status_code, waited) == (200, False)


def rest(endpoint: Endpoint) -> None:
    """The cool-down of all wallets is over."""
    endpoint.tables.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 hour', requested_at = NULL")


def test_with_redis_hung_whoever_reads_a_wallet_answers_its_refresh_and_later_messages_come_again(
    start_endpoint: StartEndpoint, redis_process: Server
) -> None:
    with start_endpoint() as endpoint, ThreadPoolExecutor(1) as pool:
        endpoint.read_all()
        with hung(redis_process):
            for usdt in (1, 2, 3):  # two messages each: more than are on their way at once
                rest(endpoint)
                asking = pool.submit(endpoint.get, "?refresh=true")
                for wallet in (TRON, ETHEREUM):
                    endpoint.await_asked(wallet)
                    endpoint.read(wallet, usdt)
                entries = asking.result().json()["balances"]
                assert [(entry["usdt_balance"], entry["is_cached"]) for entry in entries] == 2 * [
                    (f"0.00000{usdt}00", False)
                ]
        endpoint.redis.connection_pool.disconnect()

        def a_message_comes() -> bool:
            rest(endpoint)
            request_id = uuid4().hex
            with endpoint.asked("?refresh=true&networks=tron", request_id):
                endpoint.await_asked(TRON)
                # Too many may still be on their way.
                wait_for(lambda: in_queue(endpoint, request_id) or not_sent(endpoint, request_id), what="the message")
            return in_queue(endpoint, request_id)

        wait_for(a_message_comes, endpoint.server, what="it to send again")


def in_queue(endpoint: Endpoint, request_id: str) -> bool:
    return any(request_id in message.decode() for message in endpoint.redis.lrange("bal:refresh", 0, -1))


def not_sent(endpoint: Endpoint, request_id: str) -> bool:
    return bool(log_lines(endpoint, request_id, "refresh_not_sent"))


def test_a_wallet_that_is_being_read_is_read_again_by_whoever_holds_it(endpoint: Endpoint) -> None:
    endpoint.read_all()
    endpoint.tables.rows("UPDATE sync_schedule SET next_sync_at = now() WHERE wallet_id = %s", TRON)
    batch = only(claim_ids([TRON]))
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(endpoint.get, "?refresh=true&networks=tron")
        endpoint.await_asked(TRON)
        assert write(batch.token, good(TRON, 1_000_000)).asked_again == (TRON,)
        write(only(claim_ids([TRON])).token, good(TRON, 2_000_000))
        (entry,) = asking.result().json()["balances"]
    assert (entry["usdt_balance"], entry["is_cached"]) == ("2.00000000", False)
    with endpoint.asked("?refresh=true&networks=ethereum"):
        assert endpoint.await_message().arguments == ["ethereum", [str(ETHEREUM)]], "for Tron's its holder sends"
    assert endpoint.redis.llen("bal:refresh") == 0


@pytest.fixture
def second(endpoint: Endpoint, redis_process: Server, tmp_path: Path) -> Iterator[Endpoint]:
    """Another process of the same endpoint."""
    env = {**ENV, "DATABASE_URL": endpoint.database_url, "REDIS_URL": redis_process.url}
    with api(tmp_path / "second", env) as server:
        yield Endpoint(server, endpoint.tables, endpoint.database_url, redis_process.url)


def test_two_processes_share_a_read(endpoint: Endpoint, second: Endpoint) -> None:
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
    assert messages == 1
    entries = [each.result().json()["balances"][0] for each in asking]
    assert {entry["usdt_balance"] for entry in entries} == {"2.00000000"}
    assert False in {entry["is_cached"] for entry in entries}


def listening(endpoint: Endpoint) -> list[int]:
    found = "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"
    return [row["pid"] for row in endpoint.tables.rows(found, APPLICATION_NAME)]


def test_a_process_listens_on_one_connection_and_makes_it_anew_when_it_is_killed(start_endpoint: StartEndpoint) -> None:
    with start_endpoint() as endpoint, ThreadPoolExecutor(1) as pool:
        endpoint.read_all()
        wait_for(lambda: len(listening(endpoint)) == 1, endpoint.server, what="it to listen")
        (killed,) = listening(endpoint)
        asking = pool.submit(endpoint.get, "?refresh=true&networks=tron")
        endpoint.await_message()
        endpoint.tables.rows("SELECT pg_terminate_backend(%s)", killed)
        endpoint.read(TRON, 1_000_000)
        assert not asking.result().json()["balances"][0]["is_cached"]
        wait_for(lambda: any(pid != killed for pid in listening(endpoint)), endpoint.server, what="it to listen again")
        wait_for(lambda: len(listening(endpoint)) == 1, endpoint.server, what="the killed one to be gone")


def test_a_client_that_goes_away_is_not_waited_for_and_others_are(endpoint: Endpoint) -> None:
    endpoint.read_all()
    with ThreadPoolExecutor(1) as pool:
        gone = uuid4().hex
        with endpoint.asked("?refresh=true&networks=tron", gone):
            endpoint.await_message()
            endpoint.tables.rows("UPDATE sync_schedule SET requested_at = NULL")  # so that the second's asking shows
            asking = pool.submit(endpoint.waited, "?refresh=true&networks=tron")
            endpoint.await_asked(TRON)
            endpoint.await_message()
        assert log_line(endpoint, gone)["status"] == 499
        assert not log_lines(endpoint, gone, "refresh_deadline_passed")
        endpoint.read(TRON, 1_000_000)
        response, waited = asking.result()
    assert (response.json()["balances"][0]["is_cached"], waited) == (False, False)
    assert "Traceback" not in endpoint.server.log.read_text()


def test_a_refresh_that_waits_is_answered_though_the_process_is_told_to_end(start_endpoint: StartEndpoint) -> None:
    with start_endpoint() as endpoint, ThreadPoolExecutor(1) as pool:
        endpoint.read_all()
        asking = pool.submit(endpoint.get, "?refresh=true&networks=tron")
        endpoint.await_message()
        endpoint.server.process.terminate()
        wait_for(lambda: "Shutting down" in endpoint.server.log.read_text(), what="the shutdown to begin")
        endpoint.read(TRON, 2_000_000)
        (entry,) = asking.result().json()["balances"]
        assert (entry["usdt_balance"], entry["is_cached"]) == ("2.00000000", False)
