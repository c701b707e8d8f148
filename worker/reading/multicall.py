"""The second best way to read: Multicall3's ``aggregate3``, for nodes that refuse a call without a contract. Pure.

Block number, time and chain id are read in the same call, so that the balances are of one block here too. The echo is
a nonce sent through the identity precompile: it says which request is answered. Multicall3 has the block's number from
the opcode NUMBER; where that is a parent chain's, the precompile ArbSys is asked instead, as the reader does.
https://github.com/mds1/multicall
"""

import secrets
from collections.abc import Sequence
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError

from config.families import BlockNumberSource
from worker.errors import BadReply
from worker.reading.contract import TOKEN_CALL_FAILED, WORD, Balance, Block, Snapshot

AGGREGATE3 = bytes.fromhex("82ad56cb")
GET_BLOCK_NUMBER = bytes.fromhex("42cbb15c")
GET_BLOCK_TIMESTAMP = bytes.fromhex("0f28c97d")
GET_CHAIN_ID = bytes.fromhex("3408e470")
GET_ETH_BALANCE = bytes.fromhex("4d2301cc")
BALANCE_OF = bytes.fromhex("70a08231")
IDENTITY = (4).to_bytes(20)  # the precompile that returns what it is given
ARBSYS = (0x64).to_bytes(20)  # the precompile that knows the number of the chain's own block
ARB_BLOCK_NUMBER = bytes.fromhex("a3b1b31d")
HEADERS = 4


def padded(account: bytes) -> bytes:
    """An address as an argument of a call."""
    return account.rjust(WORD, b"\0")


def encode(
    multicall3: bytes,
    token: bytes,
    accounts: Sequence[bytes],
    nonce: bytes | None = None,
    *,
    block_number: BlockNumberSource = "opcode",
) -> bytes:
    """The calldata that asks `multicall3` for the block, and for each account's balance of `token` and its own."""
    nonce = secrets.token_bytes(WORD) if nonce is None else nonce
    calls = [
        (ARBSYS, True, ARB_BLOCK_NUMBER) if block_number == "arbsys" else (multicall3, True, GET_BLOCK_NUMBER),
        (multicall3, True, GET_BLOCK_TIMESTAMP),
        (multicall3, True, GET_CHAIN_ID),
        (IDENTITY, True, nonce),
    ]
    for account in accounts:
        calls.append((token, True, BALANCE_OF + padded(account)))
        calls.append((multicall3, True, GET_ETH_BALANCE + padded(account)))
    encoded: bytes = abi_encode(["(address,bool,bytes)[]"], [calls])
    return AGGREGATE3 + encoded


def decode(reply: bytes, request: bytes, *, wallets: int) -> Snapshot:
    """Read what Multicall3 returned to `request`, which asked for this many wallets.

    Raises BadReply unless each call has its result and the echo is that of this very request.
    """
    (calls,) = abi_decode(["(address,bool,bytes)[]"], request[len(AGGREGATE3) :])
    try:
        (results,) = abi_decode(["(bool,bytes)[]"], reply)
    except (DecodingError, OverflowError) as error:
        raise BadReply(f"not the results of a Multicall3 ({type(error).__name__})") from error
    if len(results) != HEADERS + 2 * wallets:
        raise BadReply(f"{len(results)} results instead of {HEADERS + 2 * wallets}")
    number, time, chain_id, echo = (_word(result) for result in results[:HEADERS])
    if echo is None or echo != int.from_bytes(calls[HEADERS - 1][2]):
        raise BadReply("the reply answers another request")
    if number is None or time is None or chain_id is None:
        raise BadReply("no block number, time or chain id")
    rest = results[HEADERS:]
    return Snapshot(Block(number, time), chain_id, tuple(map(_balance, rest[::2], rest[1::2])))


def _balance(usdt: Any, native: Any) -> Balance | None:
    tokens, coins = _word(usdt), _word(native)
    if coins is None or coins >= 2**128:
        raise BadReply("a native balance that cannot be")
    return None if tokens is None or tokens >= TOKEN_CALL_FAILED else Balance(tokens, coins)


def _word(result: Any) -> int | None:
    """A call's result as a number, or None: it failed, or there was no contract, or it is no number."""
    success, data = result
    return int.from_bytes(data) if success and len(data) == WORD else None
