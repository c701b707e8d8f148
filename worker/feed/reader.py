"""Blocks of one chain, through whichever of its nodes answer truly: what the feed is read with."""

from dataclasses import dataclass
from functools import cache

from config.networks import NetworkName
from worker.feed.blocks import FeedBlock
from worker.reading import node_reader_of
from worker.reading.reader import NodeReader


@dataclass(slots=True)
class FeedReader:
    """Reads blocks from the nodes of a network's reader, through the same budget, rests and keys. One a process."""

    reader: NodeReader

    def block(self, number: int | None, now: float, deadline: float) -> FeedBlock | None:
        """The block of this number at the configured finality, or the newest one. None: it is not there yet.

        `now` is the database's time in unix seconds, `deadline` ends it on the monotonic clock. I/O: at most two
        requests for a block, as a rule, and one where it is not there yet. Raises ReadFailed where no node gives it.
        """
        raise NotImplementedError


@cache
def feed_reader_for(network: NetworkName) -> FeedReader:
    """The process's reader of a network's blocks. Raises NotConfigured where the network has no node."""
    return FeedReader(node_reader_of(network))
