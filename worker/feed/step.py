"""What is noted of a step of the feed beside its block: when the next one is asked for, and who is read when. Pure."""

from datetime import timedelta

from config.network_settings import Chain
from db.feed import Step
from db.feed_cursor import Cursor
from worker.feed.blocks import FeedBlock
from worker.feed.timing import (
    ONE_BY_ONE,
    SETTLED,
    first_delay,
    good_for,
    interval,
    merging,
    next_asking,
    next_delay,
    pause_after_miss,
)

FLOOR_BLOCKS = 2
"""So many blocks lie between two reads of a wallet that each block touches."""
LEAST_FLOOR = 1.0  # seconds


def first_step(chain: Chain, at: Cursor, block: FeedBlock) -> Step:
    """Of the block that a feed begins with."""
    usual = chain.network.block_seconds
    return Step(
        source=at.registered_id,
        finality=chain.finality,
        delay=first_delay(at.now - block.time, usual),
        block_seconds=usual,
        next_at=at.now + pause_after_miss(0, usual),
        good_for=timedelta(seconds=good_for(usual)),
    )


def step_after(chain: Chain, at: Cursor, block: FeedBlock) -> Step:
    """Of the block after the one where the cursor is."""
    network = chain.network
    seconds = interval(block.time, at.time, network.block_seconds, network.fastest_block_seconds)
    delay = next_delay(at.delay, at.now - block.time, seconds, misses=at.misses)
    merged = merging(block.number, at.read_every, network.block_seconds)
    return Step(
        source=at.registered_id,
        finality=chain.finality,
        delay=delay,
        block_seconds=seconds,
        next_at=next_asking(at.now, block.time, delay, seconds) if chain.finality in ONE_BY_ONE else at.now,
        good_for=timedelta(seconds=good_for(network.block_seconds)),
        floor=timedelta(seconds=max(FLOOR_BLOCKS * seconds, LEAST_FLOOR)),
        merge=timedelta(seconds=merged.wait),
        gathered=timedelta(seconds=merged.gathered),
        gathers=merged.gathers,
        settled=chain.finality in SETTLED,
    )
