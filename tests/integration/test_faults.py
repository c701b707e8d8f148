"""Every fault of the fact sheet between worker and node, while balances change: no wrong row, all rows fresh afterwards.

The worker's own code runs over real HTTP, Postgres, Redis and EVM. A row is right when it holds what its wallet had at
some time since the last good read; every balance of every wallet at every time is another number.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from time import time
from typing import Any

import faults as f
import pytest
import redis
from conftest import forget_settings
from proxy import Fault, Proxy, proxy
from solc import compiled
from tables import Tables

from config.settings import Network
from devstack.chain import Chain
from devstack.servers import Server, anvil, tron_node, wait_for
from devstack.stack import ETHEREUM_CHAIN_ID, TRON_CHAIN_ID, base58_address
from worker.chains import ethereum, reader_for, tron
from worker.sync import sync_due

WALLETS = 3
LONGEST_REST = 400.0  # seconds; more than any endpoint rests that did not say longer
REQUEST_LIMIT = 1.0


@dataclass
class Net:
    """A chain whose blocks are made when something happens, its node, and a proxy before it."""

    network: Network
    chain: Chain
    token: bytes
    proxy: Proxy
    other: Proxy
    holders: int = field(default=0x7A_0000)

    def new_holders(self) -> list[bytes]:
        self.holders += WALLETS
        return [(self.holders + at).to_bytes(20) for at in range(WALLETS)]

    def address(self, holder: bytes) -> str:
        return "0x" + holder.hex() if self.network == "ethereum" else base58_address(holder)


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Network, Net]]:
    folder = tmp_path_factory.mktemp("faults")
    creation = compiled(Path(__file__).parents[1] / "Multicall3.sol", "Solidity", "Multicall3")
    with ExitStack() as started:
        made: dict[Network, Net] = {}
        for network, chain_id, multicall3 in (
            ("ethereum", ETHEREUM_CHAIN_ID, ethereum.MULTICALL3),
            ("tron", TRON_CHAIN_ID, tron.MULTICALL3),
        ):
            evm = started.enter_context(anvil(folder, f"{network}-evm", chain_id, 1))
            chain = Chain(evm.url)
            token = chain.deploy_token()
            chain.ask("evm_setIntervalMining", 0)
            chain.ask("evm_setAutomine", True)
            code = chain.ask("eth_call", {"data": "0x" + creation.hex()}, "latest")
            chain.ask("anvil_setCode", "0x" + multicall3.hex(), code)
            node = evm if network == "ethereum" else started.enter_context(tron_node(folder, evm.url, 0))
            proxies = [started.enter_context(proxy(node.url)) for _ in range(2)]
            made[network] = Net(network, chain, token, *proxies)  # type: ignore[arg-type]
        yield made


class Scene:
    """Some wallets of one network, what they held at each time, and the worker's code at work on them."""

    def __init__(self, net: Net, tables: Tables) -> None:
        self.net, self.tables = net, tables
        self.holders = net.new_holders()
        self.history: list[list[tuple[int, int]]] = [[] for _ in self.holders]
        self.change()
        self.ids = tables.add(net.network, *map(net.address, self.holders))
        self.later = 0.0

    def change(self) -> None:
        """Every balance becomes another one, as no wallet ever had it."""
        step = len(self.history[0]) + 1
        now = [(1000 * int.from_bytes(holder) + step, 7 * int.from_bytes(holder) + step) for holder in self.holders]
        before = [each[-1][0] if each else 0 for each in self.history]
        self.net.chain.set_native([(holder, native) for holder, (_, native) in zip(self.holders, now, strict=True)])
        minted = [(holder, usdt - was) for holder, (usdt, _), was in zip(self.holders, now, before, strict=True)]
        self.net.chain.mint(self.net.token, minted)
        for each, balances in zip(self.history, now, strict=True):
            each.append(balances)

    def set_usdt(self, holder: bytes, value: int) -> None:
        """Write a balance into the token's storage, and make a block of it."""
        slot = self.net.chain.ask("web3_sha3", "0x" + (holder.rjust(32, b"\0") + (1).to_bytes(32)).hex())
        self.net.chain.ask("anvil_setStorageAt", "0x" + self.net.token.hex(), slot, f"0x{value:064x}")
        self.net.chain.ask("evm_mine")

    def rows(self) -> list[tuple[int, int] | None]:
        found = [self.tables.balance(wallet) for wallet in self.ids]
        return [(int(row["usdt_balance"]), int(row["native_balance"])) if row else None for row in found]

    def errors(self) -> set[str | None]:
        return {self.tables.schedule(wallet)["last_error"] for wallet in self.ids}

    def sync(self) -> None:
        """One batch of all wallets, and a look at every row: none may hold what its wallet never held."""
        self.tables.rows("UPDATE sync_schedule SET next_sync_at = now()")
        sync_due(self.net.network)
        for row, held in zip(self.rows(), self.history, strict=True):
            assert row is None or row in held, "a wrong row"

    def heal(self) -> None:
        """Until every rest is over."""
        self.later += LONGEST_REST
        reader: Any = reader_for(self.net.network)
        reader.known.clock = lambda: time() + self.later

    def fresh(self) -> bool:
        return self.rows() == [held[-1] for held in self.history] and self.errors() == {None}


