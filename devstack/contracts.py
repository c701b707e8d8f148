"""The contracts of local chains, and what is sent to them: a token that behaves like USDT, and one that pays others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eth_hash.auto import keccak

FOLDER = Path(__file__).parent / "token"
TOKEN = (FOLDER / "Token.hex").read_text().strip()
PAYER = (FOLDER / "Payer.hex").read_text().strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A transaction as it is thought of: to whom, with which calldata and how many native coins, sent by whom.

    Without a receiver its data is the code of a contract to be; without a sender the chain's first account sends it.
    """

    to: bytes | None = None
    data: str = ""
    value: int = 0
    sender: bytes | None = None


def word(value: int) -> str:
    """A number as the ABI has it."""
    return f"{value:064x}"


def transfer(token: bytes, to: bytes, value: int, sender: bytes | None = None) -> Call:
    """The sender's USDT goes to somebody."""
    return Call(to=token, data=_call("transfer(address,uint256)", to, value), sender=sender)


def transfer_from(token: bytes, holder: bytes, to: bytes, value: int, sender: bytes | None = None) -> Call:
    """A holder's USDT goes to somebody, and somebody else sends the transaction."""
    return Call(to=token, data=_call("transferFrom(address,address,uint256)", holder, to, value), sender=sender)


def mint(token: bytes, holders: Sequence[bytes], values: Sequence[int]) -> Call:
    """Many holders get USDT at once."""
    first, second = _array(holders), _array(values)
    return Call(to=token, data=_call("mint(address[],uint256[])", 64, 64 + len(first) // 2) + first + second)


def issue(token: bytes, value: int) -> Call:
    """The owner gets USDT, and an event says only how much."""
    return Call(to=token, data=_call("issue(uint256)", value))


def redeem(token: bytes, value: int) -> Call:
    """The owner gives USDT up, and an event says only how much."""
    return Call(to=token, data=_call("redeem(uint256)", value))


def destroy(token: bytes, holder: bytes) -> Call:
    """A holder loses all USDT."""
    return Call(to=token, data=_call("destroyBlackFunds(address)", holder))


def set_fee(token: bytes, basis_points: int, most: int) -> Call:
    """From now on the owner gets so much of each transfer."""
    return Call(to=token, data=_call("setParams(uint256,uint256)", basis_points, most))


def deprecate(token: bytes, successor: bytes) -> Call:
    """The token says that another contract goes on."""
    return Call(to=token, data=_call("deprecate(address)", successor))


def payment(to: bytes, value: int, sender: bytes | None = None) -> Call:
    """Native coins go to somebody by a plain transaction."""
    return Call(to=to, value=value, sender=sender)


def pay_through(payer: bytes, to: Sequence[bytes], value: int, sender: bytes | None = None) -> Call:
    """Native coins go to several in equal shares, by a contract: the transaction's own fields name none of them."""
    return Call(to=payer, data=_call("pay(address[])", 32) + _array(to), value=value, sender=sender)


def pay_in_vain(payer: bytes, to: bytes, value: int, sender: bytes | None = None) -> Call:
    """A contract pays somebody, and then fails, so that nobody has got anything."""
    return Call(to=payer, data=_call("payAndFail(address)", to), value=value, sender=sender)


def leave_to(payer: bytes, heir: bytes, value: int, sender: bytes | None = None) -> Call:
    """A contract ends, and an heir gets what it has."""
    return Call(to=payer, data=_call("end(address)", heir), value=value, sender=sender)


def _call(signature: str, *arguments: bytes | int) -> str:
    return keccak(signature.encode())[:4].hex() + "".join(map(_word, arguments))


def _array(items: Sequence[bytes] | Sequence[int]) -> str:
    return word(len(items)) + "".join(map(_word, items))


def _word(value: bytes | int) -> str:
    return word(value if isinstance(value, int) else int.from_bytes(value))
