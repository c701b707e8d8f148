"""The transport to Tron nodes: what is sent, whose key, each reply that is refused. tronpy and requests are real."""

import json
from typing import Any

import pytest
import requests
from replay import Replay
from tronpy.providers.http import DEFAULT_API_KEYS
from vectors import recorded

from devstack.servers import CAP
from worker.errors import (
    BadReply,
    Lagging,
    NoToken,
    OutOfTime,
    ReadFailed,
    Refused,
    Reverted,
    Throttled,
    TooMuch,
    Unauthorized,
    Unreachable,
    Unsupported,
)
from worker.nodes.callers import FIRST
from worker.nodes.failures import by_words
from worker.nodes.tron import WORDS, TronNode
from worker.nodes.urls import takes_keys
from worker.reading.contract import RETURN, Block
from worker.reading.strategies import ApiKey, Head

GOOD = {"result": {"result": True}, "constant_result": ["c0de"], "transaction": {"ret": [{}]}}
HOLDER = bytes.fromhex("1563915e194d8cfba1943570603f7606a3115508")


def node(replay: Replay, finality: str = "solid", url: str = "https://api.trongrid.io", **more: Any) -> TronNode:
    made = TronNode(url, finality, time_limit=CAP, **more)
    replay.mount_on(made.session)
    return made


def read(replay: Replay) -> bytes:
    return node(replay).deployed(b"", RETURN)


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
    assert node(replay, finality, url).deployed(b"\x60\x00", RETURN) == b"\xc0\xde"
    (request,) = replay.requests
    assert request.url == asked
    assert json.loads(request.body or b"") == {"owner_address": "41" + FIRST.hex(), "data": "6000"}


def test_a_contract_is_called_by_its_address_in_hexadecimal() -> None:
    replay = Replay(GOOD)
    assert node(replay).called(b"\x22" * 20, b"\x33") == b"\xc0\xde"
    sent = json.loads(replay.requests[0].body or b"")
    assert sent == {"owner_address": "41" + FIRST.hex(), "contract_address": "41" + "22" * 20, "data": "33"}


def test_a_nodes_words_are_read_from_their_hexadecimal_form() -> None:
    replay = Replay(recorded("tron", 60)["response"])
    with pytest.raises(OutOfTime, match=r"OTHER_ERROR: class org.*OutOfTimeException : CPU timeout"):
        read(replay)


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
        read(Replay(reply))


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
        read(Replay({**GOOD, **change}))


@pytest.mark.parametrize(
    ("reply", "status", "kind", "wait"),
    [
        (
            {"Error": "request rate exceeded the allowed_rps(3), and the query server is suspended for 1 s. To obtain"},
            200,
            Throttled,
            1,
        ),
        (
            {"Error": "The key exceeds the frequency limit(15), and the query server is suspended for 27 s"},
            403,
            Throttled,
            27,
        ),
        ({"Success": False, "Error": "…is suspended for 5 s", "StatusCode": 403}, 403, Throttled, 5),
        ({"Error": "Exceed the user daily usage (100000),the maximum query frequency is 1 time"}, 403, Throttled, None),
        ({"Error": "ApiKey not exists"}, 403, Unauthorized, None),
        ({"Error": "ApiKey not exists"}, 429, Throttled, None),
        ({"Error": "request rate exceeded, and the query server is suspended for 9 s"}, 429, Throttled, 9),
        ("", 401, Unauthorized, None),
        ("<html>503 Service Temporarily Unavailable</html>", 503, "unavailable", None),
        ({"Error": "class java.lang.IllegalAccessException : lack of computing resources"}, 200, Throttled, None),
        ({"Error": "this API is unavailable due to config"}, 404, Unsupported, None),
        ("<html>", 413, TooMuch, None),
        ({"Error": "class java.lang.NullPointerException : null"}, 200, Refused, None),
        ({"result": {"code": "SERVER_BUSY", "message": "736572766572206275737920"}}, 200, Throttled, None),
        ({"Error": "TOO MANY REQUESTS"}, 200, Throttled, None),
        ({"result": {"result": True, "message": b"REVERT opcode executed: rate limit".hex()}}, 200, Reverted, None),
    ],
)
def test_throttling_and_refusals_are_told_whatever_the_status(
    reply: Any, status: int, kind: Any, wait: float | None
) -> None:
    replay = Replay(reply, status=status)
    with pytest.raises(ReadFailed) as failure:
        node(replay, keys=["a" * 36, "b" * 36], key_hosts=["trongrid.io"]).deployed(b"", RETURN)
    assert kind in (type(failure.value), failure.value.code)
    assert failure.value.retry_after == wait
    assert len(replay.requests) == 1, "neither tronpy nor requests tries again by itself"


