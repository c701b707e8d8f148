"""One read of many wallets at one block, as bytes: the request, the reply, and the checks of its form. Pure.

The request is init code for a simulated deployment (``eth_call`` without ``to``), the reply what its constructor
returns, or, in the second form, reverts with. Nothing is deployed, and no contract of a third party is trusted.
``reader.yul`` beside this file is the source of the bytes below; a test compiles it anew and compares. Whether the
block of a reply can be one of the chain is asked in ``worker.reading.plausibility``.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from struct import unpack
from typing import NamedTuple, TypeAlias

from eth_hash.auto import keccak

from config.families import BlockNumberSource
from worker.errors import BadReply

BaseUnits: TypeAlias = int
"""An amount in the smallest unit of its asset."""

UnixSeconds: TypeAlias = int

# reader.yul by solc 0.8.26, optimizer on, EVM version london: no PUSH0, which some networks of Tron's kind lack.
READER = bytes.fromhex(
    "60a33860008039386000206370a0823160e01b60005243606052426080524660a05260c052602081604039604051600060045260e0916020"
    "01906001600160a01b03165b388210605257605f1983016060f35b9091602060149182856010396001600160801b0382604060246000885a"
    "fa833d1416608b575b600451319060801b178152019201906043565b6040518060801c15609c575b506078565b905038609756"
)
# The variant of reader.yul that asks the precompile ArbSys for the block's number.
ARBSYS_READER = bytes.fromhex(
    "60d23860008039386000206370a0823160e01b600052601b60a8565b606052426080524660a05260c052602081604039604051600060045260"
    "e091602001906001600160a01b03165b388210605757605f1983016060f35b9091602060149182856010396001600160801b03826040602460"
    "00885afa833d14166090575b600451319060801b178152019201906048565b6040518060801c1560a1575b50607d565b905038609c565b6000"
    "9063a3b1b31d60e01b6040526020604060048160645afa60203d141660cb57565b604051915056"
)

RETURN, REVERT = b"\xf3", b"\xfd"


def _reverting(reader: bytes) -> bytes:
    """The same words as revert data: no contract would be made, so the bound on a contract's size does not hold."""
    last = reader.index(bytes.fromhex("6060f35b")) + 2  # where the opcode stands that hands the words out
    return reader[:last] + REVERT + reader[last + 1 :]


REVERTING_READER = _reverting(READER)

READERS: Mapping[tuple[BlockNumberSource, bytes], bytes] = {
    ("opcode", RETURN): READER,
    ("opcode", REVERT): REVERTING_READER,
    ("arbsys", RETURN): ARBSYS_READER,
    ("arbsys", REVERT): _reverting(ARBSYS_READER),
}
"""The reader's code by where the block's number is found, and by the opcode with which the words are handed out."""

WORD = 32
HEADER = 4 * WORD  # NUMBER, TIMESTAMP, CHAINID, ECHO
NONCE_BYTES = 12
ACCOUNT_BYTES = 20
TOKEN_CALL_FAILED = 2**128 - 1  # the reader's mark in a wallet's token half

# A block's time may be ahead of our clock by a slot's length and some drift; more than that is no time of a block.
FUTURE_TOLERANCE = 30  # seconds
CLOCK_TOLERANCE = 10  # seconds that this host's clock and the database's may differ by


def most_by_return(code_bytes: int) -> int:
    """How many wallets' words fit into a contract's code of so many bytes (EIP-170), which is what is returned."""
    return (code_bytes - HEADER) // WORD


def most_by_init_code(init_code_bytes: int, reader: bytes) -> int:
    """How many wallets fit into init code of so many bytes (EIP-3860) behind a reader, the nonce and the token."""
    return (init_code_bytes - len(reader) - NONCE_BYTES - ACCOUNT_BYTES) // ACCOUNT_BYTES


MAX_WALLETS_BY_RETURN = most_by_return(24_576)
MAX_WALLETS_BY_REVERT = most_by_init_code(49_152, READER)
"""The most wallets of one request under the bounds of EIP-170 and EIP-3860, which most networks have."""


@dataclass(frozen=True, slots=True)
class Block:
    """The block that executed a read."""

    number: int
    time: UnixSeconds


class Balance(NamedTuple):
    """What one wallet holds."""

    usdt: BaseUnits
    native: BaseUnits


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


def richest(balances: Iterable[Balance | None]) -> BaseUnits:
    """The largest token balance: none can be above the token's total supply."""
    return max(map(itemgetter(0), filter(None, balances)), default=0)
