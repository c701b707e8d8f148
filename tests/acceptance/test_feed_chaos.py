"""Blocks are followed, whatever dies, hangs, lags or forks: every transfer shows, nothing wrong is written, no touch is
lost, and none is served twice without need.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from conftest import migrate
from feed_chaos import BLOCK_SECONDS, HURRY_SECONDS, FeedAudit, Gate, Market, await_all, crowd, gates
from scene import NEVER, Restartable, Scene

from devstack.seed import SeededWallet, fund_all, insert
from devstack.servers import free_port, postgres, redis_server, wait_for
from devstack.stack import LocalChain, settings

LAGS = 2  # blocks that the second endpoint of Ethereum is behind
BOUND = 2  # blocks after which a change must show
SOME_BLOCKS = 4
DEEP = 70
MOST_TRANSFERS = 55  # in a block of the local chains

FALLS = re.compile(r"feed_stands_still|freshness_policy .*before=feed .*policy=cadence")

LEASE = {"SYNC_LEASE": "24"}
"""Requests end after a sixth of it: another endpoint is asked while one hangs."""

# Few wallets travel together, so that few are enough for following blocks to be the cheapest way.
FILE = """\
[ethereum]
block_seconds = 1
fastest_block_seconds = 0.1
most_wallets = {{revert = {per_batch}, return = {per_batch}, multicall3 = {per_batch}, single = {per_batch}}}

