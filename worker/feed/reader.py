"""Blocks of one chain, through whichever of its nodes answer truly: what the feed is read with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from time import monotonic
from typing import Any, cast

from config.networks import NetworkName
from worker.errors import Lagging, ReadFailed, StateGone, Unsupported
from worker.feed.attempt import BlockAttempt, Fetched
from worker.feed.blocks import FeedBlock
from worker.feed.sources import BlockNode
from worker.feed.ways import cannot_follow, entry_name
from worker.reading import node_reader_of
from worker.reading.backoff import Rest
from worker.reading.contract import Block
from worker.reading.facts import PIN_BLOCKS
from worker.reading.node_order import TRIAL_EVERY
from worker.reading.plausibility import LEAST_TOLERATED_BLOCKS, Expected
from worker.reading.reader import READ_REQUESTS, NodeReader
from worker.reading.request import ReadRequest
from worker.reading.trial_lock import Trial

PATIENCE = 3  # blocks' time for which one node's word is taken for it that a block is not there yet


@dataclass(slots=True)
class FeedReader:
    """Reads blocks from the nodes of a network's reader, through the same budget, rests and keys.

    Not shared between threads; one process has one.
    """

    reader: NodeReader
    _newest: dict[str, Fetched] = field(default_factory=dict)
    _highest: int = 0
    """The highest number that a node has shown a block of."""
    _waits_for: int | None = None
    _waits_since: float = 0.0
    _tried_at: float = 0.0

    def block(self, number: int | None, now: float, deadline: float) -> FeedBlock | None:
        """The block of this number at the configured finality, or the newest one. None: it is not there yet.

        `now` is the database's time in unix seconds, `deadline` ends it on the monotonic clock. I/O: two requests for a
        block, as a rule, and one where it is not there yet. Raises ReadFailed where no node gives it: OverBudget where
        only our own budget is in the way, and Unsupported where no node can be followed.
        """
        shared = self.reader.shared
        entries = shared.get(self._entry_names())
        trial = Trial(shared.trial_lock(), max(deadline - monotonic(), 0), self.reader.request_limit * READ_REQUESTS)
        attempts = _Attempts(self, number, now, deadline, entries)
        try:
            for node, trying in self._candidates(entries, trial):
                if attempts.end_with(node, trial=trying):
                    break
            return self._outcome(attempts, entries, trial)
        finally:
            trial.end(0.0 if attempts.answered else TRIAL_EVERY)

    def _outcome(self, attempts: "_Attempts", entries: Mapping[str, Any], trial: Trial) -> FeedBlock | None:
        """What the nodes' answers come to. Raises ReadFailed."""
        number, found = attempts.number, attempts.found or attempts.believed()
        if found:
            # The newest of all is lower than before where the chain was thrown back.
            self._highest = found.number if number is None else max(self._highest, found.number)
            for behind in attempts.without if number is not None else ():
                behind.is_behind(found.number)
            return found
        if attempts.without and number is not None:
            if number <= self._highest_known() - LEAST_TOLERATED_BLOCKS:
                raise StateGone(f"no endpoint has block {number}, though there is {self._highest_known()}")
            return None
        raise attempts.failure or self._why_none(entries, trial)

    def _candidates(self, entries: Mapping[str, Any], trial: Trial) -> Iterator[tuple[BlockNode, bool]]:
        """The nodes that may be asked, best first. Where the feed leaves all alone, one is tried now and then."""
        now, resting = self.reader.shared.clock(), list[tuple[float, BlockNode, bool]]()
        some = False
        for candidate, trying in self.reader.order.candidates(entries, (), trial):
            node = cast("BlockNode", candidate)
            if cannot_follow(node.id, self.reader.shared):
                continue
            rest = Rest.from_entry(entries.get(f"feed:{node.id}"))
            if rest.until > now:
                resting.append((rest.until, node, trying))
                continue
            some = True
            yield node, trying
        if not some and resting and not 0 <= now - self._tried_at < TRIAL_EVERY:
            self._tried_at = now
            _, node, trying = min(resting, key=lambda each: each[0])
            yield node, trying

    def _why_none(self, entries: Mapping[str, Any], trial: Trial) -> ReadFailed:
        """Why no node was asked."""
        shared = self.reader.shared
        reasons = [cannot_follow(node.id, shared) for node in self.reader.nodes]
        if all(reasons):
            return Unsupported(f"no endpoint tells what blocks change: {reasons[0]}")
        failure: ReadFailed = Lagging("the feed leaves every endpoint alone", retry_after=TRIAL_EVERY)
        if self.reader.order.all_rest(entries):
            failure = self.reader.order.why_none(entries, trial.wait)
        failure.asked = False
        return failure

    def is_overdue(self, number: int) -> bool:
        """Whether a block has been missing at a node for so long, or at one alone, that others have to be asked."""
        if number <= self._highest_known():
            return True
        now, patience = self.reader.shared.clock(), PATIENCE * self.reader.facts.pin_seconds / PIN_BLOCKS
        if self._waits_for != number or now < self._waits_since:
            self._waits_for, self._waits_since = number, now
        if now - self._waits_since < patience:
            return False
        self._waits_since = now
        return True

    def _highest_known(self) -> int:
        """The highest number of a block, as far as this process has seen for itself."""
        newest = self.reader.shared.proved("newest")
        return max(self._highest, newest[0] if newest else 0)

    def _entry_names(self) -> list[str]:
        of_feed = [name for node in self.reader.nodes for name in (f"feed:{node.id}", entry_name(node.id))]
        return [*self.reader.order.entry_names(), *of_feed]

    def attempt(
        self, node: BlockNode, now: float, started: float, deadline: float, entries: Mapping[str, Any], *, trial: bool
    ) -> BlockAttempt:
        """One attempt of one node, ready to be made."""
        reader = self.reader
        newest = reader.shared.proved("newest")
        request = ReadRequest(
            accounts=(),
            expected=Expected(reader.facts, now, Block(*newest) if newest else None),
            started=started,
            deadline=deadline,
            request_limit=reader.request_limit,
            budget=reader.budget,
            refresh=False,
            alone=not reader.several,
        )
        return BlockAttempt(node, request, reader.shared, entries, self._newest, trial=trial)


