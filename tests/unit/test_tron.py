"""The transport to Tron nodes: what is sent, whose key, each reply that is refused. tronpy and requests are real."""

import json
from collections import Counter
from typing import Any

import pytest
import requests
from replay import Replay
from tronpy.providers.http import DEFAULT_API_KEYS
from vectors import recorded

from worker.chains.tron import TronNode, takes_keys
from worker.errors import BadReply, Refused, Throttled, Unreachable

GOOD = {"result": {"result": True}, "constant_result": ["c0de"], "transaction": {"ret": [{}]}}


def node(replay: Replay, finality: str = "solid", url: str = "https://api.trongrid.io", **more: Any) -> TronNode:
    made = TronNode(url, finality, timeout=10, **more)
    replay.mount_on(made._provider.sess)
    return made


def replay_of(number: int) -> Replay:
    vector = recorded("tron", number)
    body = json.dumps(vector["response"]) if vector["body_kind"] == "json" else vector["response"]
    return Replay(body, status=vector["status"], headers={"Content-Type": vector["content_type"]})


@pytest.mark.parametrize(
    ("finality", "url", "asked"),
    [
        ("solid", "http://node:8091", "http://node:8091/walletsolidity/triggerconstantcontract"),
        ("latest", "http://node:8090/", "http://node:8090/wallet/triggerconstantcontract"),
        ("solid", "https://host/TOKEN", "https://host/TOKEN/walletsolidity/triggerconstantcontract"),
    ],
)
def test_a_read_is_one_constant_call_without_a_contract(finality: str, url: str, asked: str) -> None:
    replay = Replay(GOOD)
    assert node(replay, finality, url).call(b"\x60\x00") == b"\xc0\xde"
    (request,) = replay.requests
    assert request.url == asked
    assert json.loads(request.body or b"") == {"owner_address": "41" + "00" * 20, "data": "6000"}


@pytest.mark.parametrize("number", [53, 54, 56])
def test_a_real_nodes_result_is_passed_on_as_bytes(number: int) -> None:
    vector = recorded("tron", number)
    assert node(replay_of(number)).call(b"").hex() == vector["response"]["constant_result"][0]


@pytest.mark.parametrize("number", [37, 39, 40, 45, 46, 57, 58, 59, 60, 77, 79])
def test_a_real_nodes_error_is_a_refusal(number: int) -> None:
    with pytest.raises(Refused):
        node(replay_of(number)).call(b"")


def test_a_nodes_words_are_read_from_their_hexadecimal_form() -> None:
    with pytest.raises(Refused, match=r"OTHER_ERROR: class org.*OutOfTimeException : CPU timeout"):
        node(replay_of(60)).call(b"")


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


@pytest.mark.parametrize(
    "reply",
    [
        None,
        [],
        {},
        without("result"),
        without("constant_result"),
        {**GOOD, "constant_result": []},
        {**GOOD, "constant_result": ["c0de", "c0de"]},
        {**GOOD, "constant_result": "c0de"},
        {**GOOD, "constant_result": [None]},
        {**GOOD, "constant_result": ["c0d"]},
        {**GOOD, "constant_result": ["0xc0de"]},
        {**GOOD, "result": True},
    ],
)
def test_a_reply_of_another_shape_is_refused(reply: Any) -> None:
    with pytest.raises(BadReply):
        node(Replay(reply)).call(b"")


@pytest.mark.parametrize(
    "change",
    [
        {"result": {}},
        {"result": {"result": "true"}},
        {"result": {"result": True, "message": "524556455254"}},
        {"result": {"result": True, "code": "OTHER_ERROR"}},
        {"transaction": {"ret": [{"ret": "FAILED"}]}},
        {"Error": "class java.lang.NullPointerException : null"},
    ],
)
def test_a_failure_counts_even_beside_a_result(change: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        node(Replay({**GOOD, **change})).call(b"")


def test_throttling_told_with_http_200_is_throttling() -> None:
    words = "request rate exceeded the allowed_rps(3), and the query server is suspended for 1 s"
    with pytest.raises(Throttled, match="allowed_rps"):
        node(Replay({"Error": words})).call(b"")


@pytest.mark.parametrize("body", ["", "this API is closed because this node is a lite fullnode", "<html>"])
def test_a_body_that_is_not_json_is_refused_with_http_200_too(body: str) -> None:
    with pytest.raises(BadReply, match="not JSON"):
        node(Replay(body)).call(b"")


def test_a_daily_limit_is_throttling_and_is_not_asked_again_with_another_key() -> None:
    replay = Replay({"Error": "Exceed the user daily usage (100000)"}, status=403)
    with pytest.raises(Throttled):
        node(replay, keys=["a" * 36, "b" * 36], key_hosts=["trongrid.io"]).call(b"")
    assert len(replay.requests) == 1


def test_a_time_out_is_a_failure_of_the_connection() -> None:
    with pytest.raises(Unreachable, match="no answer in time"):
        node(Replay(error=requests.ReadTimeout())).call(b"")


def keys_sent(replay: Replay) -> list[str | None]:
    return [request.headers.get("TRON-PRO-API-KEY") for request in replay.requests]


def test_without_a_key_none_is_sent_and_above_all_none_of_tronpys_own() -> None:
    replay = Replay(GOOD)
    node(replay).call(b"")
    assert keys_sent(replay) == [None]
    assert not any(key in str(replay.requests[0].headers) for key in DEFAULT_API_KEYS)


def test_keys_are_used_evenly() -> None:
    replay = Replay(GOOD)
    asked = node(replay, keys=["a", "b", "c"], key_hosts=["trongrid.io"])
    for _ in range(9):
        asked.call(b"")
    assert Counter(keys_sent(replay)) == {"a": 3, "b": 3, "c": 3}


def test_a_key_goes_to_no_host_that_it_is_not_for() -> None:
    replay = Replay(GOOD)
    node(replay, url="https://trongrid.io.evil.example/trongrid.io", keys=["a"], key_hosts=["trongrid.io"]).call(b"")
    assert keys_sent(replay) == [None]


@pytest.mark.parametrize(
    ("url", "takes"),
    [
        ("https://api.trongrid.io", True),
        ("https://trongrid.io/", True),
        ("https://API.TronGrid.IO:443/x", True),
        ("https://nottrongrid.io", False),
        ("https://trongrid.io.example", False),
        ("https://example/trongrid.io", False),
        ("https://trongrid.io@example", False),
    ],
)
def test_a_host_takes_keys_when_it_is_named_or_below_a_named_one(url: str, *, takes: bool) -> None:
    assert takes_keys(url, ["trongrid.io"]) is takes
