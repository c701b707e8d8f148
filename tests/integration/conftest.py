"""The endpoint as a real process; chains with proxies before their nodes."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from checking import Env, Look
from endpoint import ENV, Endpoint
from environment import forget_settings
from network import SOLID_LAG, Net, ahead
from proxy import Proxy, proxy
from tables import Tables

from config.settings import Network, worker_settings
from db.rights import WORKER
from devstack.chain import Chain
from devstack.product import api
from devstack.roles import as_role
from devstack.seed import insert, wallets
from devstack.servers import CAP, Server, anvil, tron_node, wait_for
from devstack.stack import ETHEREUM_CHAIN_ID, TRON_CHAIN_ID, LocalChain, base58_address
from devstack.stack import settings as stack_settings
from worker import check
from worker.chains import ethereum as on_ethereum
from worker.chains import known
from worker.chains import tron as on_tron
from worker.check import Finding, findings


@pytest.fixture
def endpoint(database_url: str, tables: Tables, redis_process: Server, tmp_path: Path) -> Iterator[Endpoint]:
    redis.Redis.from_url(redis_process.url).flushall()
    insert(database_url, wallets(0))
    env = {**ENV, "DATABASE_URL": database_url, "REDIS_URL": redis_process.url}
    with api(tmp_path, env) as server:
        yield Endpoint(server, tables, redis_process.url)


@pytest.fixture(scope="session")
def shared(template: str, redis_process: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """An endpoint for tests that change nothing: the contract's user, read a minute ago, and not due for an hour."""
    from conftest import new_database

    with new_database(template) as url, psycopg.connect(url, autocommit=True) as connection:
        insert(url, wallets(0))
        env = {**ENV, "REFRESH_DEADLINE": "0.1", "DATABASE_URL": url, "REDIS_URL": redis_process.url}
        with api(tmp_path_factory.mktemp("shared"), env) as server:
            made = Endpoint(server, Tables(connection), redis_process.url)
            made.read_all()
            yield made


@pytest.fixture(scope="session")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Network, Net]]:
    folder = tmp_path_factory.mktemp("faults")
    creation = (Path(__file__).parents[1] / "Multicall3.hex").read_text().strip()
    with ExitStack() as started:
        made: dict[Network, Net] = {}
        described: list[tuple[Network, int, bytes]] = [
            ("ethereum", ETHEREUM_CHAIN_ID, on_ethereum.MULTICALL3),
            ("tron", TRON_CHAIN_ID, on_tron.MULTICALL3),
        ]
        for network, chain_id, multicall3 in described:
            evm = started.enter_context(anvil(folder, f"{network}-evm", chain_id, 1))
            chain = Chain(evm.url)
            token = chain.deploy_token()
            chain.ask("evm_setIntervalMining", 0)
            chain.ask("evm_setAutomine", True)
            code = chain.ask("eth_call", {"data": "0x" + creation}, "latest")
            chain.ask("anvil_setCode", "0x" + multicall3.hex(), code)
            node = evm if network == "ethereum" else started.enter_context(tron_node(folder, evm.url, SOLID_LAG))
            first, second = (started.enter_context(proxy(node.url)) for _ in range(2))
            made[network] = Net(network, chain, token, first, second)
        yield made


@pytest.fixture
def settings(
    tables: Tables,  # noqa: ARG001  its own settings come first
    redis_process: Server,
    monkeypatch: pytest.MonkeyPatch,
    nets: dict[Network, Net],
) -> Any:
    """Describes the chains behind their proxies, with what a test adds."""
    redis.Redis.from_url(redis_process.url).flushall()
    monkeypatch.setenv("REDIS_URL", redis_process.url)
    monkeypatch.setenv("SYNC_LEASE", f"{6 * CAP:g}")  # a sixth of it is what a request may take
    monkeypatch.setattr(known, "TIMEOUT", CAP)  # a Redis that is only slow is not out of reach
    monkeypatch.setenv("ETHEREUM_CHAIN_ID", str(ETHEREUM_CHAIN_ID))
    monkeypatch.setenv("TRON_CHAIN_ID", str(TRON_CHAIN_ID))
    monkeypatch.setenv("ETHEREUM_USDT_CONTRACT", "0x" + nets["ethereum"].token.hex())
    monkeypatch.setenv("TRON_USDT_CONTRACT", base58_address(nets["tron"].token))
    for name in ("ETHEREUM_RPS", "TRON_RPS"):
        monkeypatch.setenv(name, "0")

    def configured(**more: str) -> None:
        for network, net in nets.items():
            monkeypatch.setenv(f"{network.upper()}_RPC_URLS", net.proxy.url)
            # Automined blocks may be a few seconds ahead of the clock: each is at least one later than the last.
            wait_for(lambda chain=net.chain: ahead(chain) < 20, what="the clock to catch up")  # type: ignore[misc]
        for name, value in more.items():
            monkeypatch.setenv(name, value)
        forget_settings()

    return configured


@pytest.fixture
def env(
    database_url: str,
    redis_process: Server,
    ethereum: LocalChain,
    tron: LocalChain,
    monkeypatch: pytest.MonkeyPatch,
) -> Env:
    """The settings of the devstack, in which all is well."""
    made = stack_settings(as_role(database_url, WORKER), redis_process.url, ethereum, tron)
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def before_ethereum(ethereum: LocalChain) -> Iterator[Proxy]:
    with proxy(ethereum.node.url) as made:
        yield made


@pytest.fixture
def look(env: Env, monkeypatch: pytest.MonkeyPatch) -> Look:
    """What the check finds with some settings changed."""
    monkeypatch.setattr(check, "REDIS_TIMEOUT", CAP)  # a Redis that is only slow is not out of reach

    def findings_with(*, with_endpoint: bool = True, **changes: str) -> list[Finding]:
        for name, value in {**env, **changes}.items():
            monkeypatch.setenv(name, value)
        forget_settings()
        return list(findings(worker_settings(), with_endpoint=with_endpoint))

    return findings_with