@pytest.mark.parametrize("known", WORDS, ids=lambda known: known.example)
def test_each_pattern_knows_its_example_and_is_the_first_that_does(known: Any) -> None:
    assert type(by_words(known.example, WORDS, "")) is known.kind


@pytest.mark.parametrize(
    "body",
    ["", "this API is closed because this node is a lite fullnode", "<html>", pytest.param("[" * 10**6, id="deep")],
)
def test_a_body_that_is_not_json_is_refused_with_http_200_too(body: str) -> None:
    with pytest.raises(BadReply, match="not JSON"):
        read(Replay(body))


def test_a_time_out_is_a_failure_of_the_connection() -> None:
    with pytest.raises(Unreachable, match="no answer in time"):
        read(Replay(error=requests.ReadTimeout()))


def test_an_account_is_read_from_the_state_of_the_finality() -> None:
    replay = Replay(recorded("tron", 16)["response"])
    assert node(replay).native(HOLDER, None) == 1_993_893_600
    assert (replay.requests[0].url or "").endswith("/walletsolidity/getaccount")
    assert json.loads(replay.requests[0].body or b"") == {"address": "41" + HOLDER.hex()}


@pytest.mark.parametrize(
    ("reply", "sun"),
    [
        ({}, None),  # nobody has activated it, or the node is behind
        ({"address": "41" + HOLDER.hex(), "create_time": 1}, 0),  # java-tron leaves zeros out
        ({"address": "41" + HOLDER.hex(), "balance": 2**63 - 1}, 2**63 - 1),  # above what a float holds
        ({"address": "41" + HOLDER.hex(), "balance": 5, "assetV2": [{"key": "1", "value": 1}] * 9000}, 5),
    ],
)
def test_an_account_may_be_unknown_empty_rich_or_large(reply: dict[str, Any], sun: int | None) -> None:
    assert node(Replay(reply)).native(HOLDER, None) == sun


@pytest.mark.parametrize(
    "reply",
    [
        {"address": "41" + "22" * 20, "balance": 5},
        {"balance": 5},
        {"create_time": 1},
        {"address": "41" + HOLDER.hex(), "balance": "5"},
        {"address": "41" + HOLDER.hex(), "balance": 5.0},
        {"address": "41" + HOLDER.hex(), "balance": None},
        [],
        None,
    ],
)
def test_an_account_that_is_another_or_none_is_refused(reply: Any) -> None:
    with pytest.raises(BadReply):
        node(Replay(reply)).native(HOLDER, None)


@pytest.mark.parametrize("said", ["class java.lang.NullPointerException : null", "1:13: INVALID hex String"])
def test_an_error_of_the_account_is_no_empty_account(said: str) -> None:
    with pytest.raises(Refused):
        node(Replay({"Error": said})).native(HOLDER, None)


class Answers(Replay):
    """Answers each request with the next of these."""

    def __init__(self, *replies: Any) -> None:
        super().__init__()
        self.replies = replies

    def send(self, *given: Any, **more: Any) -> requests.Response:
        self.body = json.dumps(self.replies[len(self.requests)]).encode()
        return super().send(*given, **more)


