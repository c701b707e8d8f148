"""One node's attempt at one block: its keys and ways are tried until the block is read or the node has failed.

Requests go through the budget, the rests and the keys of the node's reads. What is wrong with its blocks alone is no
reason to stop reading balances there: then the feed leaves the node alone, and nobody else does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

import structlog

from worker.errors import (
    FROM_OUTSIDE,
    OF_THE_NODE,
    BadReply,
    ClockSkewed,
    Lagging,
    OverBudget,
    ReadFailed,
    StateGone,
    Throttled,
    Unauthorized,
    Unreachable,
    Unsupported,
    WrongChain,
)
from worker.feed.blocks import FeedBlock, Header
from worker.feed.sources import SOURCES, BlockNode, Source
from worker.feed.ways import WayChoice
from worker.reading.backoff import Rest
from worker.reading.contract import Block, Snapshot
from worker.reading.facts import HEAD_FINALITY, ChainFacts
from worker.reading.node_keys import NodeKeys
from worker.reading.plausibility import Expected, check
from worker.reading.request import ReadRequest
from worker.reading.resting import Resting
from worker.reading.sending import Sending
from worker.reading.shared import Shared
from worker.reading.shared_entries import CONTACT_HOLDS
from worker.reading.strategy_choice import BETTER_AFTER
from worker.wording import where

log = structlog.get_logger(__name__)

Fetched = tuple[Any, Header]
"""A block as the node tells it, and which one it is."""


@dataclass(slots=True)
class BlockAttempt:
    """One attempt of one node at one block: made for it, and done with after `take`.

    `newest` holds what is known of the newest block of a finality at each node, and is kept from block to block.
    """

    node: BlockNode
    request: ReadRequest
    shared: Shared
    entries: Mapping[str, Any]
    newest: dict[str, Fetched]
    trial: bool = False
    failure: ReadFailed | None = None
    seems_to_lack: bool = False
    """The node may have left events of the token out."""
    _ways: WayChoice = field(init=False)
    _keys: NodeKeys = field(init=False)
    _sending: Sending = field(init=False)

    def __post_init__(self) -> None:
        self._ways = WayChoice(self.node.id, self._source.ways, self.shared, self.entries)
        self._keys = NodeKeys(self.node.keys, self.entries, self.trial)
        self._sending = Sending(self.node, self.request)
        self._keys.choose(self.shared.clock())

    @property
    def _facts(self) -> ChainFacts:
        return self.request.expected.facts

    @property
    def _source(self) -> Source:
        return SOURCES[self._facts.family]

    def take(self, number: int | None) -> FeedBlock | None:
        """The block; None: it is not there yet, or `failure` says why it could not be read."""
        try:
            found = self._with_keys(number)
            self._answers()
            return found
        except FROM_OUTSIDE:
            raise
        except ReadFailed as failure:
            self.failure = self._our_own(failure)
        except Exception as error:  # noqa: BLE001  logged, and without its words: they may quote the URL
            log.error("endpoint_broken", network=self._facts.network, endpoint=self.node.name, where=where(error))  # noqa: TRY400
            self.failure = BadReply(f"a reply that cannot be read ({type(error).__name__})")
        finally:
            self.request.budget.give_back(self.node.id)
            if self._sending.sent:
                failed = None if self.failure is None or isinstance(self.failure, OverBudget) else self.failure.code
                self.shared.requests.add(self.node.id, self._sending.sent, failed=failed, waited=self._sending.waited)
        self._rest(self.failure)
        return None

    def _with_keys(self, number: int | None) -> FeedBlock | None:
        """A key that is refused is left alone, and the node is asked with another one."""
        while True:
            try:
                return self._ask(number)
            except (Throttled, Unauthorized) as failure:
                key = self._keys.current
                if key is None or isinstance(failure, OverBudget):
                    raise
                self._keys.rests[key.id] = self._resting("rest").key_rests(key.id, failure, self._keys.rests[key.id])
                if not self._keys.choose(self.shared.clock()):
                    raise

    def _ask(self, number: int | None) -> FeedBlock | None:
        known = self.shared.proved(f"contact:{self.node.id}") or self.shared.proved(f"chain:{self.node.id}")
        self._sending.reserve(2 if known else 3)
        if self.node.keys:
            self.node.session.use(self._keys.current.secret if self._keys.current else None)
        if not known:
            self._check_chain()
        fetched = self._fetched(number)
        return self._told(*fetched) if fetched else None

    def _check_chain(self) -> None:
        """Nothing in a block says of which chain it is, so the node is asked, as long as no read has proved it."""
        chain_id = self.node.chain_id()
        if chain_id != self._facts.chain_id:
            raise WrongChain(f"chain id {chain_id} instead of {self._facts.chain_id}")
        self.shared.prove(f"chain:{self.node.id}", chain_id, CONTACT_HOLDS)

    def _fetched(self, number: int | None) -> Fetched | None:
        """The block of this number; None: it is not there yet, or not of the configured finality."""
        if number is None:
            return self._newest()
        if not self._is_asked_by_finality:
            newest = self.newest.get(self.node.id)
            if newest is None or newest[1].number < number:
                newest = self._newest(any_age=True)
            if newest[1].number <= number:
                return self.newest.pop(self.node.id) if newest[1].number == number else None
        try:
            block = self.node.full_block(number)
        except Lagging:  # in words of its own
            return None
        header = self._source.header_of(block)
        if header is None:
            return None
        if header.number != number:
            raise BadReply(f"block {header.number} instead of {number}")
        self._check(header, any_age=True)
        return block, header

    @property
    def _is_asked_by_finality(self) -> bool:
        """Whether a block that the node has by its number is one of the configured finality."""
        return self._source.by_finality or self._facts.finality == HEAD_FINALITY

    def _newest(self, *, any_age: bool = False) -> Fetched:
        block = self.node.full_block(None)
        header = self._source.header_of(block)
        if header is None:
            raise Lagging(f"no {self._facts.finality} block")
        self._check(header, any_age=any_age)
        if not self._is_asked_by_finality:
            self.newest[self.node.id] = block, header
        return block, header

    def _check(self, header: Header, *, any_age: bool) -> None:
        """That the chain can have made such a block by now, and, of the newest one, that it is new enough."""
        now = self.request.expected.now + monotonic() - self.request.started
        facts = replace(self._facts, max_age=0) if any_age else self._facts
        newest = None if any_age else self.request.expected.newest
        snapshot = Snapshot(Block(header.number, header.time), facts.chain_id, ())
        check(snapshot, Expected(facts, now, newest, self.shared.clock()))

    def _told(self, block: Any, header: Header) -> FeedBlock:
        """What a block changed, by the first way in which the node tells it."""
        while True:
            try:
                found = self._source.tell(self.node, self._facts, block, header, self._ways.way)
            except ReadFailed as failure:
                if not self._ways.next_after(failure):
                    raise
            else:
                self._ways.worked()
                self.seems_to_lack = self._source.seems_to_lack(block, found, self._facts.token)
                return found

    def is_behind(self, number: int) -> None:
        """Leave the node alone for a while: another one has had a block that this one does not have."""
        self._resting("feed").node_rests(Lagging(f"no block {number}, which another endpoint has"))

    def _our_own(self, failure: ReadFailed) -> ReadFailed:
        """The same failure, or that of our budget, where the time went by waiting for it."""
        if isinstance(failure, Unreachable) and self._sending.waited_in_vain and self._cut_short():
            return OverBudget("the time went by waiting for the budget")
        return failure

    def _rest(self, failure: ReadFailed) -> None:
        """Leave the node alone, unless it is not to blame, or the next moment mends it."""
        if isinstance(failure, OverBudget | ClockSkewed | StateGone) or self._cut_short():
            self._resting("feed").report(failure, 0)
        elif isinstance(failure, Unsupported):
            self._ways.give_up(failure)
            self._resting("feed").report(failure, BETTER_AFTER)
        else:
            self._resting("rest" if isinstance(failure, OF_THE_NODE) else "feed").node_rests(failure)

    def _cut_short(self) -> bool:
        return self._sending.cut_short(has_read=False)

    def _answers(self) -> None:
        self._resting("feed").node_answers()
        if Rest.from_entry(self.entries.get(f"rest:{self.node.id}")).code in {kind.code for kind in OF_THE_NODE}:
            self._resting("rest").node_answers()
        if key := self._keys.current:
            self._resting("rest").key_answers(key.id, self._keys.rests[key.id])

    def _resting(self, what: str) -> Resting:
        return Resting(self.node, self.request, self.shared, self.entries, self.trial, what)
