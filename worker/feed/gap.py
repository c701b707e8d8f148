"""When blocks are left out, and the network is followed from its newest one on. Pure.

After blocks were left out, all wallets are read.
"""

from math import ceil

from worker.errors import OF_THE_NODE, OverBudget, ReadFailed, Unsupported

LEAST_CATCH_UP = 3  # blocks; so few are followed one by one whatever a sweep would cost

IN_VAIN = 20
"""A block that was asked for so many times in a row may be one that no node can give any more, or that cannot be read:
then the newest one is looked for as well, every second time."""


def is_dearer_than_a_sweep(blocks: float, wallets: int, per_batch: int) -> bool:
    """Whether it takes fewer requests to read all wallets than to follow so many blocks, at two requests each."""
    return blocks > LEAST_CATCH_UP and blocks * 2 > ceil(wallets / per_batch)


def looks_for_newest(in_vain: int) -> bool:
    """Whether the newest block is looked for beside the next one, which was asked for so often in vain."""
    return in_vain >= IN_VAIN and in_vain % 2 == 0


def is_elsewhere(newest: int, followed: int, tolerated: float) -> bool:
    """Whether the chain's newest block is so far from the one that was followed last that no lag explains it.

    Before it: the chain was thrown back, or begun anew. After it: the blocks between them cannot be had.
    """
    return abs(newest - followed) > tolerated


def is_of_the_block(failure: ReadFailed) -> bool:
    """Whether nodes answer, and it is the block that cannot be had. Where no node was asked, nobody knows."""
    return failure.asked and not isinstance(failure, (*OF_THE_NODE, OverBudget, Unsupported))
