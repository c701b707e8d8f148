"""One endpoint's turn at a read: its ways, sizes and keys are tried until the wallets are read or it has failed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from random import randrange
from time import monotonic
from typing import Any

import structlog

from worker.errors import (
    FROM_OUTSIDE,
    BadReply,
    ClockSkewed,
    OutOfTime,
    OverBudget,
    ReadFailed,
    Refused,
    Throttled,
    TooMuch,
    Unauthorized,
    Unreachable,
    Unsupported,
)
from worker.reading import backoff as choice
from worker.reading.backoff import Rest
from worker.reading.contract import Block, Expected, Snapshot, check, richest
from worker.reading.request import Part, ReadRequest
from worker.reading.shared import Shared
from worker.reading.shared_entries import NEWEST_HOLDS, SIZE_HOLDS, STRIKES_HOLD, SUPPLY_HOLDS
from worker.reading.strategies import READ, ApiKey, Node, requests_of, total_supply
from worker.reading.strategy_choice import StrategyChoice, most_of, size_of
from worker.wording import where

log = structlog.get_logger(__name__)

NOT_THE_WALLETS = 8  # so many failed by themselves, and none was read: it is the endpoint

_reads_begun = count(randrange(1024))  # noqa: S311  each process begins at another key, so that all are used evenly


@dataclass(slots=True)
class Attempt:
    """One attempt of one endpoint at one task: made for it, and done with after `take`.

    `trial`: it rests, and is asked to see whether it has come back.
    """

    node: Node
    request: ReadRequest
    shared: Shared
    entries: Mapping[str, Any]
    trial: bool = False
    parts: list[Part] = field(default_factory=list)
    newest: Block | None = None  # that this process has seen for itself
    contradicts: bool = False  # a reply passed every check but the one against others' mark
    agrees: bool = False  # a reply passed that one too
    lone: list[range] = field(default_factory=list)  # single wallets that failed by themselves
    lone_failure: TooMuch | None = None
    _too_much: list[range] = field(default_factory=list)
    _ways: StrategyChoice = field(init=False)
    _size: int = 0
    _supply: int | None = None
    _key: ApiKey | None = None
    _key_rests: dict[str, Rest] = field(default_factory=dict)
    _began: float = field(default_factory=monotonic)
    _requests: int = 0
    _sent: int = 0
    _waited: float = 0.0  # seconds, for slots in the budget

    def __post_init__(self) -> None:
        self._ways = StrategyChoice(self.node, self.shared, self.entries)
        self._size = size_of(self.node, self._ways.strategy, self.entries, self.request.budget)
        self._supply = self.shared.proved(f"supply:{self.node.id}")  # money is held against it: nobody's word
        self._key_rests = {key.id: Rest.from_entry(self.entries.get(f"key:{key.id}")) for key in self.node.keys}
        self.newest = self.request.expected.newest
        self._next_key()

    def take(self, pieces: Sequence[range]) -> tuple[list[range], ReadFailed | None]:
        """Read what it can of `pieces`, into `parts`. What is left, and why: None when nothing is.

        Whatever the endpoint sends ends here: an error that nobody thought of is this endpoint's failure too.
        """
        try:
            return self._take(pieces)
        except FROM_OUTSIDE:
            raise
        except Exception as error:  # noqa: BLE001  told of, and without its words: they may quote the URL
            self._tell(log.error, "endpoint_broken", error=type(error).__name__, where=where(error))
            failure = BadReply(f"a reply that cannot be read ({type(error).__name__})")
            self._rest(failure)
            return choice.left_of(pieces, [part.wallets for part in self.parts]), failure
        finally:
            self.request.budget.give_back(self.node.id)
            if self._sent:
                self.shared.requests.add(self.node.id, self._sent)

    def _take(self, pieces: Sequence[range]) -> tuple[list[range], ReadFailed | None]:
        queue = choice.cut(pieces, self._size)
        bound = choice.most_requests(len(queue), sum(map(len, queue)))
        failure: ReadFailed | None = None
        while queue and failure is None:
            piece = queue.pop(0)
            try:
                snapshot = self._once_more(piece)
            except TooMuch as error:
                queue, failure = self._split(error, piece, queue, spent=self._requests > bound)
            except ReadFailed as error:
                queue, failure = self._other_way(error, piece, queue)
            else:
                self._keep(piece, snapshot)
        self._learn()
        queue += self.lone
        return queue, failure or (self.lone_failure if queue else None)

    def _once_more(self, piece: range) -> Snapshot:
        """java-tron's limit is one of wall-clock time: a pause of its collector fails calls of any size. And an error
        that says nothing passes, as a rule: where there is no other endpoint, the same one is asked again.
        """
        try:
            return self._read(piece)
        except (OutOfTime, Refused) as error:
            if isinstance(error, Refused) and (not self.request.alone or self._ways.one_refusal_is_enough):
                raise
        return self._read(piece)

    def _read(self, piece: range) -> Snapshot:
        """One read that passed every check."""
        requests = requests_of(self._ways.strategy, len(piece)) + (self._supply is None)
        budget, pace = self.request.budget, self.node.session.pace
        budget.have(self.node.id, requests, self.request.latest_slot(pace), refresh=self.request.refresh, pace=pace)
        self._prepare()
        accounts = self.request.accounts[piece.start : piece.stop]
        snapshot = READ[self._ways.strategy](self.node, self.request.token, accounts)
        now = (
            self.request.expected.now + monotonic() - self.request.started
        )  # other endpoints may have taken their time
        now = snapshot.block.time if self.request.any_time else now
        expected = replace(self.request.expected, now=now, newest=self.newest, host=self.shared.clock())
        check(snapshot, expected)
        self._check_mark(snapshot, expected)
        unanswered = len(accounts) > 1 and not any(snapshot.balances)
        most = richest(snapshot.balances)
        if unanswered or self._supply is None or most > self._supply:
            # It is not known yet, there may be more of it by now, or there is no token at all.
            self._supply = self._learn_supply()
        if most > self._supply:
            raise BadReply("a balance above the token's total supply")
        return snapshot

    def _check_mark(self, snapshot: Snapshot, expected: Expected) -> None:
        if self.request.mark is None:
            return
        try:
            check(snapshot, replace(expected, newest=self.request.mark))
        except ReadFailed:
            self.contradicts = True
            raise
        self.agrees = True

    def _prepare(self) -> None:
        """Bounds, budget and key of the requests that follow."""
        self._requests += 1
        session = self.node.session
        session.permit = self._permit
        if self.node.keys:
            session.use(self._key.secret if self._key else None)

    def _permit(self) -> None:
        """Before each request: wait for its slot, bound its time, and count it. A way may take many requests.

        Raises Unreachable when there is no time left.
        """
        asked, latest = monotonic(), self.request.latest_slot(self.node.session.pace)
        if self.request.deadline > asked:
            self.request.budget.wait(self.node.id, latest, refresh=self.request.refresh)
            self._waited += monotonic() - asked
        left = self.request.deadline - monotonic()
        if left <= 0:
            raise Unreachable("no time left")
        self.node.session.time_limit = min(self.request.request_limit, left)
        self._sent += 1

    def _learn_supply(self) -> int:
        self._prepare()
        supply = total_supply(self.node, self.request.token)
        self.shared.prove(f"supply:{self.node.id}", supply, SUPPLY_HOLDS)
        return supply

    def _keep(self, piece: range, snapshot: Snapshot) -> None:
        self.parts.append(Part(piece, snapshot, endpoint=self.node.name, node_id=self.node.id))
        self._keep_newest(snapshot.block)
        if reason := self._ways.worked():
            self._tell(log.info, "endpoint_read_another_way", strategy=self._ways.strategy, reason=reason)
        self._end_rest(f"rest:{self.node.id}", Rest.from_entry(self._entry("rest")))
        if self._key:
            self._end_rest(f"key:{self._key.id}", self._key_rests[self._key.id])
            self._key_rests[self._key.id] = Rest()

    def _end_rest(self, name: str, rest: Rest) -> None:
        """It has answered. After a trial for nobody's wallets the others wait until a whole batch is read, too."""
        if rest.strikes or rest.until:
            ended = Rest(0.0, rest.strikes, rest.code) if self.request.probe else Rest()
            self.shared.put(name, ended.entry(), STRIKES_HOLD)
            if self.trial:
                self._tell(log.info, "endpoint_answers_again", after=rest.code)

    def _keep_newest(self, block: Block) -> None:
        if self.newest is not None and block.number <= self.newest.number:
            return
        self.newest = block
        keep = self.shared.prove if self.request.mark and block.number <= self.request.mark.number else self.shared.put
        keep("newest", [block.number, block.time], NEWEST_HOLDS)

    def _split(
        self, failure: TooMuch, piece: range, queue: list[range], *, spent: bool
    ) -> tuple[list[range], ReadFailed | None]:
        """Half of it, twice; until a single wallet is left that fails by itself."""
        self._too_much.append(piece)
        if len(piece) > 1:
            return ([piece, *queue], failure) if spent else ([*choice.halves(piece), *queue], None)
        self.lone.append(piece)
        self.lone_failure = failure
        if self.parts or len(self.lone) < NOT_THE_WALLETS:
            return queue, None
        self.lone, self._too_much, spoilt = [], [], self.lone
        return self._other_way(Unsupported(f"every request is too much: {failure}"), spoilt[0], [*spoilt[1:], *queue])

    def _other_way(
        self, failure: ReadFailed, piece: range, queue: list[range]
    ) -> tuple[list[range], ReadFailed | None]:
        """Go on with another key, or in another way, or give up on this endpoint for now."""
        queue = [piece, *queue]
        if self._waited > self.node.session.pace and isinstance(failure, Unreachable) and self._cut_short():
            failure = OverBudget("the time went by waiting for the budget")
        if self.contradicts and not self.agrees:  # by others' word alone no endpoint rests
            self._report(failure, 0)
            return queue, failure
        if self._key and isinstance(failure, Throttled | Unauthorized) and not isinstance(failure, OverBudget):
            self._rest_key(self._key, failure)
            return queue, None if self._next_key() else failure
        if final := self._ways.next_after(failure):
            self._rest(final)
            return queue, final
        self._size, self._too_much = most_of(self.node, self._ways.strategy, self.request.budget), []
        return choice.cut(queue, self._size), None

    def _rest_key(self, key: ApiKey, failure: ReadFailed) -> None:
        name, before = f"key:{key.id}", self._key_rests[key.id]
        self._key_rests[key.id] = self._leave_alone(name, failure, before, alone=False, key=key.id)

    def _next_key(self) -> bool:
        trial = self.trial and self._key is None
        self._key = choice.key_for(
            self.node.keys, self._key_rests, self.shared.clock(), next(_reads_begun), trial=trial
        )
        return self._key is not None

    def _rest(self, failure: ReadFailed) -> None:
        """Leave the endpoint alone, unless it is not to blame."""
        if isinstance(failure, ClockSkewed):  # which the reader tells of
            return
        if isinstance(failure, OverBudget) or self._cut_short():
            self._report(failure, 0)
            return
        before = Rest.from_entry(self._entry("rest"))
        self._leave_alone(f"rest:{self.node.id}", failure, before, alone=self.request.alone)
        self._ways.failed(failure)

    def _leave_alone(self, name: str, failure: ReadFailed, before: Rest, *, alone: bool, **more: Any) -> Rest:
        now = self.shared.clock()
        rest = choice.rest_after(failure, before, now, alone=alone)
        self.shared.put(name, rest.entry(), rest.until - now + STRIKES_HOLD)
        if not self.request.probe or failure.code != before.code:  # else it was told of when it began
            self._report(failure, rest.until - now, **more)
        return rest

    def _cut_short(self) -> bool:
        """Whether the read's end came first: not when it had a request's whole time, and nothing to show for it."""
        now = monotonic()
        had = now - self._began - self._waited
        return self.request.deadline <= now and (bool(self.parts) or had < self.request.request_limit)

    def _report(self, failure: ReadFailed, seconds: float, **more: Any) -> None:
        # What waiting does not mend is a mistake in the settings, which only a person can.
        report = log.error if failure.for_a_person else log.warning
        more |= {"error": failure.code, "detail": str(failure), "left_alone_seconds": round(seconds)}
        self._tell(report, "read_failed", **more)

    def _tell(self, report: Callable[..., Any], event: str, **more: Any) -> None:
        report(event, network=self.request.network, endpoint=self.node.name, **more)

    def _learn(self) -> None:
        read = [part.wallets for part in self.parts]
        most = most_of(self.node, self._ways.strategy, self.request.budget)
        size = choice.learnt(self._size, most, read=read, failed=self._too_much, lone=self.lone)
        if size != (self._entry("size") or most):
            self.shared.put(f"size:{self.node.id}", size, SIZE_HOLDS)

    def _entry(self, what: str) -> Any:
        return self.entries.get(f"{what}:{self.node.id}")
