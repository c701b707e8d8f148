"""Disasters before a real Prometheus and a real Alertmanager: ``make alerts``. Takes a quarter of an hour.

    PYTHONPATH=. .venv/bin/python tests/alerts_end_to_end.py [WORD …]

Each disaster befalls the product on the devstack's servers and chains. The alert that is for it must reach a webhook,
no other critical one may, and it must be told there that it is over. With words: only the disasters with such a word.
The rules, the inhibitions and the scrapes are the project's own, with their times cut (`alert_watch`).
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil
import psycopg
import redis
from alert_watch import Watch, scrape, tell, watched
from faults import CHAIN, hangs, header, of_each, said
from faults import wallets as of_wallets
from json_rpc_faults import asks, result
from proxy import Exchange, Proxy, proxy
from running import hung
from scene import Restartable

from devstack.product import api, beat, migrate, ops, worker
from devstack.seed import seed, wallets
from devstack.servers import ServerFailed, wait_for
from devstack.stack import FOLDER, Stack, devstack

QUICK = {
    "SYNC_LEASE": "12",
    "SYNC_INTERVAL_ACTIVE": "3",
    "SYNC_INTERVAL_IDLE": "30",
    "FEED": "off",
    "COLLECT_INTERVAL": "5",
    "DISPATCH_INTERVAL": "2",
}
WALLETS = 30  # of each chain
QUIET = 40.0  # seconds in which nothing may call anybody
TOLD_WITHIN = 240.0
OVER_WITHIN = 420.0


@dataclass
class Deployment:
    """All that runs, and what can be done to it."""

    stack: Stack
    nodes: dict[str, Proxy]
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


def kill_who_asks(exchange: Exchange) -> None:
    """End the process that has the other end of a request's connection."""
    port = exchange.handler.client_address[1]
    for found in psutil.net_connections("tcp"):
        if found.pid and found.laddr[1:] == (port,):
            psutil.Process(found.pid).kill()
    exchange.end()


@dataclass(frozen=True)
class Disaster:
    """What happens, and which alert is for it."""

    name: str
    alert: str
    about: str
    befalls: Callable[[Deployment], AbstractContextManager[None]]
    also: str = ""
    """Another critical one that may call."""


DISASTERS = (
    Disaster("beat is stopped", "BeatSilent", "", lambda all_: all_.stopped("beat")),
    Disaster("workers are stopped", "WorkersMissing", "ticks", lambda all_: all_.stopped("worker")),
    Disaster("Redis hangs", "RedisAway", "", lambda all_: hung(all_.stack.redis)),
    Disaster("Postgres hangs", "DatabaseAway", "", Deployment.database_hung),
    Disaster("the only node of a network hangs", "NetworkOut", "tron", lambda all_: all_.faulty("tron", hangs)),
    Disaster(
        "a node's plan is used up for today",
        "QuotaGone",
        "tron",
        lambda all_: all_.faulty("tron", said({"Error": "daily quota exceeded"}, 429, Retry_After="3600")),
        also="NetworkOut",
    ),
    Disaster(
        "a node turns out to be of another chain",
        "NodeMisconfigured",
        "ethereum",
        lambda all_: all_.faulty(
            "ethereum", of_each((asks("eth_chainId"), result("0x38")), (lambda _: True, header(CHAIN, lambda _: 56)))
        ),
    ),
    Disaster(
        "a node says of all wallets that they are empty",
        "ChangesUnconfirmed",
        "ethereum",
        lambda all_: all_.faulty("ethereum", of_wallets(lambda _: 0)),
    ),
    Disaster("somebody locks the rows of a network", "NetworkStalled", "tron", lambda all_: all_.locked("tron")),
    Disaster(
        "whoever reads a network dies",
        "WorkersKilled",
        "tron",
        lambda all_: all_.kills_readers("tron"),
        also="NetworkStalled",
    ),
    Disaster("ops is stopped", "ExporterBlind", "", lambda all_: all_.stopped("ops")),
    Disaster("the endpoint is stopped", "ApiDown", "", lambda all_: all_.stopped("api")),
)


