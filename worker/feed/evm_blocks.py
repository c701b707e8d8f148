"""What a block of an EVM chain may have changed, from what a node says of it. Pure.

In come a block with its whole transactions, and the logs of that very block: those of the token and of the system
address (EIP-7708), or all of its receipts. Out goes a `FeedBlock`. Whatever is not of its form, is of another block, or
contradicts the block is a BadReply: an event that is passed over would be money that is not shown.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Any, Literal, TypeAlias

from eth_hash.auto import keccak

from worker.errors import BadReply
from worker.feed.blocks import TOPICS, TRANSFER, Changes, FeedBlock, Header, accounts

Way: TypeAlias = Literal["logs", "token_logs", "receipts"]
"""How a node tells events: logs of several addresses at once, of the token alone, or all receipts of a block."""

SYSTEM = "0xfffffffffffffffffffffffffffffffffffffffe"
"""Under whose address native coin that moves is logged (EIP-7708), with the very topic of a token's Transfer."""

ASKED_TOPICS = tuple("0x" + topic for topic in TOPICS)

ENOUGH_PAYMENTS = 50
"""So many payments of native coin, none of them logged, say that the chain does not log any."""

FULL_BLOOM = 1024  # of 2,048 bits: a fuller one seems to hold any address too often to say anything

QUANTITY = re.compile(r"0x[0-9a-f]{1,16}", re.ASCII)
HASH = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
BLOOM = re.compile(r"0x[0-9a-f]{512}", re.ASCII)
ACCOUNTS = re.compile(r"(?:0x[0-9a-fA-F]{40})*", re.ASCII)

# Of a block without transactions: of the empty trie, and of the empty string where it is the hash of a list.
NO_TRANSACTIONS = {"0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421", "0x" + keccak(b"").hex()}


def header_of(block: Any) -> Header:
    """Which block this is. Raises BadReply."""
    if not isinstance(block, dict):
        raise BadReply("a block is an object")
    number, time = quantity(block.get("number")), quantity(block.get("timestamp"))
    return Header(number, _hash(block.get("hash")), _hash(block.get("parentHash")), time)


def feed_block(block: Any, header: Header, logs: Any, *, token: bytes, way: Way) -> FeedBlock:
    """What a block may have changed. `logs` are the results of the request of this way. Raises BadReply."""
    try:
        return _feed_block(block, header, logs, "0x" + token.hex(), way)
    except (TypeError, AttributeError, ValueError, LookupError) as error:
        raise BadReply(f"a block, a transaction or a log lacks something ({type(error).__name__})") from None


def _feed_block(block: Any, header: Header, logs: Any, token: str, way: Way) -> FeedBlock:
    transactions = _transactions(block)
    if way == "receipts":
        logs = list(_logs_in(logs, transactions, header, token))
    changes, paid = Changes(), set[str]()
    for log, transaction in _checked(logs, transactions, header):
        topics, data = [_digits(each) for each in log["topics"]], _digits(log["data"])
        if log["address"].lower() == token:
            changes.note(topics, data, partial(_parties, transaction))
        elif log["address"].lower() == SYSTEM and topics[0] == TRANSFER:
            native = Changes()  # the form is that of a token's event, the coin is not
            native.note(topics, data, list)
            paid.update("0x" + each.hex() for each in native.usdt)
        else:
            raise BadReply("a log of another contract or event than was asked for")
    _note_fees_in_tokens(block, transactions, changes)
    touched = accounts(_named(block, transactions) | paid, ACCOUNTS)
    return FeedBlock(
        number=header.number,
        hash=header.hash,
        parent=header.parent,
        time=header.time,
        touched=frozenset((*touched, *changes.usdt, *map(_created, _creations(transactions)))),
        usdt=changes.usdt,
        sees_native=_sees_native(transactions, way, logged=bool(paid)),
        deprecated=changes.deprecated,
        transactions=len(transactions),
    )


def _parties(transaction: Any) -> list[bytes]:
    return accounts([each for each in (transaction["from"], transaction["to"]) if each is not None], ACCOUNTS)


def _transactions(block: Any) -> list[dict[str, Any]]:
    """A block's transactions, whole and each of them once."""
    transactions = block["transactions"]
    if not isinstance(transactions, list) or not all(isinstance(each, dict) for each in transactions):
        raise BadReply("a block's transactions are a list of whole ones")
    if len({each["hash"] for each in transactions}) != len(transactions):
        raise BadReply("a block has a transaction twice")
    if not transactions and block.get("transactionsRoot") not in NO_TRANSACTIONS and quantity(block["gasUsed"]):
        raise BadReply("a block that used gas has no transactions")
    return transactions


