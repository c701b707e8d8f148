"""A node without a network: it executes the reader's requests over balances that a test sets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_hash.auto import keccak

from config.families import BlockNumberSource, Strategy
from devstack.servers import CAP
from worker.errors import ReadFailed, Unsupported
from worker.nodes.http import NodeSession
from worker.reading import multicall
from worker.reading.contact import DECIMALS, TOTAL_SUPPLY, Contact
from worker.reading.contract import HEADER, READERS, RETURN, REVERT, Balance, Block
from worker.reading.facts import ChainFacts
from worker.reading.reader import NodeReader
from worker.reading.request import Part
from worker.reading.shared import Shared
from worker.reading.strategies import ApiKey, Head

SUPPLY = 10**15
USDT_DECIMALS = 6
NOW = 1_795_000_000.0
MULTICALL3 = bytes.fromhex("ca11bde05977b3631167028862be2a173976ca11")

Fault = Callable[[str, Sequence[bytes]], ReadFailed | None]


def balance_of(account: bytes) -> tuple[int, int]:
    """What each account holds: all differ. An account made up by chance is nobody's."""
    number = int.from_bytes(account)
    return (number * 3, number * 5) if number < 2**64 else (0, 0)


class FakeNode:
    """Answers truly but for what `fault` says, which is given the strategy and the accounts of a request.

    What is asked at the first contact has "contact" in the place of a strategy.
    """

    def __init__(
        self,
        name: str = "node",
        *,
        strategies: Mapping[Strategy, int] | None = None,
        keys: Sequence[str] = (),
        chain_id: int = 1,
    ) -> None:
        self.name = self.id = name
        self.strategies: Mapping[Strategy, int] = strategies or {
            "revert": 64,
            "return": 32,
            "multicall3": 16,
            "single": 4,
        }
        self.chain_id = chain_id
        self.keys = tuple(ApiKey(f"id-of-{key}", key) for key in keys)
        self.session = NodeSession(10, "KEY")
        self.newest, self.supply, self.decimals, self.pins = Block(100, int(NOW) - 5), SUPPLY, USDT_DECIMALS, True
        self.head_block: Block | None = None  # another one than the newest of the finality that is read
        self.own_number: int | None = None  # of the newest block, if contracts find another one
        self.number_source: BlockNumberSource = "opcode"
        self.supplies_asked = 0
        self.fault: Fault = lambda _way, _accounts: None
        self.balances: Callable[[bytes], tuple[int, int]] = balance_of
        self.asked: list[tuple[str, int]] = []
        self.keys_used: list[Any] = []

    def _request(self, strategy: str, accounts: Sequence[bytes] = ()) -> None:
        self.session.permit()
        self.asked.append((strategy, len(accounts)))
        self.keys_used.append(self.session.headers.get("KEY"))
        if failure := self.fault(strategy, accounts):
            raise failure

    def deployed(self, init_code: bytes, hands_out: bytes) -> bytes:
        reverts = hands_out == REVERT
        reader = READERS[self.number_source, REVERT if reverts else RETURN]
        assert init_code.startswith(reader)
        packed = init_code[len(reader) + 32 :]
        accounts = [packed[at : at + 20] for at in range(0, len(packed), 20)]
        self._request("revert" if reverts else "return", accounts)
        header = [self.newest.number, self.newest.time, self.chain_id, int.from_bytes(keccak(init_code))]
        held = [usdt << 128 | native for usdt, native in map(self.balances, accounts)]
        reply = b"".join(word.to_bytes(32) for word in [*header, *held])
        assert len(reply) == HEADER + 32 * len(accounts)
        return reply

    def called(self, contract: bytes, data: bytes, at: Any = None) -> bytes:  # noqa: ARG002
        if data in {TOTAL_SUPPLY, DECIMALS}:
            self._request("contact")
            self.supplies_asked += data == TOTAL_SUPPLY
            return (self.supply if data == TOTAL_SUPPLY else self.decimals).to_bytes(32)
        if data.startswith(multicall.AGGREGATE3):
            return self._aggregate(data)
        account = data[-20:]
        self._request("single", [account])
        return self.balances(account)[0].to_bytes(32)

    def _aggregate(self, data: bytes) -> bytes:
        (calls,) = abi_decode(["(address,bool,bytes)[]"], data[4:])
        accounts = [call[2][-20:] for call in calls[multicall.HEADERS :: 2]]
        self._request("multicall3", accounts)
        header = [self.newest.number, self.newest.time, self.chain_id, int.from_bytes(calls[3][2])]
        held = [amount for account in accounts for amount in self.balances(account)]
        encoded: bytes = abi_encode(["(bool,bytes)[]"], [[(True, word.to_bytes(32)) for word in [*header, *held]]])
        return encoded

    def block(self, finality: str) -> Block:
        self._request("contact")
        if finality == "latest" and self.head_block:
            return self.head_block
        return replace(self.newest, number=self.newest.number if self.own_number is None else self.own_number)

    def head(self) -> Head:
        self._request("head")
        return Head(self.newest, self.chain_id, "pin" if self.pins else None)

    def native(self, account: bytes, at: Any) -> int:  # noqa: ARG002
        self._request("native", [account])
        return self.balances(account)[1]


