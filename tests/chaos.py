"""Chains whose balances change all the time, the processes that follow them, and a record of every row ever written."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import psycopg
import redis
from psycopg.rows import dict_row

from config.broker import QUEUES
from devstack.chain import BALANCE_OF, Chain
from devstack.product import beat, worker
from devstack.seed import SeededWallet
from devstack.servers import Server, ServerFailed, wait_for
from devstack.stack import LocalChain
from worker.sync import CLAIM_AHEAD

LEASE = 6.0
INTERVAL = 2.0
TICK = 1.0
STARTING = 30.0  # seconds in which processes come up, and what they left alone is tried again, on a busy machine
RECOVERY = LEASE + INTERVAL + STARTING
SHORT = {"SYNC_LEASE": f"{LEASE:g}", "SYNC_INTERVAL_ACTIVE": f"{INTERVAL:g}", "SYNC_INTERVAL_IDLE": f"{INTERVAL:g}"}

EVER = datetime(2000, 1, 1, tzinfo=UTC)

# Whatever is written to the cache, however briefly it stays there.
_WATCH = """
CREATE TABLE written (
    n bigserial PRIMARY KEY, wallet_id uuid, usdt numeric, native numeric, block_number bigint,
    checked bool DEFAULT false
);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO written (wallet_id, usdt, native, block_number)
    VALUES (NEW.wallet_id, NEW.usdt_balance, NEW.native_balance, NEW.block_number);
    RETURN NULL;
END $$;
CREATE TRIGGER watch AFTER INSERT OR UPDATE ON balance_cache FOR EACH ROW EXECUTE FUNCTION watch();
"""


class Restartable:
    """A server that can be ended and started again in its place."""

    def __init__(self, start: Callable[[], AbstractContextManager[Server]]) -> None:
        self._start = start
        self._running = ExitStack()
        self.server = self._running.enter_context(start())

    def stop(self) -> None:
        self._running.close()

    def start(self) -> None:
        self.server = self._running.enter_context(self._start())

    def kill(self) -> None:
        """The process and its children, at once and without a word."""
        os.killpg(self.server.process.pid, signal.SIGKILL)
        self.server.process.wait()
        self.stop()

    def ends(self, with_signal: signal.Signals) -> int:
        """Its exit code after this signal to its main process."""
        self.server.process.send_signal(with_signal)
        return self.server.process.wait(60)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.server.process.pid).children()


class Changes(threading.Thread):
    """Gives wallets more of both coins, from block to block, until it is told to stop."""

    def __init__(self, chain: LocalChain, wallets: list[SeededWallet]) -> None:
        super().__init__(daemon=True)
        self.chain, self.url = chain, chain.evm.url
        self.accounts = [wallet.account for wallet in wallets]
        self.over = threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            chain = Chain(self.url)
            (owner, *_) = chain.ask("eth_accounts")
            while not self.over.is_set():
                for account in self.accounts:
                    chain.ask("eth_sendTransaction", {"from": owner, "to": "0x" + account.hex(), "value": "0x7"})
                chain.mint(self.chain.token, [(account, 3) for account in self.accounts])
        except Exception as failure:  # noqa: BLE001  whatever it is, the test tells of it
            self.failure = failure


class Queues(threading.Thread):
    """Looks again and again at how many messages wait, and keeps the most that ever did."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.client = redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5)
        self.most = dict.fromkeys(QUEUES, 0)
        self.over = threading.Event()

    def lengths(self) -> dict[str, int]:
        return {queue: int(self.client.llen(f"bal:{queue}")) for queue in QUEUES}

    def run(self) -> None:
        while not self.over.wait(0.05):
            with suppress(redis.RedisError):
                self.most = {queue: max(self.most[queue], length) for queue, length in self.lengths().items()}
        self.client.close()


