"""What nodes and gateways do wrong, each as a function that a proxy runs instead of passing a request on."""

import gzip
import json
from collections.abc import Callable
from itertools import count
from typing import Any

from proxy import Exchange, Fault, passed_on

from worker.chains.snapshot import READER, REVERTING_READER

Words = list[int]


def said(body: Any, status: int = 200, **headers: str) -> Fault:
    """The same reply to everything."""
    return lambda exchange: exchange.send(body, status, **headers)


def is_read(exchange: Exchange) -> bool:
    """Whether it asks for balances by the reader contract."""
    data = exchange.json.get("data") or (exchange.json.get("params") or [{}])[0]
    data = data.get("data", "") if isinstance(data, dict) else data
    return bytes.fromhex(str(data).removeprefix("0x"))[:32] in {READER[:32], REVERTING_READER[:32]}


def is_deployless(exchange: Exchange) -> bool:
    call = exchange.json if "owner_address" in exchange.json else (exchange.json.get("params") or [{}])[0]
    return isinstance(call, dict) and "data" in call and not {"to", "contract_address"} & call.keys()


def only_reads(fault: Fault) -> Fault:
    """A fault of reads alone; other requests are passed on."""
    return lambda exchange: fault(exchange) if is_deployless(exchange) else passed_on(exchange)


def changed(change: Callable[[Any], Any], **headers: str) -> Fault:
    """The node's own reply, changed."""
    return lambda exchange: exchange.send(change(exchange.upstream().json()), **headers)


def with_words(change: Callable[[Words], Words]) -> Fault:
    """The node's own reply to a read with other words in it: NUMBER, TIME, CHAINID, ECHO, then one for each wallet."""

    def packed(text: str) -> str:
        prefix, digits = ("0x", text[2:]) if text.startswith("0x") else ("", text)
        words = [int(digits[at : at + 64], 16) for at in range(0, len(digits), 64)]
        return prefix + "".join(f"{word:064x}" for word in change(words))

    def edit(reply: Any) -> Any:
        if "constant_result" in reply:
            return {**reply, "constant_result": [packed(reply["constant_result"][0])]}
        if "error" in reply:
            return {**reply, "error": {**reply["error"], "data": packed(reply["error"]["data"])}}
        return {**reply, "result": packed(reply["result"])}

    return only_reads(changed(edit))


def header(place: int, change: Callable[[int], int]) -> Fault:
    """One of the words before the wallets', changed."""
    return with_words(lambda words: [*words[:place], change(words[place]), *words[place + 1 :]])


def wallets(change: Callable[[int], int]) -> Fault:
    """Every wallet's word, changed."""
    return with_words(lambda words: [*words[:4], *map(change, words[4:])])


NUMBER, TIME, CHAIN, ECHO = range(4)


def result(change: Callable[[str], Any]) -> Fault:
    """A read's `constant_result` or JSON-RPC `result`, changed."""

    def edit(reply: Any) -> Any:
        if "constant_result" in reply:
            return {**reply, "constant_result": change(reply["constant_result"][0])}
        return {**reply, "result": change(reply["result"])}

    return only_reads(changed(edit))


def first(fault: Fault, times: int = 1) -> Fault:
    """A fault that comes so often, of reads, and then no more."""
    seen = count()
    return only_reads(lambda exchange: fault(exchange) if next(seen) < times else passed_on(exchange))


def when_larger(size: int, fault: Fault) -> Fault:
    """A fault of requests of more than so many bytes."""
    return lambda exchange: fault(exchange) if len(exchange.body) > size else passed_on(exchange)


# What breaks below HTTP's meaning


def reset_in_the_middle(exchange: Exchange) -> None:
    exchange.start(1000)
    exchange.write(b'{"jsonrpc"')
    exchange.reset()


def shorter_than_it_says(exchange: Exchange) -> None:
    whole = exchange.upstream().content
    exchange.start(len(whole) + 100)
    exchange.write(whole)
    exchange.end()


def truncated(exchange: Exchange) -> None:
    exchange.send(exchange.upstream().content[:-20])


def hangs(exchange: Exchange) -> None:
    exchange.wait()
    exchange.end()


def slow_headers(exchange: Exchange) -> None:
    exchange.write(b"HTTP/1.1 200 OK\r\n")
    while not exchange.wait(0.1):
        exchange.write(b"X-A: b\r\n")
    exchange.end()


def slow_body(exchange: Exchange) -> None:
    exchange.start(10_000)
    while not exchange.wait(0.1):
        exchange.write(b" ")
    exchange.end()


