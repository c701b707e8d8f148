"""Looks wallets up by what an operator has of one: its id, its user's id, or its address in any spelling.

In comes what was typed; out goes what was found, or a sentence that says why nothing was. One look-up at a time, so
that those of a hurried hand take no connection from the passes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from threading import BoundedSemaphore
from uuid import UUID

import base58
import structlog
from psycopg.errors import QueryCanceled
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from db.lookup_queries import MOST, TIMEOUT, WalletDetail, wallets_of_address, wallets_of_id
from ops.wallets import HUNG_AFTER, bounded_transaction
from worker.wording import in_words

log = structlog.get_logger(__name__)

LONGEST = 128  # characters, as wallets.address has them
PATIENCE = 2.0  # seconds for which a look-up waits for the one before it

_ACCOUNT = re.compile(r"(?P<prefix>0[xX])?(?P<tron>41)?(?P<account>[0-9a-fA-F]{40})", re.ASCII)
_TRON_PREFIX = b"\x41"
_one_at_a_time = BoundedSemaphore()


@dataclass(frozen=True, slots=True)
class Found:
    """What a look-up came to. `problem`: why it came to nothing, in a sentence; empty: it was carried out."""

    term: str
    wallets: Sequence[WalletDetail] = ()
    more: bool = False
    """Whether there are more wallets than are shown."""
    problem: str = ""


def look_up(typed: str) -> Found:
    """The wallets that somebody means. Asks the database, for some seconds at the most; never raises for it."""
    term = typed.strip()
    if not term:
        return Found("")
    if len(term) > LONGEST or not term.isprintable():
        return Found(
            "", problem=f"That is no id and no address: those have {LONGEST} printable characters at the most."
        )
    if not _one_at_a_time.acquire(timeout=PATIENCE):
        return Found(term, problem="Another look-up is being carried out. Try again in a moment.")
    try:
        return _asked(term)
    except SQLAlchemyError as error:
        return Found(term, problem=_why(error))
    finally:
        _one_at_a_time.release()


def _asked(term: str) -> Found:
    with bounded_transaction(TIMEOUT / 1000 + HUNG_AFTER) as connection:
        wanted = _uuid(term)
        found = wallets_of_address(connection, spellings(term)) if wanted is None else wallets_of_id(connection, wanted)
    return Found(term, found[:MOST], more=len(found) > MOST)


def _why(error: SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, QueryCanceled):
        return f"The database did not find it within {in_words(TIMEOUT / 1000)}. Look for the wallet's id instead."
    log.warning("look_up_failed", error=type(cause).__name__)
    return "The database does not answer, so nothing can be looked up now."


def _uuid(term: str) -> UUID | None:
    try:
        return UUID(term)
    except ValueError:
        return None


def spellings(address: str) -> list[str]:
    """The ways in which `wallets` may have an address that was typed in any way. Pure.

    Hexadecimal digits may be an account of either family: with or without 0x, with or without Tron's prefix 41.
    """
    hexadecimal = _ACCOUNT.fullmatch(address)
    if hexadecimal:
        account = bytes.fromhex(hexadecimal["account"])
        tron = base58.b58encode_check(_TRON_PREFIX + account).decode()
        return [tron] if hexadecimal["tron"] else [f"0x{account.hex()}", tron]
    return [address.lower() if address[:2].lower() == "0x" else address]
