"""What an endpoint is called, and what of its URL is shown nowhere."""

import pytest
from environment import forget_settings

from config.settings import WorkerSettings, load
from worker.admin.node_states import named_nodes
from worker.nodes.urls import digest, node_name, node_names, secrets_in
from worker.reading import nodes_for

ENV = {"DATABASE_URL": "postgresql://h/n", "REDIS_URL": "redis://h"}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://mainnet.infura.io/v3/0123456789abcdef", "mainnet.infura.io"),
        ("http://127.0.0.1:8545", "127.0.0.1:8545"),
        ("http://[::1]:8545", "::1:8545"),
        ("https://eth-mainnet.g.alchemy.com/v2/key-of-ours", "eth-mainnet.g.alchemy.com"),
        ("https://blue-sky-0a1b2c3d4e5f.quiknode.pro/0123/", "….quiknode.pro"),
        ("https://0a1b2c3d4e5f60718293a4b5c6d7e8f9.eth.rpc.example", "….eth.rpc.example"),
        ("https://ethereum-mainnet-node.example", "ethereum-mainnet-node.example"),
        ("https://node-1.eth.example", "node-1.eth.example"),
        ("main=https://0a1b2c3d4e5f60718293.rpc.example/key", "main"),
        ("main-2=https://x.example/?a=b", "main-2"),
        ("https://x.example/?a=https://b", "x.example"),
    ],
)
def test_an_endpoint_is_called_by_its_given_name_or_its_host_without_a_token(url: str, name: str) -> None:
    assert node_name(url) == name


def test_endpoints_of_one_name_have_numbers() -> None:
    urls = ["https://a.example/1", "https://b.example", "https://a.example/2", "a=https://c.example"]
    assert node_names(urls) == ["a.example", "b.example", "a.example#2", "a"]


def test_a_token_in_a_host_is_a_secret_and_a_name_is_none() -> None:
    assert secrets_in("main=https://0a1b2c3d4e5f60718293.rpc.example/key-of-ours") == (
        "key-of-ours",
        "0a1b2c3d4e5f60718293",
    )


@pytest.mark.parametrize("network", ["ethereum", "tron"])
def test_the_settings_name_endpoints_and_the_url_alone_is_asked(monkeypatch: pytest.MonkeyPatch, network: str) -> None:
    urls = "main=https://one.example/key,https://two.example/a,https://two.example/b"
    for name, value in {**ENV, f"{network.upper()}_RPC_URLS": urls}.items():
        monkeypatch.setenv(name, value)
    forget_settings()
    settings = load(WorkerSettings)
    nodes = nodes_for(network, settings)
    assert [node.name for node in nodes] == ["main", "two.example", "two.example#2"]
    assert nodes[0].id == digest("https://one.example/key")
    assert [(each.id, each.name) for each in named_nodes(settings.chain(network))] == [
        (node.id, node.name) for node in nodes
    ]


@pytest.mark.parametrize("value", ["a b=https://x.example", "=https://x.example", "ü=https://x.example", "a=ftp://x"])
def test_what_is_no_name_is_no_setting(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    for name, each in {**ENV, "ETHEREUM_RPC_URLS": value}.items():
        monkeypatch.setenv(name, each)
    with pytest.raises(SystemExit, match="ETHEREUM_RPC_URLS"):
        load(WorkerSettings)


@pytest.mark.parametrize(("value", "good"), [("0.2", True), ("0", True), ("0.1", True), ("10", True), ("0.05", False)])
def test_a_budget_may_be_a_part_of_a_request_a_second(
    monkeypatch: pytest.MonkeyPatch, value: str, *, good: bool
) -> None:
    for name, each in {**ENV, "TRON_RPS": value}.items():
        monkeypatch.setenv(name, each)
    if good:
        assert load(WorkerSettings).chain("tron").per_second == float(value)
    else:
        with pytest.raises(SystemExit, match="TRON_RPS"):
            load(WorkerSettings)
