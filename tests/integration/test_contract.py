"""The contract, line by line: docs/api.md's tables and example, held against a live endpoint and its document."""

import json
import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
import requests
from endpoint import ETHEREUM, TRON, Endpoint, StartEndpoint
from leases import claim, only
from network import NETWORKS

from api.balances import UserBalancesInFull
from api.openapi import EXAMPLE, ROUTE
from config.networks import PRESETS
from devstack.seed import USER
from devstack.servers import CAP, ROOT

CONTRACT = (ROOT / "docs" / "api.md").read_text()


def table(header: str) -> dict[str, list[str]]:
    """A table's rows by what is in their first cell, one for each name there."""
    body = CONTRACT.split(f"| {header} |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()[2:]]
    return {name.strip("`, "): cells[1:] for cells in rows for name in cells[0].split(", ")}


PARAMETERS = table("name | values | meaning")
FIELDS = table("field | type | meaning")
LISTED = json.loads(CONTRACT.split("```json\n")[1].split("```")[0])


def test_the_tables_are_those_of_the_contract() -> None:
    assert list(PARAMETERS) == ["networks", "refresh", "include_pending"]
    assert [name.rpartition(".")[2] for name in FIELDS] == [
        *("user_id", "total_usdt", "balances", "wallet_id", "wallet_address", "network"),
        *("usdt_balance", "native_balance", "last_synced", "is_cached", "synced_at"),
    ]


def is_moment(value: Any) -> bool:
    return bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value)) and datetime.fromisoformat(value).tzinfo == UTC


IS: dict[str, Any] = {
    "string uuid": lambda value: str(UUID(value)) == value,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "`tron`, `ethereum` or the name of another known network": lambda value: value in PRESETS,
    "string date-time, UTC, whole seconds, `Z`": is_moment,
    "string date-time": is_moment,
    "boolean": lambda value: isinstance(value, bool),
}


def test_every_field_of_a_reply_is_as_the_table_says_and_there_is_no_other(endpoint: Endpoint) -> None:
    endpoint.read_all()
    response = endpoint.get()
    reply = response.json()
    top = [name for name in FIELDS if "." not in name]
    each = [name.rpartition(".")[2] for name in FIELDS if "." in name]
    assert list(reply) == top
    for entry in reply["balances"]:
        assert list(entry) == each
    for name, (kind, meaning) in FIELDS.items():
        found = [entry[name.rpartition(".")[2]] for entry in reply["balances"]] if "." in name else [reply[name]]
        assert all(IS[kind](value) for value in found), (name, found)
        if "8 decimals" in meaning or name == "total_usdt":
            assert all(re.fullmatch(r"\d+\.\d{8}", value) for value in found), (name, found)
    assert response.headers["Content-Type"] == "application/json"


def test_the_contracts_example_is_the_documents_and_what_is_served(endpoint: Endpoint) -> None:
    endpoint.read_all()
    endpoint.tables.rows("UPDATE balance_cache SET last_synced = '2026-01-16T09:15:30.9Z'")
    endpoint.tables.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '1 day'")
    response = endpoint.get()
    assert LISTED == EXAMPLE
    assert json.loads(response.text) == {**LISTED, "synced_at": response.json()["synced_at"]}
    assert re.sub(r'"synced_at":"[^"]*"', '"synced_at":"2026-01-16T09:20:58Z"', response.text) == json.dumps(
        LISTED, separators=(",", ":")
    )


def described(endpoint: Endpoint) -> dict[str, Any]:
    document: dict[str, Any] = endpoint.get(path="/openapi.json", headers={}).json()
    return document


