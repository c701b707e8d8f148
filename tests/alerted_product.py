"""The product as disasters befall it: on a devstack's servers and chains, with proxies before the nodes.

All wallets of Ethereum and of Tron are read once a block; BNB Smart Chain's blocks are followed.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil
import psycopg
import redis
from alert_watch import scrape, tell
from faults import of
from json_rpc_faults import asks, result, results
from proxy import Exchange, Proxy, proxy
from scene import Restartable

from devstack.product import api, beat, migrate, ops, worker
from devstack.seed import SeededWallet, bsc_wallets, seed, wallets
from devstack.servers import wait_for
from devstack.stack import FOLDER, Stack, devstack

QUICK = {
    "SYNC_LEASE": "12",
    "SYNC_INTERVAL_ACTIVE": "3",
    "SYNC_INTERVAL_IDLE": "30",
    "SYNC_INTERVAL_SWEEP": "60",
    "BSC_RPS": "100",
    "COLLECT_INTERVAL": "5",
    "DISPATCH_INTERVAL": "2",
}
WALLETS = 30  # of each chain
FOLLOWED = """\
[bsc]
block_seconds = 1
fastest_block_seconds = 0.1
most_wallets = {revert = 3, return = 3, multicall3 = 3, single = 3}
"""
"""Few wallets of it travel together, so that few are enough for following its blocks to be the cheapest way."""


@dataclass
class Deployment:
    """All that runs, and what can be done to it."""

    stack: Stack
    nodes: dict[str, Proxy]
    followed: list[SeededWallet]
    started: ExitStack
    processes: dict[str, Restartable] = field(default_factory=dict)
    workers: int = 1

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """A process that does not run for the block."""
        self.processes[name].kill()
        yield
        self.start(name)

    def start(self, name: str) -> None:
        """Start a process. What Prometheus looks at may be at another port each time."""
        self.processes[name].start()
        if name in {"api", "ops"}:
            scrape(self.stack.folder, name, self.processes[name].server.url)

    @contextmanager
    def database_hung(self) -> Iterator[None]:
        """Postgres hangs, with the processes that it has for each connection."""
        main = psutil.Process(self.stack.postgres.process.pid)
        processes = [main, *main.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    @contextmanager
    def faulty(self, node: str, fault: Callable[[Any], None]) -> Iterator[None]:
        """A node with a fault. Afterwards nobody remembers for how long it was to be left alone."""
        with self.nodes[node].faulty(fault):
            yield
        self.forget_rests()
        self.replace_worker()
        self.forget_rests()

    def forget_rests(self) -> None:
        """In Redis; a worker that ran meanwhile remembers them itself."""
        with redis.Redis.from_url(self.stack.env["REDIS_URL"]) as client:
            for key in client.scan_iter("bal:chain:*:rest:*"):
                client.delete(key)

    def replace_worker(self) -> None:
        """Another worker, which runs before the one that there was ends."""
        before = self.processes["worker"]
        self.workers += 1
        made = partial(worker, self.stack.folder, self.stack.env, f"worker-{self.workers}")
        self.processes["worker"] = Restartable(made)
        self.started.callback(self.processes["worker"].stop)
        self.processes["worker"].start()
        before.stop()

    @contextmanager
    def kills_readers(self, network: str) -> Iterator[None]:
        """Whoever reads a network dies. Afterwards its wallets are due as if nobody had, and not after an hour."""
        with self.nodes[network].faulty(kill_who_asks):
            yield
        with psycopg.connect(self.stack.env["DATABASE_URL"]) as connection:
            connection.execute("DELETE FROM leases WHERE network = %s", [network])

    @contextmanager
    def locked(self, network: str) -> Iterator[None]:
        """Somebody holds the rows of all balances of a network."""
        rows = "SELECT FROM balance_cache b JOIN wallets w ON w.id = b.wallet_id WHERE w.network = %s FOR UPDATE OF b"
        with psycopg.connect(self.stack.env["DATABASE_URL"]) as connection:
            connection.execute(rows, [network])
            yield
            connection.rollback()

    @contextmanager
    def tells_no_blocks(self) -> Iterator[None]:
        """The nodes of the network that is followed have balances, and nothing in the place of blocks."""
        with self.on_followed(of(asks_block, result({}))):
            yield

    @contextmanager
    def tells_no_events(self) -> Iterator[None]:
        """They have blocks without the token's events, and a wallet gets USDT meanwhile."""
        self.await_followed()
        with self.on_followed(of(asks("eth_getLogs"), results(lambda _: []))):
            receiver, bsc = self.followed[-1], self.stack.bsc
            bsc.chain.mint(bsc.token, [(receiver.account, 10**18)])
            yield

    @contextmanager
    def on_followed(self, fault: Callable[[Any], None]) -> Iterator[None]:
        """Both nodes of the network that is followed with a fault."""
        with self.faulty("bsc", fault), self.faulty("bsc-second", fault):
            yield

    def await_followed(self) -> None:
        """Wait until blocks tell of every change of each wallet of that network."""
        told = (
            "SELECT count(*) FROM balance_cache b JOIN wallets w ON w.id = b.wallet_id"
            " JOIN feed_cursor c USING (network)"
            " WHERE network = 'bsc' AND c.policy = 'feed' AND b.block_number >= c.since"
        )
        with psycopg.connect(self.stack.env["DATABASE_URL"], autocommit=True) as connection:
            wait_for(lambda: connection.execute(told).fetchone() == (len(self.followed),), what="blocks to be followed")


def asks_block(exchange: Exchange) -> bool:
    """Whether it asks for a block with all of its transactions, as none but the feed does."""
    return asks("eth_getBlockByNumber")(exchange) and exchange.json["params"][1] is True


def kill_who_asks(exchange: Exchange) -> None:
    """End the process that has the other end of a request's connection."""
    port = exchange.handler.client_address[1]
    for found in psutil.net_connections("tcp"):
        if found.pid and found.laddr[1:] == (port,):
            psutil.Process(found.pid).kill()
    exchange.end()


@contextmanager
def deployed() -> Iterator[Deployment]:
    """The product on a devstack, with proxies before its nodes: one for Tron, two for each of the others."""
    with ExitStack() as started:
        stack = started.enter_context(devstack(FOLDER / "alerts", tell=tell))
        (stack.folder / "networks.toml").write_text(FOLLOWED)
        stack.env.update(QUICK, NETWORKS_FILE=str(stack.folder / "networks.toml"))
        chains = {"ethereum": stack.ethereum, "second": stack.ethereum, "tron": stack.tron}
        chains |= {"bsc": stack.bsc, "bsc-second": stack.bsc}
        nodes = {name: started.enter_context(proxy(chain.node.url)) for name, chain in chains.items()}
        stack.env["ETHEREUM_RPC_URLS"] = f"{nodes['ethereum'].url},{nodes['second'].url}"
        stack.env["BSC_RPC_URLS"] = f"{nodes['bsc'].url},{nodes['bsc-second'].url}"
        stack.env["TRON_RPC_URLS"] = nodes["tron"].url
        tell("Migrating the database, and seeding wallets …")
        migrate(stack.env)
        followed = bsc_wallets()[:WALLETS]
        seed(stack, wallets(WALLETS) + followed)
        made = Deployment(stack, nodes, followed, started)
        tell("Starting worker, beat, the endpoint and ops …")
        for name, make in (("worker", worker), ("beat", beat), ("api", api), ("ops", ops)):
            made.processes[name] = Restartable(partial(make, stack.folder, stack.env))
            started.callback(made.processes[name].stop)
            made.start(name)
        yield made
