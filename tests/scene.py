"""The product's processes on servers and chains of a test, and what can be asked of them at any time."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import psycopg
import redis
import requests
from psycopg.rows import dict_row
from running import hung, kill_9, unread, watched

from devstack.product import beat, token, worker
from devstack.seed import SeededWallet
from devstack.servers import CAP, Server, wait_for
from devstack.stack import LocalChain

LONG_LEASE = {"SYNC_LEASE": "600"}
"""Longer than any test waits: what comes back only when a lease ends by itself never comes back. The time-outs of a
batch follow from its lease, so that nothing of the product gives up either, however slow the machine is.
"""
OFTEN = {"SYNC_INTERVAL_ACTIVE": "2", "SYNC_INTERVAL_IDLE": "2"}
NEVER = {"SYNC_INTERVAL_ACTIVE": "36000", "SYNC_INTERVAL_IDLE": "36000"}
"""Once a wallet has been read, it is not due by itself while a test runs."""

EVER = datetime(2000, 1, 1, tzinfo=UTC)


class Restartable:
    """A server that can be ended and started again in its place."""

    server: Server

    def __init__(self, make: Callable[[], AbstractContextManager[Server]]) -> None:
        self._make = make
        self._running = ExitStack()

    def start(self) -> None:
        self.server = self._running.enter_context(self._make())

    def stop(self) -> None:
        self._running.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """End the process and its children, at once and without a word."""
        kill_9(self.server)
        self.stop()

    def ends(self, with_signal: signal.Signals) -> int:
        """Its exit code after this signal to its main process."""
        self.server.process.send_signal(with_signal)
        return self.server.process.wait(CAP)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.server.process.pid).children()


@dataclass
class Scene:
    """A worker and beat, the wallets that they are to keep fresh, and the chains and servers that they run on."""

    folder: Path
    env: dict[str, str]
    wallets: list[SeededWallet]
    chains: dict[str, LocalChain]
    servers: Mapping[str, Restartable] = field(default_factory=dict)
    """Postgres and Redis, where they are a test's own and may be ended."""
    workers: int = 0
    stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.worker = Restartable(self.new_worker)
        self.beat = Restartable(partial(beat, self.folder, self.env))

    def begin(self) -> None:
        """Start beat and the worker. They end with the scene's stack."""
        for process in (self.beat, self.worker):  # a start of beat does not wait for anything, one of a worker does
            self.stack.callback(process.stop)
            process.start()

    def new_worker(self) -> AbstractContextManager[Server]:
        """A worker with a log of its own."""
        self.workers += 1
        return worker(self.folder, self.env, f"worker-{self.workers}")

    @property
    def running(self) -> list[Server]:
        """What must go on while a test waits."""
        return [each.server for each in (self.worker, self.beat, *self.servers.values())]

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """On a connection of its own: Postgres may be another one by now."""
        with psycopg.connect(self.env["DATABASE_URL"], autocommit=True, row_factory=dict_row) as connection:
            found = connection.execute(query, parameters)
            return found.fetchall() if found.description is not None else []

    def value(self, query: str, *parameters: Any) -> Any:
        (row,) = self.rows(query, *parameters)
        return next(iter(row.values()))

    def now(self) -> datetime:
        moment: datetime = self.value("SELECT clock_timestamp()")
        return moment

    def wait_for(self, condition: Callable[[], bool], what: str, pause: float = 0.05) -> None:
        """Wait for something, while whatever runs goes on to run."""
        wait_for(condition, *self.running, what=what, pause=pause)

    def make_due(self) -> datetime:
        """Make every wallet due. Returns a moment just before: none was due since."""
        since = self.now()
        self.rows("UPDATE sync_schedule SET next_sync_at = now()")
        return since

    def await_all_fresh(self, since: datetime | None = None) -> None:
        """Wait until every wallet has been read since then, or after now."""
        since = since or self.now()
        stale = "SELECT count(*) FROM wallets w WHERE NOT EXISTS (SELECT FROM balance_cache WHERE wallet_id = w.id"
        self.wait_for(
            lambda: bool(self.value(f"{stale} AND last_synced > %s)", since) == 0), "every wallet to be fresh"
        )

    def tokens(self, since: datetime = EVER) -> list[UUID]:
        """The leases of the batches in hand that were claimed since then."""
        held = "SELECT DISTINCT token FROM leases WHERE lease_until IS NOT NULL AND claimed_at > %s"
        return [row["token"] for row in self.rows(held, since)]

    def end_leases(self, tokens: list[UUID]) -> None:
        """Time passes: these leases run out."""
        self.rows("UPDATE leases SET lease_until = now() WHERE token = ANY(%s)", tokens)

    def main_process_has_heard(self) -> bool:
        """Whether the worker's main process has read all that its pool has told it. It learns of each batch a moment
        before its claim or after it, and interrupts only what it knows of.
        """
        main = self.worker.server.process.pid
        its_own = watched(main)
        heard = not any(count for fd, count in unread(main).items() if fd in its_own)
        return heard and psutil.Process(main).status() == psutil.STATUS_SLEEPING

    def messages_in_hand(self) -> int:
        """How many messages have been taken and not been done with."""
        with redis.Redis.from_url(self.env["REDIS_URL"]) as client:
            return int(client.hlen("bal:unacked"))

    def said(self, words: str, process: Restartable | None = None) -> int:
        """How often the worker, or another process, has said this."""
        return (process or self.worker).server.log.read_text(errors="replace").count(words)

    def await_words(self, words: str, times: int = 1, process: Restartable | None = None) -> None:
        """Wait until the worker, or another process, has said this so often. It may have ended by now."""
        server = (process or self.worker).server
        wait_for(lambda: self.said(words, process) >= times, what=f"{server.name} to say {words!r}")

    @contextmanager
    def hung(self, *networks: str) -> Iterator[None]:
        """With these networks' nodes hung: they take requests, and answer when the block is over."""
        with hung(*(self.chains[network].node for network in networks)):
            yield

    @contextmanager
    def batches_in_hand(self, batches: int = 1) -> Iterator[list[UUID]]:
        """With some batches in the middle of their reads. Gives their leases."""
        since = self.now()
        with self.hung(*self.chains):
            self.wait_for(lambda: len(self.tokens(since)) >= batches, "batches to be in hand", pause=0.01)
            yield self.tokens(since)

    def ask(self, api: Server, query: str = "", user: UUID | None = None) -> requests.Response:
        """The endpoint's answer to the first wallet's user, about that user's balances or another one's."""
        asks = self.wallets[0].user_id
        headers = {"Authorization": f"Bearer {token(self.env, asks, seconds=86_400)}"}
        url = f"{api.url}/api/v1/auth/balances/user/{user or asks}{query}"
        return requests.get(url, headers=headers, timeout=CAP)

    def check_balances(self) -> None:
        """The cache has what the wallets were given: for chains whose balances do not change."""
        cached = self.rows("SELECT wallet_id, usdt_balance, native_balance FROM balance_cache")
        assert {row["wallet_id"]: (row["usdt_balance"], row["native_balance"]) for row in cached} == {
            wallet.id: (wallet.usdt, wallet.native) for wallet in self.wallets
        }
