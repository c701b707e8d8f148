"""Chains whose blocks a test makes, with transfers in each of them, and an audit of all that is written meanwhile.

A *market* makes a chain's blocks and knows what each wallet had after each block, of chains too that are gone since. A
*gate* stands before a node: it counts whose balances are asked for, shows a chain that is some blocks behind, or hangs.
"""

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import time
from typing import Any
from uuid import UUID, uuid4

import psycopg
from ledger_of_forks import Ledger
from proxy import Exchange, Proxy, passed_on, proxy
from scene import Scene

from devstack import contracts
from devstack.chain import BALANCE_OF, Chain
from devstack.contracts import Call
from devstack.seed import SeededWallet
from devstack.servers import ServerFailed, wait_for
from devstack.stack import SOLID_LAG, LocalChain, base58_address

MARK = bytes.fromhex("acc0cafeacc0cafe")
"""All accounts of wallets begin so: requests are searched for them."""
ACCOUNT = re.compile(MARK.hex() + r"[0-9a-f]{24}")

BLOCK_SECONDS = 1.0
HURRY_SECONDS = 0.1
USDT, NATIVE = 10**9, 10**18  # that each wallet has at first

# Whatever is written to the cache, each touch that is noted, and each one that went though no row is of its block.
_WATCH = """
CREATE TABLE written (
    n bigserial PRIMARY KEY, wallet_id uuid, usdt numeric, native numeric, block_number bigint, claimed_at timestamptz,
    written_at timestamptz DEFAULT clock_timestamp(), checked bool DEFAULT false
);
CREATE TABLE noted (n bigserial PRIMARY KEY, wallet_id uuid, block_number bigint);
CREATE TABLE lost (wallet_id uuid, block_number bigint);
CREATE FUNCTION watch_rows() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO written (wallet_id, usdt, native, block_number, claimed_at)
    VALUES (NEW.wallet_id, NEW.usdt_balance, NEW.native_balance, NEW.block_number, NEW.last_synced);
    RETURN NULL;
END $$;
CREATE FUNCTION watch_touches() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO noted (wallet_id, block_number) VALUES (NEW.wallet_id, NEW.block_number);
    ELSIF NOT EXISTS (SELECT FROM balance_cache
                       WHERE wallet_id = OLD.wallet_id AND block_number >= OLD.block_number) THEN
        INSERT INTO lost VALUES (OLD.wallet_id, OLD.block_number);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER watch AFTER INSERT OR UPDATE ON balance_cache FOR EACH ROW EXECUTE FUNCTION watch_rows();
CREATE TRIGGER watch AFTER INSERT OR DELETE ON touches FOR EACH ROW EXECUTE FUNCTION watch_touches();
"""


def crowd(network: str, count: int, first: int) -> list[SeededWallet]:
    """So many wallets of one network, each with enough native coin for the fees of a whole test."""
    made = []
    for number in range(first, first + count):
        account = MARK + number.to_bytes(12)
        address = base58_address(account) if network == "tron" else "0x" + account.hex()
        made.append(SeededWallet(uuid4(), uuid4(), network, address, account, USDT, NATIVE))
    return made


