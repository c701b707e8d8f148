"""Every fault of the fact sheet between worker and node, while balances change: no wrong row, all rows fresh afterwards.

The worker's own code runs over real HTTP, Postgres, Redis and EVM. A row is right when it holds what its wallet had at
some time since the last good read; every balance of every wallet at every time is another number.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import faults as f
import json_rpc_faults as j
import pytest
import tron_faults as t
from network import WALLETS, Balances, Net, Scene, Shown, newest
from proxy import Fault, passed_on
from tables import Tables

from config.networks import NetworkName
from worker.reading import reader_for

NOBODYS_NAME = "node.invalid"

T: NetworkName = "tron"
E: NetworkName = "ethereum"
R, M, S = j.no_revert_data, f.no_deployless, f.only_single  # read by RETURN, by Multicall3, wallet by wallet


@dataclass(frozen=True)
class Line:
    """A fault, and the error that the wallets then have; None: no harm is done.

    `base` makes the endpoint be read in another way than the best, `happens` is what the chain does as the fault
    begins, `shown` what a row then holds. As long as the fault lasts, `url` is the endpoint's URL and `limit` the
    seconds that a request may take: short for a fault that is nothing but time.
    """

    network: NetworkName
    fault: Fault
    error: str | None
    base: Fault = passed_on
    happens: Callable[[Scene], None] = Scene.change
    shown: Shown = newest
    url: Callable[[str], str] = str
    limit: float | None = None
    settings: dict[str, str] = field(default_factory=dict)


def line(
    name: str,
    network: NetworkName,
    fault: Fault,
    error: str | None,
    base: Fault = passed_on,
    *,
    happens: Callable[[Scene], None] = Scene.change,
    shown: Shown = newest,
    url: Callable[[str], str] = str,
    limit: float | None = None,
    **settings: str,
) -> Any:
    made = Line(network, fault, error, base, happens, shown, url, limit, settings)
    return pytest.param(made, id=f"{network}: {name}")


def before_that(held: list[Balances]) -> Balances:
    return held[-2]


def without_pending(held: list[Balances]) -> Balances:
    usdt, native = held[-1]
    return usdt, native - t.PENDING


TABLE = [
    # The list of the fake Tron node
    line("F1 overload as HTTP 200", T, f.said(t.OVERLOAD), "throttled"),
    line("F1 the same of an account", T, t.accounts(lambda _: t.OVERLOAD), "throttled", S),
    line("F2 throttled with HTTP 200", T, f.said(t.RATE), "throttled"),
    line("F2 the same of an account", T, t.accounts(lambda _: t.RATE), "throttled", S),
    line("F3 throttled with HTTP 429", T, f.said(t.RATE, 429), "throttled"),
    line("F4 a key suspended", T, f.said(t.SUSPENDED, 403), "throttled"),
    line("F5 daily usage", T, f.said({"Error": "Exceed the user daily usage (100000),the maximum query frequency is 1 time per second"}, 403), "throttled"),
    line("F6 unknown key, 403", T, f.said({"Error": "ApiKey not exists"}, 403), "unauthorized"),
    line("F6 unknown key, 401", T, f.said(b"", 401), "unauthorized"),
    line("F7 gateway's 503", T, f.said("<html>503 Service Temporarily Unavailable</html>", 503, Content_Type="text/html"), "unavailable"),
    line("F8 empty", T, f.said(b""), "bad_reply"),
    line("F9 plain text of a lite node", T, f.said("this API is closed because this node is a lite fullnode"), "bad_reply"),
    line("F10 HTML", T, f.said("<html>hello</html>", Content_Type="text/html"), "bad_reply"),
    line("F10 good JSON that is called HTML", T, f.relabelled(Content_Type="text/html"), None),
    line("F10 good JSON with HTTP 300", T, f.relabelled(300), "refused"),
    line("F11 truncated JSON", T, f.truncated, "bad_reply"),
    line("F11 shorter than its Content-Length", T, f.shorter_than_it_says, "unreachable"),
    line("F11 reset in the middle", T, f.reset_in_the_middle, "unreachable"),
    line("F12 slow headers", T, f.slow_headers, "unreachable", limit=1.0),
    line("F12 slow drip", T, f.slow_body, "unreachable", limit=1.0),
    line("F12 accepts and hangs", T, f.hangs, "unreachable", limit=1.0),
    line("F13 CPU time-out by chance", T, f.first(f.said(t.error(t.CPU_TIMEOUT))), None),
    line("F13 CPU time-out of many", T, f.only_reads(f.when_larger(560, f.said(t.error(t.CPU_TIMEOUT)))), None),
    line("F13 CPU time-out always", T, f.only_reads(f.said(t.error(t.CPU_TIMEOUT))), "out_of_time"),
    line("F13 the same of a Multicall3", T, f.only_reads(f.said(t.error(t.CPU_TIMEOUT))), "out_of_time", M),
    line("F13 the same of one wallet", T, f.of(t.asks_token, f.said(t.error(t.CPU_TIMEOUT))), "out_of_time", S),
    line("F14 no constant calls", T, f.said(t.error("this node does not support constant", "CONTRACT_VALIDATE_ERROR")), "unsupported"),
    line("F14 no such contract", T, f.said(t.error("Smart contract is not exist.", "CONTRACT_VALIDATE_ERROR")), "no_token"),
    line("F15 reverts with result true", T, f.said(t.REVERT), "refused"),
    line("F15 the same of a Multicall3", T, f.only_reads(f.said(t.REVERT)), "refused", M),
    line("F15 the same of one wallet", T, f.of(t.asks_token, f.said(t.REVERT)), "usdt_call_failed", S),
    line("F16 no result", T, f.result(lambda _: []), "bad_reply"),
    line("F16 empty result", T, f.result(lambda _: [""]), "bad_reply"),
    line("F16 short result", T, f.result(lambda text: [text[:-64]]), "bad_reply"),
    line("F16 odd result", T, f.result(lambda text: [text[:-1]]), "bad_reply"),
    line("F16 0x before the result", T, f.result(lambda text: ["0x" + text]), "bad_reply"),
    line("F16 capitals", T, f.result(lambda text: [text.upper()]), None),
    line("F16 short result of one wallet", T, f.of(t.asks_token, f.changed(lambda reply: {**reply, "constant_result": ["01"]})), "usdt_call_failed", S),
    line("F16 odd result of one wallet", T, f.of(t.asks_token, f.changed(lambda reply: {**reply, "constant_result": ["0"]})), "bad_reply", S),
    line("F17 {}", T, f.said({}), "bad_reply"),
    line("F17 {} for an account that is there", T, t.accounts(lambda _: {}), "zero_unconfirmed", S),
    line("F17 {} once for an account that was never read", T, f.first(t.accounts(lambda _: {}), WALLETS, asks=t.asks_account), "zero_unconfirmed", S, happens=Scene.is_forgotten),
    line("F17 {} from another network", T, t.of_another_network, "wrong_chain", S),
    line("F18 a NullPointerException", T, f.said(t.NULL_POINTER), "refused"),
    line("F18 the same of an account", T, t.accounts(lambda _: t.NULL_POINTER), "refused", S),
    line("F18 the same of the newest block", T, f.of(t.asks_newest, f.said(t.NULL_POINTER)), "refused", S),
    line("F19 height regress", T, f.older(100), "lagging"),
    line("F19 stuck", T, f.header(f.TIME, lambda moment: moment - 1000), "finality_stalled"),
    line("F19 stuck, the newest block too", T, f.of_each((f.is_read, f.header(f.TIME, lambda moment: moment - 1000)), (t.asks_newest, t.blocks(lambda block: {**block, "timestamp": block["timestamp"] - 1_000_000}))), "lagging"),
    line("F19 height regress of a Multicall3", T, f.older(100), "lagging", M),
    line("F19 height regress, wallet by wallet", T, t.blocks(lambda block: {**block, "number": max(block["number"] - 50, 1), "timestamp": block["timestamp"] - 100_000}), "lagging", S),
    line("F19 a number too low for its time", T, f.header(f.NUMBER, lambda number: max(number - 50, 1)), "older_block"),
    line("F19 stuck, wallet by wallet", T, t.blocks(lambda block: {**block, "timestamp": block["timestamp"] - 1_000_000}), "lagging", S),
    line("F19 solid is the newest", T, t.solid_is_head, None),
    line("F19 block zero, wallet by wallet", T, t.blocks(lambda block: {**block, "number": 0}), "bad_reply", S),
    line("F20 another chain", T, f.header(f.CHAIN, lambda _: 3448148188), "wrong_chain"),
    line("F20 another chain of a Multicall3", T, f.header(f.CHAIN, lambda _: 3448148188), "wrong_chain", M),
    line("F20 another first block", T, t.genesis(lambda block_id: block_id[:-8] + f"{3448148188:08x}"), "wrong_chain", S),
    line("F20 no first block", T, t.genesis(lambda _: None), "bad_reply", S),
    line("F21 above 2^53", T, t.balances(lambda balance: balance), None, S),
    line("F21 above 2^53, as a double", T, t.balances(float), "bad_reply", S),
    line("F21 balance missing once", T, f.first(t.accounts(t.without_balance), WALLETS, asks=t.asks_account), "zero_unconfirmed", S),
    line("F21 balance missing: there is none", T, f.of(t.asks_account, t.an_empty_account), None, S, happens=Scene.empties),
    line("F21 balance as text", T, t.balances(str), "bad_reply", S),
    line("F21 balance below zero", T, t.balances(lambda balance: -balance), "bad_reply", S),
    line("F21 another account's balance", T, t.accounts(lambda reply: {**reply, "address": "41" + "00" * 20}), "bad_reply", S),
    line("F22 413", T, f.only_reads(f.said("<html>413</html>", 413)), "too_much"),
    line("F23 API not available", T, f.said({"Error": "this API is unavailable due to config"}, 404), "unsupported"),
    line("F24 301", T, f.moved(301), "refused"),
    line("F24 302", T, f.moved(302), "refused"),
    line("F25 gzip", T, f.compressed, None),
    line("F25 broken gzip", T, f.badly_compressed, "bad_reply"),
    line("F26 a megabyte more", T, t.huge(2**20), None),
    line("F26 too many megabytes", T, t.huge(2**24 + 2**20), "bad_reply"),
    line("F26 a megabyte of one account", T, f.of(t.asks_account, t.huge(2**20)), None, S),
    line("F26 too many megabytes of one account", T, f.of(t.asks_account, t.huge(2**24 + 2**20)), "bad_reply", S),
    line("F27 a message as text", T, f.only_reads(f.said(t.error(t.CPU_TIMEOUT, visible=True))), "out_of_time"),
    line("F28 keys twice, unknown, shuffled", T, t.twice_the_keys, None),
    line("F28 the same, wallet by wallet", T, t.twice_the_keys, None, S),
    line("F29 pending effects, and solid is read", T, t.pending_effects, None),
    line("F29 the same, wallet by wallet", T, t.pending_effects, None, S),
    line("F29 pending effects, and the newest is read", T, t.pending_effects, None, shown=without_pending, TRON_FINALITY="latest"),
    line("F29 the same, wallet by wallet and newest", T, t.pending_effects, None, S, shown=without_pending, TRON_FINALITY="latest"),
    line("F30 a name that nobody has", T, passed_on, "unreachable", url=lambda _: f"https://{NOBODYS_NAME}"),
    line("F30 a port that speaks no TLS", T, passed_on, "unreachable", url=lambda url: url.replace("http:", "https:"), limit=1.0),
    line("a Multicall3 that is gone", T, f.only_reads(f.said(t.error("Smart contract is not exist.", "CONTRACT_VALIDATE_ERROR"))), "unsupported", M),
    line("a Multicall3 whose token calls fail", T, f.wallets(lambda word: word | (2**128 - 1) << 128), "usdt_call_failed", M),
    line("a Multicall3 that tells a zero once", T, f.first(f.wallets(lambda _: 0)), "zero_unconfirmed", M),
    # The list of the fake Ethereum node
    line("items dropped", E, f.said([]), "bad_reply"),
    line("items twice", E, f.changed(lambda reply: [reply, reply]), "bad_reply"),
    line("another's item", E, f.changed(lambda reply: {**reply, "id": 10**15}), "bad_reply", R),
    line("another's item, with an error that is none", E, f.changed(lambda reply: {**reply, "id": 10**15, "error": None}), "bad_reply", R),
    line("another's id above our own words", E, f.changed(lambda reply: {**reply, "id": 10**15}), None),
    line("another's id and another's words", E, f.only_reads(j.renumbered(j.a_cached_reply)), "bad_reply"),
    line("an earlier reply from a cache", E, j.a_cached_reply, "bad_reply"),
    line("an earlier reply from a cache, returned", E, j.a_cached_reply, "bad_reply", R),
    line("an earlier reply from a cache, of a Multicall3", E, j.a_cached_reply, "bad_reply", M),
    line("items in another order", E, f.of(j.asks("eth_getBalance"), j.in_another_order()), "bad_reply", S),
    line("items in another order, with errors that are none", E, f.of(j.asks("eth_getBalance"), j.in_another_order(error=None)), "bad_reply", S),
    line("items in another order, token calls", E, f.of(j.asks_token, j.in_another_order()), "bad_reply", S),
    line("result null", E, j.result(None), "bad_reply"),
    line("result null, where it is returned", E, j.result(None), "bad_reply", R),
    line("result 0x", E, j.result("0x"), "bad_reply", R),
    line("result without 0x", E, f.result(lambda text: text[2:]), "bad_reply", R),
    line("-32005 with HTTP 200", E, j.error(-32005, "daily request count exceeded, request rate limited"), "throttled"),
    line("429 with HTTP 200", E, j.error(429, "Your app has exceeded its compute units per second capacity"), "throttled"),
    line("reverts with nothing", E, j.error(3, "execution reverted", data="0x"), "unsupported"),
    line("reverts with a reason, when it was to with our words", E, j.error(3, "execution reverted: no", data="0x08c379a0"), "refused"),
    line("reverts with a reason", E, j.error(3, "execution reverted: no", data="0x08c379a0"), "refused", R),
    line("header not found", E, j.error(-32000, "header not found"), "state_gone"),
    line("missing trie node", E, j.error(-32000, "missing trie node 9c (path ) state 0x9c is not available"), "state_gone"),
    line("gas cap for many", E, f.only_reads(f.when_larger(620, j.error(-32000, "out of gas"))), None),
    line("gas cap for one", E, f.only_reads(j.error(-32000, "err: out of gas (supplied gas 50000000)")), "too_much"),
    line("dRPC's 500 with errors for all", E, f.said([{"id": 1, "error": {"code": 31, "message": "Batch of more than 3"}}], 500), "unavailable"),
    line("QuickNode's partial 429", E, f.changed(lambda reply: [reply, {"id": 2, "error": {"code": 429}}]), "bad_reply"),
    line("finalized that does not advance", E, j.standing_still(3000), "finality_stalled", j.settled(int), ETHEREUM_FINALITY="finalized"),
    line("finalized that stands still for a while", E, j.standing_still(), None, j.settled(int), shown=before_that, ETHEREUM_FINALITY="finalized"),
    line("no finalized block", E, j.error(-32000, "finalized block not found"), "lagging", j.settled(int), ETHEREUM_FINALITY="finalized"),
    line("safe ahead of what comes next", E, j.settled(lambda number: number - 5), "older_block", j.settled(int), ETHEREUM_FINALITY="safe"),
    line("block number regress", E, f.older(150), "lagging"),
    line("block number too low for its time", E, f.header(f.NUMBER, lambda number: max(number - 50, 1)), "older_block"),
    line("a reorganisation", E, passed_on, None, happens=Scene.reorganises),
    line("a reorganisation, wallet by wallet", E, passed_on, None, S, happens=Scene.reorganises),
    line("block number out of thin air", E, f.header(f.NUMBER, lambda _: 2**62), "bad_reply"),
    line("block number too high for its time", E, f.header(f.NUMBER, lambda number: number + 5000), "bad_reply"),
    line("block number out of thin air, and no other known", E, f.header(f.NUMBER, lambda _: 2**40), None, happens=Scene.is_unknown),
    line("block zero", E, f.header(f.NUMBER, lambda _: 0), "bad_reply"),
    line("a block of tomorrow", E, f.header(f.TIME, lambda moment: moment + 86400), "bad_reply"),
    line("another chain", E, f.header(f.CHAIN, lambda _: 5), "wrong_chain"),
    line("another echo", E, f.header(f.ECHO, lambda word: word ^ 1), "bad_reply"),
    line("a wallet less", E, f.with_words(lambda words: words[:-1]), "bad_reply"),
    line("a wallet more", E, f.with_words(lambda words: [*words, 1]), "bad_reply"),
    line("token calls that fail", E, f.wallets(lambda word: word | (2**128 - 1) << 128), "usdt_call_failed"),
    line("more than there is", E, f.wallets(lambda word: word | 1 << 250), "bad_reply"),
    line("a zero once", E, f.first(f.wallets(lambda _: 0)), "zero_unconfirmed"),
    line("half of a zero once", E, f.first(f.wallets(lambda word: word >> 128 << 128)), "zero_unconfirmed"),
    line("invalid opcode", E, j.error(-32000, "invalid opcode: INVALID"), "refused"),
    line("no such method", E, j.error(-32601, "the method eth_call does not exist/is not available"), "unsupported"),
    line("413 as text", E, f.only_reads(f.said("content length too large (6000078>5242880)\n", 413, Content_Type="text/plain")), "too_much"),
    line("415 as text", E, f.said("invalid content type, only application/json is supported\n", 415, Content_Type="text/plain"), "refused"),
    line("good JSON that is called text", E, f.relabelled(Content_Type="text/plain"), None),
    line("good JSON with HTTP 300", E, f.relabelled(300), "refused", R),
    # The same node by its Multicall3
    line("a Multicall3 that is gone", E, f.only_reads(j.result("0x")), "unsupported", M),
    line("a Multicall3 that reverts", E, f.only_reads(j.error(3, "execution reverted", data="0x")), "refused", M),
    line("a Multicall3 out of gas for many", E, f.only_reads(f.when_larger(3800, j.error(-32000, "out of gas"))), None, M),
    line("a Multicall3 whose result breaks off", E, f.result(lambda text: text[:-64]), "bad_reply", M),
    line("a Multicall3 with a result less", E, f.results(lambda found: found[:-1]), "bad_reply", M),
    line("a Multicall3 with a result more", E, f.results(lambda found: [*found, found[-1]]), "bad_reply", M),
    line("a Multicall3 without a block", E, f.results(lambda found: [(False, b""), *found[1:]]), "bad_reply", M),
    line("a Multicall3 without an echo", E, f.results(lambda found: [*found[:3], (False, b""), *found[4:]]), "bad_reply", M),
    line("a Multicall3 with another echo", E, f.header(f.ECHO, lambda word: word ^ 1), "bad_reply", M),
    line("a Multicall3 whose balance call fails", E, f.results(lambda found: [*found[:-1], (False, b"")]), "bad_reply", M),
    line("a Multicall3 whose token calls fail", E, f.wallets(lambda word: word | (2**128 - 1) << 128), "usdt_call_failed", M),
    line("a Multicall3 whose token calls give 31 bytes", E, f.results(lambda found: [*found[:4], *((good, data[at % 2 == 0:]) for at, (good, data) in enumerate(found[4:]))]), "usdt_call_failed", M),
    line("a Multicall3 that gives more than there is", E, f.wallets(lambda word: word | 1 << 250), "bad_reply", M),
    line("a Multicall3 that tells a zero once", E, f.first(f.wallets(lambda _: 0)), "zero_unconfirmed", M),
    line("a Multicall3 of another chain", E, f.header(f.CHAIN, lambda _: 5), "wrong_chain", M),
    line("a Multicall3 of 50 blocks ago", E, f.older(150), "lagging", M),
    line("a Multicall3 of an hour ago", E, f.header(f.TIME, lambda moment: moment - 3600), "lagging", M),
    # The same node wallet by wallet
    line("balances that change after their block", E, j.mined_meanwhile, None, S),
    line("a block that is not there", E, f.of(j.asks("eth_getBlockByNumber"), j.result(None)), "lagging", S),
    line("a block without a hash", E, j.blocks(lambda block: {**block, "hash": None}), "bad_reply", S),
    line("a block without a number", E, j.blocks(lambda block: {**block, "number": None}), "bad_reply", S),
    line("a block of an hour ago", E, j.blocks(lambda block: {**block, "timestamp": hex(int(block["timestamp"], 16) - 3600)}), "lagging", S),
    line("a block 50 before", E, j.blocks(lambda block: {**block, "number": hex(max(int(block["number"], 16) - 50, 1)), "timestamp": hex(int(block["timestamp"], 16) - 150)}), "lagging", S),
    line("another chain, wallet by wallet", E, f.of(j.asks("eth_chainId"), j.result("0x5")), "wrong_chain", S),
    line("a balance null", E, f.of(j.asks("eth_getBalance"), j.result(None)), "bad_reply", S),
    line("a balance 0x", E, f.of(j.asks("eth_getBalance"), j.result("0x")), "bad_reply", S),
    line("a balance without 0x", E, f.of(j.asks("eth_getBalance"), j.result("100")), "bad_reply", S),
    line("a balance as a number", E, f.of(j.asks("eth_getBalance"), j.result(100)), "bad_reply", S),
    line("a balance that cannot be", E, f.of(j.asks("eth_getBalance"), j.result(hex(2**128))), "bad_reply", S),
    line("a balance zero once", E, f.first(j.result("0x0"), WALLETS, asks=j.asks("eth_getBalance")), "zero_unconfirmed", S),
    line("a state that is gone", E, f.of(j.asks("eth_getBalance"), j.error(-32000, "missing trie node 9c (path ) state 0x9c is not available")), "state_gone", S),
    line("a block that was reorganised away", E, f.of(j.asks("eth_getBalance"), j.error(-32000, "hash is not currently canonical")), "state_gone", S),
    line("a token call that reverts", E, f.of(j.asks_token, j.error(3, "execution reverted", data="0x")), "usdt_call_failed", S),
    line("a token call that gives nothing", E, f.of(j.asks_token, j.result("0x")), "usdt_call_failed", S),
    line("a token call throttled", E, f.of(j.asks_token, j.error(429, "Too Many Requests")), "throttled", S),
    line("a token call that gives more than there is", E, f.of(j.asks_token, j.result(f"0x{1 << 120:064x}")), "bad_reply", S),
]  # fmt: skip


@pytest.fixture(autouse=True)
def a_name_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a resolver says it that knows the name to be nobody's: this machine's may be slow, or lead elsewhere."""
    resolve: Any = socket.getaddrinfo

    def resolved(host: Any, *more: Any, **options: Any) -> Any:
        if host == NOBODYS_NAME:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@contextmanager
