"""What Ethereum's nodes and the gateways before them do wrong."""

import json
from collections.abc import Callable
from typing import Any

import requests
from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from faults import TIME, Asks, calldata, changed, header, is_multicall
from proxy import Exchange, Fault, passed_on

from devstack.servers import CAP
from worker.reading.contract import READER, REVERTING_READER
from worker.reading.multicall import AGGREGATE3, HEADERS


def error(code: Any, message: str, **more: Any) -> Fault:
    return lambda exchange: exchange.send(
        {"jsonrpc": "2.0", "id": exchange.json["id"], "error": {"code": code, "message": message, **more}}
    )


def result(value: Any) -> Fault:
    return lambda exchange: exchange.send({"jsonrpc": "2.0", "id": exchange.json["id"], "result": value})


def results(change: Callable[[Any], Any]) -> Fault:
    """The node's own result, changed."""
    return changed(lambda reply: {**reply, "result": change(reply["result"])})


def blocks(change: Callable[[Any], Any]) -> Fault:
    """The newest block, changed."""
    return lambda exchange: (results(change) if asks("eth_getBlockByNumber")(exchange) else passed_on)(exchange)


def asks(method: str) -> Asks:
    return lambda exchange: bool(exchange.json["method"] == method)


def asks_token(exchange: Exchange) -> bool:
    """Whether it asks the token for one wallet's balance."""
    return calldata(exchange).hex().startswith("70a08231")


def no_revert_data(exchange: Exchange) -> None:
    """What it leaves is a call that returns its words."""
    reply = exchange.upstream().json()
    if "error" in reply:
        reply["error"].pop("data", None)
    exchange.send(reply)


def a_cached_reply(exchange: Exchange) -> None:
    """A cache that takes all requests about the same wallets for one: what it has answers another nonce."""
    if is_multicall(exchange):
        (calls,) = abi_decode(["(address,bool,bytes)[]"], calldata(exchange)[4:])
        echo = HEADERS - 1
        calls = [*calls[:echo], (*calls[echo][:2], bytes(32)), *calls[echo + 1 :]]
        other = AGGREGATE3 + abi_encode(["(address,bool,bytes)[]"], [calls])
        exchange.body = exchange.body.replace(calldata(exchange).hex().encode(), other.hex().encode())
    for reader in (READER.hex().encode(), REVERTING_READER.hex().encode()):
        at = exchange.body.find(reader)
        if at >= 0:
            nonce = at + len(reader)
            exchange.body = exchange.body[:nonce] + b"0" * 24 + exchange.body[nonce + 24 :]
    passed_on(exchange)


def renumbered(fault: Fault) -> Fault:
    """What the fault answers, with another request's id."""

    def other(exchange: Exchange) -> None:
        send = exchange.send
        exchange.send = lambda body, *more, **headers: send(  # type: ignore[method-assign]
            {**json.loads(body), "id": 10**15}, *more, **headers
        )
        fault(exchange)

    return other


def in_another_order(**more: Any) -> Fault:
    """Each request is answered with what answers the one before it; the first with what is its own."""
    before: list[Any] = []

    def fault(exchange: Exchange) -> None:
        before.append({**exchange.upstream().json(), **more})
        exchange.send(before[-2:][0])

    return fault


def node_says(exchange: Exchange, method: str, *parameters: Any) -> Any:
    asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    return requests.post(exchange.handler.server.node, json=asked, timeout=CAP).json()["result"]


def settled(block: Callable[[int], int], then: Fault = passed_on) -> Fault:
    """A chain whose safe and finalized block is the one that comes of its newest block's number."""

    def fault(exchange: Exchange) -> None:
        number = hex(block(int(node_says(exchange, "eth_blockNumber"), 16)))
        for tag in ("safe", "finalized"):
            exchange.body = exchange.body.replace(f'"{tag}"'.encode(), f'"{number}"'.encode())
        then(exchange)

    return fault


def behind(blocks: int, then: Fault = passed_on) -> Fault:
    """A node that truly has not seen the newest blocks."""

    def fault(exchange: Exchange) -> None:
        number = max(int(node_says(exchange, "eth_blockNumber"), 16) - blocks, 0)
        exchange.body = exchange.body.replace(b'"latest"', f'"{number:#x}"'.encode())
        then(exchange)

    return fault


def standing_still(seconds: int = 0) -> Fault:
    """What is final stays the block before the newest one, and has been it for so long."""
    still: list[int] = []

    def block(newest: int) -> int:
        still.append(newest - 1)
        return still[0]

    return settled(block, header(TIME, lambda moment: moment - seconds))


def mined_meanwhile(exchange: Exchange) -> None:
    """Between a block's being found and an account's being asked for there, the account changes, and changes back."""
    if not asks("eth_getBalance")(exchange):
        passed_on(exchange)
        return
    account = exchange.json["params"][0]
    before = node_says(exchange, "eth_getBalance", account, "latest")
    node_says(exchange, "evm_mine")
    node_says(exchange, "anvil_setBalance", account, "0x1")
    answer = exchange.upstream().json()
    node_says(exchange, "anvil_setBalance", account, before)
    exchange.send(answer)
