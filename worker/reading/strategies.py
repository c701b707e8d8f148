"""How an endpoint can be read, the best way first: what each asks of a node, and what comes of it.

    revert      the reader as init code, its words handed out as revert data: the most wallets a request
    return      the same, its words returned: fewer, for a contract's size is bounded
    multicall3  for endpoints that refuse a call without a contract: a third party's contract, the same guarantee
    single      two requests a wallet, pinned to one block where the chain can be, and otherwise said not to be of one

The first three give all balances at one block, with its number, time and chain id, in one request.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from config.networks import NetworkName
from worker.errors import BadReply, NoToken, Refused, Unsupported
from worker.nodes.http import NodeSession
from worker.reading import multicall
from worker.reading.contract import (
    MAX_WALLETS_BY_RETURN,
    MAX_WALLETS_BY_REVERT,
    READER,
    RETURN,
    REVERT,
    REVERTING_READER,
    TOKEN_CALL_FAILED,
    WORD,
    Balance,
    Block,
    Snapshot,
    decode,
    encode,
)

Strategy = Literal["revert", "return", "multicall3", "single"]

STRATEGIES: Mapping[NetworkName, Mapping[Strategy, int]] = {
    "ethereum": {
        "revert": MAX_WALLETS_BY_REVERT,
        "return": MAX_WALLETS_BY_RETURN,
        "multicall3": 500,  # about 5 M gas and 700 kB
        "single": 20,  # two requests each
    },
    # By the clock: java-tron stops a constant call after 80 ms on mainnet. 500 wallets took 26 ms, 1,200 were too many.
    "tron": {"return": 500, "multicall3": 100, "single": 20},
}
"""The ways of each chain, the best first, and the most wallets that a request takes in each."""


def requests_of(strategy: Strategy, wallets: int) -> int:
    """How many requests a read takes in a way: all but one_by_one's is one."""
    return 2 + 2 * wallets if strategy == "single" else 1


TOTAL_SUPPLY = bytes.fromhex("18160ddd")
DECIMALS = bytes.fromhex("313ce567")


@dataclass(frozen=True, slots=True)
class Head:
    """A node's newest block, its chain, and, where later calls can be pinned to it, what says so to the node."""

    block: Block
    chain_id: int
    ref: Any = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, and a name for it that gives nothing away."""

    id: str
    secret: str


class Node(Protocol):
    """One endpoint: its address, and what can be asked of it. Every method does I/O and raises ReadFailed."""

    session: NodeSession

    @property
    def name(self) -> str:
        """Host and port, for logs: no secret."""

    @property
    def id(self) -> str:
        """The same in every process, other for other URLs of one host."""

    @property
    def strategies(self) -> Mapping[Strategy, int]:
        """The ways of its chain, the best first, and the most wallets that a request takes in each."""

    @property
    def multicall3(self) -> bytes:
        """Where its chain has a Multicall3."""

    @property
    def keys(self) -> Sequence[ApiKey]:
        """The keys that may be sent to it."""

    def deployed(self, init_code: bytes, hands_out: bytes) -> bytes:
        """What a simulated deployment of `init_code` returns, or reverts with: `hands_out` is RETURN or REVERT."""

    def called(self, contract: bytes, data: bytes, at: Any = None) -> bytes:
        """What a contract answers, at a head's `ref` or at the configured finality."""

    def head(self) -> Head:
        """The newest block of the configured finality."""

    def native(self, account: bytes, at: Any) -> int | None:
        """An account's native balance in base units. None: it does not know the account."""


def by_revert(node: Node, token: bytes, accounts: Sequence[bytes]) -> Snapshot:
    request = encode(token, accounts, reader=REVERTING_READER)
    return decode(node.deployed(request, REVERT), request, wallets=len(accounts))


def by_return(node: Node, token: bytes, accounts: Sequence[bytes]) -> Snapshot:
    request = encode(token, accounts, reader=READER)
    return decode(node.deployed(request, RETURN), request, wallets=len(accounts))


def by_multicall3(node: Node, token: bytes, accounts: Sequence[bytes]) -> Snapshot:
    """Where there is no such contract nothing can send the nonce back, so no other proof of it is asked for."""
    request = multicall.encode(node.multicall3, token, accounts)
    try:
        reply = node.called(node.multicall3, request)
    except NoToken:
        reply = b""
    if not reply:
        raise Unsupported("there is no Multicall3")
    return multicall.decode(reply, request, wallets=len(accounts))


def one_by_one(node: Node, token: bytes, accounts: Sequence[bytes]) -> Snapshot:
    head = node.head()
    natives, balances = [], []
    for account in accounts:
        native = node.native(account, head.ref)
        natives.append(native)
        balances.append(_single(node, token, account, native or 0, head.ref))
    unknown = frozenset(place for place, native in enumerate(natives) if native is None)
    return Snapshot(head.block, head.chain_id, tuple(balances), one_block=head.ref is not None, unknown=unknown)


def _single(node: Node, token: bytes, account: bytes, native: int, at: Any) -> Balance | None:
    if not 0 <= native < 2**128:
        raise BadReply("a native balance that cannot be")
    try:
        answer = node.called(token, multicall.BALANCE_OF + multicall.padded(account), at)
    except Refused:
        return None
    usdt = int.from_bytes(answer)
    return Balance(usdt, native) if len(answer) == WORD and usdt < TOKEN_CALL_FAILED else None


READ: Mapping[Strategy, Callable[[Node, bytes, Sequence[bytes]], Snapshot]] = {
    "revert": by_revert,
    "return": by_return,
    "multicall3": by_multicall3,
    "single": one_by_one,
}


def total_supply(node: Node, token: bytes) -> int:
    """The token's whole supply in base units; no bound for a token that does not tell. Raises NoToken."""
    try:
        answer = node.called(token, TOTAL_SUPPLY)
    except Refused:  # there is a contract, but it has no such function
        return TOKEN_CALL_FAILED
    if len(answer) != WORD:
        raise NoToken(f"no token at {token.hex()}: its total supply is {len(answer)} bytes")
    return int.from_bytes(answer)