def _checked(logs: Any, transactions: Sequence[Any], header: Header) -> Iterator[tuple[Any, Any]]:
    """Each log with its transaction: of this block, in order, each of them once, none of them taken back."""
    of_block, last = "0x" + header.hash.hex(), -1
    for log in _list(logs, "logs"):
        at, place = quantity(log["logIndex"]), quantity(log["transactionIndex"])
        if log["blockHash"] != of_block or quantity(log["blockNumber"]) != header.number:
            raise BadReply("a log of another block")
        if log.get("removed"):
            raise BadReply("a log that was taken back")
        if at <= last or place >= len(transactions) or transactions[place]["hash"] != log["transactionHash"]:
            raise BadReply("a log that stands at no place of its block")
        last = at
        yield log, transactions[place]


def _logs_in(receipts: Any, transactions: Sequence[Any], header: Header, token: str) -> Iterator[Any]:
    """The logs of a block's receipts that another node would have been asked for."""
    of_block, whose = "0x" + header.hash.hex(), [each["hash"] for each in transactions]
    if [each["transactionHash"] for each in _list(receipts, "receipts")] != whose:
        raise BadReply("receipts of other transactions than the block's")
    for receipt in receipts:
        if receipt["blockHash"] != of_block:
            raise BadReply("a receipt of another block")
        for log in _list(receipt["logs"], "logs"):
            asked = {token: ASKED_TOPICS, SYSTEM: ASKED_TOPICS[:1]}.get(log["address"].lower())
            if asked and log["topics"] and "0x" + _hash(log["topics"][0]).hex() in asked:
                yield log


def _named(block: Any, transactions: Iterable[Any]) -> set[str]:
    """Who pays, is paid or is called by a transaction, who made the block, and whose stake is paid out."""
    named = {block["miner"]}
    for each in transactions:
        named.add(each["from"])
        named.add(each["to"])
        named.add(each.get("feePayer"))  # on some chains somebody else may pay a transaction's fee
    named.discard(None)  # of transactions that create a contract, and of those that pay for themselves
    withdrawals = block.get("withdrawals")  # chains without stakes have none
    return named.union(each["address"] for each in _list([] if withdrawals is None else withdrawals, "withdrawals"))


def _note_fees_in_tokens(block: Any, transactions: Iterable[Any], changes: Changes) -> None:
    """On chains where a fee can be paid in a token, it need not be logged: whose balance it changes is not known."""
    payers = {each["from"] for each in transactions if each.get("feeCurrency")}
    if payers:
        for account in accounts({*payers, block["miner"]}, ACCOUNTS):
            changes.usdt[account] = None


def _creations(transactions: Iterable[Any]) -> list[Any]:
    return [each for each in transactions if each["to"] is None]


def _created(transaction: Any) -> bytes:
    """The account of a contract that a transaction creates: of its sender and nonce (yellow paper, 7)."""
    (sender,) = accounts([transaction["from"]], ACCOUNTS)
    nonce = quantity(transaction["nonce"])
    raw = nonce.to_bytes((nonce.bit_length() + 7) // 8)
    # As RLP: a string of 20 bytes, and a number, which below 128 is its own byte.
    written = raw if 0 < nonce < 0x80 else bytes([0x80 + len(raw)]) + raw  # noqa: PLR2004
    return keccak(bytes([0xC0 + 21 + len(written), 0x94]) + sender + written)[-20:]


def _sees_native(transactions: Iterable[Any], way: Way, *, logged: bool) -> bool | None:
    if way == "token_logs" or logged:
        return logged
    payments = sum(each["value"] != "0x0" and each["from"] != each["to"] for each in transactions)
    return False if payments >= ENOUGH_PAYMENTS else None


def seems_to_lack_logs(block: Any, found: FeedBlock, token: bytes) -> bool:
    """Whether a node says that the token has no event, while the block's Bloom filter may hold one.

    The filter never lacks what a block has. The fuller it is the more it seems to hold: one that is half full says that
    an event is there in one block of 64 that has none, a fuller one is not asked.
    """
    bloom = block.get("logsBloom")
    if found.usdt or found.deprecated or not isinstance(bloom, str) or not BLOOM.fullmatch(bloom):
        return False
    bits = int(bloom, 16)
    wanted = _bits(token) | _bits(bytes.fromhex(TRANSFER))
    return bits.bit_count() <= FULL_BLOOM and bits & wanted == wanted


@cache
def _bits(entry: bytes) -> int:
    """The three bits of an entry in a block's Bloom filter (yellow paper, 4.3.1)."""
    hashed = keccak(entry)
    bits = 0
    for at in (0, 2, 4):
        bits |= 1 << (int.from_bytes(hashed[at : at + 2]) & 2047)
    return bits


def quantity(value: Any) -> int:
    """A JSON-RPC quantity. Raises BadReply."""
    if not isinstance(value, str) or not QUANTITY.fullmatch(value):
        raise BadReply("a quantity is 0x and up to 16 hexadecimal digits")
    return int(value, 16)


def _hash(value: Any) -> bytes:
    if not isinstance(value, str) or not HASH.fullmatch(value):
        raise BadReply("a hash is 0x and 64 hexadecimal digits")
    return bytes.fromhex(value[2:])


def _digits(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("0x"):
        raise BadReply("a log's words begin with 0x")
    return value[2:]


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise BadReply(f"{what} are a list of objects")
    return value
