"""One read of many wallets at one block, as bytes: the request, the reply, and every check between them. Pure.

The request is init code for a simulated deployment (``eth_call`` without ``to``), the reply what its constructor
returns. Nothing is deployed, and no contract of a third party is trusted. ``reader.yul`` beside this file is the
source of the bytes below; a test compiles it anew and compares.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from eth_hash.auto import keccak

from worker.errors import BadReply, WrongChain

# reader.yul by solc 0.8.26, optimizer on, EVM version london: no PUSH0, which some networks of Tron's kind lack.
READER = bytes.fromhex(
    "60a33860008039386000206370a0823160e01b60005243606052426080524660a05260c052602081604039604051600060045260e0916020"
    "01906001600160a01b03165b388210605257605f1983016060f35b9091602060149182856010396001600160801b0382604060246000885a"
    "fa833d1416608b575b600451319060801b178152019201906043565b6040518060801c15609c575b506078565b905038609756"
)

WORD = 32
HEADER = 4 * WORD  # NUMBER, TIMESTAMP, CHAINID, ECHO
NONCE_BYTES = 12
ACCOUNT_BYTES = 20
TOKEN_CALL_FAILED = 2**128 - 1  # the reader's mark in a wallet's token half

# A deployment returns the code of a contract: at most 24,576 bytes (EIP-170), a header and a word for each wallet.
MAX_WALLETS_BY_RETURN = (24_576 - HEADER) // WORD

# A block's time may be ahead of our clock by a slot's length and some drift; more than that is no time of a block.
FUTURE_TOLERANCE = 30  # seconds


@dataclass(frozen=True, slots=True)
class Block:
    """The block that executed a read: its number, its time in unix seconds."""

    number: int
    time: int


@dataclass(frozen=True, slots=True)
class Balance:
    """What one wallet holds, in base units of each asset."""

    usdt: int
    native: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Balances at one block, in the order of the accounts asked for. None: the token gave no usable answer."""

    block: Block
    balances: tuple[Balance | None, ...]


def encode(token: bytes, accounts: Sequence[bytes], nonce: bytes | None = None) -> bytes:
    """The init code that reads `accounts` (20 bytes each) and their balances of `token`.

    The nonce makes every request another one, so that a cached reply to an earlier request is seen by its echo.
    """
    nonce = secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce
    if len(nonce) != NONCE_BYTES or any(len(account) != ACCOUNT_BYTES for account in (token, *accounts)):
        raise ValueError("a nonce has 12 bytes, a token and an account 20 each")
    return b"".join((READER, nonce, token, *accounts))


def decode(reply: bytes, request: bytes, *, wallets: int, chain_id: int, now: float) -> Snapshot:
    """Read what the reader returned to `request`, which asked for this many wallets.

    `now` is the time of the claim in unix seconds. Raises BadReply or WrongChain unless the reply has the exact length,
    answers this very request, and comes from a block of the right chain with a number and a time that can be.
    """
    if len(reply) != HEADER + WORD * wallets:
        raise BadReply(f"{len(reply)} bytes instead of {HEADER + WORD * wallets}")
    number, time, chain, echo = (int.from_bytes(reply[at : at + WORD]) for at in range(0, HEADER, WORD))
    if echo != int.from_bytes(keccak(request)):
        raise BadReply("the reply answers another request")
    if chain != chain_id:
        raise WrongChain(f"chain id {chain} instead of {chain_id}")
    if not 0 < number < 2**63:
        raise BadReply(f"block number {number}")
    if not 0 < time <= now + FUTURE_TOLERANCE:
        raise BadReply(f"block time {time} at {now:.0f}")
    return Snapshot(Block(number, time), tuple(_balance(reply, at) for at in range(HEADER, len(reply), WORD)))


def _balance(reply: bytes, at: int) -> Balance | None:
    usdt = int.from_bytes(reply[at : at + 16])
    return None if usdt == TOKEN_CALL_FAILED else Balance(usdt, int.from_bytes(reply[at + 16 : at + WORD]))