@dataclass(slots=True)
class _Attempts:
    """The nodes that were asked for one block, and what they answered.

    found      a block that nothing speaks against
    without    the nodes that do not have it yet
    doubtful   a block of which events may have been left out, with the node that said so
    """

    of: FeedReader
    number: int | None
    now: float
    deadline: float
    entries: Mapping[str, Any]
    found: FeedBlock | None = None
    without: list[BlockAttempt] = field(default_factory=list)
    doubtful: tuple[FeedBlock, BlockNode] | None = None
    failure: ReadFailed | None = None
    answered: bool = False
    started: float = field(default_factory=monotonic)

    def end_with(self, node: BlockNode, *, trial: bool) -> bool:
        """Ask one more node. Whether no other one has to be asked."""
        attempt = self.of.attempt(node, self.now, self.started, self.deadline, self.entries, trial=trial)
        block = attempt.take(self.number)
        self.answered |= attempt.failure is None
        if attempt.failure:
            self.failure = attempt.failure
            return False
        if block is None:
            self.without.append(attempt)
            return self.number is None or not self.of.is_overdue(self.number)
        if attempt.seems_to_lack and not (self.doubtful and self.doubtful[0] == block):
            self.doubtful = block, node
            return False
        self.found = block
        return True

    def believed(self) -> FeedBlock | None:
        """A block that was doubted, if no other node could tell, and the same one says the same again."""
        if self.doubtful is None:
            return None
        block, node = self.doubtful
        again = self.of.attempt(node, self.now, self.started, self.deadline, self.entries, trial=False)
        found = again.take(block.number)
        self.failure = again.failure or self.failure
        if found != block and found is not None and again.seems_to_lack:
            self.failure = StateGone(f"block {block.number} was another one when it was asked for again")
            return None
        return found


@cache
def feed_reader_for(network: NetworkName) -> FeedReader:
    """The process's reader of a network's blocks. Raises NotConfigured where the network has no node."""
    return FeedReader(node_reader_of(network))