@contextmanager
def deployed() -> Iterator[Deployment]:
    """The product on a devstack, with proxies before its nodes: two for Ethereum, one for Tron."""
    with ExitStack() as started:
        stack = started.enter_context(devstack(FOLDER / "alerts", tell=tell))
        for name in [name for name in stack.env if name.startswith("BSC_")]:
            del stack.env[name]
        stack.env.update(QUICK)
        chains = {"ethereum": stack.ethereum, "second": stack.ethereum, "tron": stack.tron}
        nodes = {name: started.enter_context(proxy(chain.node.url)) for name, chain in chains.items()}
        stack.env["ETHEREUM_RPC_URLS"] = f"{nodes['ethereum'].url},{nodes['second'].url}"
        stack.env["TRON_RPC_URLS"] = nodes["tron"].url
        tell("Migrating the database, and seeding wallets …")
        migrate(stack.env)
        seed(stack, wallets(WALLETS))
        made = Deployment(stack, nodes, started)
        tell("Starting worker, beat, the endpoint and ops …")
        for name, make in (("worker", worker), ("beat", beat), ("api", api), ("ops", ops)):
            made.processes[name] = Restartable(partial(make, stack.folder, stack.env))
            started.callback(made.processes[name].stop)
            made.start(name)
        yield made


def befall(disaster: Disaster, everything: Deployment, watch: Watch) -> list[str]:
    """Let it happen, and see who is called. What was wrong about it, in words."""
    tell(f"▸ {disaster.name} …")
    since, began, wrong = len(watch.receiver.calls), time.monotonic(), []
    try:
        with disaster.befalls(everything):
            is_told = partial(watch.is_told_of, disaster.alert, since, firing=True)
            wait_for(is_told, watch.prometheus, what=f"{disaster.alert} to call", seconds=TOLD_WITHIN)
            tell(f"  {disaster.alert} called after {time.monotonic() - began:.0f} s")
            # What a cause is to keep quiet has time to call.
            wait_for(_after(15), what="what else calls")
        ended = time.monotonic()
        is_over = partial(watch.is_told_of, disaster.alert, since, firing=False)
        wait_for(is_over, watch.prometheus, what=f"{disaster.alert} to be over", seconds=OVER_WITHIN)
        tell(f"  and was over {time.monotonic() - ended:.0f} s after the end")
        wait_for(lambda: not watch.active(), watch.prometheus, what="all to be over", seconds=OVER_WITHIN, pause=1)
    except ServerFailed as failure:
        wrong.append(str(failure).partition("\n")[0])
    calls = [call for call in watch.receiver.calls[since:] if call.firing]
    right = [call for call in calls if call.alert == disaster.alert and disaster.about in call.about.split(" ")]
    if disaster.about and not right:
        wrong.append(f"{disaster.alert} was not about {disaster.about}")
    others = sorted({f"{call.alert} {call.about}" for call in calls if call.alert != disaster.alert})
    critical = {call.alert for call in calls if call.severity == "critical"} - {disaster.alert, disaster.also}
    tell(f"  besides: {', '.join(others) or 'nobody'}")
    return wrong + [f"{name} called too, and is critical" for name in sorted(critical)]


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def main(words: list[str]) -> int:
    """Run the disasters; how many went wrong."""
    chosen = [each for each in DISASTERS if not words or any(word in each.name for word in words)]
    wrong: dict[str, list[str]] = {}
    with deployed() as everything, watched(everything.stack.folder) as watch:
        tell("▸ nothing happens …")
        wait_for(_after(QUIET), watch.prometheus, what="a quiet time")
        wait_for(lambda: not watch.active(), watch.prometheus, what="nothing to fire", pause=1)
        if called := [call for call in watch.receiver.calls if call.severity == "critical"]:
            wrong["nothing happens"] = [f"{call.alert} called" for call in called]
        for disaster in chosen:
            if found := befall(disaster, everything, watch):
                wrong[disaster.name] = found
    for name, found in wrong.items():
        tell(f"WRONG: {name}: {'; '.join(found)}")
    tell(f"{len(chosen) + 1 - len(wrong)} of {len(chosen) + 1} as they should be")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
