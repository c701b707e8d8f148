"""A chain whose blocks a test makes, and nodes that serve them to the real code of web3, tronpy and requests."""

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from time import monotonic
from typing import Any, Literal

from fakes import NOW, Clock, facts
from replay import Replay
from requests import PreparedRequest, Response

from devstack.servers import CAP
from worker.feed.blocks import DEPRECATE, DESTROYED_BLACK_FUNDS, ISSUE, PARAMS, REDEEM, TRANSFER, FeedBlock
from worker.feed.reader import FeedReader
from worker.nodes.evm import EvmNode
from worker.nodes.tron import TronNode
from worker.reading.reader import NodeReader
from worker.reading.shared import Shared

TOKEN = bytes.fromhex("dac17f958d2ee523a2206206994597c13d831ec7")
OWNER, PRODUCER = bytes.fromhex("01" * 20), bytes.fromhex("02" * 20)
ALICE, BOB, CAROL = (bytes.fromhex(f"{0xA0 + at:02x}" * 20) for at in range(3))
SYSTEM = bytes.fromhex("ff" * 19 + "fe")
BLOCK_SECONDS = 3
FIRST_TIME = int(NOW) - 3000
GENESIS_ID = "0" * 56 + f"{1:08x}"  # of a Tron network with the fakes' chain id

Event = tuple[Sequence[str], str]
"""Topics and data, in hexadecimal digits."""

BIG = 2**256 - 1
KINDS = (TRANSFER, DESTROYED_BLACK_FUNDS, ISSUE, REDEEM, DEPRECATE, PARAMS)


def word(value: int | bytes) -> str:
    return value.to_bytes(32).hex() if isinstance(value, int) else value.rjust(32, b"\0").hex()


def transfer(sender: bytes, receiver: bytes, value: int) -> Event:
    return [TRANSFER, word(sender), word(receiver)], word(value)


def block_id(number: int, fork: int = 0) -> bytes:
    return number.to_bytes(8) + sha256(f"{number} {fork}".encode()).digest()[:24]


def time_of(number: int) -> int:
    return FIRST_TIME + BLOCK_SECONDS * number


class Transaction:
    """A transaction from the owner to the token, unless it is said otherwise, with the events that it logged."""

    def __init__(
        self,
        *events: Event,
        sender: bytes = OWNER,
        to: bytes | None = TOKEN,
        value: int = 0,
        contract: bytes = TOKEN,
        failed: bool = False,
        **info: Any,
    ) -> None:
        self.events, self.sender, self.to, self.value = events, sender, to, value
        self.contract, self.failed, self.info = contract, failed, info


class MadeBlock:
    """One block in the shapes of both families."""

    def __init__(self, number: int, *transactions: Transaction, fork: int = 0, parent_fork: int = 0) -> None:
        self.number, self.transactions, self.fork = number, transactions, fork
        self.hash, self.parent = block_id(number, fork), block_id(number - 1, parent_fork)

    def _id(self, at: int) -> str:
        return sha256(self.hash + at.to_bytes(2)).hexdigest()

    def evm(self) -> dict[str, Any]:
        made = [
            {
                "hash": "0x" + self._id(at),
                "from": "0x" + each.sender.hex(),
                "to": None if each.to is None else "0x" + each.to.hex(),
                "value": hex(each.value),
                "nonce": hex(at),
                "transactionIndex": hex(at),
            }
            for at, each in enumerate(self.transactions)
        ]
        bloom = 2**2048 - 1 if any(each.events for each in self.transactions) else 0
        return {
            "number": hex(self.number),
            "hash": "0x" + self.hash.hex(),
            "parentHash": "0x" + self.parent.hex(),
            "timestamp": hex(time_of(self.number)),
            "miner": "0x" + PRODUCER.hex(),
            "logsBloom": f"0x{bloom:0512x}",
            "gasUsed": hex(21000 * len(made)),
            "transactions": made,
        }

    def logs(self) -> list[dict[str, Any]]:
        return [log for receipt in self.receipts() for log in receipt["logs"]]

    def receipts(self) -> list[dict[str, Any]]:
        count, made = 0, []
        for at, each in enumerate(self.transactions):
            here = {
                "blockHash": "0x" + self.hash.hex(),
                "blockNumber": hex(self.number),
                "transactionHash": "0x" + self._id(at),
                "transactionIndex": hex(at),
            }
            logs = [
                {
                    **here,
                    "address": "0x" + each.contract.hex(),
                    "topics": ["0x" + topic for topic in topics],
                    "data": "0x" + data,
                    "logIndex": hex(count + place),
                    "removed": False,
                }
                for place, (topics, data) in enumerate(each.events)
            ]
            count += len(logs)
            made.append({**here, "logs": logs, "contractAddress": None})
        return made

    def tron(self) -> dict[str, Any]:
        header = {
            "number": self.number,
            "parentHash": self.parent.hex(),
            "timestamp": 1000 * time_of(self.number),
            "txTrieRoot": "11" * 32 if self.transactions else "0" * 64,
        }
        made: dict[str, Any] = {"blockID": self.hash.hex(), "block_header": {"raw_data": header}}
        if self.transactions:
            made["transactions"] = [self._tron(at, each) for at, each in enumerate(self.transactions)]
        return made

    def _tron(self, at: int, each: Transaction) -> dict[str, Any]:
        value: dict[str, Any] = {"owner_address": "41" + each.sender.hex()}
        if each.to is not None:
            value["contract_address"] = "41" + each.to.hex()
        contract = {"type": "TriggerSmartContract", "parameter": {"value": value}}
        return {
            "txID": self._id(at),
            "ret": [{"contractRet": "REVERT" if each.failed else "SUCCESS"}],
            "raw_data": {"contract": [contract]},
        }

    def infos(self) -> list[dict[str, Any]]:
        made = []
        for at, each in enumerate(self.transactions):
            info: dict[str, Any] = {"id": self._id(at), "blockNumber": self.number, **each.info}
            if each.events:
                logs = [{"address": each.contract.hex(), "topics": list(t), "data": d} for t, d in each.events]
                info["log"] = logs
            made.append(info)
        return made


