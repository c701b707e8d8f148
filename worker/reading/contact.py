"""A process's first contact with a node: what a mistake in the settings would make wrong for every wallet. I/O.

A node that fails here is not believed: no balance of it is written. The admin command ``check`` comes through here too,
as it reads in the way in which a worker does.
"""

from typing import NamedTuple

from worker.errors import NoToken, WrongBlockNumber, WrongDecimals
from worker.reading.contract import WORD, BaseUnits, Block
from worker.reading.facts import ChainFacts, Strategy
from worker.reading.plausibility import tolerated_blocks
from worker.reading.strategies import Node

TOTAL_SUPPLY = bytes.fromhex("18160ddd")
DECIMALS = bytes.fromhex("313ce567")
MOST_DECIMALS = 77  # of a number below 2 ** 256


class Contact(NamedTuple):
    """What a first contact has found of the token: its total supply in base units, and its decimals."""

    supply: BaseUnits
    decimals: int


def contact_requests(facts: ChainFacts, strategy: Strategy) -> int:
    """How many requests the first contact takes, beside the read that it comes with."""
    return 2 + _number_is_checked(facts, strategy)


def make_contact(node: Node, facts: ChainFacts, strategy: Strategy, read_at: Block) -> Contact:
    """Verify the token, its decimals, and the numbers of blocks, after a first read at this block.

    The read itself has proved the chain's id. Raises NoToken, WrongDecimals, WrongBlockNumber, or another ReadFailed.
    """
    supply = total_supply(node, facts)
    if supply == 0:
        raise NoToken(f"the token at {facts.token.hex()} has a total supply of zero")
    decimals = _word(node, facts, DECIMALS, "decimals")
    if decimals > MOST_DECIMALS or facts.decimals not in {None, decimals}:
        expected = f"at most {MOST_DECIMALS}" if facts.decimals is None else facts.decimals
        raise WrongDecimals(f"the token has {decimals} decimals, not {expected}")
    if _number_is_checked(facts, strategy):
        _check_number(node, facts, read_at)
    return Contact(supply, decimals)


def total_supply(node: Node, facts: ChainFacts) -> BaseUnits:
    """The token's whole supply. Raises NoToken. One request."""
    return _word(node, facts, TOTAL_SUPPLY, "total supply")


def _word(node: Node, facts: ChainFacts, selector: bytes, what: str) -> int:
    answer = node.called(facts.token, selector)
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
