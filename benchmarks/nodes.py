"""Nodes that answer from memory: an Ethereum's JSON-RPC and a Tron's HTTP, over balances made of the owners' own bytes.

They execute the reader contract's request as an EVM would, tell of blocks that touch wallets (``benchmarks.blocks``),
and count what they are asked and how many bytes that took. A block is there as soon as its time has come.
Run by itself: ``python -m benchmarks.nodes PORT``.
"""

import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from time import time
from typing import Any

import uvicorn
from eth_hash.auto import keccak

from benchmarks import blocks
from worker.reading.contact import DECIMALS, TOTAL_SUPPLY
from worker.reading.contract import HEADER, MAX_WALLETS_BY_RETURN, MAX_WALLETS_BY_REVERT, READER, REVERTING_READER

CHAIN_IDS = {"ethereum": 1, "tron": 728126428, "avalanche": 43114}
SUPPLY = 2**64
# Numbers that the chains can have: a worker believes no others.
BLOCK_SECONDS = {"ethereum": 12, "tron": 3, "avalanche": 2}
FIRST_BLOCK = 1_600_000_000

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Refusal(Exception):
    """What the node says instead of an answer: a JSON-RPC error's code and message."""


def words(init_code: bytes, network: str) -> str:
    """What the reader contract hands out, in hexadecimal digits."""
    packed = init_code[len(READER) + 32 :]
    number = newest(network)
    header = (
        number,
        time_of(network, number),
        CHAIN_IDS[network],
        int.from_bytes(keccak(init_code)),
    )
    # A wallet's balances are the last bytes of its own address: all differ, and none takes work to find.
    held = [f"{'0' * 18}{owner[26:]}{'0' * 18}{owner[26:]}" for owner in owners(packed)]
    return "".join(f"{word:064x}" for word in header) + "".join(held)


def newest(network: str) -> int:
    """The number of the newest block."""
    return (int(time()) - FIRST_BLOCK) // BLOCK_SECONDS[network]


def time_of(network: str, number: int) -> int:
    """When a block is made, and can be had from then on."""
    return FIRST_BLOCK + number * BLOCK_SECONDS[network]


def owners(packed: bytes) -> list[str]:
    digits = packed.hex()
    return [digits[at : at + 40] for at in range(0, len(digits), 40)]


def constant(data: bytes) -> str:
    """What the token answers: its supply or its decimals."""
    if data == TOTAL_SUPPLY:
        return f"{SUPPLY:064x}"
    if data == DECIMALS:
        return f"{6:064x}"
    raise Refusal(3, "execution reverted")


