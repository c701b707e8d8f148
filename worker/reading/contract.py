"""One read of many wallets at one block, as bytes: the request, the reply, and every check between them. Pure.

The request is init code for a simulated deployment (``eth_call`` without ``to``), the reply what its constructor
returns, or, in the second form, reverts with. Nothing is deployed, and no contract of a third party is trusted.
``reader.yul`` beside this file is the source of the bytes below; a test compiles it anew and compares.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from struct import unpack
from typing import NamedTuple

from eth_hash.auto import keccak

from worker.errors import BadReply, ClockSkewed, Lagging, ReadFailed, WrongChain

# reader.yul by solc 0.8.26, optimizer on, EVM version london: no PUSH0, which some networks of Tron's kind lack.
READER = bytes.fromhex(
    "60a33860008039386000206370a0823160e01b60005243606052426080524660a05260c052602081604039604051600060045260e0916020"
    "01906001600160a01b03165b388210605257605f1983016060f35b9091602060149182856010396001600160801b0382604060246000885a"
    "fa833d1416608b575b600451319060801b178152019201906043565b6040518060801c15609c575b506078565b905038609756"
)

RETURN, REVERT = b"\xf3", b"\xfd"
_LAST = READER.index(bytes.fromhex("6060f35b")) + 2  # where the opcode stands that hands the words out
REVERTING_READER = READER[:_LAST] + REVERT + READER[_LAST + 1 :]
"""The same words as revert data: no contract would be made, so the bound on a contract's size does not hold."""

WORD = 32
HEADER = 4 * WORD  # NUMBER, TIMESTAMP, CHAINID, ECHO
NONCE_BYTES = 12
ACCOUNT_BYTES = 20
TOKEN_CALL_FAILED = 2**128 - 1  # the reader's mark in a wallet's token half

# A deployment returns the code of a contract: at most 24,576 bytes (EIP-170), a header and a word for each wallet.
MAX_WALLETS_BY_RETURN = (24_576 - HEADER) // WORD
# Reverting, only the init code has a bound: 49,152 bytes (EIP-3860).
MAX_WALLETS_BY_REVERT = (49_152 - len(READER) - NONCE_BYTES - ACCOUNT_BYTES) // ACCOUNT_BYTES

# A block's time may be ahead of our clock by a slot's length and some drift; more than that is no time of a block.
FUTURE_TOLERANCE = 30  # seconds
CLOCK_TOLERANCE = 10  # seconds that this host's clock and the database's may differ by
# Behind one address there are often several nodes, a few blocks apart: a minute of Tron, four minutes of Ethereum.
LAG_TOLERANCE = 20  # blocks


class Pace(NamedTuple):
    """A block of a chain, and the seconds from a block to the next at the least: so which numbers there can be, when.

    A number out of thin air would shut true ones out, for what is older never wins.
    """

    number: int
    time: int
    seconds: float

    def most(self, time: int) -> float:
        """The largest number that a block of this time can have."""
        return self.number + max(time - self.time, 0) / self.seconds


PACES = {
    1: Pace(15_537_394, 1_663_224_179, 12),  # Ethereum since the Merge, a slot each; about 1 in 100 is missed
    728_126_428: Pace(1, 1_529_891_469, 3),  # Tron from its first block on; 1 in 300 is missed
}
ANY_PACE = Pace(0, 0, 0.1)  # of a chain that is not known; none makes blocks faster for long
PACE_TOLERANCE = 20  # blocks that were made otherwise than the mark's chain has it: a reorganisation


@dataclass(frozen=True, slots=True)
class Block:
    """The block that executed a read: its number, its time in unix seconds."""

    number: int
    time: int


class Balance(NamedTuple):
    """What one wallet holds, in base units of each asset."""

    usdt: int
    native: int