@pytest.fixture
def settings(redis_process: Server, monkeypatch: pytest.MonkeyPatch, nets: dict[Network, Net]) -> Any:
    redis.Redis.from_url(redis_process.url).flushall()
    monkeypatch.setenv("REDIS_URL", redis_process.url)
    monkeypatch.setenv("SYNC_LEASE", str(REQUEST_LIMIT * 6))
    monkeypatch.setenv("ETHEREUM_CHAIN_ID", str(ETHEREUM_CHAIN_ID))
    monkeypatch.setenv("TRON_CHAIN_ID", str(TRON_CHAIN_ID))
    monkeypatch.setenv("ETHEREUM_USDT_CONTRACT", "0x" + nets["ethereum"].token.hex())
    monkeypatch.setenv("TRON_USDT_CONTRACT", base58_address(nets["tron"].token))
    for name in ("ETHEREUM_RPS", "TRON_RPS"):
        monkeypatch.setenv(name, "0")

    def configured(**more: str) -> None:
        for network, net in nets.items():
            monkeypatch.setenv(f"{network.upper()}_RPC_URLS", net.proxy.url)
            # Automined blocks may be a few seconds ahead of the clock: each is at least one later than the last.
            wait_for(lambda chain=net.chain: ahead(chain) < 20, what="the clock to catch up")  # type: ignore[misc]
        for name, value in more.items():
            monkeypatch.setenv(name, value)
        forget_settings()

    return configured


def ahead(chain: Chain) -> float:
    return int(chain.ask("eth_getBlockByNumber", "latest", False)["timestamp"], 16) - time()


T, E = "tron", "ethereum"
SLOW = 200  # bytes; a request for one wallet has fewer beyond the reader's own

