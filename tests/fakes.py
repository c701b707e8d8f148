"""An endpoint without a network: it executes the reader's requests over balances that a test sets."""

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_hash.auto import keccak

from devstack.servers import CAP
from worker.errors import ReadFailed, Unsupported
from worker.nodes.http import NodeSession
from worker.reading import multicall
from worker.reading.contract import HEADER, READER, REVERT, REVERTING_READER, Balance, Block
from worker.reading.reader import NodeReader
from worker.reading.request import Part
from worker.reading.shared import Shared
from worker.reading.strategies import TOTAL_SUPPLY, ApiKey, Head, Strategy

SUPPLY = 10**15
NOW = 1_795_000_000.0
MULTICALL3 = bytes.fromhex("ca11bde05977b3631167028862be2a173976ca11")

Fault = Callable[[str, Sequence[bytes]], ReadFailed | None]


def balance_of(account: bytes) -> tuple[int, int]:
    """What each account holds: all differ. An account made up by chance is nobody's."""
    number = int.from_bytes(account)
    return (number * 3, number * 5) if number < 2**64 else (0, 0)


class FakeNode:
    """Answers truly but for what `fault` says, which is given the way (or "supply") and the accounts of a request."""

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
        self.multicall3, self.chain_id = MULTICALL3, chain_id
        self.keys = tuple(ApiKey(f"id-of-{key}", key) for key in keys)
        self.session = NodeSession(10, "KEY")
        self.block, self.supply, self.pins = Block(100, int(NOW) - 5), SUPPLY, True
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
        reader = REVERTING_READER if reverts else READER
        assert init_code.startswith(reader)
        packed = init_code[len(reader) + 32 :]
        accounts = [packed[at : at + 20] for at in range(0, len(packed), 20)]
        self._request("revert" if reverts else "return", accounts)
        header = [self.block.number, self.block.time, self.chain_id, int.from_bytes(keccak(init_code))]
        held = [usdt << 128 | native for usdt, native in map(self.balances, accounts)]
        reply = b"".join(word.to_bytes(32) for word in [*header, *held])
        assert len(reply) == HEADER + 32 * len(accounts)
        return reply

    def called(self, contract: bytes, data: bytes, at: Any = None) -> bytes:  # noqa: ARG002
        if data == TOTAL_SUPPLY:
            self._request("supply")
            return self.supply.to_bytes(32)
        if data.startswith(multicall.AGGREGATE3):
            return self._aggregate(data)
        account = data[-20:]
        self._request("single", [account])
        return self.balances(account)[0].to_bytes(32)

    def _aggregate(self, data: bytes) -> bytes:
        (calls,) = abi_decode(["(address,bool,bytes)[]"], data[4:])
        accounts = [call[2][-20:] for call in calls[multicall.HEADERS :: 2]]
        self._request("multicall3", accounts)
        header = [self.block.number, self.block.time, self.chain_id, int.from_bytes(calls[3][2])]
        held = [amount for account in accounts for amount in self.balances(account)]
        encoded: bytes = abi_encode(["(bool,bytes)[]"], [[(True, word.to_bytes(32)) for word in [*header, *held]]])
        return encoded

    def head(self) -> Head:
        self._request("head")
        return Head(self.block, self.chain_id, "pin" if self.pins else None)

    def native(self, account: bytes, at: Any) -> int:  # noqa: ARG002
        self._request("native", [account])
        return self.balances(account)[1]


def only(*strategies: str) -> Fault:
    """An endpoint that reads in these ways alone."""
    allowed = {*strategies, "supply", *(("head", "native") if "single" in strategies else ())}
    return lambda strategy, _accounts: None if strategy in allowed else Unsupported(f"no {strategy} here")


TOKEN = bytes(20)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def accounts(count: int) -> list[bytes]:
    return [(0x10_0000 + number).to_bytes(20) for number in range(count)]


class Reading:
    """A reader over fakes, and what it made of the last read."""

    def __init__(self, *nodes: FakeNode, **settings: Any) -> None:
        self.clock = Clock()
        known = Shared("test", None, self.clock)
        self.reader = NodeReader("ethereum", 1, TOKEN, "latest", nodes, known, 10, **settings)

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
    """The ways in which a node was asked for balances."""
    return [strategy for strategy, _ in node.asked if strategy != "supply"]


def fails(kind: type[ReadFailed], **more: Any) -> Any:
    return lambda _way, _accounts: kind("for a test", **more)