def only(*strategies: str) -> Fault:
    """A node that can be read by these strategies alone."""
    allowed = {*strategies, "contact", *(("head", "native") if "single" in strategies else ())}
    return lambda strategy, _accounts: None if strategy in allowed else Unsupported(f"no {strategy} here")


TOKEN = bytes(20)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def accounts(count: int) -> list[bytes]:
    return [(0x10_0000 + number).to_bytes(20) for number in range(count)]


# A chain's own pace since a block of it.
SLOTS = {"first_block": (15_537_394, 1_663_224_179), "fastest_block_seconds": 12, "lag_seconds": 240}


def facts(*nodes: FakeNode, **changes: Any) -> ChainFacts:
    """What is known of the fakes' chain, with these changes."""
    of_nodes = nodes[0].strategies if nodes else {"revert": 64, "return": 32, "multicall3": 16, "single": 4}
    usual: dict[str, Any] = {
        "network": "ethereum",
        "family": "evm",
        "chain_id": 1,
        "token": TOKEN,
        "decimals": USDT_DECIMALS,
        "finality": "latest",
        "multicall3": MULTICALL3,
        "most_wallets": of_nodes,
    }
    return ChainFacts(**{**usual, **SLOTS, **changes})


class Reading:
    """A reader over fakes, and what it made of the last read. `changes` are of what is known of the chain."""

    def __init__(self, *nodes: FakeNode, per_second: float = 0, **changes: Any) -> None:
        self.clock = Clock()
        known = Shared("test", None, self.clock)
        self.reader = NodeReader(facts(*nodes, **changes), nodes, known, 10, per_second=per_second)

    def has_made_contact(self) -> None:
        """What is asked of a node at the first contact alone is known."""
        for node in self.reader.nodes:
            self.reader.shared.prove(f"contact:{node.id}", Contact(SUPPLY, USDT_DECIMALS, number=True), 3600)

    def share(self, shared: Shared) -> None:
        """Have these entries in place of its own."""
        self.reader.shared = self.reader._budget.shared = self.reader._order.shared = shared

    def parts(self, wallets: Sequence[bytes], seconds: float = CAP, **more: Any) -> list[Part]:
        parts = self.reader.read(wallets, self.clock.now, monotonic() + seconds, **more)
        assert sorted(at for part in parts for at in part.wallets) == list(range(len(wallets)))
        return parts

    def balances(self, wallets: Sequence[bytes], **more: Any) -> dict[int, Balance | None]:
        """What was read, by place; a wallet that was not is not in it."""
        return {
            at: balance
            for part in self.parts(wallets, **more)
            if part.snapshot
            for at, balance in zip(part.wallets, part.snapshot.balances, strict=True)
        }

    def all_right(self, count: int) -> None:
        wallets = accounts(count)
        assert self.balances(wallets) == {at: Balance(*balance_of(each)) for at, each in enumerate(wallets)}

    def failure(self, count: int = 1) -> ReadFailed:
        (part,) = self.parts(accounts(count))
        assert part.failure
        return part.failure


def asked(node: FakeNode) -> list[str]:
    """The strategies by which a node was asked for balances."""
    return [strategy for strategy, _ in node.asked if strategy != "contact"]


def fails(kind: type[ReadFailed], **more: Any) -> Any:
    return lambda _way, _accounts: kind("for a test", **more)
