"""Chains whose balances change all the time, and an audit of every row that is ever written meanwhile."""

import re
import threading
from contextlib import suppress
from typing import Any
from uuid import UUID

import psycopg
import redis
from scene import OFTEN, Scene

from config.broker import queues
from devstack.chain import BALANCE_OF, Chain
from devstack.seed import SeededWallet
from devstack.servers import CAP, ServerFailed, wait_for
from devstack.stack import LocalChain
from worker.schedule.cadence import CLAIM_AHEAD

INTERVAL = float(OFTEN["SYNC_INTERVAL_ACTIVE"])
TICK = 1.0  # seconds from one tick of beat to the next

# Whatever is written to the cache, however briefly it stays there.
_WATCH = """
CREATE TABLE written (
    n bigserial PRIMARY KEY, wallet_id uuid, usdt numeric, native numeric, block_number bigint,
    checked bool DEFAULT false
);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO written (wallet_id, usdt, native, block_number)
    VALUES (NEW.wallet_id, NEW.usdt_balance, NEW.native_balance, NEW.block_number);
    RETURN NULL;
END $$;
CREATE TRIGGER watch AFTER INSERT OR UPDATE ON balance_cache FOR EACH ROW EXECUTE FUNCTION watch();
"""


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


QUEUES = queues(("ethereum", "tron"), feed=True)


class Queues(threading.Thread):
    """Looks again and again at how many messages wait, and keeps the most that ever did."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.client = redis.Redis.from_url(url, socket_timeout=CAP, socket_connect_timeout=CAP)
        self.most = dict.fromkeys(QUEUES, 0)
        self.over = threading.Event()

    def lengths(self) -> dict[str, int]:
        """How many wait in each queue, at one moment."""
        with self.client.pipeline(transaction=True) as together:
            for queue in QUEUES:
                together.llen(f"bal:{queue}")
            return dict(zip(QUEUES, together.execute(), strict=True))

    def run(self) -> None:
        while not self.over.wait(0.05):
            with suppress(redis.RedisError):
                self.most = {queue: max(self.most[queue], length) for queue, length in self.lengths().items()}
        self.client.close()


class Audit:
    """Changes the balances of a scene's wallets until its stack ends, and holds every row written against the chains.

    Made before the scene's processes begin, so that it sees their first row too.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        with psycopg.connect(scene.env["DATABASE_URL"]) as connection:
            connection.execute(_WATCH)
            # These chains have a history in which everything changes all the time.
            for network in scene.chains:
                connection.execute("INSERT INTO change_rates VALUES (%s, 1000000, 900000, 0)", [network])
        self.queues = Queues(scene.env["REDIS_URL"])
        self.changes = [
            Changes(chain, [wallet for wallet in scene.wallets if wallet.network == network])
            for network, chain in scene.chains.items()
        ]
        threads: list[Queues | Changes] = [self.queues, *self.changes]
        for thread in threads:
            thread.start()
            scene.stack.callback(thread.join)
            scene.stack.callback(thread.over.set)

    def batches(self) -> int:
        """How many batches there have been, by the lines that workers tell of them."""
        logs = "".join(log.read_text(errors="replace") for log in self.scene.folder.glob("worker-*.log"))
        return len(re.findall(r"batch_(?:synced|failed)", logs))

    def check_written(self) -> int:
        """Every row written since the last check is what its wallet had in that block, by the chain's own account of
        it, and none is of an older block than the one before it. How many rows those were.

        Or in the next block: when it makes one in the middle of a call, anvil gives the number of the one before (11 of
        28,000 calls). And asked for its newest block by number, it may answer from the one that it is just making: so
        blocks are looked at when they are older.
        """
        rows = self.scene.rows("UPDATE written SET checked = true WHERE NOT checked RETURNING *")
        for network in self.scene.chains:
            accounts = {wallet.id: wallet.account for wallet in self.scene.wallets if wallet.network == network}
            some = [row for row in rows if row["wallet_id"] in accounts]
            self._await_later_blocks(network, some)
            odd = [row for row, had in zip(some, self._had(network, accounts, some), strict=True) if shown(row) != had]
            again = self._had(network, accounts, odd, later=1)
            assert [shown(row) for row in odd] == again, f"wrong rows: {odd}"
        back = "SELECT block_number < lag(block_number) OVER (PARTITION BY wallet_id ORDER BY n) AS back FROM written"
        older = self.scene.value(f"SELECT count(*) FROM ({back}) AS steps WHERE back")
        assert older == 0, "an older block overwrote a newer"
        for change in self.changes:
            if change.failure:
                raise ServerFailed("a chain's balances do not change any more") from change.failure
        return len(rows)

    def _await_later_blocks(self, network: str, rows: list[dict[str, Any]]) -> None:
        """Until the block after the newest of these rows is not the chain's newest any more."""
        chain, newest = self.scene.chains[network], max((row["block_number"] for row in rows), default=0)
        asked = Chain(chain.evm.url)
        wait_for(lambda: asked.head() > newest + 1, chain.evm, what="later blocks")

    def _had(
        self, network: str, accounts: dict[UUID, bytes], rows: list[dict[str, Any]], *, later: int = 0
    ) -> list[tuple[int, int]]:
        """What the wallets of these rows had in the rows' blocks, or so many blocks later, in USDT and in native."""
        chain = self.scene.chains[network]
        calls: list[tuple[str, tuple[Any, ...]]] = []
        for row in rows:
            account, block = accounts[row["wallet_id"]].hex(), hex(row["block_number"] + later)
            data = "0x" + BALANCE_OF + account.rjust(64, "0")
            calls += [("eth_call", ({"to": "0x" + chain.token.hex(), "data": data}, block))]
            calls += [("eth_getBalance", ("0x" + account, block))]
        found = [int(result, 16) for result in Chain(chain.evm.url).ask_all(calls)] if calls else []
        return list(zip(found[::2], found[1::2], strict=True))


def shown(row: dict[str, Any]) -> tuple[int, int]:
    """What a written row says, in USDT and in native."""
    return int(row["usdt"]), int(row["native"])


def most_batches(seconds: float) -> float:
    """How many may be run in a time: what falls due within a share of the interval travels along."""
    return 2 * seconds / (INTERVAL * CLAIM_AHEAD)