Answer = Callable[[Any], Any]


class Serving(Replay):
    """A node of a chain of made blocks. `faults` has, by method, what is answered in the place of the node's own."""

    def __init__(self, *blocks: MadeBlock, final: int | None = None, chain_id: int = 1) -> None:
        super().__init__()
        self.blocks = {each.number: each for each in blocks}
        self.final, self.chain_id = final, chain_id
        self.asked: list[str] = []
        self.sent: list[tuple[str, Any]] = []
        self.keys: list[str | None] = []
        self.faults: dict[str, Answer] = {}

    @property
    def head(self) -> int:
        return max(self.blocks)

    def add(self, *blocks: MadeBlock) -> None:
        self.blocks |= {each.number: each for each in blocks}

    def send(self, request: PreparedRequest, *more: Any, **options: Any) -> Response:
        asked = json.loads(request.body or b"{}")
        method = asked["method"] if "method" in asked else str(request.url).rpartition("/")[2]
        self.asked.append(method)
        self.sent.append((str(request.url), asked))
        self.keys.append(request.headers.get("TRON-PRO-API-KEY"))
        self.status, self.headers = 200, {}
        if method in self.faults:
            reply = self.faults[method](asked)
            if isinstance(reply, Exception):
                raise reply
            if isinstance(reply, tuple):
                self.status, reply = reply
        else:
            reply = self.answer(method, asked)
        if "jsonrpc" in asked and isinstance(reply, dict) and "error" in reply:
            reply = {"jsonrpc": "2.0", "id": asked["id"], **reply}
        elif "jsonrpc" in asked and self.status == 200:
            reply = {"jsonrpc": "2.0", "id": asked["id"], "result": reply}
        self.body = reply.encode() if isinstance(reply, str) and "jsonrpc" not in asked else json.dumps(reply).encode()
        return super().send(request, *more, **options)

    def answer(self, method: str, asked: Any) -> Any:
        """The node's own reply."""
        answers: dict[str, Callable[[], Any]] = {
            "eth_chainId": lambda: hex(self.chain_id),
            "eth_getBlockByNumber": lambda: self._by_number(asked["params"][0]),
            "eth_getLogs": lambda: self._logs(asked["params"][0]),
            "eth_getBlockReceipts": lambda: self._by_hash(asked["params"][0]).receipts(),
            "getblock": lambda: {"blockID": GENESIS_ID[:-8] + f"{self.chain_id:08x}"},
            "getnowblock": self.blocks[self.head].tron,
            "getblockbynum": lambda: self.blocks[asked["num"]].tron() if asked["num"] in self.blocks else {},
            "gettransactioninfobyblocknum": lambda: (
                self.blocks[asked["num"]].infos() if asked["num"] in self.blocks else []
            ),
        }
        return answers[method]()

    def _by_number(self, tag: str) -> Any:
        number = {"latest": self.head, "finalized": self.final}.get(tag) if tag[:2] != "0x" else int(tag, 16)
        return self.blocks[number].evm() if number in self.blocks else None

    def _by_hash(self, found: str) -> MadeBlock:
        return next(each for each in self.blocks.values() if "0x" + each.hash.hex() == found)

    def _logs(self, asked: Any) -> Any:
        addresses = asked["address"] if isinstance(asked["address"], list) else [asked["address"]]
        logs = self._by_hash(asked["blockHash"]).logs()
        return [each for each in logs if each["address"] in addresses and each["topics"][0] in asked["topics"][0]]


class Feed:
    """A reader of blocks over such nodes."""

    def __init__(
        self,
        *nodes: Serving,
        family: Literal["evm", "tron"] = "evm",
        finality: str = "",
        per_second: float = 0,
        keys: Sequence[str] = (),
    ) -> None:
        self.clock, self.family = Clock(), family
        finality = finality or ("latest" if family == "evm" else "solid")
        made: list[EvmNode | TronNode] = []
        for at, node in enumerate(nodes):
            url, name = f"https://node-{at}.example/rpc", f"node-{at}"
            if family == "evm":
                made.append(EvmNode(url, finality, CAP, name=name))
            else:
                made.append(TronNode(url, finality, CAP, name=name, keys=keys, key_hosts=["example"]))
            node.mount_on(made[-1].session)
        self.nodes = made
        shared = Shared("test", None, self.clock)
        known = facts(family=family, token=TOKEN, finality=finality, pin_seconds=100 * BLOCK_SECONDS, max_age=120)
        self.reader = FeedReader(NodeReader(known, made, shared, 10, per_second=per_second))

    def block(self, number: int | None, seconds: float = CAP) -> FeedBlock | None:
        return self.reader.block(number, self.clock.now, monotonic() + seconds)

    def changed(self, number: int | None) -> dict[bytes, int | None]:
        found = self.block(number)
        assert found
        return dict(found.usdt)
