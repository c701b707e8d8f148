"""A process's first contact with a node: what a mistake in the settings would make wrong for every wallet. I/O.

A node that fails here is not believed: no balance of it is written. The admin command ``check`` comes through here too,
as it reads in the way in which a worker does.
"""

from collections.abc import Callable
from typing import NamedTuple

from config.families import Strategy
from worker.errors import BadReply, NoToken, Reverted, WrongBlockNumber, WrongDecimals
from worker.reading.contract import WORD, BaseUnits, Block, Snapshot, richest
from worker.reading.facts import ChainFacts
from worker.reading.plausibility import tolerated_blocks
from worker.reading.strategies import Node

TOTAL_SUPPLY = bytes.fromhex("18160ddd")
DECIMALS = bytes.fromhex("313ce567")
MOST_DECIMALS = 77  # of a number below 2 ** 256


class Contact(NamedTuple):
    """What one process has found of the token at one node so far: its total supply in base units, its decimals, and
    that contracts find the node's own block numbers. None, or False: not yet.
    """

    supply: BaseUnits | None = None
    decimals: int | None = None
    number: bool = False


NO_CONTACT = Contact()


def contact_requests(facts: ChainFacts, strategy: Strategy, found: Contact = NO_CONTACT) -> int:
    """How many requests a first contact still takes, beside the read that it comes with."""
    number = _number_is_checked(facts, strategy) and not found.number
    return (found.supply is None) + (found.decimals is None) + number


def make_contact(
    node: Node,
    facts: ChainFacts,
    strategy: Strategy,
    read_at: Block,
    *,
    found: Contact = NO_CONTACT,
    keep: Callable[[Contact], None] = lambda _found: None,
) -> Contact:
    """Verify the token, its decimals, and the numbers of blocks, after a first read at this block.

    What was `found` before is not asked for again, and what is found is given to `keep` at once: where a small budget
    has no room for all of it in one read, the next read goes on. The read itself has proved the chain's id. Raises
    NoToken, WrongDecimals, WrongBlockNumber, or another ReadFailed.
    """
    if found.supply is None:
        supply = total_supply(node, facts)
        if supply == 0:
            raise NoToken(f"the token at {facts.token.hex()} has a total supply of zero")
        found = found._replace(supply=supply)
        keep(found)
    if found.decimals is None:
        decimals = _word(node, facts, DECIMALS, "decimals")
        verify_decimals(facts, decimals)
        found = found._replace(decimals=decimals)
        keep(found)
    if _number_is_checked(facts, strategy) and not found.number:
        _check_number(node, facts, read_at)
        found = found._replace(number=True)
        keep(found)
    return found


def check_token(
    node: Node,
    facts: ChainFacts,
    strategy: Strategy,
    snapshot: Snapshot,
    *,
    found: Contact,
    keep: Callable[[Contact], None],
) -> None:
    """The token is what it is taken for, by what this process has `found` of it so far or asks for now, and no balance
    of a read is above its total supply. Raises ReadFailed.
    """
    try:
        verify_decimals(facts, found.decimals)  # what they must be may have been learnt since
    except WrongDecimals:
        keep(found._replace(decimals=None))
        raise
    contact = make_contact(node, facts, strategy, snapshot.block, found=found, keep=keep)
    most, supply = richest(snapshot.balances), contact.supply or 0
    unanswered = len(snapshot.balances) > 1 and not any(snapshot.balances)
    if found.supply is not None and (unanswered or most > supply):  # there is more of it by now, or no token at all
        supply = total_supply(node, facts)
        keep(contact._replace(supply=supply))
    if most > supply:
        raise BadReply("a balance above the token's total supply")


def verify_decimals(facts: ChainFacts, decimals: int | None) -> None:
    """Raise WrongDecimals where a node's token has others than it must have. None: nobody has asked the node yet."""
    if decimals is None or (decimals <= MOST_DECIMALS and facts.decimals in {None, decimals}):
        return
    expected = f"at most {MOST_DECIMALS}" if facts.decimals is None else facts.decimals
    raise WrongDecimals(f"the token has {decimals} decimals, not {expected}")


def total_supply(node: Node, facts: ChainFacts) -> BaseUnits:
    """The token's whole supply. Raises NoToken. One request."""
    return _word(node, facts, TOTAL_SUPPLY, "total supply")


def _word(node: Node, facts: ChainFacts, selector: bytes, what: str) -> int:
    try:
        answer = node.called(facts.token, selector)
    except Reverted:
        raise NoToken(f"no token at {facts.token.hex()}: the contract does not tell its {what}") from None
    if len(answer) != WORD:
        raise NoToken(f"no token at {facts.token.hex()}: its {what} is {len(answer)} bytes")
    return int.from_bytes(answer)


def _number_is_checked(facts: ChainFacts, strategy: Strategy) -> bool:
    """Whether a contract gives the number: the node has another one where the opcode's is a parent chain's."""
    return facts.family == "evm" and strategy != "single"


def _check_number(node: Node, facts: ChainFacts, read_at: Block) -> None:
    """One request. Between it and the read, and between nodes behind one address, lie the blocks of some seconds."""
    block = node.block(facts.finality)
    apart = max(abs(block.time - read_at.time), facts.lag_seconds) / facts.fastest_block_seconds
    if abs(block.number - read_at.number) > apart + tolerated_blocks(facts):
        raise WrongBlockNumber(
            f"contracts find block number {read_at.number} where the node itself has {block.number}: see block_number"
        )