_MAKE: Callable[[tuple[int, int]], Balance] = partial(tuple.__new__, Balance)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Balances in the order of the accounts asked for, and where they are from.

    A balance is None when the token gave no usable answer. `one_block`: whether all are of this very block, or, where
    a chain cannot be asked for one, of this block or a little later. `unknown`: the places of accounts that the node
    does not know. They have nothing, or the node is behind.
    """

    block: Block
    chain_id: int
    balances: tuple[Balance | None, ...]
    one_block: bool = True
    unknown: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Expected:
    """What a snapshot is held against: the settings, the time, and what was seen before.

    `now` is the database's time in unix seconds; `max_age` bounds a block's age in seconds, 0 does not; `newest` is
    the newest block that any endpoint of the network has lately shown, None when none is known. `host` is this host's
    own time; `skews` are those of other endpoints' last replies, where these failed by their blocks' times
    (``ReadFailed.skew``). Nothing is believed by either: they tell whose fault a block's time is.
    """

    chain_id: int
    now: float
    max_age: float = 0
    newest: Block | None = None
    host: float | None = None
    skews: tuple[tuple[float, int], ...] = ()


def encode(token: bytes, accounts: Sequence[bytes], nonce: bytes | None = None, *, reader: bytes = READER) -> bytes:
    """The init code that reads `accounts` (20 bytes each) and their balances of `token`.

    The nonce makes every request another one, so that a cached reply to an earlier request is seen by its echo.
    """
    nonce = secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce
    made = b"".join((reader, nonce, token, *accounts))
    # Twenty bytes each: one account too long and one too short would otherwise make up for each other.
    if len(nonce) != NONCE_BYTES or set(map(len, (token, *accounts))) != {ACCOUNT_BYTES}:
        raise ValueError("a nonce has 12 bytes, a token and an account 20 each")
    return made


def decode(reply: bytes, request: bytes, *, wallets: int) -> Snapshot:
    """Read what the reader returned to `request`, which asked for this many wallets.

    Raises BadReply unless the reply has the exact length and answers this very request.
    """
    if len(reply) != HEADER + WORD * wallets:
        raise BadReply(f"{len(reply)} bytes instead of {HEADER + WORD * wallets}")
    number, time, chain, echo = (int.from_bytes(reply[at : at + WORD]) for at in range(0, HEADER, WORD))
    if echo != int.from_bytes(keccak(request)):
        raise BadReply("the reply answers another request")
    return Snapshot(Block(number, time), chain, _balances(reply[HEADER:]))


def _balances(words: bytes) -> tuple[Balance | None, ...]:
    """A word for each wallet. In columns, and by functions that are not Python's own: twice as fast as one by one."""
    quarters = unpack(f">{len(words) // 8}Q", words)
    usdt, native = (_whole(quarters[at::4], quarters[at + 1 :: 4]) for at in (0, 2))
    balances = tuple(map(_MAKE, zip(usdt, native, strict=True)))
    if TOKEN_CALL_FAILED not in usdt:
        return balances
    return tuple(None if balance.usdt == TOKEN_CALL_FAILED else balance for balance in balances)


def _whole(high: Sequence[int], low: Sequence[int]) -> Sequence[int]:
    """The numbers of 128 bits whose halves these are."""
    return [upper << 64 | lower for upper, lower in zip(high, low, strict=True)] if any(high) else low


def check(snapshot: Snapshot, expected: Expected) -> None:
    """Raise WrongChain, BadReply, Lagging or ClockSkewed unless the snapshot is of the right chain and of a block that
    can be.
    """
    number, time = snapshot.block.number, snapshot.block.time
    if snapshot.chain_id != expected.chain_id:
        raise WrongChain(f"chain id {snapshot.chain_id} instead of {expected.chain_id}")
    if not 0 < time <= expected.now + FUTURE_TOLERANCE:
        raise _by_time(BadReply(f"block time {time} at {expected.now:.0f}"), snapshot.block, expected)
    pace = PACES.get(expected.chain_id, ANY_PACE)
    if not can_be(snapshot.block, expected.chain_id, expected.now):
        raise BadReply(f"block number {number}, when there are {pace.most(time):.0f} at the most")
    age = expected.now - time
    if 0 < expected.max_age < age:
        failure = Lagging(f"block {number} is {age:.0f} s old, more than {expected.max_age:.0f}")
        raise _by_time(failure, snapshot.block, expected)
    if expected.newest is None:
        return
    if number < expected.newest.number - LAG_TOLERANCE:
        raise Lagging(f"block {number}, when {expected.newest.number} has been seen")
    if number > pace._replace(number=expected.newest.number, time=expected.newest.time).most(time) + PACE_TOLERANCE:
        raise BadReply(f"block {number}, {time - expected.newest.time} s after {expected.newest.number}")


def _by_time(failure: ReadFailed, block: Block, expected: Expected) -> ReadFailed:
    """What a block's time fails by: the node, or the database's clock, where others agree with the node against it.

    Others are this host's clock, if it differs from the database's, and endpoints whose blocks are as far off. A chain
    that stands still is as old for all of them, so of old blocks the newer one has to be no older than the other was.
    """
    host, skew = expected.host, block.time - expected.now
    of_host = host is not None and abs(host - expected.now) > CLOCK_TOLERANCE and _in_time(block, host, expected)
    of_others = any(
        abs(skew - other) <= FUTURE_TOLERANCE and (skew > 0 or block.number > number)
        for other, number in expected.skews
    )
    if block.time > 0 and (of_host or of_others):
        off = f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} block {block.number}"
        witness = "this host's clock" if of_host else "another endpoint"
        failure = ClockSkewed(f"the database's clock is {off}, and {witness} agrees with the node")
    failure.skew = skew, block.number
    return failure


def _in_time(block: Block, now: float, expected: Expected) -> bool:
    return 0 < block.time <= now + FUTURE_TOLERANCE and not 0 < expected.max_age < now - block.time


def can_be(block: Block, chain_id: int, now: float) -> bool:
    """Whether a chain can have made a block, as far as its number and its time say."""
    most = PACES.get(chain_id, ANY_PACE).most(block.time) + PACE_TOLERANCE
    return 0 < block.time <= now + FUTURE_TOLERANCE and 0 < block.number <= most


def richest(balances: Iterable[Balance | None]) -> int:
    """The largest token balance: none can be above the token's total supply."""
    return max(map(itemgetter(0), filter(None, balances)), default=0)
