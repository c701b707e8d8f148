"""Every fault of the fact sheet between worker and node, while balances change: no wrong row, all rows fresh afterwards.

The worker's own code runs over real HTTP, Postgres, Redis and EVM. A row is right when it holds what its wallet had at
some time since the last good read; every balance of every wallet at every time is another number.
"""

from typing import Any

import faults as f
import pytest
from network import Net, Scene
from proxy import Fault
from tables import Tables

from config.settings import Network

T, E = "tron", "ethereum"


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
    ("F21 balance missing once", T, f.first_accounts(lambda reply: {k: v for k, v in reply.items() if k != "balance"}, 3), "zero_unconfirmed", f.only_single),
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
