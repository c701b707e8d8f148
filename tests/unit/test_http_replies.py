"""What of HTTP's own a reply needs to be one: the status, and nothing of what it calls its body."""

from collections.abc import Callable
from typing import Any

import pytest
from replay import Replay
from requests import Request
from requests.exceptions import InvalidHeader

from devstack.servers import CAP
from worker.errors import BadReply, Refused, Unreachable
from worker.nodes.evm import EvmNode
from worker.nodes.tron import TronNode
from worker.reading.contract import RETURN

Ask = Callable[..., bytes]


def ask_ethereum(body: Any = None, **reply: Any) -> bytes:
    node = EvmNode("http://node", "latest", time_limit=CAP)
    node._id = -1  # the next request has the id 0
    Replay({"jsonrpc": "2.0", "id": 0, "result": "0xc0de"} if body is None else body, **reply).mount_on(node.session)
    return node.deployed(b"", RETURN)


def ask_tron(body: Any = None, **reply: Any) -> bytes:
    node = TronNode("http://node", "solid", time_limit=CAP)
    good = {"result": {"result": True}, "constant_result": ["c0de"], "transaction": {"ret": [{}]}}
    Replay(good if body is None else body, **reply).mount_on(node.session)
    return node.deployed(b"", RETURN)


on_each_chain = pytest.mark.parametrize("ask", [ask_ethereum, ask_tron])


@on_each_chain
@pytest.mark.parametrize("status", [201, 202, 203, 205, 206, 207, 226, 300])
def test_a_good_body_with_another_status_than_200_is_refused(ask: Ask, status: int) -> None:
    """A part of a body, one that is not there yet, or one that somebody else made."""
    with pytest.raises(Refused, match=f"HTTP {status}"):
        ask(status=status)


@on_each_chain
@pytest.mark.parametrize("status", [204, 304])
def test_a_status_that_has_no_body_is_refused(ask: Ask, status: int) -> None:
    with pytest.raises(Refused, match=f"HTTP {status}"):
        ask("", status=status)


@on_each_chain
@pytest.mark.parametrize("kind", ["text/html", "text/plain; charset=utf-8", "application/octet-stream", "x", None])
def test_what_a_body_is_called_does_not_matter(ask: Ask, kind: str | None) -> None:
    """Gateways call JSON by many names; whether a body is an answer is told by the body."""
    assert ask(headers={} if kind is None else {"Content-Type": kind}) == b"\xc0\xde"


@on_each_chain
def test_a_header_that_cannot_be_read_is_no_fault_of_our_settings(ask: Ask) -> None:
    """As requests raises it for a reply: ours it refuses before there is a request."""
    with pytest.raises(BadReply, match="header"):
        ask(error=InvalidHeader("two lengths", request=Request("POST", "http://node").prepare()))
    with pytest.raises(Unreachable, match="settings"):
        ask(error=InvalidHeader("a key with a line's end in it"))


@on_each_chain
def test_a_machine_that_has_no_more_threads_is_no_reply(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("worker.nodes.http.Thread.start", start)
    with pytest.raises(Unreachable):
        ask()


@on_each_chain
def test_html_that_is_called_json_is_no_reply(ask: Ask) -> None:
    with pytest.raises(BadReply, match="not JSON"):
        ask("<html>200 OK</html>", headers={"Content-Type": "application/json"})
