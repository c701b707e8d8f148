"""One node's attempt at a read: its strategies, sizes and keys are tried until the wallets are read or it has failed.

In comes a `ReadRequest`, and which of its wallets nobody has read yet; out go `parts`, the wallets that are left, and
why. How they are cut is decided in ``pieces``, the strategy in ``strategy_choice``, the key in ``node_keys``, when a
request may be sent in ``sending``, and for how long the node is left alone in ``resting``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

import structlog

from worker.errors import (
    FROM_OUTSIDE,
    BadReply,
    ClockSkewed,
    EmptyRevert,
    FinalityStalled,
    Lagging,
    OutOfTime,
    OverBudget,
    ReadFailed,
    Refused,
    StateGone,
    Throttled,
    TooMuch,
    Unauthorized,
    Unreachable,
    Unsupported,
)
from worker.reading.backoff import Rest
from worker.reading.batch_size import left_of
from worker.reading.contact import NO_CONTACT, Contact, check_token, contact_requests
from worker.reading.contract import Block, Snapshot
from worker.reading.facts import HEAD_FINALITY, ChainFacts
from worker.reading.node_keys import NodeKeys
from worker.reading.pieces import Pieces
from worker.reading.plausibility import Expected, check, newest_of
from worker.reading.request import Part, ReadRequest
from worker.reading.resting import Resting
from worker.reading.sending import Sending
from worker.reading.shared import Shared
from worker.reading.shared_entries import CONTACT_HOLDS, NEWEST_HOLDS, SIZE_HOLDS
from worker.reading.strategies import READ, Node, requests_of
from worker.reading.strategy_choice import StrategyChoice, most_of, size_of
from worker.wording import where

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Attempt:
    """One attempt of one node at one read: made for it, and done with after `take`.

    `trial`: the node rests, and is asked to see whether it has come back.
    """

    node: Node
    request: ReadRequest
    shared: Shared
    entries: Mapping[str, Any]
    trial: bool = False
    parts: list[Part] = field(default_factory=list)
    newest: Block | None = None  # that this process has seen for itself
    contradicts: bool = False  # a reply passed every check but the one against others' newest block
    agrees: bool = False  # a reply passed that one too
    pieces: Pieces = field(init=False)
    _choice: StrategyChoice = field(init=False)
    _keys: NodeKeys = field(init=False)
    _sending: Sending = field(init=False)
    _resting: Resting = field(init=False)
    _contact: Contact = NO_CONTACT

    def __post_init__(self) -> None:
        self._choice = StrategyChoice(self.node, self.facts, self.shared, self.entries)
        strategy = self._choice.strategy
        self.pieces = Pieces(size_of(self.facts, self.node, strategy, self.entries, self.request.budget))
        self._keys = NodeKeys(self.node.keys, self.entries, self.trial)
        self._sending = Sending(self.node, self.request)
        self._resting = Resting(self.node, self.request, self.shared, self.entries, self.trial)
        # Money is held against it: nobody's word.
        self._contact = self.shared.proved(f"contact:{self.node.id}") or NO_CONTACT
        self.newest = self.request.expected.newest
        self._keys.choose(self.shared.clock())

    @property
    def facts(self) -> ChainFacts:
        return self.request.expected.facts

    @property
    def decimals(self) -> int | None:
        """The token's, by this node's word; None: it was not asked for them yet."""
        return self._contact.decimals

    def take(self, pieces: Sequence[range]) -> tuple[list[range], ReadFailed | None]:
        """Read what it can of `pieces`, into `parts`. What is left, and why: None when nothing is.

        Whatever the node sends ends here: an error that nobody thought of is this node's failure too.
        """
        failure: ReadFailed | None = None
        try:
            left, failure = self._take(pieces)
            return left, failure
        except FROM_OUTSIDE:
            raise
        except Exception as error:  # noqa: BLE001  logged, and without its words: they may quote the URL
            self._resting.log(log.error, "endpoint_broken", error=type(error).__name__, where=where(error))
            failure = BadReply(f"a reply that cannot be read ({type(error).__name__})")
            self._rest(failure)
            return left_of(pieces, [part.wallets for part in self.parts]), failure
        finally:
            self.request.budget.give_back(self.node.id)
            if self._sending.sent:
                failed = None if failure is None or isinstance(failure, OverBudget) else failure.code
                self.shared.requests.add(self.node.id, self._sending.sent, failed=failed, waited=self._sending.waited)

    def _take(self, pieces: Sequence[range]) -> tuple[list[range], ReadFailed | None]:
        failure: ReadFailed | None = None
        self.pieces.take_in(pieces)
        while self.pieces.waiting and failure is None:
            piece = self.pieces.next()
            try:
                snapshot = self._once_more(piece)
            except TooMuch as error:
                failure = self._smaller(piece, error)
            except EmptyRevert as error:
                failure = self._smaller_or_otherwise(piece, error)
            except ReadFailed as error:
                failure = self._otherwise(piece, error)
            else:
                self._keep(piece, snapshot)
        self._learn_size()
        left = self.pieces.waiting + self.pieces.failing_alone
        return left, failure or (self.pieces.failure_alone if left else None)

    def _once_more(self, piece: range) -> Snapshot:
        """What fails by chance is asked for once more. java-tron's limit is one of wall-clock time: a pause of its
        collector fails calls of any size. A block's state may be gone, or not be there yet, at one of several nodes
        behind one address. And an error that says nothing passes as a rule: where there is no other node, the same one
        is asked again.
        """
        try:
            return self._read(piece)
        except (OutOfTime, StateGone, Refused) as error:
            if isinstance(error, Refused) and (not self.request.alone or self._choice.one_refusal_is_enough):
                raise
        return self._read(piece)

    def _read(self, piece: range) -> Snapshot:
        """One read that passed every check."""
        self.pieces.asked += 1
        strategy = self._choice.strategy
        of_contact = contact_requests(self.facts, strategy, self._contact)
        reads = requests_of(strategy, len(piece))
        self._send(self.request.budget.with_contact(reads, of_contact, self.request.deadline))
        accounts = self.request.accounts[piece.start : piece.stop]
        snapshot = READ[strategy](self.node, self.facts, accounts)
        expected = replace(self.request.expected, now=self._now(snapshot), newest=self.newest, host=self.shared.clock())
        try:
            check(snapshot, expected)
        except (Lagging, ClockSkewed) as failure:
            self._check_head(snapshot, failure, expected.now)
            raise
        self._check_mark(snapshot, expected)
        check_token(self.node, self.facts, strategy, snapshot, found=self._contact, keep=self._keep_contact)
        return snapshot

    def _send(self, requests: int) -> None:
        self._sending.reserve(requests)
        if self.node.keys:
            self.node.session.use(self._keys.current.secret if self._keys.current else None)

    def _now(self, snapshot: Snapshot) -> float:
        """The database's time: other nodes may have taken their time since the read began."""
        if self.request.any_time:
            return snapshot.block.time
        return self.request.expected.now + monotonic() - self.request.started

    def _check_head(self, snapshot: Snapshot, failure: ReadFailed, now: float) -> None:
        """Raise FinalityStalled where a block is too old for its finality, and the node's newest one of all is not."""
        block, facts = snapshot.block, self.facts
        if failure.skew is None or failure.skew[0] >= 0 or facts.finality == HEAD_FINALITY:
            return
        try:
            head = self.node.block(HEAD_FINALITY)
        except ReadFailed:  # which is no answer to that
            return
        if now - head.time <= facts.head_max_age and head.number >= block.number:
            too_old = f"{now - block.time:.0f} s old, more than {facts.max_age:.0f}"
            ages = f"{too_old}, and block {head.number} {now - head.time:.0f} s"
            raise FinalityStalled(f"the newest {facts.finality} block {block.number} is {ages}")

    def _check_mark(self, snapshot: Snapshot, expected: Expected) -> None:
        if self.request.mark is None:
            return
        try:
            check(snapshot, replace(expected, newest=self.request.mark))
        except ReadFailed:
            self.contradicts = True
            raise
        self.agrees = True

    def _keep_contact(self, contact: Contact) -> None:
        self._contact = contact
        self.shared.prove(f"contact:{self.node.id}", contact, CONTACT_HOLDS)

    def _keep(self, piece: range, snapshot: Snapshot) -> None:
        self.parts.append(Part(piece, snapshot, node_name=self.node.name, node_id=self.node.id))
        self.pieces.read(piece)
        self._keep_newest(snapshot)
        if reason := self._choice.worked():
            self._resting.log(log.info, "endpoint_read_another_way", strategy=self._choice.strategy, reason=reason)
        self._resting.node_answers()
        if key := self._keys.current:
            self._resting.key_answers(key.id, self._keys.rests[key.id])
            self._keys.rests[key.id] = Rest()

    def _keep_newest(self, snapshot: Snapshot) -> None:
        newest = newest_of(snapshot.block, self.newest, self._now(snapshot))
        if newest is None:
            return
        self.newest = newest
        keep = self.shared.prove if self.request.mark and newest.number <= self.request.mark.number else self.shared.put
        keep("newest", [newest.number, newest.time], NEWEST_HOLDS)

    def _smaller(self, piece: range, failure: TooMuch) -> ReadFailed | None:
        """Go on in smaller pieces, without a word about the node: how much a request may ask for is learnt so."""
        spent = self.pieces.split(piece, failure)
        if spent or not self.pieces.every_one_fails():
            return spent
        self.pieces.blame_node()
        return self._otherwise(range(0), Unsupported(f"every request is too much: {failure}"))

    def _smaller_or_otherwise(self, piece: range, failure: EmptyRevert) -> ReadFailed | None:
        """A call that reverted without data has run out of gas, or the node passes no data on: one wallet tells."""
        if self.pieces.any_read:
            return self._smaller(piece, TooMuch(str(failure)))
        if len(piece) == 1:
            return self._otherwise(piece, failure)
        self.pieces.one_first(piece)
        return None

    def _otherwise(self, piece: range, failure: ReadFailed) -> ReadFailed | None:
        """Go on with another key, or by another strategy, or give up on this node for now: the failure."""
        self.pieces.put_back(piece)
        if isinstance(failure, Unreachable) and self._sending.waited_in_vain and self._cut_short():
            failure = OverBudget("the time went by waiting for the budget")
        # This node is behind only a block that other processes have told of in Redis (the mark), and anybody who writes
        # there can name a block that is too high. So the node is not made to rest for it.
        if self.contradicts and not self.agrees:
            self._resting.report(failure, 0)
            return failure
        key = self._keys.current
        if key and isinstance(failure, Throttled | Unauthorized) and not isinstance(failure, OverBudget):
            self._keys.rests[key.id] = self._resting.key_rests(key.id, failure, self._keys.rests[key.id])
            return None if self._keys.choose(self.shared.clock()) else failure
        if final := self._choice.next_after(failure):
            self._rest(final)
            return final
        self.pieces.begin_anew(most_of(self.facts, self.node, self._choice.strategy, self.request.budget))
        return None

    def _rest(self, failure: ReadFailed) -> None:
        """Leave the node alone, unless it is not to blame."""
        if isinstance(failure, ClockSkewed):  # which the reader logs
            return
        if isinstance(failure, OverBudget) or self._cut_short():
            self._resting.report(failure, 0)
            return
        self._resting.node_rests(failure)
        self._choice.failed(failure)

    def _cut_short(self) -> bool:
        return self._sending.cut_short(has_read=bool(self.parts))

    def _learn_size(self) -> None:
        most = most_of(self.facts, self.node, self._choice.strategy, self.request.budget)
        size = self.pieces.size_next_time(most)
        if size != (self.entries.get(f"size:{self.node.id}") or most):
            self.shared.put(f"size:{self.node.id}", size, SIZE_HOLDS)
