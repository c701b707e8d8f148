"""The endpoint as a real process; chains with proxies before their nodes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from checking import Env, Look
from endpoint import ENV, IMPATIENT, Endpoint, StartEndpoint
from environment import forget_settings
from followed import Followed
from network import NETWORKS, SOLID_LAG, Net, ahead, multicall3_of
from proxy import Proxy, proxy
from tables import Tables

from config.networks import NetworkName
from config.settings import worker_settings
from db.rights import WORKER
from devstack.chain import Chain
from devstack.product import api
from devstack.roles import as_role
from devstack.seed import insert, wallets
from devstack.servers import CAP, Server, anvil, tron_node, wait_for
from devstack.stack import ETHEREUM_CHAIN_ID, TRON_CHAIN_ID, LocalChain, base58_address
from devstack.stack import settings as stack_settings
from worker.admin import check
from worker.admin.check import findings
from worker.admin.finding import Finding
from worker.feed import follow
from worker.reading import shared_redis


@pytest.fixture(scope="session")
def endpoints_database(template: str) -> Iterator[str]:
    """The database of the endpoints that run for the whole session. Each test has rows of its own there."""
    from conftest import new_database

    with new_database(template) as url:
        yield url


@pytest.fixture(scope="session")
def patient_endpoint(
    endpoints_database: str, redis_process: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    env = {**ENV, "DATABASE_URL": endpoints_database, "REDIS_URL": redis_process.url}
    with api(tmp_path_factory.mktemp("patient"), env) as server:
        yield server


@pytest.fixture(scope="session")
def impatient_endpoint(
    endpoints_database: str, redis_process: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    env = {**IMPATIENT, "DATABASE_URL": endpoints_database, "REDIS_URL": apart(redis_process)}
    with api(tmp_path_factory.mktemp("impatient"), env) as server:
        yield server


def apart(redis_process: Server) -> str:
    """Another of Redis' databases: a message that comes late is none of the other endpoint's."""
    return redis_process.url.removesuffix("/0") + "/1"


@pytest.fixture
def endpoint_rows(endpoints_database: str, redis_process: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tables]:
    """The contract's user with two wallets that nobody has read yet, in a database that the settings name."""
    redis.Redis.from_url(redis_process.url).flushall()
    monkeypatch.setenv("DATABASE_URL", as_role(endpoints_database, WORKER))
    forget_settings()
    with psycopg.connect(endpoints_database, autocommit=True) as connection:
        connection.execute("DELETE FROM wallets")
        connection.execute("DELETE FROM leases")
        insert(endpoints_database, wallets(0))
        yield Tables(connection)
    forget_settings()


@pytest.fixture
def endpoint(
    patient_endpoint: Server, endpoint_rows: Tables, endpoints_database: str, redis_process: Server
) -> Iterator[Endpoint]:
    """An endpoint that waits for a read for longer than any test takes. The process is one for all tests."""
    made = Endpoint(patient_endpoint, endpoint_rows, endpoints_database, redis_process.url)
    yield made
    made.settle()


@pytest.fixture
def impatient(
    impatient_endpoint: Server, endpoint_rows: Tables, endpoints_database: str, redis_process: Server
) -> Endpoint:
    """An endpoint over the same rows that hardly waits for a read: for tests in which nobody is to answer."""
    return Endpoint(impatient_endpoint, endpoint_rows, endpoints_database, apart(redis_process))


@pytest.fixture
def shared(impatient: Endpoint) -> Endpoint:
    """An endpoint for tests that change nothing: the contract's user, whose wallets have been read."""
    impatient.read_all()
    return impatient


@pytest.fixture
def start_endpoint(database_url: str, tables: Tables, redis_process: Server, tmp_path: Path) -> StartEndpoint:
    """For tests that end an endpoint, hang it, count what it does, or give it settings of its own."""
    redis.Redis.from_url(redis_process.url).flushall()
    insert(database_url, wallets(0))

    @contextmanager
    def started(**settings: str) -> Iterator[Endpoint]:
        env = {**ENV, "DATABASE_URL": database_url, "REDIS_URL": redis_process.url, **settings}
        with api(tmp_path / "endpoint", env) as server:
            yield Endpoint(server, tables, env["DATABASE_URL"], redis_process.url)

    return started


@pytest.fixture(scope="session")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[NetworkName, Net]]:
    folder = tmp_path_factory.mktemp("faults")
    creation = (Path(__file__).parents[1] / "Multicall3.hex").read_text().strip()
    with ExitStack() as started:
        made: dict[NetworkName, Net] = {}
        described: list[tuple[NetworkName, int, bytes]] = [
            ("ethereum", ETHEREUM_CHAIN_ID, multicall3_of("ethereum")),
            ("tron", TRON_CHAIN_ID, multicall3_of("tron")),
        ]
        for network, chain_id, multicall3 in described:
            evm = started.enter_context(anvil(folder, f"{network}-evm", chain_id, 1))
            chain = Chain(evm.url)
            token = chain.deploy_token()
            chain.ask("evm_setIntervalMining", 0)
            chain.ask("evm_setAutomine", True)
            chain.mine(60)  # a node may be so many behind, whichever test comes first
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
    nets: dict[NetworkName, Net],
) -> Any:
    """Describes the chains behind their proxies, with what a test adds."""
    redis.Redis.from_url(redis_process.url).flushall()
    monkeypatch.setenv("REDIS_URL", redis_process.url)
    monkeypatch.setenv("SYNC_LEASE", f"{6 * CAP:g}")  # a sixth of it is what a request may take
    monkeypatch.setattr(shared_redis, "TIMEOUT", CAP)  # a Redis that is only slow is not out of reach
    monkeypatch.setenv("ETHEREUM_CHAIN_ID", str(ETHEREUM_CHAIN_ID))
    monkeypatch.setenv("TRON_CHAIN_ID", str(TRON_CHAIN_ID))
    monkeypatch.setenv("ETHEREUM_USDT_CONTRACT", "0x" + nets["ethereum"].token.hex())
    monkeypatch.setenv("TRON_USDT_CONTRACT", base58_address(nets["tron"].token))
    for network in nets:
        monkeypatch.setenv(f"{network.upper()}_USDT_DECIMALS", "6")
        monkeypatch.setenv(f"{network.upper()}_RPS", "0")

    def configured(**more: str) -> None:
        for network, net in nets.items():
            monkeypatch.setenv(f"{network.upper()}_RPC_URLS", net.proxy.url)
            # Automined blocks may be a few seconds ahead of the clock: each is at least one later than the last.
            wait_for(lambda chain=net.chain: ahead(chain) < 20, what="the clock to catch up")  # type: ignore[misc]
        for name, value in more.items():
            monkeypatch.setenv(name, value)
        forget_settings()

    return configured


@pytest.fixture(params=NETWORKS)
def followed(
    request: pytest.FixtureRequest,
    nets: dict[NetworkName, Net],
    settings: Any,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
) -> Followed:
    """A network with FEED=on, and some wallets that nobody has read yet. Blocks are made by the test: none is late."""
    settings(FEED="on")
    monkeypatch.setattr(follow, "PATIENCE", 0.0)
    return Followed(nets[request.param], tables)


@pytest.fixture
def env(
    database_url: str,
    redis_process: Server,
    ethereum: LocalChain,
    tron: LocalChain,
    monkeypatch: pytest.MonkeyPatch,
) -> Env:
    """The settings of the devstack, in which all is well: there are tokens, or there would be nothing to read."""
    for chain in (ethereum, tron):
        chain.chain.mint(chain.token, [(b"any holder of them..", 1)])
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
