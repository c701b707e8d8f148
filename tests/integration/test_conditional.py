"""Conditional requests: what makes a copy out of date, and what does not."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from endpoint import ETHEREUM, TRON, Endpoint, StartEndpoint

from benchmarks.relay import relay
from devstack.seed import USER


def ask(endpoint: Endpoint, tag: str, query: str = "") -> requests.Response:
    return endpoint.get(query, headers={**endpoint.authorization, "If-None-Match": tag})


def test_a_copy_that_is_still_good_is_answered_with_304_and_no_body(endpoint: Endpoint) -> None:
    endpoint.read_all()
    first = endpoint.get()
    tag = first.headers["ETag"]
    assert re.fullmatch(r'W/"[!#-~]+"', tag)
    for header in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        response = ask(endpoint, header)
        assert (response.status_code, response.content) == (304, b""), header
        assert response.headers["ETag"] == tag
        assert response.headers["Cache-Control"] == first.headers["Cache-Control"]
        assert {"date", "x-request-id"} <= set(response.headers)
        assert not {"content-type", "content-length", "balances-complete"} & set(response.headers)
    for header in ('"other"', "nonsense", "", f"{tag[:-2]}x"):
        response = ask(endpoint, header)
        assert (response.status_code, response.headers["ETag"]) == (200, tag), header
        assert response.json()["balances"] == first.json()["balances"]


CHANGES = {
    "a new read of a wallet": ("UPDATE balance_cache SET last_synced = now() WHERE wallet_id = %s", TRON),
    "a new read of the same second": (
        "UPDATE balance_cache SET last_synced = last_synced + interval '1 microsecond' WHERE wallet_id = %s",
        TRON,
    ),
    "a balance": ("UPDATE balance_cache SET native_balance = 1 WHERE wallet_id = %s", ETHEREUM),
    "a wallet gone": ("DELETE FROM wallets WHERE id = %s", ETHEREUM),
    "a wallet added": (
        "WITH w AS (INSERT INTO wallets (user_id, network, address) VALUES (%s, 'tron', 'bad')) SELECT 1",
        USER,
    ),
    "an address": ("UPDATE wallets SET address = lower(address) WHERE id = %s", ETHEREUM),
    "the order": ("UPDATE wallets SET created_at = '2020-01-01' WHERE id = %s", ETHEREUM),
}
SILENT = "UPDATE sync_schedule SET failures = greatest(failures, 1), last_error = coalesce(last_error, 'bad_address')"
"""Without it a wallet that was never read would be waited for."""


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("query", ["", "?detail=full"])
def test_a_copy_is_out_of_date_after(endpoint: Endpoint, change: str, query: str) -> None:
    endpoint.read_all()
    tag = endpoint.get(query).headers["ETag"]
    assert ask(endpoint, tag, query).status_code == 304
    statement, parameter = CHANGES[change]
    endpoint.tables.rows(statement, parameter)
    if change in ("a wallet added", "an address"):
        endpoint.tables.rows(SILENT)
    response = ask(endpoint, tag, query)
    assert response.status_code == 200
    assert response.headers["ETag"] != tag
    assert ask(endpoint, response.headers["ETag"], query).status_code == 304


@pytest.mark.parametrize(
    ("change", "in_full"),
    [
        ("failures = 2", 200),
        ("failures = 1, last_error = 'unreachable'", 200),
        ("last_error = 'lagging'", 200),
        ("next_sync_at = now() - interval '2 hours'", 200),
        ("next_sync_at = now() + interval '2 days'", 304),
        ("claimed_at = now(), requested_at = now() - interval '1 hour'", 304),
    ],
)
def test_the_state_of_a_wallet_is_of_the_copy_in_full_alone(endpoint: Endpoint, change: str, in_full: int) -> None:
    endpoint.read_all()
    plain, full = endpoint.get().headers["ETag"], endpoint.get("?detail=full").headers["ETag"]
    assert plain != full
    endpoint.tables.rows(f"UPDATE sync_schedule SET {change} WHERE wallet_id = %s", TRON)
    assert ask(endpoint, plain).status_code == 304
    assert ask(endpoint, full, "?detail=full").status_code == in_full
    if "now() - interval '2 hours'" in change:
        assert endpoint.await_message().arguments == ["tron", [str(TRON)]], "it is overdue"


def test_a_copy_of_one_form_or_of_other_networks_is_not_one_of_another(endpoint: Endpoint) -> None:
    endpoint.read_all()
    queries = ["", "?networks=tron", "?networks=ethereum", "?detail=full", "?detail=full&networks=tron"]
    tags = [endpoint.get(query).headers["ETag"] for query in queries]
    assert len(set(tags)) == len(tags)
    for query, own in zip(queries, tags, strict=True):
        assert [ask(endpoint, tag, query).status_code for tag in tags] == [304 if tag == own else 200 for tag in tags]
    endpoint.read(ETHEREUM, 7)
    assert ask(endpoint, tags[1], "?networks=tron").status_code == 304
    assert ask(endpoint, tags[2], "?networks=ethereum").status_code == 200


def test_a_refresh_is_never_answered_with_304(endpoint: Endpoint) -> None:
    endpoint.read_all()
    tag = endpoint.get().headers["ETag"]
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, endpoint, tag, "?refresh=true&networks=tron,ethereum")
        for _ in range(2):
            endpoint.await_message()
        endpoint.read(TRON, 977_000_000, 1_993_893_600)
        endpoint.read(ETHEREUM, 0)
        response = asking.result()
    assert (response.status_code, response.json()["balances"][0]["is_cached"]) == (200, False)
    assert response.headers["ETag"] != tag
    # That it was read for one request says nothing of the balance: the next one has the same tag.
    assert ask(endpoint, response.headers["ETag"]).status_code == 304
    assert ask(endpoint, "*", "?refresh=true&networks=tron").status_code == 200


def test_a_copy_that_is_still_good_of_wallets_that_are_overdue_has_them_asked_for(endpoint: Endpoint) -> None:
    endpoint.read_all()
    tag = endpoint.get().headers["ETag"]
    overdue = "UPDATE sync_schedule SET next_sync_at = now() - interval '2 hours' WHERE wallet_id = %s"
    endpoint.tables.rows(overdue, TRON)
    assert ask(endpoint, tag).status_code == 304
    message = endpoint.await_message()
    assert endpoint.tables.schedule(TRON)["requested_at"] is not None
    assert endpoint.tables.schedule(ETHEREUM)["requested_at"] is None
    assert (message.task, message.arguments) == ("worker.tasks.sync_wallets", ["tron", [str(TRON)]])


def test_a_wallet_never_read_is_waited_for_whatever_copy_there_is(endpoint: Endpoint, impatient: Endpoint) -> None:
    endpoint.read(ETHEREUM, 0)
    tag = impatient.get().headers["ETag"]
    endpoint.tables.rows("UPDATE sync_schedule SET requested_at = NULL")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, endpoint, tag)
        endpoint.await_asked(TRON)
        endpoint.await_message()
        endpoint.read(TRON, 5_000_000)
        response: Any = asking.result()
    assert (response.status_code, response.json()["total_usdt"]) == (200, "5.00000000")


def test_a_request_is_one_round_trip_to_the_database(start_endpoint: StartEndpoint, database_url: str) -> None:
    with relay(database_url) as counted, start_endpoint(DATABASE_URL=counted.url) as own:
        own.read_all()
        for query in ("", "?detail=full", "?networks=tron"):
            tag = own.get(query).headers["ETag"]
            for header, status in (("", 200), (tag, 304), (tag.replace("-", "-7", 1), 200), ("*", 304)):
                ask(own, header, query)  # the connection prepares the statement
                # Now and then the endpoint proves that it hears of what is written, which is counted too.
                costs = []
                for _ in range(3):
                    counted.count()
                    assert ask(own, header, query).status_code == status
                    costs.append(counted.count())
                assert min(costs) == 1, (query, header, costs)