def faulty(line: Line, net: Net, settings: Any) -> Iterator[None]:
    """The fault for the block, with all that lasts as long as it does."""
    with net.proxy.faulty(line.fault):
        if line.url is not str:
            settings(**line.settings, **{f"{line.network.upper()}_RPC_URLS": line.url(net.proxy.url)})
        reader: Any = reader_for(line.network)
        before = reader.request_limit
        reader.request_limit = line.limit or before
        yield
        reader.request_limit = before
    if line.url is not str:
        settings(**line.settings)


@pytest.mark.parametrize("line", TABLE)
def test_a_fault_writes_no_wrong_row_is_named_and_leaves_no_trace(
    tables: Tables, settings: Any, nets: dict[NetworkName, Net], line: Line
) -> None:
    settings(**line.settings)
    scene, net = Scene(nets[line.network], tables), nets[line.network]
    with net.proxy.faulty(line.base):
        scene.sync()
        assert scene.fresh(), "all is well before"
        line.happens(scene)
        with faulty(line, net, settings):
            scene.shown = line.shown
            scene.sync()
            assert scene.errors() == {line.error}
            assert scene.fresh() == (line.error is None)
            scene.change()
            scene.sync()
        scene.shown = newest
        scene.heal()
        scene.sync()
        assert scene.fresh(), "and afterwards"
