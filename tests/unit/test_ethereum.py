"""The transport to Ethereum nodes: what is sent, and each reply that is refused. web3 and requests run for real."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import requests
from replay import Replay

from devstack.servers import CAP
from worker.errors import (
    BadReply,
    EmptyRevert,
    Lagging,
    OutOfTime,
    ReadFailed,
    Refused,
    Reverted,
    StateGone,
    Throttled,
    TooMuch,
    Unauthorized,
    Unavailable,
    Unreachable,
    Unsupported,
)
from worker.nodes.callers import FIRST
from worker.nodes.evm import CODES, WORDS, EvmNode
from worker.nodes.failures import by_words
from worker.reading.contract import HEADER, RETURN, REVERT, Block
from worker.reading.strategies import Head

URL = "https://user:hunter2@node.example:8545/v3/0123456789abcdef?apikey=fedcba98"
CALLER = "0x" + FIRST.hex()
SECRETS = ("hunter2", "0123456789abcdef", "fedcba98")
WORDS_OF_OURS = "0x" + "11" * (HEADER + 32)


def node(replay: Replay, finality: str = "latest") -> EvmNode:
    made = EvmNode(URL, finality, time_limit=CAP)
    made._id = -1  # the next request has the id 0
    replay.mount_on(made.session)
    return made


def answer(result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 0, "result": result}


def error(code: Any, message: Any = "", **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 0, "error": {"code": code, "message": message, **more}}


def sent(replay: Replay) -> list[tuple[str, Any]]:
    bodies = [json.loads(request.body or b"") for request in replay.requests]
    return [(body["method"], body["params"]) for body in bodies]


@pytest.mark.parametrize("finality", ["latest", "safe", "finalized"])
def test_a_read_is_one_eth_call_without_to_at_the_finality_asked_for(finality: str) -> None:
    replay = Replay(answer("0xc0de"))
    assert node(replay, finality).deployed(b"\x60\x00", RETURN) == b"\xc0\xde"
    assert sent(replay) == [("eth_call", [{"from": CALLER, "data": "0x6000"}, finality])]


@pytest.mark.parametrize("code", [3, -32000, -32015])
def test_reverted_words_are_taken_from_the_errors_data_whatever_its_code(code: int) -> None:
    replay = Replay(error(code, "execution reverted", data=WORDS_OF_OURS))
    assert node(replay).deployed(b"", REVERT) == b"\x11" * (HEADER + 32)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error(3, "execution reverted"), EmptyRevert),
        (error(3, "execution reverted", data="0x"), EmptyRevert),
        (error(-32015, "VM execution error.", data="Reverted 0x"), EmptyRevert),
        (error(-32015, "VM execution error.", data="out of gas"), TooMuch),
        (error(3, "execution reverted: out of gas"), TooMuch),
        (error(3, "execution reverted", data={"of": "it"}), Refused),
        (error(3, "execution reverted", data=WORDS_OF_OURS[:200]), Refused),
        (error(3, "execution reverted: no", data="0x08c379a0" + "00" * 96), Refused),
        (error(3, "execution reverted", data="!" * 300), BadReply),
        (error(-32000, "out of gas"), TooMuch),
        (answer(WORDS_OF_OURS), BadReply),
        ({**error(3, data=WORDS_OF_OURS), "result": "0x"}, Refused),
    ],
)
def test_what_is_not_revert_data_of_ours_is_no_reply(reply: Any, kind: type[ReadFailed]) -> None:
    with pytest.raises(kind):
        node(Replay(reply)).deployed(b"", REVERT)


def test_reverted_words_are_taken_from_behind_the_word_that_nethermind_puts_before_them() -> None:
    replay = Replay(error(-32015, "VM execution error.", data="Reverted " + WORDS_OF_OURS))
    assert node(replay).deployed(b"", REVERT) == b"\x11" * (HEADER + 32)


def test_the_newest_block_of_another_finality_can_be_asked_for() -> None:
    block = {"number": "0x55", "timestamp": "0x6b049f82", "hash": HASH}
    replay = answers(block)
    assert node(replay, "finalized").block("latest") == Block(0x55, 0x6B049F82)
    assert sent(replay) == [("eth_getBlockByNumber", ["latest", False])]


def test_reverted_words_are_found_in_an_http_error_too() -> None:
    replay = Replay(error(3, "execution reverted", data=WORDS_OF_OURS), status=400)
    assert node(replay).deployed(b"", REVERT) == b"\x11" * (HEADER + 32)


@pytest.mark.parametrize(
    "reply",
    [
        None,
        [],
        "0x",
        {},
        answer(None),
        answer(100),
        answer("c0de"),
        answer("0xc0d"),
        answer("0xzz"),
        answer(["0xc0de"]),
        [answer("0xc0de")],
        [answer("0xc0de"), answer("0xc0de")],
        {"jsonrpc": "2.0", "id": 1, "result": "0xc0de"},
        {"jsonrpc": "2.0", "id": None, "result": "0xc0de"},
        {"jsonrpc": "2.0", "result": "0xc0de"},
        {"jsonrpc": "2.0", "id": 1, "result": "0xc0de", "error": None},
        {"jsonrpc": "2.0", "result": "0xc0de", "error": None},
    ],
)
def test_a_reply_of_another_shape_or_to_another_request_is_refused(reply: Any) -> None:
    with pytest.raises(BadReply):
        node(Replay(reply)).deployed(b"", RETURN)


@pytest.mark.parametrize(
    ("failure", "kind", "wait"),
    [
        (error(429, "Your app has exceeded its compute units per second capacity"), Throttled, None),
        (error(-32005, "daily request count exceeded, request rate limited"), Throttled, None),
        (error(-32005, "project ID request rate exceeded", data={"backoff_seconds": 30.0}), Throttled, 30),
        (error(-32005, "slow down", data={"backoff_seconds": 1e30}), Throttled, 3600),
        (error(-32005, "slow down", data={"backoff_seconds": float("nan")}), Throttled, None),
        (error(-32005, "slow down", data={"backoff_seconds": -5}), Throttled, None),
        (error(-32005, "slow down", data={"backoff_seconds": "5"}), Throttled, 5),
        (error(-32005, "slow down", data={"backoff_seconds": "soon"}), Throttled, None),
        (error(-32005, "slow down", data={"backoff_seconds": 10**400}), Throttled, 3600),
        (error(-32005, "slow down", data={"backoff_seconds": -(10**400)}), Throttled, None),
        (error(-32005, "slow down", data={"backoff_seconds": True}), Throttled, None),
        (error(-32603, "Internal error"), Refused, None),
        (error(-32029, "Too Many Requests"), Throttled, None),
        (error(-32603, "TOO MANY REQUESTS, try later"), Throttled, None),
        (error(-32601, "rate limit"), Throttled, None),
        (error(30, "Request timeout on the free tier, please upgrade"), Throttled, None),
        (error(-33000, "you have exceeded the free usage quota"), Throttled, None),
        (error(-32001, "throughput limit is reached"), Throttled, None),
        (error(-32016, "over rate limit"), Throttled, None),
        (error(-32000, "Unauthorized: authenticate with an API key"), Unauthorized, None),
        (error(-32052, "API key is not allowed to access blockchain"), Unauthorized, None),
        (error(3, "execution reverted: Unauthorized"), Reverted, None),
        (error(-32000, "execution reverted: rate limit exceeded"), Reverted, None),
        (error(-32000, "eth_call without a recipient is not supported"), Unsupported, None),
        (error(-32000, "exceeds block gas limit"), TooMuch, None),
        (error(-32007, "project ID request rate exceeded"), Throttled, None),
        (error(-32007, "project ID request rate exceeded", data={"backoff_seconds": 120}), Throttled, 120),
        (error(-32601, "the method does not exist"), Unsupported, None),
        (error(-32602, "missing value for required argument 0"), Unsupported, None),
        (error(-38025, "max initcode size exceeded"), TooMuch, None),
        (error(-32000, "gas required exceeds allowance (50000000)"), TooMuch, None),
        (error(-32003, "response too large"), TooMuch, None),
        (error(-32000, "execution aborted (timeout = 5s)"), OutOfTime, None),
        (error(-32002, "request timed out"), OutOfTime, None),
        (error(-32000, "header not found"), StateGone, None),
        (error(-32000, "missing trie node 4a1b (path ) state 0x4a1b is not available"), StateGone, None),
        (error(-32000, "historical state 4a1b is not available"), StateGone, None),
        (error(-32000, "state not available"), StateGone, None),
        (error(-32000, "safe block not found"), Lagging, None),
        (error(3, "execution reverted"), EmptyRevert, None),
        (error(3, "execution reverted", data="0x"), EmptyRevert, None),
        (error(-32015, "VM execution error.", data="Reverted 0x"), EmptyRevert, None),
        (error(-32015, "VM execution error.", data="out of gas"), TooMuch, None),
        (error(-32015, "VM execution error.", data="Reverted 0x08c379a0"), Reverted, None),
        (error(3, "execution reverted: out of gas"), TooMuch, None),
        (error(3, "execution reverted: no reason"), Reverted, None),
        (error(-32000, "max code size exceeded"), TooMuch, None),
        (error(-32000, "contract code size exceeds limit"), TooMuch, None),
        (error(-32000, "initcode size 49154 above 49152"), TooMuch, None),
        (error(-32000, "init code size too large"), TooMuch, None),
        (error(-32000, "gas limit is too high"), TooMuch, None),
        (error(-32000, "gas limit is too low"), TooMuch, None),
        (error(-32000, "intrinsic gas too low: have 21000, want 800000"), TooMuch, None),
        (error(-32000, "insufficient gas for floor data gas cost: have 1, want 2"), TooMuch, None),
        (error(-32000, "finalized block not found"), Lagging, None),
        (error(-32000, "something new"), Refused, None),
        (error("x"), Refused, None),
        (error(True), Refused, None),
        ({"error": "text"}, Refused, None),
        ({"error": {}}, Refused, None),
        ({**answer("0xc0de"), **error(-32000)}, Refused, None),
    ],
)
def test_an_error_is_told_by_its_code_first_and_then_by_its_words(
    failure: Any, kind: type[ReadFailed], wait: float | None
) -> None:
    with pytest.raises(ReadFailed) as raised:
        node(Replay(failure)).deployed(b"", RETURN)
    assert (type(raised.value), raised.value.retry_after) == (kind, wait)


@pytest.mark.parametrize("known", WORDS, ids=lambda known: known.example)
def test_each_pattern_knows_its_example_and_is_the_first_that_does(known: Any) -> None:
    found = by_words(known.example, WORDS, "")
    assert type(found) is known.kind
    assert known.pattern.search(known.example)


def test_codes_stand_for_failures_of_the_tree() -> None:
    assert all(issubclass(kind, ReadFailed) for kind in CODES.values())


@pytest.mark.parametrize(
    "body", ["", "<html>", "{", '{"result": "0x', b"\xff\xfe", pytest.param("[" * 10**6, id="deep")]
)
def test_a_body_that_is_not_json_is_refused(body: str | bytes) -> None:
    with pytest.raises(BadReply, match="not JSON"):
        node(Replay(body)).deployed(b"", RETURN)


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "wait"),
    [
        (429, {}, {}, Throttled, None),
        (429, {"Retry-After": "7"}, {}, Throttled, 7),
        (429, {"Retry-After": "9" * 400}, {}, Throttled, 3600),
        (429, {"Retry-After": "Mon, 23 Nov 2015 00:00:00 GMT"}, {}, Throttled, None),
        (429, {"Retry-After": "Mon, 23 Nov 2099 00:00:00 GMT"}, {}, Throttled, 3600),
        (429, {"Retry-After": "soon"}, {}, Throttled, None),
        (429, {"Retry-After": "120"}, error(-32005, "request rate exceeded"), Throttled, 120),
        (429, {}, error(-32005, "request rate exceeded", data={"backoff_seconds": 120.5}), Throttled, 120.5),
        (429, {"Retry-After": "7"}, error(-32005, "slow", data={"backoff_seconds": 120}), Throttled, 120),
        (429, {}, error(-32000, "out of gas"), Throttled, None),
        (429, {}, "request timed out", Throttled, None),
        (402, {}, error(-32000, "gas limit"), Throttled, None),
        (401, {}, "request rate exceeded", Unauthorized, None),
        (413, {}, "request rate exceeded", TooMuch, None),
        (403, {}, error(-32000, "request rate exceeded"), Throttled, None),
        (403, {}, "", Unauthorized, None),
        (403, {}, "<html>error code: 1015</html>", Throttled, None),
        (403, {"Retry-After": "9"}, "", Throttled, 9),
        (403, {}, error(-32052, "API key is not allowed to access blockchain"), Unauthorized, None),
        (403, {}, error(-32000, "Too Many Requests"), Throttled, None),
        (402, {}, "", Throttled, None),
        (401, {}, error(-32000), Unauthorized, None),
        (404, {}, "<html>Not Found</html>", Unavailable, None),
        (404, {}, "the method eth_call is not supported", Unsupported, None),
        (405, {}, "", Unavailable, None),
        (405, {}, "HTTP method POST is not supported by this URL", Unsupported, None),
        (501, {}, "", Unsupported, None),
        (502, {}, "<html>this region is not supported</html>", Unavailable, None),
        (413, {}, "content length too large (6000078>5242880)", TooMuch, None),
        (415, {}, "", Refused, None),
        (500, {}, "", Unavailable, None),
        (500, {}, [error(31, "Batch of more than 3 requests are not allowed")], Unavailable, None),
        (500, {}, error(-32000, "out of gas"), TooMuch, None),
        (400, {}, error(-32602), Unsupported, None),
        (503, {}, "<html>", Unavailable, None),
        (503, {}, "<html>request timed out</html>", OutOfTime, None),
        (503, {"Retry-After": "3"}, "<html>", Throttled, 3),
        (503, {"Retry-After": "3"}, "<html>gas limit</html>", Throttled, 3),
        (503, {"Retry-After": "3"}, error(-32000, "out of gas"), Throttled, 3),
        (503, {"Retry-After": "3"}, error(-32000, "header not found"), StateGone, 3),
    ],
)
def test_an_http_error_is_told_by_its_status_and_body(
    status: int, headers: dict[str, str], body: Any, kind: type[ReadFailed], wait: float | None
) -> None:
    replay = Replay(body, status=status, headers=headers)
    with pytest.raises(ReadFailed) as failure:
        node(replay).deployed(b"", RETURN)
    assert (type(failure.value), failure.value.retry_after) == (kind, wait)
    assert len(replay.requests) == 1, "no retries behind our back"


@pytest.mark.parametrize(
    "failure",
    [
        requests.ConnectionError(f"Max retries exceeded with url: {URL}"),
        requests.ConnectTimeout(URL),
        requests.ReadTimeout(URL),
        requests.exceptions.ChunkedEncodingError(URL),
        requests.exceptions.SSLError(URL),
        ConnectionResetError(URL),
    ],
)
def test_a_broken_connection_is_one_failure_without_the_url(failure: Exception) -> None:
    replay = Replay(error=failure)
    with pytest.raises(Unreachable) as raised:
        node(replay).deployed(b"", RETURN)
    assert not any(secret in str(raised.value) for secret in SECRETS)
    assert raised.value.__suppress_context__, "the cause quotes the URL and must not be printed with a traceback"
    assert len(replay.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    replay = Replay(answer("0xc0de"), status=status, headers={"Location": "https://elsewhere.example/"})
    with pytest.raises(Refused, match="redirect"):
        node(replay).deployed(b"", RETURN)
    assert len(replay.requests) == 1


def test_a_key_that_a_node_quotes_back_is_not_repeated() -> None:
    said = f"project {SECRETS[1]} of hunter2 is over its limit with {SECRETS[2]}"
    with pytest.raises(Throttled) as refused:
        node(Replay(error(-32005, said))).deployed(b"", RETURN)
    assert str(refused.value) == "error -32005: project … of … is over its limit with …"


def test_the_credentials_in_a_url_are_used_and_none_of_the_machines_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine node.example login other password secret\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    replay = Replay(answer("0xc0de"))
    node(replay).deployed(b"", RETURN)
    assert replay.requests[0].headers["Authorization"] == "Basic " + b64encode(b"user:hunter2").decode()


HASH = "0x" + "ab" * 32


class Answers(Replay):
    """Answers each request with the next of these, under its own id."""

    def send(self, request: requests.PreparedRequest, *rest: Any, **more: Any) -> requests.Response:
        results = self.headers["results"]
        body = {"jsonrpc": "2.0", "id": json.loads(request.body or b"")["id"], "result": results[len(self.requests)]}
        self.body = json.dumps(body).encode()
        kept, self.headers = self.headers, {}
        try:
            return super().send(request, *rest, **more)
        finally:
            self.headers = kept


def answers(*results: Any) -> Answers:
    return Answers(headers={"results": results})  # type: ignore[dict-item]


def test_single_calls_are_pinned_to_the_block_of_the_head() -> None:
    block = {"number": "0x55", "timestamp": "0x6b049f82", "hash": HASH}
    replay = answers(block, "0x539", "0x0de0", "0x" + "00" * 31 + "05")
    asked = node(replay, "safe")
    head = asked.head()
    assert head == Head(Block(0x55, 0x6B049F82), 1337, {"blockHash": HASH, "requireCanonical": True})
    assert asked.native(b"\x11" * 20, head.ref) == 0x0DE0
    assert asked.called(b"\x22" * 20, b"\x33", head.ref) == (5).to_bytes(32)
    assert sent(replay) == [
        ("eth_getBlockByNumber", ["safe", False]),
        ("eth_chainId", []),
        ("eth_getBalance", ["0x" + "11" * 20, head.ref]),
        ("eth_call", [{"to": "0x" + "22" * 20, "from": CALLER, "data": "0x33"}, head.ref]),
    ]


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        (None, Lagging),
        ([], BadReply),
        ({"number": "0x1", "timestamp": "0x1"}, BadReply),
        ({"number": None, "timestamp": "0x1", "hash": HASH}, BadReply),
        ({"number": "0x1", "timestamp": 5, "hash": HASH}, BadReply),
    ],
)
def test_a_head_that_is_no_block_is_refused(block: Any, kind: type[ReadFailed]) -> None:
    with pytest.raises(kind):
        node(answers(block, "0x1")).head()


@pytest.mark.parametrize("quantity", [None, 100, "100", "", "0x", "0xzz", ["0x1"], "0x1_0", " 0x1", "0x" + "f" * 9999])
def test_a_quantity_without_its_0x_would_be_another_number_and_is_refused(quantity: Any) -> None:
    with pytest.raises(BadReply):
        node(answers(quantity)).native(b"\x11" * 20, "latest")
