"""How a node can be read, the best strategy first: what each asks of a node, and what comes of it.

    revert      the reader as init code, its words handed out as revert data: the most wallets a request
    return      the same, its words returned: fewer, for a contract's size is bounded
    multicall3  for nodes that refuse a call without a contract: a third party's contract, the same guarantee
    single      two requests a wallet, pinned to one block where the chain can be, and otherwise said not to be of one

The first three give all balances at one block, with its number, time and chain id, in one request.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from config.families import Strategy
from worker.errors import BadReply, NoToken, Refused, TooMuch, Unsupported
from worker.nodes.http import NodeSession
from worker.reading import multicall
from worker.reading.contract import (
    READERS,
    RETURN,
    REVERT,
    TOKEN_CALL_FAILED,
    WORD,
    Balance,
    BaseUnits,
    Block,
    Snapshot,
    decode,
    encode,
)
from worker.reading.facts import ChainFacts


def requests_of(strategy: Strategy, wallets: int) -> int:
    """How many requests a read takes by a strategy: one, but for single calls."""
    return 2 + 2 * wallets if strategy == "single" else 1


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
    """One node: its address, and what can be asked of it. Every method does I/O and raises ReadFailed."""

    session: NodeSession

    @property
    def name(self) -> str:
        """Host and port, for logs: no secret."""

    @property
    def id(self) -> str:
        """The same in every process, other for other URLs of one host."""

    @property
    def keys(self) -> Sequence[ApiKey]:
        """The keys that may be sent to it."""

    def deployed(self, init_code: bytes, hands_out: bytes) -> bytes:
        """What a simulated deployment of `init_code` returns, or reverts with: `hands_out` is RETURN or REVERT."""

    def called(self, contract: bytes, data: bytes, at: Any = None) -> bytes:
        """What a contract answers, at a head's `ref` or at the configured finality."""

    def block(self, finality: str) -> Block:
        """The newest block of a finality. One request."""

    def head(self) -> Head:
        """The newest block of the configured finality, the chain's id, and what later calls can be pinned to."""

    def native(self, account: bytes, at: Any) -> BaseUnits | None:
        """An account's native balance. None: it does not know the account."""


def by_revert(node: Node, facts: ChainFacts, accounts: Sequence[bytes]) -> Snapshot:
    return _deployless(node, facts, accounts, REVERT)


def by_return(node: Node, facts: ChainFacts, accounts: Sequence[bytes]) -> Snapshot:
    return _deployless(node, facts, accounts, RETURN)


def _deployless(node: Node, facts: ChainFacts, accounts: Sequence[bytes], hands_out: bytes) -> Snapshot:
    request = encode(facts.token, accounts, reader=READERS[facts.block_number, hands_out])
    return decode(node.deployed(request, hands_out), request, wallets=len(accounts))


def by_multicall3(node: Node, facts: ChainFacts, accounts: Sequence[bytes]) -> Snapshot:
    """Where there is no such contract nothing can send the nonce back, so no other proof of it is asked for."""
    request = multicall.encode(facts.multicall3, facts.token, accounts, block_number=facts.block_number)
    try:
        reply = node.called(facts.multicall3, request)
    except NoToken:
        reply = b""
    if not reply:
        raise Unsupported("there is no Multicall3")
    return multicall.decode(reply, request, wallets=len(accounts))


def one_by_one(node: Node, facts: ChainFacts, accounts: Sequence[bytes]) -> Snapshot:
    """At the newest block, for as long as nodes keep its state: what takes longer is read in halves."""
    began, head = monotonic(), node.head()
    natives, balances = [], []
    for account in accounts:
        if head.ref is not None and monotonic() - began > facts.pin_seconds:
            raise TooMuch(f"read for more than {facts.pin_seconds:.0f} s at one block")
        native = node.native(account, head.ref)
        natives.append(native)
        balances.append(_single(node, facts.token, account, native or 0, head.ref))
    unknown = frozenset(place for place, native in enumerate(natives) if native is None)
    return Snapshot(head.block, head.chain_id, tuple(balances), one_block=head.ref is not None, unknown=unknown)


def _single(node: Node, token: bytes, account: bytes, native: BaseUnits, at: Any) -> Balance | None:
    if not 0 <= native < 2**128:
        raise BadReply("a native balance that cannot be")
    try:
        answer = node.called(token, multicall.BALANCE_OF + multicall.padded(account), at)
    except Refused:
        return None
    usdt = int.from_bytes(answer)
    return Balance(usdt, native) if len(answer) == WORD and usdt < TOKEN_CALL_FAILED else None


READ: Mapping[Strategy, Callable[[Node, ChainFacts, Sequence[bytes]], Snapshot]] = {
    "revert": by_revert,
    "return": by_return,
    "multicall3": by_multicall3,
    "single": one_by_one,
}
