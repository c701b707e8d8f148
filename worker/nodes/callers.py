"""Who a simulated call is said to come from: an address that nobody has, and never one that is being read. Pure.

Not the zero address: people send coins there, so that it may well be a wallet, and there are nodes that add the price
of a call's gas to its caller's balance before they run it.
"""

from hashlib import sha256
from itertools import count


def nobody(number: int) -> bytes:
    """An address of which nobody can know the key, since it was made from these words."""
    return sha256(f"balance-sync calls from here ({number})".encode()).digest()[-20:]


FIRST = nobody(0)


def caller_beside(data: bytes) -> bytes:
    """The 20 bytes of a caller: always the same, unless `data`, which holds the accounts to read, holds it."""
    if FIRST not in data:
        return FIRST
    return next(caller for caller in map(nobody, count(1)) if caller not in data)