class Nodes:
    """An ASGI application. An Ethereum: ``/``; one that passes no revert data on: ``/plain``; a Tron: ``/wallet…``.

    An Avalanche, whose blocks come every two seconds: ``/avalanche``. At ``/touching`` it is told of how many wallets a
    network has, and how many of them each block touches.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.touching: dict[str, tuple[int, int]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        reply = self.respond(scope["path"], body)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(reply)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})

    def respond(self, path: str, body: bytes) -> bytes:
        if path == "/counts":
            told, self.counts = json.dumps(self.counts).encode(), Counter()
            return told
        asked = json.loads(body)
        if path == "/touching":
            self.touching |= {network: (wallets, per_block) for network, (wallets, per_block) in asked.items()}
            return b"{}"
        network = "tron" if path.startswith("/wallet") else path[1:] if path[1:] in CHAIN_IDS else "ethereum"
        kind, reply = self.tron(asked, path) if network == "tron" else self.evm(asked, network, path)
        answer = json.dumps(reply, separators=(",", ":")).encode()
        self.counts[f"{network} {kind}"] += 1
        self.counts[f"{network} bytes"] += len(body) + len(answer)
        return answer

    def evm(self, asked: Any, network: str, path: str) -> tuple[str, Any]:
        envelope = {"jsonrpc": "2.0", "id": asked["id"]}
        if asked["method"] != "eth_call":
            kind, result = self.evm_history(network, asked["method"], asked["params"])
            return kind, {**envelope, "result": result}
        call = asked["params"][0]
        data = bytes.fromhex(call["data"][2:])
        try:
            if "to" in call:
                return "other", {**envelope, "result": "0x" + constant(data)}
            return "reads", {**envelope, **executed(data, network, passes_on=path != "/plain")}
        except Refusal as refusal:
            code, message = refusal.args
            return "refused", {**envelope, "error": {"code": code, "message": message}}

    def evm_history(self, network: str, method: str, parameters: Any) -> tuple[str, Any]:
        """What was asked for of a block, and the answer."""
        if method == "eth_chainId":
            return "other", hex(CHAIN_IDS[network])
        if method == "eth_getLogs":
            number = int(parameters[0]["blockHash"][2:18], 16)
            return "logs", self.evm_block(network, number)[1]
        wanted, full = parameters
        number = int(wanted, 16) if wanted.startswith("0x") else newest(network)
        if not full:
            return "other", header_of(network, number)
        return "blocks", self.evm_block(network, number)[0] if number <= newest(network) else None

    def evm_block(self, network: str, number: int) -> tuple[Any, Any]:
        return blocks.evm_block(network, number, time_of(network, number), *self.touching.get(network, (0, 0)))

    def tron_block(self, number: int) -> tuple[Any, Any]:
        return blocks.tron_block(number, time_of("tron", number), *self.touching.get("tron", (0, 0)))

    def tron_history(self, asked: Any, method: str) -> tuple[str, Any]:
        """What was asked for of a block, and the answer."""
        if method == "getblock":
            chain = {"blockID": "00" * 28 + f"{CHAIN_IDS['tron']:08x}"}
            return "other", chain if "id_or_num" in asked else self.tron_block(newest("tron"))[0]
        number = asked.get("num", newest("tron"))
        block, infos = self.tron_block(number) if number <= newest("tron") else ({}, [])
        return ("logs", infos) if method == "gettransactioninfobyblocknum" else ("blocks", block)

    def tron(self, asked: Any, path: str) -> tuple[str, Any]:
        method = path.rpartition("/")[2]
        if method != "triggerconstantcontract":
            return self.tron_history(asked, method)
        data = asked["data"]
        code = bytes.fromhex(data)
        kind = "other" if "contract_address" in asked else "reads"
        result = constant(code) if kind == "other" else words(code, "tron")
        # java-tron sends back what it was asked, twice.
        value = {"owner_address": asked["owner_address"], "new_contract": {"bytecode": data}}
        contract = {"parameter": {"value": value}, "type": "CreateSmartContract"}
        transaction = {"ret": [{}], "raw_data": {"contract": [contract]}, "raw_data_hex": data}
        reply = {"result": {"result": True}, "energy_used": 1, "constant_result": [result], "transaction": transaction}
        return kind, reply


def header_of(network: str, number: int) -> dict[str, str]:
    """A block as far as a reader of balances looks at it."""
    hashed = "0x" + blocks.hash_of(number)
    return {"number": hex(number), "timestamp": hex(time_of(network, number)), "hash": hashed}


def executed(init_code: bytes, network: str, *, passes_on: bool) -> dict[str, Any]:
    """A call without a contract, as geth answers it."""
    wallets = (len(init_code) - len(READER) - 32) // 20
    if wallets > MAX_WALLETS_BY_REVERT:
        raise Refusal(-32000, "err: max initcode size exceeded: code size 49155 limit 49152 (supplied gas 50000000)")
    if init_code.startswith(REVERTING_READER):
        if not passes_on:
            raise Refusal(3, "execution reverted")
        data = "0x" + words(init_code, network)
        return {"error": {"code": 3, "message": "execution reverted", "data": data}}
    if wallets > MAX_WALLETS_BY_RETURN:
        size = HEADER + 32 * wallets
        raise Refusal(-32000, f"max code size exceeded: code size {size} limit 24576")
    return {"result": "0x" + words(init_code, network)}


if __name__ == "__main__":
    uvicorn.run(Nodes(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False, lifespan="off")
