"""Each module has chains of its own: it funds wallets on them, and some go on changing what those hold."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from chaos import Audit
from scene import EVER, Scene

from devstack.seed import SeededWallet, fund_all, insert, wallets
from devstack.servers import Server
from devstack.stack import LocalChain, local_ethereum, local_tron, settings
from worker.schedule.dispatch import MAX_WAITING

PER_CHAIN = MAX_WAITING + 10  # read one by one, they fill a queue


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=1, help="how often in a row each disaster of test_chaos.py comes")
    parser.addoption("--crowd", type=int, default=80, help="wallets of both networks in test_feed_chaos.py")


@pytest.fixture(scope="module")
def ethereum(servers: Path, request: pytest.FixtureRequest) -> Iterator[LocalChain]:
    with local_ethereum(servers / str(request.module.__name__)) as chain:
        yield chain


@pytest.fixture(scope="module")
def tron(servers: Path, request: pytest.FixtureRequest) -> Iterator[LocalChain]:
    with local_tron(servers / str(request.module.__name__)) as chain:
        yield chain


@pytest.fixture(scope="module")
def chains(ethereum: LocalChain, tron: LocalChain) -> dict[str, LocalChain]:
    return {"ethereum": ethereum, "tron": tron}


@pytest.fixture(scope="module")
def funded(chains: dict[str, LocalChain]) -> list[SeededWallet]:
    seeded = wallets(PER_CHAIN)
    fund_all(chains, seeded)
    return seeded


@pytest.fixture
def new_scene(
    tmp_path: Path,
    funded: list[SeededWallet],
    database_url: str,
    redis_process: Server,
    chains: dict[str, LocalChain],
) -> Iterator[Callable[..., Scene]]:
    """Makes a scene with the settings that a test wants; its processes end with the test."""
    redis.Redis.from_url(redis_process.url).flushall()
    insert(database_url, funded)
    with ExitStack() as started:

        def made(**more: str) -> Scene:
            scene = Scene(tmp_path, settings(database_url, redis_process.url, **chains) | more, funded, chains)
            started.enter_context(scene.stack)
            return scene

        yield made


@pytest.fixture
def start(new_scene: Callable[..., Scene]) -> Callable[..., Scene]:
    """Starts beat and a worker with what a test sets, and waits until they have read every wallet."""

    def begun(**more: str) -> Scene:
        scene = new_scene(**more)
        scene.begin()
        scene.await_all_fresh(since=EVER)
        scene.check_balances()
        return scene

    return begun


@pytest.fixture
def start_audited(new_scene: Callable[..., Scene]) -> Callable[..., tuple[Scene, Audit]]:
    """The same while balances change all the time, and with an audit of what is written."""

    def begun(**more: str) -> tuple[Scene, Audit]:
        scene = new_scene(**more)
        audit = Audit(scene)
        scene.begin()
        scene.await_all_fresh(since=EVER)
        return scene, audit

    return begun
