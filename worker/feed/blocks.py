"""What one block may have changed: the value that the feed is made of, and what USDT's events say. Pure.

In come the events of the token's own contract, as the modules of the families take them out of a node's reply
(``evm_blocks``, ``tron_blocks``); out go exact sums, in base units, for each account that an event names.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from worker.errors import BadReply
from worker.reading.contract import ACCOUNT_BYTES, WORD, BaseUnits, UnixSeconds

# Topics are the hashes of the events' signatures, in hexadecimal digits without 0x.
TRANSFER = "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"  # (address, address, uint256)
DESTROYED_BLACK_FUNDS = "61e6e66b0d6339b2980aecc6ccc0039736791f0ccde9ed512e789a7fbdd698c6"  # (address, uint256)
ISSUE = "cb8241adb0c3fdb35b70c24ce35c5eb0c17af7431c99f827d44a445ca624176a"  # (uint256)
REDEEM = "702d5967f45f6513a38ffc42d6ba9bf230bd40e8f53b16363c7eb4fd2deb9a44"  # (uint256)
DEPRECATE = "cc358699805e9a8b7f77b522628c7cb9abd07d9efb86b6fb616af1609036a99e"  # (address)
PARAMS = "b044a1e409eac5c48e5af22d4af52670dd1a99059537a78b31b48c6500a6354e"  # (uint256, uint256)

TOPICS = (TRANSFER, DESTROYED_BLACK_FUNDS, ISSUE, REDEEM, DEPRECATE, PARAMS)
"""The events by which balances of the token change, or the rules by which they do."""

NOBODY = bytes(ACCOUNT_BYTES)
"""What mints and burns name as the other side. Whether its balance changes is the token's own affair."""

_TEXT = 2 + 2 * ACCOUNT_BYTES  # characters of an account in a node's reply, with its prefix
_PADDING = bytes(WORD - ACCOUNT_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedBlock:
    """One block, and the accounts whose balances it may have changed.

    number        the block's number
    hash          its hash, 32 bytes
    parent        the hash of the block before it
    time          when it was made, in unix seconds
    touched       the accounts, of 20 bytes, one of whose balances the block may have changed
    usdt          the net change of each account that an event names, in base units; None: its balance may have changed
                  by what no event tells. All of them are in `touched`
    sees_native   whether native coin that contracts pay shows: True: it does; False: it does not; None: this block
                  cannot tell
    deprecated    the token was deprecated in this block: from then on its events come from another contract
    transactions  how many transactions the block has
    """

    number: int
    hash: bytes
    parent: bytes
    time: UnixSeconds
    touched: frozenset[bytes]
    usdt: Mapping[bytes, BaseUnits | None]
    sees_native: bool | None
    deprecated: bool = False
    transactions: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """Which block a node's reply is. `hash` and `parent` are of 32 bytes, `time` is in unix seconds."""

    number: int
    hash: bytes
    parent: bytes
    time: UnixSeconds


@dataclass(slots=True)
class Changes:
    """The sums of a block's events of the token, as they are added up."""

    usdt: dict[bytes, BaseUnits | None] = field(default_factory=dict)
    deprecated: bool = False

    def note(self, topics: Sequence[str], data: str, parties: Callable[[], Iterable[bytes]]) -> None:
        """Add what one event of the token's own contract says.

        `topics` and `data` are hexadecimal digits without 0x. `parties` gives the sender and the receiver of the
        transaction: one of them is the owner whose balance `Issue` and `Redeem` change without naming it. Raises
        BadReply where an event is not of its form.
        """
        kind, *indexed = topics
        if kind == TRANSFER:
            self._transfer(indexed, data)
        elif kind == DESTROYED_BLACK_FUNDS:  # the wallet is indexed in some copies of the contract
            wallet, value = _words(indexed, data, 2, fits=len(indexed) <= 1)
            self._add(_account(wallet), -int.from_bytes(value))
        elif kind in {ISSUE, REDEEM}:
            for party in parties():
                self._add(party, None)
        elif kind == DEPRECATE:
            self.deprecated = True
        elif kind != PARAMS:
            raise BadReply("an event that was not asked for")

    def _transfer(self, indexed: Sequence[str], data: str) -> None:
        sender, receiver, value = _words(indexed, data, 3, fits=len(indexed) == 2)  # noqa: PLR2004  from, to
        if amount := int.from_bytes(value):  # a transfer of nothing changes nothing, and anybody can have one logged
            self._add(_account(sender), -amount)
            self._add(_account(receiver), amount)

    def _add(self, account: bytes, change: BaseUnits | None) -> None:
        before = self.usdt.get(account, 0)
        if before is None or change is None or account == NOBODY:
            self.usdt[account] = None
        else:
            self.usdt[account] = before + change


def accounts(texts: Collection[str], form: re.Pattern[str]) -> list[bytes]:
    """The accounts of 20 bytes that these texts are, each of a prefix of two characters and 40 hexadecimal digits.

    `form` matches any number of them one after the other: one look at all of them costs less than one at each. Raises
    BadReply.
    """
    try:
        fit = form.fullmatch("".join(texts)) and set(map(len, texts)) <= {_TEXT}
    except TypeError:
        fit = False
    if not fit:
        raise BadReply("an account is 40 hexadecimal digits behind a prefix")
    return [bytes.fromhex(text[2:]) for text in texts]


def _words(indexed: Sequence[str], data: str, count: int, *, fits: bool) -> list[bytes]:
    """An event's parameters, of 32 bytes each, those first that are indexed."""
    digits = "".join((*indexed, data))
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    # Digits alone have this length: `fromhex` passes over blanks.
    whole = len(raw) == count * WORD and len(digits) == 2 * len(raw) and {*map(len, indexed)} <= {2 * WORD}
    if not fits or not whole:
        raise BadReply("an event of the token has other parameters than it must have")
    return [raw[at : at + WORD] for at in range(0, len(raw), WORD)]


def _account(word: bytes) -> bytes:
    if not word.startswith(_PADDING):
        raise BadReply("an event names an account of more than 20 bytes")
    return word[-ACCOUNT_BYTES:]