def test_the_document_has_the_tables_parameters_and_fields(endpoint: Endpoint) -> None:
    document = described(endpoint)
    operation = document["paths"][ROUTE]["get"]
    query = {parameter["name"]: parameter for parameter in operation["parameters"] if parameter["in"] == "query"}
    assert list(query) == [*PARAMETERS, "detail"]
    assert not any(parameter["required"] for parameter in query.values())
    networks = set(query["networks"]["schema"]["items"]["enum"])
    assert set(re.findall(r"`(\w+)`", PARAMETERS["networks"][0])) < networks == set(PRESETS)
    assert (query["networks"]["style"], query["networks"]["explode"]) == ("form", False)
    assert {query[name]["schema"]["type"] for name in ("refresh", "include_pending")} == {"boolean"}
    assert query["detail"]["schema"]["enum"] == ["full"]
    (path,) = (parameter for parameter in operation["parameters"] if parameter["in"] == "path")
    assert (path["name"], path["required"], path["schema"]["format"]) == ("user_id", True, "uuid")
    schemas = document["components"]["schemas"]
    top = [name for name in FIELDS if "." not in name]
    each = [name.rpartition(".")[2] for name in FIELDS if "." in name]
    for kind, names in (("UserBalances", top), ("WalletBalance", each)):
        assert list(schemas[kind]["properties"]) == names
        assert sorted(schemas[kind]["required"]) == sorted(names)
        assert schemas[kind]["additionalProperties"] is False
    for name, (kind, _) in FIELDS.items():
        owner = schemas["WalletBalance" if "." in name else "UserBalances"]["properties"]
        for schema in without_null(owner[name.rpartition(".")[2]]):
            expected = "uuid" if "uuid" in kind else "date-time" if "date-time" in kind else None
            assert schema.get("format") == expected, name
            assert schema.get("description"), name
            if name != "balances":
                assert EXAMPLE.get(name, EXAMPLE["balances"][0].get(name.rpartition(".")[2])) in schema["examples"], (
                    name
                )
    media = operation["responses"]["200"]["content"]["application/json"]
    assert media["examples"]["plain"]["value"] == LISTED
    assert operation["security"] == [{"bearer": []}]
    assert document["components"]["securitySchemes"]["bearer"] == {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
    }
    for status, response in operation["responses"].items():
        if status not in ("200", "304"):
            assert list(response["content"]) == ["application/problem+json"], status


def test_the_document_has_an_example_in_full(endpoint: Endpoint) -> None:
    document = described(endpoint)
    media = document["paths"][ROUTE]["get"]["responses"]["200"]["content"]["application/json"]
    full = msgspec.convert(media["examples"]["full"]["value"], UserBalancesInFull)
    assert full.excluded == [row.wallet_id for row in full.balances if row.usdt_balance is None] != []
    for kind in ("UserBalancesInFull", "WalletBalanceInFull"):
        for name, field in document["components"]["schemas"][kind]["properties"].items():
            assert name == "balances" or all("examples" in schema for schema in without_null(field)), name


def without_null(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """What a value may be, but null; each with what is said of them all."""
    common = {name: value for name, value in schema.items() if name != "oneOf"}
    return [{**common, **each} for each in schema.get("oneOf", [schema]) if each.get("type") != "null"]


def test_wallets_come_oldest_first_and_then_by_id(endpoint: Endpoint) -> None:
    for address in ("a", "b", "c"):
        endpoint.tables.add("tron", address, user_id=USER)
    endpoint.tables.rows("UPDATE sync_schedule SET failures = 1")
    endpoint.tables.rows("UPDATE wallets SET created_at = '2020-01-01' WHERE address IN ('a', 'b', 'c')")
    shown = [UUID(entry["wallet_id"]) for entry in endpoint.get().json()["balances"]]
    assert shown[:3] == sorted(shown[:3])
    assert shown[3:] == [TRON, ETHEREUM]


def test_amounts_are_cut_off_and_a_wallet_never_read_is_null_and_not_in_the_total(endpoint: Endpoint) -> None:
    endpoint.read(ETHEREUM, 1, 1_999_999_999_999_999_999)
    endpoint.tables.rows("UPDATE sync_schedule SET failures = 1 WHERE wallet_id = %s", TRON)
    response = endpoint.get()
    tron, ethereum = response.json()["balances"]
    assert (tron["usdt_balance"], tron["native_balance"], tron["last_synced"]) == (None, None, None)
    assert (ethereum["usdt_balance"], ethereum["native_balance"]) == ("0.00000100", "1.99999999")
    assert response.json()["total_usdt"] == "0.00000100"
    assert response.headers["Balances-Complete"] == "false"


def test_a_user_without_wallets_has_an_empty_list(endpoint: Endpoint) -> None:
    endpoint.tables.rows("DELETE FROM wallets")
    response = endpoint.get()
    assert (response.status_code, response.json()["balances"], response.json()["total_usdt"]) == (200, [], "0.00000000")
    assert response.headers["Balances-Complete"] == "true"


DETAIL = ["block_number", "block_time", "finality", "age_seconds", "status", "error"]


def test_in_full_each_entry_and_the_reply_say_more(endpoint: Endpoint) -> None:
    endpoint.read_all()
    (never,) = endpoint.tables.add("tron", "no address", user_id=USER)
    endpoint.tables.rows(
        "UPDATE sync_schedule SET failures = 1, last_error = 'bad_address' WHERE wallet_id = %s", never
    )
    plain, full = endpoint.get().json(), endpoint.get("?detail=full").json()
    assert list(full) == [*plain, "complete", "excluded"]
    assert [{name: entry[name] for name in plain["balances"][0]} for entry in full["balances"]] == plain["balances"]
    assert all(list(entry) == [*plain["balances"][0], *DETAIL] for entry in full["balances"])
    assert (full["complete"], full["excluded"]) == (False, [str(never)])
    tron, _, last = ({name: entry[name] for name in DETAIL} for entry in full["balances"])
    assert is_moment(tron.pop("block_time"))
    synced, asked = (datetime.fromisoformat(text) for text in (full["balances"][0]["last_synced"], full["synced_at"]))
    assert abs(tron.pop("age_seconds") - (asked - synced).total_seconds()) <= 1, "the two are in whole seconds"
    assert tron == {"block_number": 5, "finality": "solid", "status": "fresh", "error": None}
    assert last == {**dict.fromkeys(DETAIL), "status": "never_synced", "error": "bad_address"}


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ("failures = 3, last_error = 'unreachable'", "failing", "unreachable"),
        ("next_sync_at = now() - interval '2 hours'", "stale", None),
        ("next_sync_at = now() - interval '30 minutes'", "fresh", None),
        ("failures = 0", "fresh", None),
    ],
)
def test_in_full_a_wallets_status_is_told(endpoint: Endpoint, change: str, status: str, error: str | None) -> None:
    endpoint.read_all()
    endpoint.tables.rows(f"UPDATE sync_schedule SET {change} WHERE wallet_id = %s", TRON)
    entry = endpoint.get("?detail=full").json()["balances"][0]
    assert (entry["status"], entry["error"], entry["usdt_balance"]) == (status, error, "977.00000000")
    if status == "stale":
        assert endpoint.await_message().arguments == ["tron", [str(TRON)]], "somebody is to read it"