def test_a_head_is_the_newest_block_and_the_chain_that_its_genesis_names() -> None:
    newest = recorded("tron", 3)["response"]
    genesis = {"blockID": "00" * 28 + "9a47812c"}
    replay = Answers(newest, genesis)
    raw = newest["block_header"]["raw_data"]
    assert node(replay).head() == Head(Block(83, raw["timestamp"] // 1000), 2588377388, None)
    assert [json.loads(request.body or b"") for request in replay.requests] == [
        {"detail": False},
        {"detail": False, "id_or_num": "0"},
    ]


@pytest.mark.parametrize(
    ("newest", "genesis", "kind"),
    [
        ({}, "00" * 32, Lagging),
        ({"block_header": {"raw_data": {"timestamp": 1000}}}, "00" * 32, BadReply),
        ({"block_header": {"raw_data": {"number": "5", "timestamp": 1000}}}, "00" * 32, BadReply),
        ({"block_header": {"raw_data": {"number": 5, "timestamp": 1000}}}, "00", BadReply),
        ({"block_header": {"raw_data": {"number": 5, "timestamp": 1000}}}, "zz" * 32, BadReply),
        ({"block_header": {"raw_data": {"number": True, "timestamp": 1000}}}, "00" * 32, BadReply),
        ({"block_header": [1]}, "00" * 32, Lagging),
        ({"block_header": {"raw_data": {"number": 5, "timestamp": 1000}}}, None, BadReply),
    ],
)
def test_a_head_that_is_no_block_is_refused(newest: Any, genesis: Any, kind: type[ReadFailed]) -> None:
    with pytest.raises(kind):
        node(Answers(newest, {"blockID": genesis})).head()


def test_a_contract_that_is_not_there_is_said_not_to_be() -> None:
    with pytest.raises(NoToken):
        node(Replay(recorded("tron", 38)["response"])).called(HOLDER, b"")


def keys_sent(replay: Replay) -> list[str | None]:
    return [request.headers.get("TRON-PRO-API-KEY") for request in replay.requests]


def test_without_a_key_none_is_sent_and_above_all_none_of_tronpys_own() -> None:
    replay = Replay(GOOD)
    read(replay)
    assert keys_sent(replay) == [None]
    assert not any(key in str(replay.requests[0].headers) for key in DEFAULT_API_KEYS)


def test_the_key_that_it_was_told_to_use_is_sent_until_it_is_told_otherwise() -> None:
    replay = Replay(GOOD)
    asked = node(replay, keys=["a", "b"], key_hosts=["trongrid.io"])
    for key in ("a", "b", "b", None):
        asked.session.use(key)
        asked.deployed(b"", RETURN)
    assert keys_sent(replay) == ["a", "b", "b", None]


def test_a_node_that_keys_are_not_for_has_none() -> None:
    theirs = node(
        Replay(GOOD), url="https://trongrid.io.evil.example/trongrid.io", keys=["a"], key_hosts=["trongrid.io"]
    )
    assert theirs.keys == ()


def test_a_key_is_named_by_what_does_not_give_it_away() -> None:
    (key,) = node(Replay(GOOD), keys=["secret-key"], key_hosts=["trongrid.io"]).keys
    assert isinstance(key, ApiKey)
    assert "secret" not in key.id


def test_a_key_that_a_node_quotes_back_is_not_repeated() -> None:
    url = "https://somebody:hunter2@trongrid.io/0123456789abcdef?apikey=fedcba98"
    said = "key secret-key of somebody, hunter2, is over its limit at 0123456789abcdef with fedcba98"
    replay = Replay({"result": {"code": "OTHER_ERROR", "message": said}})
    with pytest.raises(ReadFailed) as refused:
        node(replay, url=url, keys=["secret-key"], key_hosts=["trongrid.io"]).deployed(b"", RETURN)
    assert str(refused.value) == "OTHER_ERROR: key … of …, …, is over its limit at … with …"


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
        ("http://api.trongrid.io", False),  # in the clear
    ],
)
def test_a_host_takes_keys_when_it_is_named_or_below_a_named_one(url: str, *, takes: bool) -> None:
    assert takes_keys(url, ["trongrid.io"]) is takes
