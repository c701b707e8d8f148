"""The transport to Ethereum nodes: what is sent, and each reply that is refused. web3 and requests run for real."""

import json
from typing import Any

import pytest
import requests
from replay import Replay
from vectors import recorded

from worker.chains.ethereum import EthereumNode
from worker.errors import BadReply, ReadFailed, Refused, Throttled, Unreachable

URL = "https://user:hunter2@node.example:8545/v3/0123456789abcdef?apikey=fedcba98"
SECRETS = ("hunter2", "0123456789abcdef", "fedcba98")


def node(replay: Replay, finality: str = "latest") -> EthereumNode:
    made = EthereumNode(URL, finality, timeout=10)
    replay.mount_on(made._provider._request_session_manager._explicit_session)
    return made


def replay_of(number: int) -> Replay:
    vector = recorded("ethereum", number)
    body = json.dumps(vector["response"]) if vector["body_kind"] == "json" else vector["response"]
    return Replay(body, status=vector["status"], headers={"Content-Type": vector["content_type"]})


@pytest.mark.parametrize("finality", ["latest", "safe", "finalized"])
def test_a_read_is_one_eth_call_without_to_at_the_finality_asked_for(finality: str) -> None:
    replay = Replay({"jsonrpc": "2.0", "id": 0, "result": "0xc0de"})
    assert node(replay, finality).call(b"\x60\x00") == b"\xc0\xde"
    (request,) = replay.requests
    sent = json.loads(request.body or b"")
    assert (sent["method"], sent["params"]) == ("eth_call", [{"data": "0x6000"}, finality])


def test_a_real_nodes_result_is_passed_on_as_bytes() -> None:
    vector = recorded("ethereum", 1)
    assert node(replay_of(1)).call(b"").hex() == vector["response"]["result"][2:]


@pytest.mark.parametrize("number", [2, 10, 12, 17, 19, 20, 21, 22, 23, 24, 25, 26, 28, 31])
def test_a_real_nodes_error_is_a_refusal(number: int) -> None:
    with pytest.raises(Refused) as refused:
        node(replay_of(number)).call(b"")
    assert refused.value.endpoint == "node.example:8545"


def test_a_nodes_words_are_kept_for_the_log() -> None:
    with pytest.raises(Refused, match="error -32000: max code size exceeded: code size 24608 limit 24576"):
        node(replay_of(12)).call(b"")


@pytest.mark.parametrize(
    "reply",
    [
        None,
        [],
        "0x",
        {},
        {"result": None},
        {"result": 100},
        {"result": "c0de"},
        {"result": "0xc0d"},
        {"result": "0xzz"},
        {"result": ["0xc0de"]},
        [{"jsonrpc": "2.0", "id": 0, "result": "0xc0de"}],
    ],
)
def test_a_reply_of_another_shape_is_refused(reply: Any) -> None:
    with pytest.raises(BadReply):
        node(Replay(reply)).call(b"")


@pytest.mark.parametrize(
    "error",
    [{"code": -32005, "message": "limit"}, {"code": 3, "message": "execution reverted", "data": "0x"}, "text", {}],
)
def test_an_error_counts_even_beside_a_result(error: Any) -> None:
    with pytest.raises(Refused):
        node(Replay({"jsonrpc": "2.0", "id": 0, "result": "0xc0de", "error": error})).call(b"")


@pytest.mark.parametrize("body", ["", "<html>", "{", '{"result": "0x', b"\xff\xfe"])
def test_a_body_that_is_not_json_is_refused(body: str | bytes) -> None:
    with pytest.raises(BadReply, match="not JSON"):
        node(Replay(body)).call(b"")


@pytest.mark.parametrize(
    ("status", "headers", "kind", "wait"),
    [
        (429, {}, Throttled, 30),
        (429, {"Retry-After": "7"}, Throttled, 7),
        (429, {"Retry-After": "Mon, 23 Nov 2026 00:00:00 GMT"}, Throttled, 30),
        (403, {}, Throttled, 30),
        (401, {}, Refused, 1),
        (500, {}, Refused, 1),
        (503, {}, Refused, 1),
    ],
)
def test_an_http_status_says_how_long_to_leave_the_endpoint_alone(
    status: int, headers: dict[str, str], kind: type[ReadFailed], wait: float
) -> None:
    replay = Replay({"result": "0xc0de"}, status=status, headers=headers)
    with pytest.raises(kind, match=f"HTTP {status}") as failure:
        node(replay).call(b"")
    assert failure.value.retry_after == wait
    assert len(replay.requests) == 1, "no retries behind our back"


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError(f"Max retries exceeded with url: {URL}"),
        requests.ConnectTimeout(URL),
        requests.ReadTimeout(URL),
        requests.exceptions.ChunkedEncodingError(URL),
        requests.exceptions.SSLError(URL),
        ConnectionResetError(URL),
    ],
)
def test_a_broken_connection_is_one_failure_without_the_url(error: Exception) -> None:
    replay = Replay(error=error)
    with pytest.raises(Unreachable) as failure:
        node(replay).call(b"")
    assert not any(secret in str(failure.value) for secret in SECRETS)
    assert failure.value.__suppress_context__, "the cause quotes the URL and must not be printed with a traceback"
    assert len(replay.requests) == 1


def test_a_redirect_is_not_followed() -> None:
    replay = Replay({"result": "0xc0de"}, status=307, headers={"Location": "https://elsewhere.example/"})
    with pytest.raises(Refused, match="redirect"):
        node(replay).call(b"")
    assert len(replay.requests) == 1


def test_a_key_that_a_node_quotes_back_is_not_repeated() -> None:
    words = f"project {SECRETS[1]} of hunter2 is over its limit with {SECRETS[2]}"
    with pytest.raises(Refused) as refused:
        node(Replay({"error": {"code": -32005, "message": words}})).call(b"")
    assert str(refused.value) == "error -32005: project … of … is over its limit with …"