@dataclass
class Scene:
    """Everything that runs, and what is asked of it at any time."""

    folder: Path
    env: dict[str, str]
    wallets: list[SeededWallet]
    chains: dict[str, LocalChain]
    servers: Mapping[str, Restartable] = field(default_factory=dict)
    """Postgres and Redis, where they are a test's own and may be ended."""
    workers: int = 0
    stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        with psycopg.connect(self.env["DATABASE_URL"]) as connection:
            connection.execute(_WATCH)
        self.worker = Restartable(self.new_worker)
        self.stack.callback(self.worker.stop)
        self.beat = Restartable(partial(beat, self.folder, self.env))
        self.stack.callback(self.beat.stop)
        self.queues = Queues(self.env["REDIS_URL"])
        self.changes = [
            Changes(chain, [wallet for wallet in self.wallets if wallet.network == network])
            for network, chain in self.chains.items()
        ]
        threads: list[Queues | Changes] = [self.queues, *self.changes]
        for thread in threads:
            thread.start()
            self.stack.callback(thread.join)
            self.stack.callback(thread.over.set)

    def new_worker(self) -> AbstractContextManager[Server]:
        """A worker with a log of its own."""
        self.workers += 1
        return worker(self.folder, self.env, f"worker-{self.workers}")

    @property
    def running(self) -> list[Server]:
        return [each.server for each in (self.worker, self.beat, *self.servers.values())]

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """On a connection of its own: Postgres may be another one by now."""
        with psycopg.connect(self.env["DATABASE_URL"], autocommit=True, row_factory=dict_row) as connection:
            found = connection.execute(query, parameters)
            return found.fetchall() if found.description is not None else []

    def value(self, query: str, *parameters: Any) -> Any:
        (row,) = self.rows(query, *parameters)
        return next(iter(row.values()))

    def now(self) -> Any:
        return self.value("SELECT clock_timestamp()")

    def leases(self, since: Any = EVER) -> int:
        """How many batches are in hand that were claimed since then."""
        return int(self.value("SELECT count(DISTINCT lease_token) FROM sync_schedule WHERE claimed_at > %s", since))

    def await_all_fresh(self, seconds: float = RECOVERY, since: Any = None) -> float:
        """Wait until every wallet has been read since then, or after now. In how many seconds that was."""
        since, started = since or self.now(), time.monotonic()
        stale = "SELECT count(*) FROM wallets w WHERE NOT EXISTS (SELECT FROM balance_cache WHERE wallet_id = w.id"
        wait_for(
            lambda: self.value(f"{stale} AND last_synced > %s)", since) == 0,
            *self.running,
            what="every wallet to be fresh",
            seconds=seconds,
        )
        return time.monotonic() - started

    def batches(self) -> int:
        """How many there have been, by the lines that workers tell of them."""
        logs = "".join(log.read_text(errors="replace") for log in self.folder.glob("worker-*.log"))
        return len(re.findall(r"batch_(?:synced|failed)", logs))

    def check_written(self) -> int:
        """Every row written since the last check is what its wallet had in that block, by the chain's own account of
        it, and none is of an older block than the one before it. How many rows those were.

        Or in the next block: when it makes one in the middle of a call, anvil gives the number of the one before (11 of
        28,000 calls). And asked for its newest block by number, it may answer from the one that it is just making: so
        blocks are looked at when they are older.
        """
        rows = self.rows("UPDATE written SET checked = true WHERE NOT checked RETURNING *")
        for network in self.chains:
            accounts = {wallet.id: wallet.account for wallet in self.wallets if wallet.network == network}
            some = [row for row in rows if row["wallet_id"] in accounts]
            self.await_later_blocks(network, some)
            odd = [row for row, had in zip(some, self.had(network, accounts, some), strict=True) if shown(row) != had]
            again = self.had(network, accounts, odd, later=1)
            assert [shown(row) for row in odd] == again, f"wrong rows: {odd}"
        back = "SELECT block_number < lag(block_number) OVER (PARTITION BY wallet_id ORDER BY n) AS back FROM written"
        assert self.value(f"SELECT count(*) FROM ({back}) AS steps WHERE back") == 0, "an older block overwrote a newer"
        return len(rows)

    def await_later_blocks(self, network: str, rows: list[dict[str, Any]]) -> None:
        """Until the block after the newest of these rows is not the chain's newest any more."""
        chain, newest = self.chains[network], max((row["block_number"] for row in rows), default=0)
        asked = Chain(chain.evm.url)
        wait_for(lambda: asked.head() > newest + 1, chain.evm, what="later blocks")

    def had(
        self, network: str, accounts: dict[UUID, bytes], rows: list[dict[str, Any]], *, later: int = 0
    ) -> list[tuple[int, int]]:
        """What the wallets of these rows had in the rows' blocks, or so many blocks later, in USDT and in native."""
        chain = self.chains[network]
        calls: list[tuple[str, tuple[Any, ...]]] = []
        for row in rows:
            account, block = accounts[row["wallet_id"]].hex(), hex(row["block_number"] + later)
            data = "0x" + BALANCE_OF + account.rjust(64, "0")
            calls += [("eth_call", ({"to": "0x" + chain.token.hex(), "data": data}, block))]
            calls += [("eth_getBalance", ("0x" + account, block))]
        found = [int(result, 16) for result in Chain(chain.evm.url).ask_all(calls)] if calls else []
        return list(zip(found[::2], found[1::2], strict=True))

    def check_changes(self) -> None:
        for change in self.changes:
            if change.failure:
                raise ServerFailed("a chain's balances do not change any more") from change.failure

    @contextmanager
    def hung(self, *networks: str) -> Iterator[None]:
        """With these networks' nodes hung: they take requests, and answer when the block is over."""
        nodes = [self.chains[network].node.process for network in networks]
        for node in nodes:
            node.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for node in nodes:
                node.send_signal(signal.SIGCONT)


@contextmanager
def batches_in_hand(scene: Scene, batches: int = 1) -> Iterator[None]:
    """With some batches in the middle of their reads."""
    since = scene.now()
    with scene.hung("ethereum", "tron"):
        wait_for(lambda: scene.leases(since) >= batches, *scene.running, what="batches to be in hand", pause=0.01)
        yield


def shown(row: dict[str, Any]) -> tuple[int, int]:
    """What a written row says, in USDT and in native."""
    return int(row["usdt"]), int(row["native"])


def most_batches(seconds: float) -> float:
    """How many may be run in a time: what falls due within a share of the interval travels along."""
    return 2 * seconds / (INTERVAL * CLAIM_AHEAD)
