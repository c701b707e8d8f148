"""What nodes and gateways do wrong, each as a function that a proxy runs instead of passing a request on.

Here what does not depend on the chain; `tron_faults` and `json_rpc_faults` have what only its nodes do.
"""

import gzip
from collections.abc import Callable
from itertools import count
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from proxy import Exchange, Fault, passed_on

from worker.reading.contract import TOKEN_CALL_FAILED
from worker.reading.multicall import AGGREGATE3, HEADERS

Words = list[int]
Results = list[tuple[bool, bytes]]
Asks = Callable[[Exchange], bool]


def said(body: Any, status: int = 200, **headers: str) -> Fault:
    """The same reply to everything."""
    return lambda exchange: exchange.send(body, status, **headers)


def calldata(exchange: Exchange) -> bytes:
    """What a call is to execute; b"" where no call is asked for."""
    call = exchange.json if "owner_address" in exchange.json else (exchange.json.get("params") or [{}])[0]
    return bytes.fromhex(call.get("data", "").removeprefix("0x")) if isinstance(call, dict) else b""


def is_deployless(exchange: Exchange) -> bool:
    call = exchange.json if "owner_address" in exchange.json else (exchange.json.get("params") or [{}])[0]
    return isinstance(call, dict) and "data" in call and not {"to", "contract_address"} & call.keys()


def is_multicall(exchange: Exchange) -> bool:
    return calldata(exchange).startswith(AGGREGATE3)


def is_read(exchange: Exchange) -> bool:
    """Whether it asks for many balances at once."""
    return is_deployless(exchange) or is_multicall(exchange)


def of(asks: Asks, fault: Fault) -> Fault:
    """A fault of some requests alone; others are passed on."""
    return lambda exchange: (fault if asks(exchange) else passed_on)(exchange)


def only_reads(fault: Fault) -> Fault:
    return of(is_read, fault)


def changed(change: Callable[[Any], Any], **headers: str) -> Fault:
    """The node's own reply, changed."""
    return lambda exchange: exchange.send(change(exchange.upstream().json()), 200, **headers)


def relabelled(status: int = 200, **headers: str) -> Fault:
    """The node's own reply under another status or with other headers."""
    return lambda exchange: exchange.send(exchange.upstream().content, status, **headers)


def with_hex(change: Callable[[bytes], bytes]) -> Fault:
    """The node's own reply to a read with other bytes in it."""

    def packed(text: str) -> str:
        prefix, digits = ("0x", text[2:]) if text.startswith("0x") else ("", text)
        return prefix + change(bytes.fromhex(digits)).hex()

    def edit(reply: Any) -> Any:
        if "constant_result" in reply:
            return {**reply, "constant_result": [packed(reply["constant_result"][0])]}
        if reply.get("error"):
            return {**reply, "error": {**reply["error"], "data": packed(reply["error"]["data"])}}
        return {**reply, "result": packed(reply["result"])}

    return only_reads(changed(edit))


def results(change: Callable[[Results], Results]) -> Fault:
    """What the calls of a Multicall3 gave, changed."""

    def packed(raw: bytes) -> bytes:
        made: bytes = abi_encode(["(bool,bytes)[]"], [change(list(abi_decode(["(bool,bytes)[]"], raw)[0]))])
        return made

    return with_hex(packed)


def with_words(change: Callable[[Words], Words]) -> Fault:
    """Other words in the reply to a read, in whichever way it is: NUMBER, TIME, CHAINID, ECHO, then each wallet's."""

    def packed(raw: bytes) -> bytes:
        words = [int.from_bytes(raw[at : at + 32]) for at in range(0, len(raw), 32)]
        return b"".join(word.to_bytes(32) for word in change(words))

    def aggregated(found: Results) -> Results:
        numbers = [int.from_bytes(data) for _, data in found]
        halves = zip(numbers[HEADERS::2], numbers[HEADERS + 1 :: 2], strict=True)
        words = change([*numbers[:HEADERS], *(usdt << 128 | native for usdt, native in halves)])
        each = [half for word in words[HEADERS:] for half in (word >> 128, word & 2**128 - 1)]
        return [(number != TOKEN_CALL_FAILED, number.to_bytes(32)) for number in [*words[:HEADERS], *each]]

    return lambda exchange: (results(aggregated) if is_multicall(exchange) else with_hex(packed))(exchange)


def header(place: int, change: Callable[[int], int]) -> Fault:
    """One of the words before the wallets', changed."""
    return with_words(lambda words: [*words[:place], change(words[place]), *words[place + 1 :]])


def wallets(change: Callable[[int], int]) -> Fault:
    """Every wallet's word, changed."""
    return with_words(lambda words: [*words[:4], *map(change, words[4:])])


NUMBER, TIME, CHAIN, ECHO = range(4)


def older(seconds: int) -> Fault:
    """The block of a node that is behind: fifty before the newest one, and so many seconds older."""
    return with_words(lambda words: [max(words[NUMBER] - 50, 1), words[TIME] - seconds, *words[2:]])


def of_each(*faults: tuple[Asks, Fault]) -> Fault:
    """To each request the fault of the first that asks for it; others are passed on."""
    return lambda exchange: next((fault for asks, fault in faults if asks(exchange)), passed_on)(exchange)


def result(change: Callable[[str], Any]) -> Fault:
    """A read's `constant_result` or JSON-RPC `result`, changed."""

    def edit(reply: Any) -> Any:
        if "constant_result" in reply:
            return {**reply, "constant_result": change(reply["constant_result"][0])}
        return {**reply, "result": change(reply["result"])}

    return only_reads(changed(edit))


def first(fault: Fault, times: int = 1, *, asks: Asks = is_read) -> Fault:
    """A fault that comes so often, and then no more."""
    seen = count()
    return of(lambda exchange: asks(exchange) and next(seen) < times, fault)


def when_larger(size: int, fault: Fault) -> Fault:
    """A fault of requests of more than so many bytes."""
    return of(lambda exchange: len(exchange.body) > size, fault)


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


# The ways that an endpoint refuses


def no_deployless(exchange: Exchange) -> None:
    """What it leaves is a Multicall3."""
    if is_deployless(exchange):
        refusal = {"jsonrpc": "2.0", "id": exchange.json.get("id"), "error": {"code": -32602, "message": "no 'to'"}}
        exchange.send(refusal if "jsonrpc" in exchange.json else tron_error("contract_address isn't set."))
    else:
        passed_on(exchange)


def only_single(exchange: Exchange) -> None:
    """Neither a call without a contract nor a Multicall3."""
    if not is_multicall(exchange):
        no_deployless(exchange)
    elif "jsonrpc" in exchange.json:
        exchange.send({"jsonrpc": "2.0", "id": exchange.json["id"], "result": "0x"})
    else:
        exchange.send(tron_error("Smart contract is not exist.", "CONTRACT_VALIDATE_ERROR"))


def tron_error(message: str, code: str = "OTHER_ERROR", *, visible: bool = False) -> Any:
    return {"result": {"code": code, "message": message if visible else message.encode().hex()}}
