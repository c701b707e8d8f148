"""Whether a snapshot is of the right chain, and of a block that the chain can have made and that is new enough. Pure.

Blocks are compared by their times, in seconds: chains make blocks at paces from five a second to one in twelve seconds.
A number only has an upper bound. A node that makes one up that is too high would otherwise shut true blocks out, since
an older block never wins; one that is too low does harm to no other block.
"""

from dataclasses import dataclass

from worker.errors import BadReply, ClockSkewed, Lagging, ReadFailed, WrongBlockNumber, WrongChain
from worker.reading.contract import CLOCK_TOLERANCE, FUTURE_TOLERANCE, Block, Snapshot
from worker.reading.facts import ChainFacts

# Blocks that were made otherwise than the newest one's chain has it, a reorganisation or a burst, are allowed for: so
# many of them, or those of so many seconds on a chain that makes more.
LEAST_TOLERATED_BLOCKS = 20
TOLERATED_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Expected:
    """What a snapshot is held against: the chain's facts, the time, and what was seen before.

    `now` is the database's time in unix seconds; `newest` is the block with the highest number that any node of the
    network has lately shown, None when none is known. `host` is this host's own time; `skews` are those of other nodes'
    last replies, where these failed by their blocks' times (``ReadFailed.skew``). Nothing is believed by either: they
    tell whose fault a block's time is.
    """

    facts: ChainFacts
    now: float
    newest: Block | None = None
    host: float | None = None
    skews: tuple[tuple[float, int], ...] = ()


def tolerated_blocks(facts: ChainFacts) -> float:
    return max(LEAST_TOLERATED_BLOCKS, TOLERATED_SECONDS / facts.fastest_block_seconds)


def highest_number(facts: ChainFacts, since: Block, time: int) -> float:
    """The largest number that a block of this time can have on a chain that has made the block `since`."""
    return since.number + max(time - since.time, 0) / facts.fastest_block_seconds + tolerated_blocks(facts)


def can_be(block: Block, facts: ChainFacts, now: float) -> bool:
    """Whether a chain can have made a block, as far as its number and its time say."""
    most = highest_number(facts, Block(*facts.first_block), block.time)
    return 0 < block.time <= now + FUTURE_TOLERANCE and 0 < block.number <= most


def check(snapshot: Snapshot, expected: Expected) -> None:
    """Raise unless the snapshot is of the right chain and of a block that can be.

    Raises WrongChain, WrongBlockNumber, BadReply, Lagging or ClockSkewed.
    """
    facts, block = expected.facts, snapshot.block
    if snapshot.chain_id != facts.chain_id:
        raise WrongChain(f"chain id {snapshot.chain_id} instead of {facts.chain_id}")
    if not 0 < block.time <= expected.now + FUTURE_TOLERANCE:
        raise _by_time(BadReply(f"block time {block.time} at {expected.now:.0f}"), block, expected)
    if block.number == 0 and facts.block_number == "arbsys":
        raise WrongBlockNumber("there is no precompile ArbSys: the block's number is the opcode's here")
    if not can_be(block, facts, expected.now):
        most = highest_number(facts, Block(*facts.first_block), block.time)
        raise BadReply(f"block number {block.number}, when there are {most:.0f} at the most")
    age = expected.now - block.time
    if 0 < facts.max_age < age:
        failure = Lagging(f"block {block.number} is {age:.0f} s old, more than {facts.max_age:.0f}")
        raise _by_time(failure, block, expected)
    if expected.newest:
        _check_against(expected.newest, block, facts)


def _check_against(newest: Block, block: Block, facts: ChainFacts) -> None:
    if block.time < newest.time - facts.lag_seconds:
        raise Lagging(f"block {block.number} is {newest.time - block.time} s before block {newest.number}, seen before")
    if block.number > highest_number(facts, newest, block.time):
        raise BadReply(f"block {block.number}, {block.time - newest.time} s after {newest.number}")


def newest_of(block: Block, newest: Block | None, now: float) -> Block | None:
    """The block to hold later ones against, if this one is to take the place of `newest`; None: it is not.

    The one with the highest number. By time, a number that is too low could take its place, and true numbers would be
    too high beside it. Its time is never taken to be after `now`: a clock that is ahead would shut true blocks out.
    """
    if newest is not None and block.number <= newest.number:
        return None
    return Block(block.number, min(block.time, int(now)))


def _by_time(failure: ReadFailed, block: Block, expected: Expected) -> ReadFailed:
    """What a block's time fails by: the node, or the database's clock, where others agree with the node against it.

    Others are this host's clock, if it differs from the database's, and nodes whose blocks are as far off. A chain that
    stands still is as old for all of them, so of old blocks the newer one has to be no older than the other was.
    """
    host, skew = expected.host, block.time - expected.now
    of_host = host is not None and abs(host - expected.now) > CLOCK_TOLERANCE and _in_time(block, host, expected)
    of_others = any(
        abs(skew - other) <= FUTURE_TOLERANCE and (skew > 0 or block.number > number)
        for other, number in expected.skews
    )
    if block.time > 0 and (of_host or of_others):
        off = f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} block {block.number}"
        witness = "this host's clock" if of_host else "another endpoint"
        failure = ClockSkewed(f"the database's clock is {off}, and {witness} agrees with the node")
    failure.skew = skew, block.number
    return failure


def _in_time(block: Block, now: float, expected: Expected) -> bool:
    return 0 < block.time <= now + FUTURE_TOLERANCE and not 0 < expected.facts.max_age < now - block.time
