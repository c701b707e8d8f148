"""Following a network: block after block, once over all workers, and what is done about gaps and reorganisations.

Each step is fetched with no transaction open, and noted in one: the touched wallets and the new place of the cursor, or
neither (``db.feed``). So whatever dies, and however many follow at once, no block is left out and none is noted twice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic, sleep
from typing import NamedTuple, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import Connection

from config.network_settings import Chain
from config.networks import NetworkName
from config.settings import WorkerSettings, worker_settings
from db import feed, feed_cursor
from db.feed_cursor import Cursor
from db.networks import PIECE
from db.session import transaction, until_done
from db.touches import watch_more
from worker.errors import OverBudget, ReadFailed, Unsupported
from worker.feed.blocks import FeedBlock
from worker.feed.decision import DECIDED_EACH, decide
from worker.feed.fork import newest_common
from worker.feed.gap import LEAST_CATCH_UP, is_dearer_than_a_sweep, is_elsewhere, is_of_the_block, looks_for_newest
from worker.feed.reader import FeedReader, feed_reader_for
from worker.feed.seen import seen
from worker.feed.step import first_step, step_after
from worker.feed.timing import BURST_PAUSE, ONE_BY_ONE, good_for, pause_after_miss
from worker.reading.contract import FUTURE_TOLERANCE, Block
from worker.reading.plausibility import highest_number, tolerated_blocks

T = TypeVar("T")

log = structlog.get_logger(__name__)

BLOCKS_AT_ONCE = 50
"""Blocks that are followed by one task: then another one goes on, so that no process is kept for long."""

PATIENCE = 1.0  # seconds for which a round waits for a block that is late
AFTER_FAILURE = 1.0  # seconds


class Progress(NamedTuple):
    """What one round came to: reads that are due for touched wallets, and whether there are more blocks already."""

    due: int = 0
    more: bool = False


NOTHING = Progress()


def follow(network: NetworkName) -> Progress:
    """Follow a network up to its newest block, if it is time for that, and decide now and then how it is kept fresh.

    At most one process at a time. Raises NotConfigured; what goes wrong with a node is logged, and tried again.
    """
    settings = worker_settings()
    if not settings.feed:
        return NOTHING
    reader, deadline = feed_reader_for(network), monotonic() + settings.read_limit
    with transaction() as connection:
        at = feed_cursor.cursor(connection, network)
        if not _wanted(at, settings, network):
            return NOTHING
        token = feed_cursor.take(connection, network)
    if token is None:
        return NOTHING
    try:
        return Round(network, settings, settings.chain(network), reader, deadline).go()
    finally:
        give_back(network, token, deadline)


def give_back(network: NetworkName, token: UUID, deadline: float) -> None:
    """Let another process follow."""
    until_done(lambda connection: feed_cursor.give_back(connection, network, token), deadline)


def _wanted(at: Cursor, settings: WorkerSettings, network: NetworkName) -> bool:
    """Whether there is anything to do. Until the network's first balances have proved its source there is not."""
    if at.registered != settings.source(network):
        return False
    if at.since is not None and not at.watches_all:
        return True
    return at.next_at <= at.now or at.decided_at is None or not 0 <= at.now - at.decided_at < DECIDED_EACH


