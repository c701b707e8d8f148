"""What a block of a Tron chain may have changed, from what a node says of it. Pure.

In come a block and the infos of its transactions: only together do they say who pays, who is paid and what was logged.
Out goes a `FeedBlock`. A node answers "not there yet" as it answers "nothing", so infos count only if their ids are
those of the block's transactions. What is not of its form is a BadReply, and nothing is passed over.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from worker.errors import BadReply, StateGone
from worker.feed.blocks import TOPICS, Changes, FeedBlock, Header, accounts

ENOUGH_CALLS = 50
"""So many calls of contracts other than the token, and no internal transaction, say that the node keeps none."""

HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
ADDRESS = re.compile(r"[0-9a-f]{40}", re.ASCII)
ACCOUNTS = re.compile(r"(?:41[0-9a-f]{40})*", re.ASCII)
PREFIX = "41"
NO_TRANSACTIONS = "0" * 64

# Whom a contract of any type names beside its owner, who pays every fee.
OTHERS = (
    *("to_address", "account_address", "receiver_address", "contract_address"),
    *("transparent_from_address", "transparent_to_address"),
)
OWNERLESS = "ShieldedTransferContract"  # of the transparent side alone is known who it is
CALL = "TriggerSmartContract"
PLAIN_CALL = b"call".hex()  # an internal transaction's note; others also move what is frozen or has expired
SUCCEEDED = {"SUCCESS", "DEFAULT"}  # java-tron leaves a value out that is its type's first, which is the second here
RESULT = re.compile(r"[A-Z_]+", re.ASCII)


def header_of(block: Any) -> Header | None:
    """Which block this is; None: the node has none. Raises BadReply."""
    if block == {}:
        return None
    raw = block.get("block_header") if isinstance(block, dict) else None
    raw = raw.get("raw_data") if isinstance(raw, dict) else None
    if not isinstance(raw, dict):
        raise BadReply("a block has a header")
    number, time = raw.get("number"), raw.get("timestamp")
    if type(number) is not int or type(time) is not int or not 0 < number < 2**63:
        raise BadReply("a block has a number and a time")
    found = Header(number, _hash(block.get("blockID")), _hash(raw.get("parentHash")), time // 1000)
    # A block's id begins with its number: so does that of the block before it.
    if (int.from_bytes(found.hash[:8]), int.from_bytes(found.parent[:8])) != (number, number - 1):
        raise BadReply("a block whose id is of another number")
    return found


def feed_block(block: Any, header: Header, infos: Any, *, token: bytes) -> FeedBlock:
    """What a block may have changed.

    Raises StateGone where the infos are not those of this block's transactions: the node may not have stored them yet,
    or another block has taken its place since. Raises BadReply.
    """
    try:
        return _feed_block(block, header, infos, token.hex())
    except (TypeError, AttributeError, ValueError, LookupError) as error:
        raise BadReply(f"a block, a transaction or an info lacks something ({type(error).__name__})") from None


def _feed_block(block: Any, header: Header, infos: Any, token: str) -> FeedBlock:
    by_id = _transactions(block)
    _check_ids(infos, by_id, header)
    found = _Found()
    for info in infos:
        found.note(info, by_id[info["id"]], token)
    return FeedBlock(
        number=header.number,
        hash=header.hash,
        parent=header.parent,
        time=header.time,
        touched=frozenset((*accounts(found.named, ACCOUNTS), *found.changes.usdt)),
        usdt=found.changes.usdt,
        sees_native=found.sees_native,
        deprecated=found.changes.deprecated,
        transactions=len(by_id),
    )


def _transactions(block: Any) -> dict[str, Any]:
    """A block's transactions by their ids, in their order."""
    transactions = block.get("transactions", [])
    by_id = {each["txID"]: each for each in transactions}
    if len(by_id) != len(transactions):
        raise BadReply("a block has a transaction twice")
    if not transactions and block["block_header"]["raw_data"].get("txTrieRoot", NO_TRANSACTIONS) != NO_TRANSACTIONS:
        raise BadReply("a block that has transactions was sent without them")
    return by_id