# What is called, network, fault, the error that the wallets then have (None: no harm is done), and the way in which the
# endpoint is read, where it is not the best.
TABLE: list[tuple[str, Network, Fault, str | None, Fault | None]] = [
    # The list of the fake Tron node
    ("F1 overload as HTTP 200", T, f.said({"Error": "class java.lang.IllegalAccessException : lack of computing resources"}), "throttled", None),
    ("F2 throttled with HTTP 200", T, f.said({"Error": "request rate exceeded the allowed_rps(3), and the query server is suspended for 1 s"}), "throttled", None),
    ("F3 throttled with HTTP 429", T, f.said({"Error": "request rate exceeded the allowed_rps(3), and the query server is suspended for 1 s"}, 429), "throttled", None),
    ("F4 a key suspended", T, f.said({"Error": "The key exceeds the frequency limit(15), and the query server is suspended for 27 s"}, 403), "throttled", None),
    ("F5 daily usage", T, f.said({"Error": "Exceed the user daily usage (100000),the maximum query frequency is 1 time per second"}, 403), "throttled", None),
    ("F6 unknown key, 403", T, f.said({"Error": "ApiKey not exists"}, 403), "unauthorized", None),
    ("F6 unknown key, 401", T, f.said(b"", 401), "unauthorized", None),
    ("F7 gateway's 503", T, f.said("<html>503 Service Temporarily Unavailable</html>", 503, Content_Type="text/html"), "unavailable", None),
    ("F8 empty", T, f.said(b""), "bad_reply", None),
    ("F9 plain text of a lite node", T, f.said("this API is closed because this node is a lite fullnode"), "bad_reply", None),
    ("F10 HTML", T, f.said("<html>hello</html>", Content_Type="text/html"), "bad_reply", None),
    ("F11 truncated JSON", T, f.truncated, "bad_reply", None),
    ("F11 shorter than its Content-Length", T, f.shorter_than_it_says, "unreachable", None),
    ("F11 reset in the middle", T, f.reset_in_the_middle, "unreachable", None),
    ("F12 slow headers", T, f.slow_headers, "unreachable", None),
    ("F12 slow drip", T, f.slow_body, "unreachable", None),
    ("F12 accepts and hangs", T, f.hangs, "unreachable", None),
    ("F13 CPU time-out by chance", T, f.first(f.said(f.tron_error(f.CPU_TIMEOUT))), None, None),
    ("F13 CPU time-out of many", T, f.only_reads(f.when_larger(560, f.said(f.tron_error(f.CPU_TIMEOUT)))), None, None),
    ("F13 CPU time-out always", T, f.only_reads(f.said(f.tron_error(f.CPU_TIMEOUT))), "out_of_time", None),
    ("F14 no constant calls", T, f.said(f.tron_error("this node does not support constant", "CONTRACT_VALIDATE_ERROR")), "unsupported", None),
    ("F14 no such contract", T, f.said(f.tron_error("Smart contract is not exist.", "CONTRACT_VALIDATE_ERROR")), "no_token", None),
    ("F15 reverts with result true", T, f.said(f.REVERT), "refused", None),
    ("F16 no result", T, f.result(lambda _: []), "bad_reply", None),
    ("F16 empty result", T, f.result(lambda _: [""]), "bad_reply", None),
    ("F16 short result", T, f.result(lambda text: [text[:-64]]), "bad_reply", None),
    ("F16 odd result", T, f.result(lambda text: [text[:-1]]), "bad_reply", None),
    ("F16 0x before the result", T, f.result(lambda text: ["0x" + text]), "bad_reply", None),
    ("F16 capitals", T, f.result(lambda text: [text.upper()]), None, None),
    ("F17 {}", T, f.said({}), "bad_reply", None),
    ("F17 {} for an account that is there", T, f.empty_accounts, "zero_unconfirmed", f.only_single),
    ("F18 a NullPointerException", T, f.said({"Error": "class java.lang.NullPointerException : null"}), "refused", None),
    ("F18 the same of an account", T, f.accounts(lambda _: {"Error": "class java.lang.NullPointerException : null"}), "refused", f.only_single),
    ("F19 height regress", T, f.header(f.NUMBER, lambda number: max(number - 50, 1)), "lagging", None),
    ("F19 stuck", T, f.header(f.TIME, lambda moment: moment - 1000), "lagging", None),
    ("F20 another chain", T, f.header(f.CHAIN, lambda _: 3448148188), "wrong_chain", None),
    ("F21 above 2^53", T, f.accounts(lambda reply: reply), None, f.only_single),
    ("F21 balance missing", T, f.accounts(lambda reply: {k: v for k, v in reply.items() if k != "balance"}), "zero_unconfirmed", f.only_single),
    ("F21 balance as text", T, f.accounts(lambda reply: {**reply, "balance": str(reply["balance"])}), "bad_reply", f.only_single),
    ("F22 413", T, f.only_reads(f.said("<html>413</html>", 413)), "too_much", None),
    ("F23 API not available", T, f.said({"Error": "this API is unavailable due to config"}, 404), "unsupported", None),
    ("F24 301", T, f.moved(301), "refused", None),
    ("F24 302", T, f.moved(302), "refused", None),
    ("F25 gzip", T, f.compressed, None, None),
    ("F25 broken gzip", T, f.badly_compressed, "bad_reply", None),
    ("F26 a megabyte more", T, f.huge(2**20), None, None),
    ("F26 too many megabytes", T, f.huge(2**25), "bad_reply", None),
    ("F27 a message as text", T, f.only_reads(f.said(f.tron_error(f.CPU_TIMEOUT, visible=True))), "out_of_time", None),
    ("F28 keys twice, unknown, shuffled", T, f.twice_the_keys, None, None),
    ("F29 pending effects on /wallet", T, f.pending_effects, None, None),
    # The list of the fake Ethereum node
    ("items dropped", E, f.said([]), "bad_reply", None),
    ("items twice", E, f.changed(lambda reply: [reply, reply]), "bad_reply", None),
    ("another's item", E, f.changed(lambda reply: {**reply, "id": 10**15}), "bad_reply", f.no_revert_data),
    ("an earlier reply from a cache", E, f.a_cached_reply, "bad_reply", None),
    ("an earlier reply from a cache, returned", E, f.a_cached_reply, "bad_reply", f.no_revert_data),
    ("result null", E, f.rpc_result(None), "bad_reply", None),
    ("result null, where it is returned", E, f.rpc_result(None), "bad_reply", f.no_revert_data),
    ("result 0x", E, f.rpc_result("0x"), "bad_reply", f.no_revert_data),
    ("result without 0x", E, f.result(lambda text: text[2:]), "bad_reply", f.no_revert_data),
    ("-32005 with HTTP 200", E, f.rpc_error(-32005, "daily request count exceeded, request rate limited"), "throttled", None),
    ("429 with HTTP 200", E, f.rpc_error(429, "Your app has exceeded its compute units per second capacity"), "throttled", None),
    ("reverts with nothing", E, f.rpc_error(3, "execution reverted", data="0x"), "unsupported", None),
    ("reverts with a reason", E, f.rpc_error(3, "execution reverted: no", data="0x08c379a0"), "refused", f.no_revert_data),
    ("header not found", E, f.rpc_error(-32000, "header not found"), "lagging", None),
    ("missing trie node", E, f.rpc_error(-32000, "missing trie node 9c (path ) state 0x9c is not available"), "lagging", None),
    ("gas cap for many", E, f.only_reads(f.when_larger(560, f.rpc_error(-32000, "out of gas"))), None, None),
    ("gas cap for one", E, f.only_reads(f.rpc_error(-32000, "err: out of gas (supplied gas 50000000)")), "too_much", None),
    ("dRPC's 500 with errors for all", E, f.said([{"id": 1, "error": {"code": 31, "message": "Batch of more than 3"}}], 500), "unavailable", None),
    ("QuickNode's partial 429", E, f.changed(lambda reply: [reply, {"id": 2, "error": {"code": 429}}]), "bad_reply", None),
    ("finalized that does not advance", E, f.header(f.TIME, lambda moment: moment - 3000), "lagging", None),
    ("safe ahead of what comes next", E, f.header(f.NUMBER, lambda number: number - 5), "older_block", None),
    ("block number regress", E, f.header(f.NUMBER, lambda number: max(number - 50, 1)), "lagging", None),
    ("block number out of thin air", E, f.header(f.NUMBER, lambda _: 2**62), "bad_reply", None),
    ("block zero", E, f.header(f.NUMBER, lambda _: 0), "bad_reply", None),
    ("a block of tomorrow", E, f.header(f.TIME, lambda moment: moment + 86400), "bad_reply", None),
    ("another chain", E, f.header(f.CHAIN, lambda _: 5), "wrong_chain", None),
    ("another echo", E, f.header(f.ECHO, lambda word: word ^ 1), "bad_reply", None),
    ("a wallet less", E, f.with_words(lambda words: words[:-1]), "bad_reply", None),
    ("a wallet more", E, f.with_words(lambda words: [*words, 1]), "bad_reply", None),
    ("token calls that fail", E, f.wallets(lambda word: word | (2**128 - 1) << 128), "usdt_call_failed", None),
    ("more than there is", E, f.wallets(lambda word: word | 1 << 250), "bad_reply", None),
    ("a zero once", E, f.first(f.wallets(lambda _: 0)), "zero_unconfirmed", None),
    ("half of a zero once", E, f.first(f.wallets(lambda word: word >> 128 << 128)), "zero_unconfirmed", None),
    ("invalid opcode", E, f.rpc_error(-32000, "invalid opcode: INVALID"), "refused", None),
    ("no such method", E, f.rpc_error(-32601, "the method eth_call does not exist/is not available"), "unsupported", None),
    ("413 as text", E, f.only_reads(f.said("content length too large (6000078>5242880)\n", 413, Content_Type="text/plain")), "too_much", None),
    ("415 as text", E, f.said("invalid content type, only application/json is supported\n", 415, Content_Type="text/plain"), "refused", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("network", "fault", "error", "base"), [line[1:] for line in TABLE], ids=[line[0] for line in TABLE]
)
def test_a_fault_writes_no_wrong_row_is_named_and_leaves_no_trace(  # noqa: PLR0917  pytest gives them by name
    tables: Tables,
    settings: Any,
    nets: dict[Network, Net],
    network: Network,
    fault: Fault,
    error: str | None,
    base: Fault | None,
) -> None:
    settings()
    scene, net = Scene(nets[network], tables), nets[network]
    with net.proxy.faulty(base or net.proxy.fault or f.passed_on):
        scene.sync()
        assert scene.fresh(), "all is well before"
        scene.change()
        with net.proxy.faulty(fault):
            scene.sync()
            assert scene.errors() == {error}
            assert scene.fresh() == (error is None)
            scene.change()
            scene.sync()
        scene.heal()
        scene.sync()
        assert scene.fresh(), "and afterwards"


def test_a_name_that_nobody_has_and_a_port_that_speaks_no_tls_are_unreachable(
    tables: Tables, settings: Any, nets: dict[Network, Net]
) -> None:
    """F30: what fails on our own side of the wire."""
    scene = Scene(nets["tron"], tables)
    for url in ("http://node.invalid", nets["tron"].proxy.url.replace("http:", "https:")):
        settings(TRON_RPC_URLS=url)
        scene.sync()
        assert scene.errors() == {"unreachable"}
    settings()
    scene.sync()
    assert scene.fresh()


def both(net: Net) -> dict[str, str]:
    """Two endpoints of one network, the faulty one first."""
    return {f"{net.network.upper()}_RPC_URLS": f"{net.proxy.url},{net.other.url}"}


def test_a_zero_that_one_endpoint_keeps_telling_is_not_believed_where_another_knows_better(
    tables: Tables, settings: Any, nets: dict[Network, Net]
) -> None:
    net = nets["ethereum"]
    settings(**both(net))
    scene = Scene(net, tables)
    scene.sync()
    with net.proxy.faulty(f.wallets(lambda _: 0)):
        for _ in range(3):
            scene.change()
            scene.sync()
            assert scene.errors() == {"zero_unconfirmed"}
    scene.sync()
    assert scene.fresh()


@pytest.mark.parametrize("endpoints", [1, 2])
def test_a_zero_that_is_true_is_written_at_once(
    tables: Tables, settings: Any, nets: dict[Network, Net], endpoints: int
) -> None:
    net = nets["ethereum"]
    settings(**(both(net) if endpoints == 2 else {}))
    scene = Scene(net, tables)
    scene.sync()
    scene.set_usdt(scene.holders[1], 0)
    scene.history[1].append((0, scene.history[1][-1][1]))
    before = net.proxy.requests + net.other.requests
    scene.sync()
    assert scene.fresh()
    assert net.proxy.requests + net.other.requests - before == 2 + (endpoints - 1), "read twice, and a supply learnt"


def test_a_block_that_was_reorganised_away_is_overwritten_by_the_one_in_its_place(
    tables: Tables, settings: Any, nets: dict[Network, Net]
) -> None:
    net = nets["ethereum"]
    settings()
    scene = Scene(net, tables)
    scene.sync()
    before = net.chain.ask("evm_snapshot")
    scene.change()
    scene.sync()
    (number,) = {row["block_number"] for row in tables.rows("SELECT block_number FROM balance_cache")}
    net.chain.ask("evm_revert", before)
    scene.history = [held[:-1] for held in scene.history]
    net.chain.ask("evm_mine")
    scene.history = [[*held, (held[-1][0], held[-1][1])] for held in scene.history]
    assert net.chain.head() == number, "the same number, another block"
    scene.sync()
    assert scene.fresh()


def test_a_suspended_key_rests_alone_and_the_others_are_used_evenly(
    tables: Tables, settings: Any, nets: dict[Network, Net]
) -> None:
    """F4 with a key to spare."""
    net = nets["tron"]
    settings(TRON_API_KEYS="key-one,key-two,key-three", TRON_API_KEY_HOSTS="127.0.0.1")
    scene = Scene(net, tables)
    used: list[str | None] = []

    def fault(exchange: f.Exchange) -> None:
        used.append(exchange.headers.get("TRON-PRO-API-KEY"))
        f.suspended_by_key(exchange)

    with net.proxy.faulty(fault):
        for _ in range(10):
            scene.change()
            scene.sync()
            assert scene.fresh()
    assert used.count("key-one") == 1
    assert abs(used.count("key-two") - used.count("key-three")) <= 2


def test_keys_go_to_no_host_that_they_are_not_for(tables: Tables, settings: Any, nets: dict[Network, Net]) -> None:
    net = nets["tron"]
    settings(TRON_API_KEYS="key-one")
    scene = Scene(net, tables)
    used: list[str | None] = []

    def fault(exchange: f.Exchange) -> None:
        used.append(exchange.headers.get("TRON-PRO-API-KEY"))
        f.passed_on(exchange)

    with net.proxy.faulty(fault):
        scene.sync()
    assert scene.fresh()
    assert set(used) == {None}


ORDERS = list(permutations(["throttling", "lagging", "wrong chain", "good"]))


@pytest.mark.parametrize("order", ORDERS[::4], ids=" - ".join)
def test_beside_a_good_endpoint_three_bad_ones_are_hardly_asked_and_all_is_right(
    tables: Tables, settings: Any, nets: dict[Network, Net], order: tuple[str, ...]
) -> None:
    """Each of the four is first at least once; the unit tests have every order."""
    net = nets["ethereum"]
    troubles: dict[str, Fault] = {
        "throttling": f.said(b"", 429),
        "lagging": f.with_words(lambda words: [max(words[0] - 50, 1), words[1] - 600, *words[2:]]),
        "wrong chain": f.header(f.CHAIN, lambda _: 5),
        "good": f.passed_on,
    }
    with ExitStack() as started:
        proxies = {name: started.enter_context(proxy(net.proxy.node)) for name in order}
        for name, each in proxies.items():
            started.enter_context(each.faulty(troubles[name]))
        settings(ETHEREUM_RPC_URLS=",".join(each.url for each in proxies.values()))
        scene = Scene(net, tables)
        reader: Any = reader_for("ethereum")
        reader.known.clock = lambda: time() + scene.later
        for number in range(200):
            scene.later += 1  # a batch a second
            if number % 50 == 0:
                scene.change()
            scene.sync()
            assert scene.fresh()
        asked = {name: each.requests for name, each in proxies.items()}
    assert sum(asked.values()) - asked["good"] < 0.05 * sum(asked.values()), asked
