"""A real node over TLS and through a proxy, as the environment names them; and what goes past a proxy."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from authorities import Authority
from forwarding import Forwarder

from config.proxies import CERTIFICATES
from devstack.servers import CAP, HOST
from devstack.stack import LocalChain
from worker.errors import Unreachable
from worker.nodes.failures import translated
from worker.nodes.http import NodeSession

CHAIN_ID = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}


class HttpProxy:
    """A proxy that notes what it was asked for, with its credentials, and asks whoever was meant."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listening = socket.create_server((HOST, 0))
        self.port = self._listening.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                Thread(target=self._serve, args=(self._listening.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            self.asked.append(head.partition(b"\r\n\r\n")[0].decode())
            method, target, _ = head.split(b" ", 2)
            place = urlsplit(b"//" + target if method == b"CONNECT" else target)
            with socket.create_connection((HOST, place.port or 80)) as server:
                if method == b"CONNECT":
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    server.sendall(head.replace(target, place.path or b"/", 1))
                Thread(target=Forwarder._pass_on, args=(server, client), daemon=True).start()
                Forwarder._pass_on(client, server)

    def close(self) -> None:
        self._listening.close()


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*CERTIFICATES, "https_proxy", "http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "theirs")


@pytest.fixture
def proxy_server() -> Iterator[HttpProxy]:
    made = HttpProxy()
    yield made
    made.close()


@pytest.fixture
def safe_node(ethereum: LocalChain, authority: Authority) -> Iterator[str]:
    """The URL of a node that speaks TLS, with a certificate of a private authority."""
    with Forwarder(urlsplit(ethereum.node.url).port or 0, authority.server(HOST)) as forwarder:
        yield f"https://{HOST}:{forwarder.port}/?key=hunter2"


def asked(url: str) -> Any:
    session = NodeSession(CAP)
    try:
        with translated(()):
            return session.post(url, json=CHAIN_ID).json()["result"]
    finally:
        session.close()


@pytest.mark.parametrize("name", [each.upper() for each in CERTIFICATES])
def test_a_private_authority_is_believed_by_each_of_its_variables(
    safe_node: str, authority: Authority, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unreachable, match="SSLError") as refused:
        asked(safe_node)
    assert "hunter2" not in repr(refused.value)
    monkeypatch.setenv(name, str(authority.file))
    assert asked(safe_node).startswith("0x")


def test_the_other_librarys_variable_takes_nobody_away(
    safe_node: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node's authority stands for a public one: requests has it among those that it trusts by itself."""
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(authority.file))
    monkeypatch.setenv("SSL_CERT_FILE", str(Authority(tmp_path, "another").file))
    assert asked(safe_node).startswith("0x")


def test_both_librarys_variables_hold_at_once(
    safe_node: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Authority(tmp_path, "another").file))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert asked(safe_node).startswith("0x")


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_node_is_asked_through_the_proxy_in_a_tunnel(
    safe_node: str, authority: Authority, proxy_server: HttpProxy, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setenv(variable, f"http://me:hunter2@{HOST}:{proxy_server.port}")
    assert asked(safe_node).startswith("0x")
    (head,) = proxy_server.asked
    assert head.startswith(f"CONNECT {urlsplit(safe_node).netloc} ")
    assert "proxy-authorization: basic " in head.lower()
    assert "key=" not in head, "the query, which may hold a key, is for the node alone"


def test_plain_http_goes_through_its_own_proxy(
    ethereum: LocalChain, proxy_server: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"{HOST}:{proxy_server.port}")
    assert asked(ethereum.node.url).startswith("0x")
    assert len(proxy_server.asked) == 1


@pytest.mark.parametrize("past", [HOST, "*"])
def test_what_no_proxy_names_goes_past_it(
    ethereum: LocalChain, proxy_server: HttpProxy, past: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{HOST}:{proxy_server.port}")
    monkeypatch.setenv("NO_PROXY", past)
    assert asked(ethereum.node.url).startswith("0x")
    assert proxy_server.asked == []


def test_a_proxy_that_nobody_listens_at_is_told_of_without_its_password(
    ethereum: LocalChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://me:hunter2@{HOST}:1")
    with pytest.raises(Unreachable, match="ProxyError") as refused:
        asked(ethereum.node.url)
    assert "hunter2" not in repr(refused.value)
