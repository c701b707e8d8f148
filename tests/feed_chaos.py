"""Networks that are followed while each block has transfers, with endpoints that hang or lag, and chains that fork."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from conftest import migrate
from feed_audit import FeedAudit, await_all
from gates import Gate, gates
from market import Market, crowd
from scene import NEVER, Restartable, Scene

from devstack.seed import SeededWallet, fund_all, insert
from devstack.servers import free_port, postgres, redis_server, wait_for
from devstack.stack import SOLID_LAG, LocalChain, settings
from worker.feed.gap import LEAST_CATCH_UP

BOUND = 2  # blocks after which a change must show
SOME_BLOCKS = 4
DEEP = 70
AHEAD = 2  # blocks of transfers that are followed and then gone, at the most
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
    """Networks that are followed, and all that can be done to them."""

    scene: Scene
    markets: dict[str, Market]
    of_network: dict[str, list[Gate]]
    """What stands before the endpoints of each network, the best one first."""
    audit: FeedAudit
    fallen: int = 0
    """How often the feed had been given up before the disaster."""

    @property
    def gates(self) -> list[Gate]:
        return list(chain.from_iterable(self.of_network.values()))

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

    def gone_back(self, network: str) -> int:
        """How often a network's feed has gone back, or begun anew, as it does where it knows no block that stayed."""
        found = "SELECT reorganisations + jumps FROM feed_cursor WHERE network = %s"
        return int(self.scene.value(found, network))

    def followed_and_gone(self, network: str, depth: int) -> None:
        """So many blocks are gone, all of which had been followed, and whose wallets had been read."""
        market = self.markets[network]
        with market.making:
            for _ in range(min(depth, AHEAD)):
                market.make_block(market.transfers)
            self.await_followed(network)
            self.scene.wait_for(lambda: self.is_shown(network), "its wallets to be read")
            market.reorganise(depth)

    def await_followed(self, network: str) -> None:
        """Up to the newest block; while no other one is made."""
        at, final = "SELECT block_number FROM feed_cursor WHERE network = %s", self.markets[network].final
        self.scene.wait_for(lambda: bool(self.scene.value(at, network) == final), "the newest block to be followed")

    def forks(self, network: str, depth: int) -> None:
        """Twice in a row."""
        for _ in range(2):
            self.await_blocks(1)
            self.followed_and_gone(network, depth)

    def forks_deeply(self, network: str) -> None:
        """As many blocks are gone as few chains ever lost."""
        market = self.markets[network]
        known = "SELECT count(*) FROM feed_blocks WHERE network = %s"
        with market.making:
            while self.scene.value(known, network) <= DEEP:
                for _ in range(LEAST_CATCH_UP):  # of more it might leave some out, and know none of before
                    market.make_block(market.dice.randrange(2))
                self.await_followed(network)
        self.followed_and_gone(network, DEEP)

    def owed(self) -> str:
        return f"{self.scene.rows('SELECT * FROM touches')} {self.scene.rows('SELECT * FROM feed_cursor')}"


@contextmanager
def chaos_of(
    folder: Path, chains: Mapping[str, LocalChain], wallets: int, nodes: Mapping[str, Sequence[int]], **more: str
) -> Iterator[Chaos]:
    """Networks that are followed, with so many wallets of all together.

    `nodes`: the endpoints of each network that there is to be, by how many blocks each of them lags; `more`: settings.
    """
    with ExitStack() as started:
        database = Restartable(partial(postgres, folder, free_port()))
        queue = Restartable(partial(redis_server, folder, free_port()))
        for server in (database, queue):
            started.callback(server.stop)
            server.start()
        migrate(database.server.url)
        of_network = {
            network: started.enter_context(gates(*((chains[network].node.url, lag) for lag in lags)))
            for network, lags in nodes.items()
        }
        each = wallets // len(nodes)
        crowds = {network: crowd(network, each, at * each) for at, network in enumerate(nodes)}
        seeded: list[SeededWallet] = [wallet for those in crowds.values() for wallet in those]
        fund_all(chains, seeded)
        insert(database.server.url, seeded)
        (folder / "networks.toml").write_text(FILE.format(per_batch=max(each // 8, 2)))
        env = settings(database.server.url, queue.server.url, **chains) | NEVER | LEASE
        env |= {"FEED": "on", "NETWORKS_FILE": str(folder / "networks.toml")}
        for network in chains:
            urls = [gate.proxy.url for gate in of_network.get(network, [])]
            # No block is made while a test waits, and on a slow machine that may be for long.
            its = {"RPC_URLS": ",".join(urls), "RPS": "1000", "MAX_HEAD_AGE": "0"}
            env |= {f"{network.upper()}_{name}": value for name, value in its.items()}
        scene = Scene(folder, env | more, seeded, dict(chains), {"postgres": database, "redis": queue})
        markets = {
            network: Market(chains[network], those, max(min(each // 20, MOST_TRANSFERS), 2), lag=lag_of(network, more))
            for network, those in crowds.items()
        }
        made = Chaos(scene, markets, of_network, FeedAudit(scene, markets))
        with scene.stack:
            scene.begin()
            for market in markets.values():
                market.start()
                scene.stack.callback(market.join)
                scene.stack.callback(market.over.set)
            scene.wait_for(made.all_follow, "every network to be followed")
            made.fallen = -1
            made.heals()
            made.audit.begins()
            yield made


def lag_of(network: str, more: Mapping[str, str]) -> int:
    """Blocks from the newest one to the one that is read."""
    return SOLID_LAG if network == "tron" and more.get("TRON_FINALITY") != "latest" else 0