[tron]
block_seconds = 1
fastest_block_seconds = 0.1
most_wallets = {{return = {per_batch}, single = {per_batch}}}
"""


@dataclass
class Chaos:
    """Two networks that are followed, and all that can be done to them."""

    scene: Scene
    markets: dict[str, Market]
    best: Gate
    lagging: Gate
    tron: Gate
    audit: FeedAudit
    fallen: int = 0
    """How often the feed had been given up before the disaster."""

    @property
    def gates(self) -> tuple[Gate, ...]:
        return self.best, self.lagging, self.tron

    def await_blocks(self, blocks: int = SOME_BLOCKS) -> None:
        """So many more blocks on each chain."""
        wanted = [(market, market.head + blocks) for market in self.markets.values()]
        for market, head in wanted:
            wait_for(lambda: market.head >= head, *market.local.servers, what="blocks")  # noqa: B023

    def time_passes(self) -> None:
        """What a killed worker held is free again."""
        self.scene.end_leases(self.scene.tokens())
        self.scene.rows("UPDATE feed_cursor SET lease_until = now() WHERE lease_token IS NOT NULL")

    def all_follow(self) -> bool:
        found = "SELECT count(*) FROM feed_cursor WHERE policy = 'feed' AND since IS NOT NULL"
        return bool(self.scene.value(found) == len(self.markets))

    def falls(self) -> int:
        """How often the feed was given up for the cadence."""
        logs = "".join(log.read_text(errors="replace") for log in self.scene.folder.glob("worker-*.log"))
        return len(FALLS.findall(logs))

    def cadence_comes(self) -> None:
        """An interval passes for what was read before the feed began, or began anew: that comes by the cadence."""
        falls = self.falls()
        if falls > self.fallen and self.all_follow():
            self.fallen = falls
            self.scene.make_due()

    def heals(self) -> None:
        """Every change shows no more than two blocks after the one that made it, and no read is owed."""
        with ExitStack() as still:
            for market in self.markets.values():
                still.enter_context(market.making)
                market.make_block(market.transfers)
                for _ in range(market.lag + BOUND):
                    market.make_block()
            for network in self.markets:
                await_all(
                    self.scene,
                    lambda network=network: self.is_shown(network),  # type: ignore[misc]
                    lambda network=network: f"{self.audit.wrong_rows(network)} {self.owed()}",  # type: ignore[misc]
                    f"{network} to be shown",
                )
            await_all(self.scene, lambda: not self.audit.touches(), self.owed, "no read to be owed")

    def is_shown(self, network: str) -> bool:
        self.cadence_comes()
        return not self.audit.wrong_rows(network)

    def owed(self) -> str:
        return f"{self.scene.rows('SELECT * FROM touches')} {self.scene.rows('SELECT * FROM feed_cursor')}"


@pytest.fixture(scope="module")
def wallets(pytestconfig: pytest.Config) -> int:
    """Of both networks together."""
    return int(pytestconfig.getoption("crowd"))


@pytest.fixture(scope="module")
def chaos(servers: Path, chains: dict[str, LocalChain], wallets: int) -> Iterator[Chaos]:
    folder = servers / "feed-chaos"
    each = wallets // 2
    with ExitStack() as started:
        database = Restartable(partial(postgres, folder, free_port()))
        queue = Restartable(partial(redis_server, folder, free_port()))
        for server in (database, queue):
            started.callback(server.stop)
            server.start()
        migrate(database.server.url)
        ethereum, tron = (chains[network].node.url for network in ("ethereum", "tron"))
        best, lagging, tron_gate = started.enter_context(gates((ethereum, 0), (ethereum, LAGS), (tron, 0)))
        crowds = {network: crowd(network, each, at * each) for at, network in enumerate(chains)}
        seeded: list[SeededWallet] = [wallet for those in crowds.values() for wallet in those]
        fund_all(chains, seeded)
        insert(database.server.url, seeded)
        (folder / "networks.toml").write_text(FILE.format(per_batch=max(each // 8, 2)))
        env = settings(database.server.url, queue.server.url, **chains) | NEVER | LEASE
        env |= {
            "FEED": "on",
            "NETWORKS_FILE": str(folder / "networks.toml"),
            "ETHEREUM_RPC_URLS": f"{best.proxy.url},{lagging.proxy.url}",
            "TRON_RPC_URLS": tron_gate.proxy.url,
            "ETHEREUM_RPS": "1000",
            "TRON_RPS": "1000",
        }
        scene = Scene(folder, env, seeded, chains, {"postgres": database, "redis": queue})
        markets = {
            network: Market(chains[network], those, max(min(each // 20, MOST_TRANSFERS), 2))
            for network, those in crowds.items()
        }
        made = Chaos(scene, markets, best, lagging, tron_gate, FeedAudit(scene, markets))
        with scene.stack:
            scene.begin()
            for market in markets.values():
                market.start()
                scene.stack.callback(market.join)
                scene.stack.callback(market.over.set)
            scene.wait_for(made.all_follow, "both networks to be followed")
            made.fallen = -1
            made.heals()
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
    with chaos.best.hung():
        chaos.await_blocks()


def every_node_hung(chaos: Chaos) -> None:
    with ExitStack() as hung:
        for gate in chaos.gates:
            hung.enter_context(gate.hung())
        chaos.await_blocks()


def every_endpoint_lags(chaos: Chaos) -> None:
    chaos.best.lags = 2 * LAGS
    chaos.await_blocks()
    chaos.best.lags = 0


def every_read_lags(chaos: Chaos) -> None:
    """As behind a balancer: blocks come from one machine, and balances from others that are behind it."""
    chaos.await_blocks(2 * LAGS)  # so that most rows are of blocks before those that are shown then
    for gate in (chaos.best, chaos.lagging):
        gate.reads_lag = 2 * LAGS
    chaos.await_blocks()
    for gate in (chaos.best, chaos.lagging):
        gate.reads_lag = 0


def forked(depth: int, chaos: Chaos) -> None:
    for _ in range(2):
        chaos.await_blocks(1)
        followed_and_gone(chaos, depth)


def followed_and_gone(chaos: Chaos, depth: int) -> None:
    """So many blocks are gone, all of which had been followed, and whose wallets had been read."""
    market = chaos.markets["ethereum"]
    at = "SELECT block_number FROM feed_cursor WHERE network = 'ethereum'"
    with market.making:
        for _ in range(min(depth, LAGS)):
            market.make_block(market.transfers)
        chaos.scene.wait_for(lambda: bool(chaos.scene.value(at) == market.head), "the newest block to be followed")
        chaos.scene.wait_for(lambda: not chaos.audit.wrong_rows("ethereum"), "its wallets to be read")
        market.reorganise(depth)


def forked_deeply(chaos: Chaos) -> None:
    """As many blocks are gone as few chains ever lost."""
    market = chaos.markets["ethereum"]
    known = "SELECT count(*) FROM feed_blocks WHERE network = 'ethereum'"
    market.pace = HURRY_SECONDS
    chaos.scene.wait_for(lambda: bool(chaos.scene.value(known) > DEEP), "enough blocks to be followed")
    market.pace = BLOCK_SECONDS
    followed_and_gone(chaos, DEEP)


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
    ("a_fork_of_1", partial(forked, 1)),
    ("a_fork_of_2", partial(forked, 2)),
    ("a_fork_of_70", forked_deeply),
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