def test_a_wallet_that_nobody_has_read_for_long_is_stale_even_while_it_is_claimed(endpoint: Endpoint) -> None:
    endpoint.read_all()
    endpoint.tables.rows("UPDATE balance_cache SET last_synced = now() - interval '2 days'")
    endpoint.tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
    for network in NETWORKS:
        only(claim(network))
    assert {entry["status"] for entry in endpoint.get("?detail=full").json()["balances"]} == {"stale"}


def test_a_balance_that_no_block_has_touched_for_hours_is_fresh_where_the_feed_is_on(
    start_endpoint: StartEndpoint,
) -> None:
    intervals = {"SYNC_INTERVAL_ACTIVE": "60", "SYNC_INTERVAL_IDLE": "900"}
    seen = {}
    for feed in ("off", "on"):
        with start_endpoint(FEED=feed, **intervals) as endpoint:
            endpoint.read_all()
            endpoint.tables.rows("UPDATE sync_schedule SET next_sync_at = now() + interval '1 hour'")
            for hours in (2, 7):
                endpoint.tables.rows("UPDATE balance_cache SET last_synced = now() - %s * interval '1 hour'", hours)
                seen[feed, hours] = endpoint.get("?detail=full").json()["balances"][0]["status"]
    assert seen == {("off", 2): "stale", ("off", 7): "stale", ("on", 2): "fresh", ("on", 7): "stale"}


def test_a_foreign_user_gets_the_same_answer_whether_or_not_they_exist(endpoint: Endpoint) -> None:
    somebody = UUID("11111111-1111-4111-8111-111111111111")
    nobody = UUID("22222222-2222-4222-8222-222222222222")
    endpoint.tables.add("tron", "TX", user_id=somebody)
    answers = [endpoint.get(user=who) for who in (somebody, nobody)]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].content == answers[1].content
    unlike = {"date", "x-request-id"}
    told = [{k: v for k, v in answer.headers.items() if k.lower() not in unlike} for answer in answers]
    assert told[0] == told[1]


def test_another_method_is_refused_and_the_right_one_named(shared: Endpoint) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE"):
        for path in (f"/api/v1/auth/balances/user/{USER}", "/healthz", "/openapi.json"):
            response = requests.request(method, shared.server.url + path, timeout=CAP)
            assert (response.status_code, response.headers["Allow"]) == (405, "GET"), (method, path)
            assert response.headers["Content-Type"] == "application/problem+json"


def test_every_reply_has_the_headers_that_an_api_needs(shared: Endpoint) -> None:
    for path in (f"/api/v1/auth/balances/user/{USER}", "/healthz", "/readyz", "/openapi.json", "/nowhere"):
        headers = shared.get(path=path).headers
        assert headers["Cache-Control"] == "private, no-cache"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert re.fullmatch("[0-9a-f]{32}", headers["X-Request-ID"])
