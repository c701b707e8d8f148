"""Blocks are followed, whatever dies, hangs, lags or forks: every transfer shows, nothing wrong is written, no touch is
lost, and none is served twice without need.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from feed_chaos import AHEAD, Chaos, chaos_of

from devstack.stack import SOLID_LAG, LocalChain

LAGS = 2  # blocks that the second endpoint of Ethereum is behind
NODES = {"ethereum": (0, LAGS), "tron": (0,)}


@pytest.fixture(scope="module")
def chaos(servers: Path, chains: dict[str, LocalChain], pytestconfig: pytest.Config) -> Iterator[Chaos]:
    with chaos_of(servers / "feed-chaos", chains, int(pytestconfig.getoption("crowd")), NODES) as made:
        yield made


def pool_children_killed(chaos: Chaos) -> None:
    for _ in range(2):
        killed = chaos.scene.worker.children()
        for child in killed:
            child.kill()
        chaos.scene.wait_for(lambda: len(chaos.scene.worker.children()) == len(killed), "new children")  # noqa: B023
        chaos.await_blocks(1)
    chaos.time_passes()


def worker_killed(chaos: Chaos) -> None:
    chaos.scene.worker.kill()
    chaos.await_blocks(2)
    chaos.time_passes()
    chaos.scene.worker.start()


def beat_killed(chaos: Chaos) -> None:
    chaos.scene.beat.kill()
    chaos.await_blocks(2)
    chaos.scene.beat.start()


def best_endpoint_hung(chaos: Chaos) -> None:
    """The one that lags is all that there is."""
    with chaos.of_network["ethereum"][0].hung():
        chaos.await_blocks()


def every_node_hung(chaos: Chaos) -> None:
    with ExitStack() as hung:
        for gate in chaos.gates:
            hung.enter_context(gate.hung())
        chaos.await_blocks()


def every_endpoint_lags(chaos: Chaos) -> None:
    best, _ = chaos.of_network["ethereum"]
    best.lags = 2 * LAGS
    chaos.await_blocks()
    best.lags = 0


def every_read_lags(chaos: Chaos) -> None:
    """As behind a balancer: blocks come from one machine, and balances from others that are behind it."""
    chaos.await_blocks(2 * LAGS)  # so that most rows are of blocks before those that are shown then
    for gate in chaos.of_network["ethereum"]:
        gate.reads_lag = 2 * LAGS
    chaos.await_blocks()
    for gate in chaos.of_network["ethereum"]:
        gate.reads_lag = 0


def forked_while_nobody_looks(chaos: Chaos) -> None:
    chaos.scene.worker.kill()
    chaos.await_blocks(1)
    chaos.markets["ethereum"].reorganise(3)
    chaos.time_passes()
    chaos.scene.worker.start()


DISASTERS: list[tuple[str, Callable[[Chaos], None]]] = [
    ("pool_children_killed", pool_children_killed),
    ("worker_killed", worker_killed),
    ("beat_killed", beat_killed),
    ("best_endpoint_hung", best_endpoint_hung),
    ("every_node_hung", every_node_hung),
    ("every_endpoint_lags", every_endpoint_lags),
    ("every_read_lags", every_read_lags),
    ("a_fork_of_1", partial(Chaos.forks, network="ethereum", depth=1)),
    ("a_fork_of_2", partial(Chaos.forks, network="ethereum", depth=2)),
    ("a_fork_of_70", partial(Chaos.forks_deeply, network="ethereum")),
    ("forked_while_nobody_looks", forked_while_nobody_looks),
]


def test_each_touch_is_served_by_one_read(chaos: Chaos) -> None:
    """By what the nodes are asked for. A wallet that several blocks touch before it is read is read once."""
    chaos.fallen = chaos.falls()
    before = chaos.audit.noted()
    for gate in chaos.gates:
        gate.reads.clear()
    chaos.await_blocks()
    chaos.heals()
    assert chaos.falls() == chaos.fallen, "all reads are of touches"
    reads = sum((gate.reads for gate in chaos.gates), Counter[str]())
    touches = chaos.audit.noted() - before
    assert reads.total() > 0
    assert not reads - touches, f"{reads - touches} reads more than touches: {touches}"


@pytest.mark.parametrize("disaster", [each for _, each in DISASTERS], ids=[name for name, _ in DISASTERS])
def test_every_transfer_shows_and_nothing_wrong_is_written(chaos: Chaos, disaster: Callable[[Chaos], None]) -> None:
    chaos.fallen = chaos.falls()
    disaster(chaos)
    chaos.heals()
    assert chaos.audit.check_written() > 0


@pytest.mark.parametrize("depth", range(1, SOLID_LAG + 1))
def test_a_fork_of_blocks_that_are_not_solid_yet_disturbs_nothing(chaos: Chaos, depth: int) -> None:
    market = chaos.markets["tron"]
    for _ in range(3):
        chaos.await_blocks(1)
        with market.making:
            for _ in range(AHEAD):
                market.make_block(market.transfers)
            market.reorganise(depth)
    chaos.heals()
    assert chaos.audit.check_written() > 0
    replaced = chaos.scene.value("SELECT orphaned_to FROM feed_cursor WHERE network = 'tron'")
    assert replaced is None, "no block that was followed is gone"
