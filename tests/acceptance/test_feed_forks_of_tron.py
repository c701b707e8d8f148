"""A Tron that is followed at its head, where blocks can still be replaced: what a fork undoes is read anew."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from feed_chaos import Chaos, chaos_of

from devstack.stack import LocalChain


@pytest.fixture(scope="module")
def chaos(servers: Path, chains: dict[str, LocalChain], pytestconfig: pytest.Config) -> Iterator[Chaos]:
    crowd = int(pytestconfig.getoption("crowd")) // 2
    with chaos_of(servers / "feed-forks", chains, crowd, {"tron": (0,)}, TRON_FINALITY="latest") as made:
        yield made


@pytest.mark.parametrize("depth", [1, 2])
def test_what_a_fork_undoes_is_read_anew(chaos: Chaos, depth: int) -> None:
    before = chaos.gone_back("tron")
    chaos.forks("tron", depth)
    chaos.heals()
    assert chaos.audit.check_written() > 0
    chaos.scene.wait_for(lambda: chaos.gone_back("tron") >= before + 2, "both forks to be noticed")


def test_what_a_deep_fork_undoes_is_read_anew(chaos: Chaos) -> None:
    before = chaos.gone_back("tron")
    chaos.forks_deeply("tron")
    chaos.heals()
    assert chaos.audit.check_written() > 0
    chaos.scene.wait_for(lambda: chaos.gone_back("tron") > before, "the fork to be noticed")