class Market(threading.Thread):
    """Makes the blocks of one chain at its pace, with random transfers of its wallets in them, until it is over."""

    def __init__(self, local: LocalChain, wallets: Sequence[SeededWallet], transfers: int) -> None:
        super().__init__(daemon=True)
        self.local, self.chain, self.wallets = local, Chain(local.evm.url), wallets
        self.transfers, self.pace = transfers, BLOCK_SECONDS
        self.lag = 0 if local.node is local.evm else SOLID_LAG
        self.ledger = Ledger()
        self.dice = random.Random(local.evm.name)
        self.making = threading.RLock()
        self.over = threading.Event()
        self.failure: Exception | None = None
        self.chain.make_no_blocks()
        for wallet in wallets:
            self.ledger.note(wallet.account, 0, (wallet.usdt, wallet.native))

    def run(self) -> None:
        try:
            while not self.over.wait(self.pace):
                with self.making:
                    self.make_block(self.dice.randrange(self.transfers + 1))
        except Exception as failure:  # noqa: BLE001  whatever it is, the test tells of it
            self.failure = failure

    @property
    def head(self) -> int:
        return self.chain.head()

    @property
    def final(self) -> int:
        """The newest block that is read."""
        return self.head - self.lag

    def make_block(self, transfers: int = 0) -> None:
        """One block, now."""
        happens = [self._something() for _ in range(transfers)]
        of_owner = [each for each in happens if each[0].sender is None]
        happens = [each for each in happens if each[0].sender] + of_owner[:2]  # these take much of a block's gas
        self.chain.make_block(*(call for call, _ in happens))
        self._note({account for _, parties in happens for account in parties}, self.head)

    def _something(self) -> tuple[Call, list[bytes]]:
        """A transaction of two wallets, and whose balances it changes."""
        token = self.local.token
        one, other, third = (wallet.account for wallet in self.dice.sample(self.wallets, 3))
        some = self.dice.randrange(1, 1000)
        calls: list[tuple[Call, list[bytes]]] = [
            (contracts.transfer(token, other, some, one), [one, other]),
            (contracts.transfer(token, one, some, one), [one]),
            (contracts.transfer(token, other, 10 * USDT * USDT, one), [one]),  # it fails, and costs a fee
            (contracts.transfer_from(token, one, other, some, third), [one, other, third]),
            (contracts.payment(other, some, one), [one, other]),
            (contracts.mint(token, [one, other], [some, 2 * some]), [one, other]),
        ]
        return self.dice.choices(calls, weights=[8, 1, 1, 1, 2, 1])[0]

    def reorganise(self, depth: int) -> None:
        """Put other blocks in the place of the newest ones: half of them are empty, the others have transfers."""
        with self.making:
            head = self.head
            fork = head - depth
            gone = self.ledger.touched_since(fork)
            calls, parties = list[tuple[Call, int]](), dict[int, set[bytes]]()
            for block in sorted({0, depth // 2, depth - 1}):
                call, touched = self._something()
                self._may_send(call)
                calls.append((call, block))
                parties[fork + 1 + block] = set(touched)
            begin = time()
            self.chain.reorganise(depth, *calls)
            self.ledger.forks.append((fork, begin, time()))
            if self.head != head:
                raise ServerFailed(f"{self.head} instead of {head} after a reorganisation")
            self._note(gone | parties.pop(fork + 1), fork + 1)
            for block, accounts in sorted(parties.items()):
                self._note(accounts, block)

    def _may_send(self, call: Call) -> None:
        if call.sender:
            self.chain.ask("anvil_impersonateAccount", "0x" + call.sender.hex())

    def _note(self, accounts: set[bytes], block: int) -> None:
        """Keep what these accounts had after a block."""
        some, asked = sorted(accounts), list[tuple[str, Sequence[Any]]]()
        for account in some:
            data = "0x" + BALANCE_OF + account.hex().rjust(64, "0")
            asked.append(("eth_call", ({"to": "0x" + self.local.token.hex(), "data": data}, hex(block))))
            asked.append(("eth_getBalance", ("0x" + account.hex(), hex(block))))
        held = [int(each, 16) for each in self.chain.ask_all(asked)]
        for account, usdt, native in zip(some, held[::2], held[1::2], strict=True):
            self.ledger.note(account, block, (usdt, native))


class Gate:
    """Stands before one node, and has it hang or lag when it is told to."""

    def __init__(self, behind_proxy: Proxy, *, lags: int = 0) -> None:
        self.proxy, self.lags = behind_proxy, lags
        self.reads_lag = 0  # blocks, more than the node's blocks do
        self.reads: Counter[str] = Counter()
        self._lock, self._open = threading.Lock(), threading.Event()
        self._open.set()
        behind_proxy.fault = self._pass

    @contextmanager
    def hung(self) -> Iterator[None]:
        """For the block requests are taken and not answered."""
        self._open.clear()
        try:
            yield
        finally:
            self.let_through()

    def let_through(self) -> None:
        """What waits here goes on."""
        self._open.set()

    def _pass(self, exchange: Exchange) -> None:
        asked = exchange.body.decode()
        with self._lock:
            self.reads.update(ACCOUNT.findall(asked))
        self._open.wait()
        method = exchange.json.get("method")
        lags = self.lags + (self.reads_lag if method == "eth_call" else 0)
        if lags and method in {"eth_call", "eth_getBlockByNumber"}:
            newest = Chain(self.proxy.node).head() - lags
            parameters, place = exchange.json["params"], int(method == "eth_call")
            if parameters[place] == "latest":
                parameters[place] = hex(newest)
            elif int(parameters[place], 16) > newest:
                exchange.send({"jsonrpc": "2.0", "id": exchange.json["id"], "result": None})
                return
            exchange.body = json.dumps(exchange.json).encode()
        passed_on(exchange)


@contextmanager
def gates(*nodes: tuple[str, int]) -> Iterator[list[Gate]]:
    """A gate before each of these nodes, given by the URL and by how many blocks it lags."""
    with ExitStack() as opened:
        made = []
        for url, lags in nodes:
            made.append(Gate(opened.enter_context(proxy(url)), lags=lags))
        yield made
        for gate in made:
            gate.let_through()


class FeedAudit:
    """Holds every row that is written against the markets' ledgers. Made before the processes begin."""

    def __init__(self, scene: Scene, markets: dict[str, Market]) -> None:
        self.scene, self.markets = scene, markets
        self.accounts: dict[UUID, tuple[Market, bytes]] = {
            wallet.id: (market, wallet.account) for market in markets.values() for wallet in market.wallets
        }
        with psycopg.connect(scene.env["DATABASE_URL"], autocommit=True) as connection:
            connection.execute(_WATCH)
            # After a gap everything has changed at once, and no event says why: as these chains have always been.
            for network in markets:
                connection.execute("INSERT INTO change_rates VALUES (%s, 1000000, 900000, 0)", [network])

    def check_written(self) -> int:
        """Every row written since the last check is what its wallet had at that block. How many rows those were."""
        rows = self.scene.rows("UPDATE written SET checked = true WHERE NOT checked RETURNING *")
        for row in rows:
            market, account = self.accounts[row["wallet_id"]]
            shown = int(row["usdt"]), int(row["native"])
            begin, end = row["claimed_at"].timestamp(), row["written_at"].timestamp()
            with market.making:
                had = market.ledger.could_be_read(account, row["block_number"], begin, end)
            ledger = market.ledger
            assert shown in had, f"{row} where there was {had}: {ledger.entries[account]}, forks {ledger.forks}"
        assert self.scene.rows("SELECT * FROM lost") == [], "touches that no read has served"
        for market in self.markets.values():
            if market.failure:
                raise ServerFailed("no blocks are made any more") from market.failure
        return len(rows)

    def wrong_rows(self, network: str) -> list[str]:
        """The wallets of a network whose rows are not what they have at its newest block that is read."""
        market = self.markets[network]
        found = "SELECT wallet_id, usdt_balance, native_balance FROM balance_cache"
        rows = {
            row["wallet_id"]: (int(row["usdt_balance"]), int(row["native_balance"])) for row in self.scene.rows(found)
        }
        final = market.final
        wrong = []
        for wallet in market.wallets:
            held = market.ledger.held(wallet.account, final)
            if rows.get(wallet.id) != held:
                wrong.append(f"{wallet.account.hex()[-4:]}: {rows.get(wallet.id)} instead of {held}")
        return wrong

    def touches(self) -> int:
        """Reads that are owed."""
        return int(self.scene.value("SELECT count(*) FROM touches"))

    def noted(self) -> Counter[str]:
        """How many touches there ever were of each account."""
        found = self.scene.rows("SELECT wallet_id, count(*) AS touches FROM noted GROUP BY wallet_id")
        return Counter({self.accounts[row["wallet_id"]][1].hex(): row["touches"] for row in found})


def await_all(scene: Scene, condition: Callable[[], bool], told: Callable[[], str], what: str) -> None:
    """Wait for something, and say what there was instead where it does not come."""
    try:
        wait_for(condition, *scene.running, what=what, pause=0.1)
    except ServerFailed as failure:
        raise ServerFailed(f"{failure}\n{told()}") from None
