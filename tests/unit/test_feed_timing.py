"""When the next block is asked for: hardly ever too early, and never long after it is there."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.feed.timing import (
    GOOD_BLOCKS,
    LATE,
    LEAST_GOOD,
    NOT_MERGED,
    PAUSES,
    SHORTER,
    first_delay,
    good_for,
    interval,
    merging,
    next_asking,
    next_delay,
    pause_after_miss,
)

NOW = 1_795_000_000.0

seconds = st.floats(0.1, 60)
delays = st.floats(-60, 60)  # clocks may differ, and by more than a block takes


@given(delay=delays, age=delays, block=seconds)
def test_a_block_that_was_there_makes_the_delay_a_little_shorter_and_one_that_was_late_sets_it(
    delay: float, age: float, block: float
) -> None:
    assert next_delay(delay, age, block, misses=1) == min(age, delay + block)
    assert next_delay(delay, age, block, misses=0) == pytest.approx(min(delay, age) - SHORTER * block)


@given(delay=delays, block=seconds, misses=st.integers(0, 50))
def test_a_block_that_nobody_asked_for_in_time_does_not_have_the_next_ones_asked_for_late(
    delay: float, block: float, misses: int
) -> None:
    """Else a feed would stay behind for as long as its workers or nodes once were, and count as up to date."""
    assert next_delay(delay, 1e9, block, misses=misses) <= delay + block


@given(age=delays, block=seconds)
def test_a_delay_that_was_too_long_is_no_longer_than_the_age_of_a_block_that_was_there(
    age: float, block: float
) -> None:
    assert next_delay(1e9, age, block, misses=0) < age


@given(age=delays, block=seconds)
def test_of_the_first_block_nobody_knows_for_how_long_it_has_been_there(age: float, block: float) -> None:
    assert first_delay(age, block) == age - block


@given(block_time=st.floats(NOW - 100, NOW + 100), delay=delays, block=seconds)
def test_a_block_of_a_future_that_is_not_ours_is_asked_for_after_a_blocks_time(
    block_time: float, delay: float, block: float
) -> None:
    asked = next_asking(NOW, block_time, delay, block)
    assert asked <= NOW + block
    assert asked in {block_time + block + delay, NOW + block}


@pytest.mark.parametrize(
    ("time", "before", "expected"),
    [
        (112, 100, 12),
        (124, 100, 12),  # a slot was missed: the next one is no later for that
        (103, 100, 3),
        (100, 100, 1),  # blocks of one second count as the fastest
        (99, 100, 1),
        (100, None, 12),
    ],
)
def test_the_time_from_a_block_to_the_next(time: float, before: float | None, expected: float) -> None:
    assert interval(time, before, usual=12, fastest=1) == expected


@given(block=seconds)
def test_a_block_that_is_not_there_is_asked_for_more_and_more_rarely(block: float) -> None:
    pauses = [pause_after_miss(misses, block) for misses in range(len(PAUSES) + 3)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == block
    assert sum(pauses[: len(PAUSES)]) == pytest.approx(block)


@given(block=seconds)
def test_a_feed_counts_as_up_to_date_for_longer_than_its_blocks_are_apart(block: float) -> None:
    assert good_for(block) >= max(GOOD_BLOCKS, 1) * block + block
    assert good_for(block) >= LEAST_GOOD


class Chain:
    """Blocks every few seconds, which nodes have a while later; a clock that differs from the chain's."""

    def __init__(self, block: float, arrives: float, skew: float, seed: int) -> None:
        self.block, self.arrives, self.skew, self.chance = block, arrives, skew, Random(seed)
        self.late = {at: self.chance.random() * 0.1 * block for at in range(2000)}

    def there(self, number: int) -> float:
        """When nodes have this block, by our clock."""
        return NOW + number * self.block + self.arrives + self.late[number] + self.skew

    def time(self, number: int) -> float:
        return NOW + number * self.block


def follow(chain: Chain, blocks: int) -> tuple[int, list[float]]:
    """What following it comes to: how many requests came too early, and how long each block was there before."""
    now = chain.there(0) + 0.7 * chain.block
    delay, misses, missed, waits = first_delay(now - chain.time(0), chain.block), 0, 0, []
    number, asking = 1, now + pause_after_miss(0, chain.block)
    while number <= blocks:
        now = max(now, asking)
        if chain.there(number) > now:
            missed, asking, misses = missed + 1, now + pause_after_miss(misses, chain.block), misses + 1
            continue
        waits.append(now - chain.there(number))
        delay = next_delay(delay, now - chain.time(number), chain.block, misses=misses)
        asking = next_asking(now, chain.time(number), delay, chain.block)
        number, misses = number + 1, 0
    return missed, waits


@given(
    block=st.sampled_from([1.0, 2.0, 3.0, 12.0]), arrives=st.floats(0, 5), skew=st.floats(-3, 3), seed=st.integers(0)
)
def test_a_chain_is_followed_closely_with_hardly_a_request_in_vain(
    block: float, arrives: float, skew: float, seed: int
) -> None:
    missed, waits = follow(Chain(block, arrives, skew, seed), 1000)
    assert missed <= 1000 * 0.15
    late = sorted(waits)
    assert late[500] <= 0.5 * block, "half of the blocks"
    assert late[950] <= block, "and nearly all within a block's time"


@given(first=st.integers(0, 10**9), blocks=st.integers(2, 9), block=seconds)
def test_of_some_blocks_the_last_has_all_read_that_have_waited_for_it(first: int, blocks: int, block: float) -> None:
    found = {number: merging(number, blocks * block, block) for number in range(first, first + blocks)}
    (last,) = [number for number, each in found.items() if each.wait == 0]
    assert found[last].gathers == blocks - 1
    for number in range(last - blocks + 1, last):
        waits = merging(number, blocks * block, block)
        assert (waits.gathered, waits.gathers) == (0, 0)
        assert waits.wait == pytest.approx((last - number + LATE) * block)
        assert waits.wait <= found[last].gathered * (1 + 1e-9), "also where they came at one moment"


@given(number=st.integers(0, 10**9), block=seconds, read_every=st.floats(0, 1))
def test_reads_that_are_not_merged_wait_for_no_block(number: int, block: float, read_every: float) -> None:
    assert merging(number, read_every * block, block) == NOT_MERGED