def _check_ids(infos: Any, by_id: Mapping[str, Any], header: Header) -> None:
    if not isinstance(infos, list):
        raise BadReply("infos are a list")
    if len(infos) != len(by_id) or {each["id"] for each in infos} != by_id.keys():
        raise StateGone(f"the {len(infos)} infos are not those of the {len(by_id)} transactions of {header.number}")
    if any(each["blockNumber"] != header.number for each in infos):
        raise BadReply("an info of another block")


@dataclass(slots=True)
class _Found:
    """What the transactions of a block change, as they are gone through."""

    changes: Changes = field(default_factory=Changes)
    named: set[str] = field(default_factory=set)
    calls: int = 0
    internal: bool = False

    @property
    def sees_native(self) -> bool | None:
        if self.internal:
            return True
        return False if self.calls >= ENOUGH_CALLS else None

    def note(self, info: Mapping[str, Any], transaction: Mapping[str, Any], token: str) -> None:
        contract = _contract(transaction)
        succeeded = _succeeded(transaction)
        parties = _parties(contract, info, succeeded=succeeded)
        self.named.update(parties)
        if "log" in info:
            self._note_events(info["log"], parties, token, succeeded=succeeded)
        if "internal_transactions" in info:
            self.internal = True
            inner = _list(info["internal_transactions"])
            self.named.update(chain.from_iterable(map(_paid_inside, inner if succeeded else ())))
        elif succeeded and contract["type"] == CALL and PREFIX + token not in parties:
            self.calls += 1

    def _note_events(self, logs: Any, parties: list[str], token: str, *, succeeded: bool) -> None:
        for topics, data in _events(logs, token):
            if not succeeded:
                raise BadReply("an event of a transaction that failed")
            self.changes.note(topics, data, partial(accounts, parties, ACCOUNTS))


def _contract(transaction: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a transaction does: it has exactly one contract (a rule of consensus)."""
    (contract,) = transaction["raw_data"]["contract"]
    found: Mapping[str, Any] = contract
    return found


def _succeeded(transaction: Mapping[str, Any]) -> bool:
    result = transaction["ret"][0].get("contractRet", "DEFAULT")
    if result not in SUCCEEDED and not RESULT.fullmatch(result):
        raise BadReply("a transaction's result is a word in capitals")
    return result in SUCCEEDED


def _parties(contract: Mapping[str, Any], info: Mapping[str, Any], *, succeeded: bool) -> list[str]:
    """Whom a transaction names: of one that failed the owner alone, who pays for it."""
    value = contract["parameter"]["value"]
    parties = [] if contract["type"] == OWNERLESS else [value["owner_address"]]
    if succeeded:
        parties += [value[name] for name in OTHERS if name in value]
        if "contract_address" in info:  # the one that was called, or has been created
            parties.append(info["contract_address"])
    return parties


def _events(logs: Any, token: str) -> Iterator[tuple[list[str], str]]:
    """The topics and the data of the token's own events."""
    for log in _list(logs):
        if not ADDRESS.fullmatch(log["address"]):
            raise BadReply("a log's contract is 40 hexadecimal digits")
        if log["address"] == token:
            topics = log["topics"]
            if not HASH.fullmatch(topics[0]):
                raise BadReply("an event's first topic is 64 hexadecimal digits")
            if topics[0] in TOPICS:
                yield topics, log.get("data", "")


def _paid_inside(inner: Mapping[str, Any]) -> list[str]:
    """Who pays and who is paid by an internal transaction, in the native coin."""
    values = [each.get("callValue", 0) for each in _list(inner["callValueInfo"]) if "tokenId" not in each]
    if not all(type(each) is int for each in values):
        raise BadReply("an internal transaction's value is a whole number")
    if inner.get("rejected", False) is True or (not any(values) and inner["note"] == PLAIN_CALL):
        return []
    return [inner[name] for name in ("caller_address", "transferTo_address") if name in inner]


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise BadReply("logs and internal transactions are lists")
    return value


def _hash(value: Any) -> bytes:
    if not isinstance(value, str) or not HASH.fullmatch(value):
        raise BadReply("a hash is 64 hexadecimal digits")
    return bytes.fromhex(value)
