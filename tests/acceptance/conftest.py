"""Each module has chains of its own: it funds wallets on them, and some go on changing what those hold."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.stack import LocalChain, local_ethereum, local_tron


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=1, help="how often in a row each disaster of test_chaos.py comes")


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
