"""From an address as people write it to the 20 bytes that a chain knows, for each family of networks. Pure.

Checked here and never left to a node: java-tron answers a malformed address like an empty account, and tronpy takes an
EVM address for a Tron one.
"""

import re
from hashlib import sha256
from itertools import product
from typing import Literal

import base58
from eth_hash.auto import keccak

Family = Literal["evm", "tron"]
"""What networks have in common that are read in the same way, and whose addresses are written in the same way."""

_HEX_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}", re.ASCII)
_TRON_LENGTH = 34
_TRON_PREFIX = 0x41
_DIGITS = base58.BITCOIN_ALPHABET.decode()
_PAIRS = {first + second: 58 * high + low for (high, first), (low, second) in product(enumerate(_DIGITS), repeat=2)}
_UPPER_FROM = 8  # EIP-55: a letter is a capital where the nibble of the hash is 8 or more


class BadAddress(ValueError):
    """An address is not one of its family of networks; the message says why, and does not quote the address."""


def account_bytes(family: Family, address: str) -> bytes:
    """The 20 bytes of an address. Raises BadAddress with the reason."""
    return _evm(address) if family == "evm" else _tron(address)


def canonical(family: Family, address: str) -> str:
    """The one spelling of an address by which two are compared: of the EVM's in small letters; Tron's have only one.

    Raises BadAddress with the reason.
    """
    account = account_bytes(family, address)
    return f"0x{account.hex()}" if family == "evm" else address


def is_account(family: Family, address: str, account: bytes) -> bool:
    """Whether an address that was found to be good is that of these 20 bytes. At a tenth of the cost of finding out."""
    if family == "evm":
        return address[2:].lower() == account.hex()
    payload = bytes([_TRON_PREFIX]) + account
    return _number(address) == int.from_bytes(payload + sha256(sha256(payload).digest()).digest()[:4])


def _number(address: str) -> int:
    """What a Tron address is in base 58, two digits at a time; -1: it has other characters."""
    number = 0
    for at in range(0, len(address), 2):
        digits = _PAIRS.get(address[at : at + 2])
        if digits is None:
            return -1
        number = number * 3364 + digits
    return number


def _evm(address: str) -> bytes:
    if not _HEX_ADDRESS.fullmatch(address):
        raise BadAddress("an EVM address is 0x and 40 hexadecimal digits")
    digits = address[2:]
    # EIP-55: an address in one case has no checksum, one in mixed case has to match it.
    if digits not in {digits.lower(), digits.upper()} and digits != _checksummed(digits.lower()):
        raise BadAddress("the capitals of this EVM address do not match its checksum")
    return bytes.fromhex(digits)


def _checksummed(digits: str) -> str:
    nibbles = keccak(digits.encode()).hex()
    return "".join(
        digit.upper() if int(nibble, 16) >= _UPPER_FROM else digit
        for digit, nibble in zip(digits, nibbles, strict=False)  # the hash has 64 nibbles, the address 40
    )


def _tron(address: str) -> bytes:
    if len(address) != _TRON_LENGTH or not address.isascii():
        raise BadAddress("a Tron address has 34 characters")
    try:
        payload = base58.b58decode_check(address)
    except ValueError as error:
        raise BadAddress("the checksum of this Tron address is wrong") from error
    if len(payload) != 1 + 20 or payload[0] != _TRON_PREFIX:
        raise BadAddress("this is not an address of a Tron network")
    return payload[1:]