@dataclass(slots=True)
class Round:
    """One process's turn at following a network, under its lease. `deadline` is of the monotonic clock."""

    network: NetworkName
    settings: WorkerSettings
    chain: Chain
    reader: FeedReader
    deadline: float
    due: int = 0
    waited: float = 0.0
    in_a_row: int = 0
    """Blocks that were there already when they were asked for."""

    def go(self) -> Progress:
        """Up to the newest block, or as far as the time goes."""
        for _ in range(BLOCKS_AT_ONCE):
            with transaction() as connection:
                at = feed_cursor.cursor(connection, self.network)
            follows = decide(self.network, self.settings, self.chain, self.reader.reader, at)
            if follows and at.since is not None and not at.watches_all:
                self._write(lambda connection: watch_more(connection, self.network))
            if not follows or monotonic() >= self.deadline:
                return Progress(self.due)
            if at.next_at > at.now:
                if not self._waits(at):
                    return Progress(self.due)
            elif not self._step(at):
                return Progress(self.due)
        return Progress(self.due, more=True)

    def _waits(self, at: Cursor) -> bool:
        """Wait for the next block, if it is late and may come any moment: beat's next tick would be too slow to learn
        when it came. Otherwise another round is for it.
        """
        pause = at.next_at - at.now
        if not at.misses or self.waited + pause > PATIENCE:
            return False
        self.waited += pause
        sleep(pause)
        return True

    def go_to(self, number: int) -> bool:
        """Up to this block, which is there. Whether it was reached."""
        for _ in range(BLOCKS_AT_ONCE):
            with transaction() as connection:
                at = feed_cursor.cursor(connection, self.network)
            if at.number is not None and at.number >= number:
                return True
            late = at.misses > 0 and at.next_at > at.now  # the node that follows is behind the one that was read
            if monotonic() >= self.deadline or not (self._waits(at) if late else self._step(at)):
                return False
        return False

    def _step(self, at: Cursor) -> bool:
        """Follow one block. Whether to go on with the next one."""
        try:
            return self._take_up(at) if self._begins(at) else self._next(at)
        except ReadFailed as failure:
            self._note_failure(failure)
            return False

    def _begins(self, at: Cursor) -> bool:
        """Whether there is nothing to go on from: at first, after another source or nonsense, or after it was left."""
        same = (at.registered_id, self.chain.finality) == (at.source, at.finality)
        return at.number is None or at.since is None or not same or self._is_nonsense(at)

    def _is_nonsense(self, at: Cursor) -> bool:
        """Whether the chain cannot have come by now to where the cursor is said to be, or to what it waits for."""
        facts = self.reader.reader.facts
        most = highest_number(facts, Block(*facts.first_block), int(at.now) + FUTURE_TOLERANCE)
        return (at.number or 0) > most or (at.since or 0) > most + feed.RING + 1

    def _next(self, at: Cursor) -> bool:
        assert at.number is not None
        newest = self._newest_elsewhere(at.number, at) if looks_for_newest(at.misses) else None
        try:
            block = self._fetch(at.number + 1, at)
        except ReadFailed as failure:
            if newest is None or not is_of_the_block(failure):
                raise
            block = None
        if block is not None:
            return self._go_on(at, block)
        if newest is not None:
            return self._take_up(at, newest, gap=True, orphaned=newest.number < at.number)
        self._note_miss(at)
        return True

    def _go_on(self, at: Cursor, block: FeedBlock) -> bool:
        if block.parent != at.hash:
            return self._go_back(at)
        self.in_a_row += 1
        if self.in_a_row > LEAST_CATCH_UP and self._is_left_out(at, block):
            return self._take_up(at, gap=True)
        step = step_after(self.chain, at, block)
        followed = self._write(lambda connection: feed.advance(connection, self.network, at, seen(block), step))
        if followed is None:
            return False  # another process was faster
        self.due += followed.due
        if block.deprecated and not at.deprecated:
            log.error("token_deprecated", network=self.network, block=block.number)
        return True

    def _is_left_out(self, at: Cursor, block: FeedBlock) -> bool:
        """Whether it takes fewer requests to read all wallets than to follow every block up to the newest one.

        How many there are is told by the next one's time: a block is as old when it can be read as the last one was.
        """
        blocks = (at.now - block.time - at.delay) / self.chain.network.block_seconds
        return is_dearer_than_a_sweep(blocks, at.wallets or 0, self.reader.reader.max_wallets)

    def _newest_elsewhere(self, number: int, at: Cursor) -> FeedBlock | None:
        """The newest block, if the one after this number cannot be the next one that the chain makes."""
        block = self._fetch(None, at)
        far = block is not None and is_elsewhere(block.number, number, tolerated_blocks(self.reader.reader.facts))
        return block if far else None

    def _take_up(
        self, at: Cursor, block: FeedBlock | None = None, *, gap: bool = False, orphaned: bool = False
    ) -> bool:
        """Go on at the newest block. After a `gap` nobody knows what was in it: all wallets are read again.

        `orphaned`: the block that was followed last is not the chain's any more.
        """
        block = block or self._fetch(None, at)
        if block is None:
            self._note_miss(at)
            return False
        gap = gap or at.since is not None
        step = first_step(self.chain, at, block)
        gone = at.number if orphaned else None
        if self._is_nonsense(at):  # nothing waits for the chain to come there
            gone = block.number

        def jump(connection: Connection) -> bool:
            return feed.jump(connection, self.network, at, seen(block), step, all_due=gap, gone=gone)

        if not self._write(jump):
            return False
        (log.warning if gap else log.info)(
            "feed_jumped" if gap else "feed_begins", network=self.network, block=block.number, before=at.number
        )
        return False

    def _go_back(self, at: Cursor) -> bool:
        """The chain has another block where the cursor is: find the last one that it still has, and go on there."""
        fork = self._fork(at, at.number or 0)
        if fork is None:
            return self._take_up(at, gap=True, orphaned=True)
        depth = (at.number or 0) - fork
        log.warning("reorganisation", network=self.network, block=at.number, depth=depth, finality=self.chain.finality)
        return self._write(lambda connection: feed.rewind(connection, self.network, at, fork))

    def _fork(self, at: Cursor, followed: int) -> int | None:
        """The block to go back to. None: whom those after it touched is not known, or they are too many to be noted in
        one statement, which would never end in time.
        """
        with transaction() as connection:
            known = feed.known_blocks(connection, self.network)
        if followed - min(known, default=0) > feed.RING:  # so many cannot be known: they are not even looked at
            return None
        fork = newest_common(known, followed, lambda number: self._fetch(number, at))
        if fork is None or not known.keys() >= {*range(fork, followed + 1)}:
            return None
        with transaction() as connection:
            return fork if feed.named_after(connection, self.network, fork) <= PIECE else None

    def _fetch(self, number: int | None, at: Cursor) -> FeedBlock | None:
        return self.reader.block(number, at.now, self.deadline)

    @property
    def _one_by_one(self) -> bool:
        return self.chain.finality in ONE_BY_ONE

    @property
    def _good_for(self) -> timedelta:
        return timedelta(seconds=good_for(self.chain.network.block_seconds))

    def _note_miss(self, at: Cursor) -> None:
        usual = self.chain.network.block_seconds
        seconds = pause_after_miss(at.misses, at.block_seconds or usual) if self._one_by_one else BURST_PAUSE * usual
        pause, oldest = timedelta(seconds=seconds), self.chain.max_head_age
        # A node that says so for longer than a block may be old has stopped.
        stopped = oldest > 0 and at.time is not None and at.now - at.time > oldest + self.chain.network.block_seconds
        self._write(
            lambda of: feed_cursor.note_not_there(
                of, self.network, pause=pause, good_for=self._good_for, is_good=not stopped
            )
        )

    def _note_failure(self, failure: ReadFailed) -> None:
        """The attempts have said it. For how long the feed stands still is what decides (`worker.feed.policy`)."""
        blind = failure.code if isinstance(failure, Unsupported) else None
        wait = failure.retry_after or AFTER_FAILURE if isinstance(failure, OverBudget) else AFTER_FAILURE
        pause = min(timedelta(seconds=wait if blind is None else DECIDED_EACH), feed_cursor.LONGEST_PAUSE)
        in_vain = is_of_the_block(failure)
        self._write(
            lambda of: feed_cursor.note_failure(
                of, self.network, pause=pause, good_for=self._good_for, blind=blind, in_vain=in_vain
            )
        )

    def _write(self, work: Callable[..., T]) -> T:
        return until_done(work, self.deadline)