def compressed(exchange: Exchange) -> None:
    exchange.send(gzip.compress(exchange.upstream().content), Content_Encoding="gzip")


def badly_compressed(exchange: Exchange) -> None:
    exchange.send(b"\x1f\x8b" + b"\0" * 50, Content_Encoding="gzip")


def moved(status: int) -> Fault:
    return said(b"", status, Location="http://127.0.0.1:1/elsewhere")


# java-tron's and TronGrid's own


def tron_error(message: str, code: str = "OTHER_ERROR", *, visible: bool = False) -> Any:
    return {"result": {"code": code, "message": message if visible else message.encode().hex()}}


CPU_TIMEOUT = "class org.tron.core.vm.program.Program$OutOfTimeException : CPU timeout for 'SWAP1' operation executing"
REVERT = {
    "result": {"result": True, "message": b"REVERT opcode executed".hex()},
    "constant_result": [""],
    "transaction": {"ret": [{"ret": "FAILED"}]},
}


def suspended_by_key(exchange: Exchange) -> None:
    """TronGrid's suspension of a key: whoever comes without that key is served."""
    if exchange.headers.get("TRON-PRO-API-KEY") == "key-one":
        said = "The key exceeds the frequency limit(15), and the query server is suspended for 27 s"
        exchange.send({"Error": said}, 403)
    else:
        passed_on(exchange)


def pending_effects(exchange: Exchange) -> None:
    """A debit that is only pending shows on /wallet, and nowhere else."""
    if exchange.path.startswith("/wallet/"):
        wallets(lambda _word: 0)(exchange)
    else:
        passed_on(exchange)


def twice_the_keys(exchange: Exchange) -> None:
    """Duplicate keys, unknown keys, another order."""
    text = exchange.upstream().text.strip()
    turned = json.dumps(dict(reversed(json.loads(text).items())))
    exchange.send('{"unknown": {"result": "0x"}, "result": 5, ' + turned[1:])


def huge(size: int) -> Fault:
    return changed(lambda reply: {**reply, "assetV2": [{"key": "1002000", "value": 1}] * (size // 32)})


def empty_accounts(exchange: Exchange) -> None:
    if exchange.path.endswith("getaccount"):
        exchange.send({})
    else:
        passed_on(exchange)


def accounts(change: Callable[[Any], Any]) -> Fault:
    def fault(exchange: Exchange) -> None:
        (changed(change) if exchange.path.endswith("getaccount") else passed_on)(exchange)

    return fault


def first_accounts(change: Callable[[Any], Any], times: int) -> Fault:
    """So many replies about accounts, changed, and then no more."""
    seen = count()

    def fault(exchange: Exchange) -> None:
        strikes = exchange.path.endswith("getaccount") and next(seen) < times
        (changed(change) if strikes else passed_on)(exchange)

    return fault


# The ways that an endpoint refuses


def no_deployless(exchange: Exchange) -> None:
    if is_deployless(exchange):
        refusal = {"jsonrpc": "2.0", "id": exchange.json.get("id"), "error": {"code": -32602, "message": "no 'to'"}}
        exchange.send(refusal if "jsonrpc" in exchange.json else tron_error("contract_address isn't set."))
    else:
        passed_on(exchange)


def only_single(exchange: Exchange) -> None:
    """Neither a call without a contract nor a Multicall3."""
    if "82ad56cb" in exchange.body.decode():
        exchange.send(tron_error("Smart contract is not exist.", "CONTRACT_VALIDATE_ERROR"))
    else:
        no_deployless(exchange)


def no_revert_data(exchange: Exchange) -> None:
    reply = exchange.upstream().json()
    if "error" in reply:
        reply["error"].pop("data", None)
    exchange.send(reply)


# JSON-RPC's own


def rpc_error(code: Any, message: str, **more: Any) -> Fault:
    return lambda exchange: exchange.send(
        {"jsonrpc": "2.0", "id": exchange.json["id"], "error": {"code": code, "message": message, **more}}
    )


def rpc_result(value: Any) -> Fault:
    return lambda exchange: exchange.send({"jsonrpc": "2.0", "id": exchange.json["id"], "result": value})


def a_cached_reply(exchange: Exchange) -> None:
    """A cache that takes all requests about the same wallets for one: what it has answers another nonce."""
    for reader in (READER.hex().encode(), REVERTING_READER.hex().encode()):
        at = exchange.body.find(reader)
        if at >= 0:
            nonce = at + len(reader)
            exchange.body = exchange.body[:nonce] + b"0" * 24 + exchange.body[nonce + 24 :]
    passed_on(exchange)
