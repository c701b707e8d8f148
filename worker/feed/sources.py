"""What a node of each family is asked for to tell of a block, and in how many ways.

Two requests a block: the block itself, and what came of its transactions. Whether the replies are sound is decided in
``evm_blocks`` and ``tron_blocks``, which do no I/O.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from config.addresses import Family
from worker.errors import Lagging, StateGone
from worker.feed import evm_blocks, tron_blocks
from worker.feed.blocks import FeedBlock, Header
from worker.reading.facts import ChainFacts
from worker.reading.strategies import Node


class BlockNode(Node, Protocol):
    """A node that can be asked for blocks. Every method does I/O and raises ReadFailed."""

    def chain_id(self) -> int:
        """The id of the chain that it serves. One request."""

    def full_block(self, number: int | None) -> Any:
        """A block with its transactions, as the node tells it. None: the newest of the configured finality."""


@dataclass(frozen=True, slots=True)
class Source:
    """How a family's nodes are asked.

    ways             how events can be had, the best first
    header_of        which block a reply is; None: the node has no such block yet
    tell             asks for the events of a block in one way, and makes a `FeedBlock` of it all: one request
    by_finality      whether a block that is asked for by its number is one of the configured finality, or none
    seems_to_lack    whether the block itself says that events may have been left out
    """

    ways: tuple[str, ...]
    header_of: Callable[[Any], Header | None]
    tell: Callable[[Any, ChainFacts, Any, Header, Any], FeedBlock]
    by_finality: bool
    seems_to_lack: Callable[[Any, FeedBlock, bytes], bool] = lambda _block, _found, _token: False


def _evm_header(block: Any) -> Header | None:
    return None if block is None else evm_blocks.header_of(block)


def _tell_evm(node: Any, facts: ChainFacts, block: Any, header: Header, way: evm_blocks.Way) -> FeedBlock:
    try:
        told = _events(node, facts, header, way)
    except Lagging as failure:  # of a block that the node has just shown: it has been replaced, or another node answers
        raise StateGone(str(failure)) from None
    return evm_blocks.feed_block(block, header, told, token=facts.token, way=way)


def _events(node: Any, facts: ChainFacts, header: Header, way: evm_blocks.Way) -> Any:
    if way == "receipts":
        told = node.receipts_of(header.hash)
        if told is None:
            raise StateGone(f"no receipts of block {header.number}")
        return told
    contracts = ["0x" + facts.token.hex(), *([evm_blocks.SYSTEM] if way == "logs" else [])]
    return node.logs_of(header.hash, contracts, evm_blocks.ASKED_TOPICS)


def _tell_tron(node: Any, facts: ChainFacts, block: Any, header: Header, _way: str) -> FeedBlock:
    """Infos that are not the block's are asked for once more: a block can be seen before they are stored."""
    try:
        return tron_blocks.feed_block(block, header, node.infos_of(header.number), token=facts.token)
    except StateGone:
        return tron_blocks.feed_block(block, header, node.infos_of(header.number), token=facts.token)


SOURCES: Mapping[Family, Source] = {
    "evm": Source(
        ways=("logs", "token_logs", "receipts"),
        header_of=_evm_header,
        tell=_tell_evm,
        by_finality=False,
        seems_to_lack=evm_blocks.seems_to_lack_logs,
    ),
    "tron": Source(ways=("infos",), header_of=tron_blocks.header_of, tell=_tell_tron, by_finality=True),
}
