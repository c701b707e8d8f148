"""Everything that a measurement needs, on one machine: Postgres, Redis, nodes that answer from memory, and wallets."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import requests

from config.addresses import account_bytes
from devstack.product import environment, migrate
from devstack.servers import ROOT, Server, free_port, postgres, redis_server, running
from devstack.stack import alone_in, base58_address

FOLDER = ROOT / ".devstack" / "bench"
NETWORKS = ("ethereum", "tron")


Wallet = tuple[UUID, bytes]


class Unsound(Exception):
    """What was measured did not do what it should, so that its speed says nothing."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs, and the settings that describe it."""

    folder: Path
    postgres: Server
    redis: Server
    nodes: Server
    env: dict[str, str]
    database: "psycopg.Connection[Any]"

    def counts(self) -> dict[str, int]:
        """What the nodes were asked since the last look."""
        told: dict[str, int] = requests.get(f"{self.nodes.url}/counts", timeout=10).json()
        return told

    def touch(self, **networks: tuple[int, int]) -> None:
        """From now on each block of a network touches so many of its so many wallets."""
        requests.post(f"{self.nodes.url}/touching", json=networks, timeout=10).raise_for_status()

    def all_due(self) -> None:
        """Every wallet is due, in a table without dead rows."""
        self.database.execute("DELETE FROM leases")
        self.database.execute("UPDATE sync_schedule SET next_sync_at = to_timestamp(0), lane = 0")
        self.database.execute("VACUUM sync_schedule, balance_cache")

    def value(self, query: LiteralString, *parameters: Any) -> Any:
        """The one value that a query gives."""
        row = self.database.execute(query, parameters).fetchone()
        return row[0] if row else None

    def now(self) -> datetime:
        """By the database's clock, which all times are of."""
        now: datetime = self.value("SELECT now()")
        return now

    def oldest(self) -> datetime:
        """When the wallet was read whose last read is the longest ago; never counts as the beginning of time."""
        if self.value("SELECT count(*) FROM wallets") > self.value("SELECT count(*) FROM balance_cache"):
            return datetime.fromtimestamp(0, UTC)
        oldest: datetime = self.value("SELECT min(last_synced) FROM balance_cache")
        return oldest

    def all_read(self) -> bool:
        """Whether each wallet has been read at least once."""
        return self.oldest().timestamp() > 0

    def oldest_age(self) -> float:
        """How many seconds ago that was."""
        return (self.now() - self.oldest()).total_seconds()

    def done(self, network: str) -> bool:
        """Whether no wallet of a network is due or being read."""
        row = self.database.execute(
            "SELECT count(*) FROM sync_schedule WHERE network = %s AND next_sync_at < now()", (network,)
        ).fetchone()
        return row == (0,)

    def hold(self, network: str) -> None:
        """Raise Unsound unless each wallet was read well, and has the balances that the nodes make of its address."""
        rows = self.database.execute(
            "SELECT id, usdt_balance, native_balance, failures FROM wallets LEFT JOIN sync_schedule ON wallet_id = id"
            " LEFT JOIN balance_cache USING (wallet_id) WHERE wallets.network = %s",
            (network,),
        ).fetchall()
        expected = {wallet: int.from_bytes(account) for wallet, account in self.wallets(network)}
        wrong = [row for row in rows if row[1:] != (expected[row[0]], expected[row[0]], 0)]
        if wrong or not self.done(network):
            raise Unsound(f"{len(wrong)} of {len(rows)} wallets of {network} are not as they should be: {wrong[:1]}")

    def wallets(self, network: str) -> list[Wallet]:
        """The wallets of a network, with their accounts."""
        rows = self.database.execute("SELECT id, address FROM wallets WHERE network = %s", (network,)).fetchall()
        return [(wallet, account_bytes("evm" if network == "ethereum" else "tron", at)) for wallet, at in rows]


@contextmanager
def nodes(folder: Path) -> Iterator[Server]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(f"{url}/counts", timeout=2).ok
        except requests.RequestException:
            return False

    command = [sys.executable, "-m", "benchmarks.nodes", str(port)]
    with running("nodes", command, folder, url=url, ready=answers, env=environment({})) as server:
        yield server


def fresh_folder() -> None:
    """The measurement's own folder, empty."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)


@contextmanager
def stage(
    wallets_each: int, *, shared_buffers: str = "128MB", more: Mapping[str, str] | None = None
) -> Iterator[Stage]:
    """A migrated database with this many wallets of each network. The settings are in this process's environment.

    `more`: settings beside the usual ones, or instead of them.
    """
    with ExitStack() as started:
        started.enter_context(alone_in(FOLDER))
        fresh_folder()
        database = started.enter_context(postgres(FOLDER, shared_buffers=shared_buffers))
        queue = started.enter_context(redis_server(FOLDER))
        memory = started.enter_context(nodes(FOLDER))
        env = {
            "DATABASE_URL": database.url,
            "REDIS_URL": queue.url,
            "ETHEREUM_RPC_URLS": memory.url,
            "TRON_RPC_URLS": memory.url,
            # A budget that is kept, and never used up: what is measured is the product, not its patience.
            "ETHEREUM_RPS": "10000",
            "TRON_RPS": "10000",
            "SYNC_INTERVAL_ACTIVE": "86400",
            "SYNC_INTERVAL_IDLE": "86400",
            "FEED": "off",
            "LOG_LEVEL": "WARNING",
        }
        env |= more or {}
        os.environ.update(env)
        migrate(env)
        connection = started.enter_context(psycopg.connect(database.url, autocommit=True))
        insert(connection, wallets_each)
        yield Stage(FOLDER, database, queue, memory, env, connection)


def insert(
    connection: "psycopg.Connection[Any]",
    wallets_each: int,
    *,
    there: int = 0,
    networks: tuple[str, ...] = NETWORKS,
) -> None:
    """So many more wallets of each network, whose addresses are their numbers, beside those that are there."""
    accounts = [(1 + number).to_bytes(20) for number in range(there, there + wallets_each)]
    with connection.cursor() as cursor, cursor.copy("COPY wallets (user_id, network, address) FROM STDIN") as copy:
        for network in networks:
            for number, account in enumerate(
                accounts, 2 * there if network == networks[0] else 2 * there + wallets_each
            ):
                address = base58_address(account) if network == "tron" else "0x" + account.hex()
                copy.write_row((f"00000000-0000-4000-8000-{number // 5:012d}", network, address))
    connection.execute("ANALYZE")
