"""When the next block is asked for, so that hardly a request goes out for one that is not there yet. Pure.

A chain makes blocks at a pace; a node has each of them some time after the block's own: the *delay*, which is learnt.
A block that was there at the first asking makes the delay a little shorter, one that was not makes it as long as that
block took. So hardly a request in fifty comes too early, and each block is had within a moment of being there.

Times are unix seconds by the database's clock, spans seconds.
"""

from typing import NamedTuple

SHORTER = 0.005
"""By this share of a block's time the delay becomes shorter with each block that was there when it was asked for."""

LONGER = 0.25
"""By this share it becomes longer at the most with a block that came very late."""

PAUSES = (0.125, 0.125, 0.25, 0.5)
"""Shares of a block's time from an answer that a block is not there yet to the next asking; then a block's time."""

LATE = 0.5
"""Blocks' time for which merged reads wait beyond the block that they wait for, should it be late."""

BURST_PAUSE = 2
"""Blocks' time from one asking to the next where blocks become final in bursts."""

ONE_BY_ONE = frozenset({"latest", "solid"})
"""The finalities that blocks reach one after another. The others are those of epochs: many blocks at once."""

SETTLED = frozenset({"solid", "finalized"})
"""The finalities at which no other block comes in the place of one."""

GOOD_BLOCKS, LEAST_GOOD = 3, 15.0
"""A feed counts as up to date for so many blocks, or so many seconds, after nodes last answered it."""


def first_delay(age: float, block_seconds: float) -> float:
    """The least that the delay can be, by the newest block there is: it may have been there for a block's time."""
    return age - block_seconds


def interval(block_time: float, before: float | None, usual: float, fastest: float) -> float:
    """Seconds from a block to the next: as many as there were since the one `before`, and no more than is `usual`."""
    return usual if before is None else min(max(block_time - before, fastest), usual)


def next_asking(now: float, block_time: float, delay: float, block_seconds: float) -> float:
    """When to ask for the block after this one. Blocks may be of a future that is not ours: not later than usual."""
    return min(block_time + block_seconds + delay, now + block_seconds)


def next_delay(delay: float, age: float, block_seconds: float, *, misses: int) -> float:
    """The delay after a block that was `age` seconds old when it was had, after so many answers that it is not there.

    A clock that is wrong does no harm: only differences to it count. A block that was late for longer than the pauses
    last was so because a node stood still, or nobody asked for it, which says little of the next one. Where the delay
    was too long nobody would notice: each block would be there when it is asked for, however old.
    """
    if not misses:
        return min(delay, age) - SHORTER * block_seconds
    return min(age, delay + (sum(PAUSES) if misses <= len(PAUSES) else LONGER) * block_seconds)


def pause_after_miss(misses: int, block_seconds: float) -> float:
    """How long to wait before a block is asked for again. `misses`: answers in a row, before this one."""
    share = PAUSES[misses] if misses < len(PAUSES) else 1.0
    return share * block_seconds


class Merging(NamedTuple):
    """Where reads are merged over some blocks. Seconds.

    `wait`: for how long those wait that this block touched; 0: it is the last of some, and has all read. Then those of
    `gathers` blocks before it have waited for it, and would have for no longer than `gathered` more.
    """

    wait: float
    gathered: float
    gathers: int


NOT_MERGED = Merging(0.0, 0.0, 0)


def merging(number: int, read_every: float, block_seconds: float) -> Merging:
    """What the block of this number is to the reads that are merged."""
    blocks = max(round(read_every / block_seconds), 1)
    if left := blocks - 1 - number % blocks:
        return Merging((left + LATE) * block_seconds, 0.0, 0)
    return Merging(0.0, (blocks - LATE) * block_seconds, blocks - 1) if blocks > 1 else NOT_MERGED


def good_for(block_seconds: float) -> float:
    """For how long the feed counts as up to date."""
    return max(GOOD_BLOCKS * block_seconds, LEAST_GOOD) + block_seconds
