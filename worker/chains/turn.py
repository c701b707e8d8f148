"""One endpoint's turn at a read: its ways, sizes and keys are tried until the wallets are read or it has failed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from random import randrange
from time import monotonic, sleep
from typing import Any

import structlog

from worker.chains.choice import Rest, cut, halves, key_for, learnt, most_requests, rest_after
from worker.chains.known import NEWEST_HOLDS, SIZE_HOLDS, STRIKES_HOLD, SUPPLY_HOLDS, WAY_HOLDS, Known
from worker.chains.snapshot import Block, Expected, Snapshot, check, richest
from worker.chains.task import Part, Task
from worker.chains.ways import READ, ApiKey, Node, Way, total_supply
from worker.errors import (
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

log = structlog.get_logger(__name__)

DOUBTFUL_WAY_HOLDS = 300.0  # seconds; a better one gave a reply that failed a check: truncated on its way, perhaps

PATIENCE = 2.0  # seconds to wait for a budget before another endpoint is asked
NOT_THE_WALLETS = 8  # so many failed by themselves, and none was read: it is the endpoint
TRIED_BEFORE_FORGETTING = 2  # refusals in a row until the way that worked is doubted

_turns = count(randrange(1024))  # noqa: S311  each process begins at another key, so that all are used evenly


@dataclass(slots=True)
class Turn:
    """Not to be used twice."""

    node: Node
    task: Task
    known: Known
    entries: Mapping[str, Any]
    parts: list[Part] = field(default_factory=list)
    newest: Block | None = None  # that this process has seen for itself
    contradicts: bool = False  # a reply passed every check but the one against others' mark
    agrees: bool = False  # a reply passed that one too
    _too_much: list[range] = field(default_factory=list)
    _lone: list[range] = field(default_factory=list)
    _lone_failure: TooMuch | None = None
    _ways: list[Way] = field(default_factory=list)
    _proven: bool = False
    _remembered: Any = None
    _reason: str = ""
    _first: ReadFailed | None = None
    _doubtful: bool = False
    _size: int = 0
    _supply: int | None = None
    _key: ApiKey | None = None
    _key_rests: dict[str, Rest] = field(default_factory=dict)
    _began: float = field(default_factory=monotonic)
    _requests: int = 0
    _sent: int = 0

    def __post_init__(self) -> None:
        remembered = self._entry("way")
        ways = list(self.node.ways)
        if remembered is not None and remembered[0] in ways:
            # What others say is the way is tried first; to have no other, it must have worked here.
            self._proven = self.known.proved(f"way:{self.node.id}") == remembered
            self._remembered = remembered
            others = [] if self._proven else [way for way in ways if way != remembered[0]]
            ways = [remembered[0], *others]
        self._ways = ways
        self._size = min(self._entry("size") or self._most, self._most)
        self._supply = self.known.proved(f"supply:{self.node.id}")  # money is held against it: nobody's word
        self._key_rests = {key.id: Rest.from_entry(self.entries.get(f"key:{key.id}")) for key in self.node.keys}
        self.newest = self.task.expected.newest
        self._next_key()

    def take(self, pieces: Sequence[range]) -> tuple[list[range], ReadFailed | None]:
        """Read what it can of `pieces`, into `parts`. What is left, and why: None when nothing is."""
        queue = cut(pieces, self._size)
        bound = most_requests(len(queue), sum(map(len, queue)))
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
        queue += self._lone
        return queue, failure or (self._lone_failure if queue else None)

    def _once_more(self, piece: range) -> Snapshot:
        """java-tron's limit is one of wall-clock time: a pause of its collector fails calls of any size."""
        try:
            return self._read(piece)
        except OutOfTime:
            return self._read(piece)

    def _read(self, piece: range) -> Snapshot:
        """One read that passed every check."""
        self._prepare()
        accounts = self.task.accounts[piece.start : piece.stop]
        snapshot = READ[self._ways[0]](self.node, self.task.token, accounts)
        now = self.task.expected.now + monotonic() - self.task.started  # other endpoints may have taken their time
        expected = replace(self.task.expected, now=now, newest=self.newest, host=self.known.clock())
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
        if self.task.mark is None:
            return
        try:
            check(snapshot, replace(expected, newest=self.task.mark))
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
        """Before each request: wait for the budget, bound its time, and count it. Raises Unreachable when there is none
        left: a way may take many requests.
        """
        if self.task.per_second and self.task.deadline > monotonic():
            self._await_budget()
        left = self.task.deadline - monotonic()
        if left <= 0:
            raise Unreachable("no time left")
        self.node.session.time_limit = min(self.task.request_limit, left)
        self._sent += 1

    def _await_budget(self) -> None:
        until = min(monotonic() + PATIENCE, self.task.deadline)
        while seconds := self.known.wait(self.node.id, self.task.per_second):
            if monotonic() + seconds > until:
                raise OverBudget(f"{self.task.per_second} requests a second are used up", retry_after=seconds)
            sleep(seconds)

    def _learn_supply(self) -> int:
        self._prepare()
        supply = total_supply(self.node, self.task.token)
        self.known.prove(f"supply:{self.node.id}", supply, SUPPLY_HOLDS)
        return supply

    def _keep(self, piece: range, snapshot: Snapshot) -> None:
        self.parts.append(Part(piece, snapshot, endpoint=self.node.name, endpoint_id=self.node.id))
        self._keep_newest(snapshot.block)
        if not self._proven:
            self._keep_way()
        if Rest.from_entry(self._entry("rest")).strikes:
            self._put("rest", [0.0, 0, ""], STRIKES_HOLD)
        if self._key and self._key_rests[self._key.id].strikes:
            self._key_rests[self._key.id] = Rest()
            self.known.put(f"key:{self._key.id}", [0.0, 0, ""], STRIKES_HOLD)

    def _keep_newest(self, block: Block) -> None:
        if self.newest is not None and block.number <= self.newest.number:
            return
        self.newest = block
        keep = self.known.prove if self.task.mark and block.number <= self.task.mark.number else self.known.put
        keep("newest", [block.number, block.time], NEWEST_HOLDS)

    def _keep_way(self) -> None:
        self._proven = True
        if self._remembered and self._remembered[0] == self._ways[0]:
            self.known.prove(f"way:{self.node.id}", self._remembered, WAY_HOLDS)
            return
        self._put("way", [self._ways[0], self._reason], DOUBTFUL_WAY_HOLDS if self._doubtful else WAY_HOLDS)
        if self._reason:
            self._tell(log.info, "endpoint_read_another_way", way=self._ways[0], reason=self._reason)

    def _split(
        self, failure: TooMuch, piece: range, queue: list[range], *, spent: bool
    ) -> tuple[list[range], ReadFailed | None]:
        """Half of it, twice; until a single wallet is left that fails by itself."""
        self._too_much.append(piece)
        if len(piece) > 1:
            return ([piece, *queue], failure) if spent else ([*halves(piece), *queue], None)
        self._lone.append(piece)
        self._lone_failure = failure
        if self.parts or len(self._lone) < NOT_THE_WALLETS:
            return queue, None
        self._lone, spoilt = [], self._lone
        self._too_much = []
        detail = f"every request is too much: {failure}"
        return self._other_way(Refused(detail), spoilt[0], [*spoilt[1:], *queue])

    def _other_way(
        self, failure: ReadFailed, piece: range, queue: list[range]
    ) -> tuple[list[range], ReadFailed | None]:
        """Go on with another key, or in another way, or give up on this endpoint for now."""
        queue = [piece, *queue]
        if self.contradicts and not self.agrees:  # by others' word alone no endpoint rests
            self._report(failure, 0)
            return queue, failure
        if self._key and isinstance(failure, Throttled | Unauthorized) and not isinstance(failure, OverBudget):
            self._rest_key(self._key, failure)
            if self._next_key():
                return queue, None
            return queue, failure
        of_the_way = not self._proven and isinstance(failure, Unsupported | Refused | BadReply)
        if of_the_way:
            self._first = self._first or failure
            self._doubtful = self._doubtful or isinstance(failure, BadReply)
        if of_the_way and len(self._ways) > 1:
            self._ways.pop(0)
            self._reason = self._reason or f"{failure.code}: {failure}"
            self._size, self._too_much = self._most, []
            return cut(queue, self._size), None
        if of_the_way and self._first:
            failure = self._first  # the best way's: the others were a try
        self._rest(failure)
        return queue, failure

    def _rest_key(self, key: ApiKey, failure: ReadFailed) -> None:
        now = self.known.clock()
        rest = rest_after(failure, self._key_rests[key.id], now, alone=False)
        self._key_rests[key.id] = rest
        self.known.put(f"key:{key.id}", [rest.until, rest.strikes, rest.code], rest.until - now + STRIKES_HOLD)
        self._report(failure, rest.until - now, key=key.id)

    def _next_key(self) -> bool:
        self._key = key_for(self.node.keys, self._key_rests, self.known.clock(), next(_turns))
        return self._key is not None

    def _rest(self, failure: ReadFailed) -> None:
        """Leave the endpoint alone, unless it is not to blame."""
        if isinstance(failure, ClockSkewed):  # which the reader tells of
            return
        if isinstance(failure, OverBudget) or self._cut_short():
            self._report(failure, 0)
            return
        now, before = self.known.clock(), Rest.from_entry(self._entry("rest"))
        rest = rest_after(failure, before, now, alone=self.task.alone)
        self._put("rest", [rest.until, rest.strikes, rest.code], rest.until - now + STRIKES_HOLD)
        refused_again = isinstance(failure, Refused) and before.strikes >= TRIED_BEFORE_FORGETTING
        if self._proven and (refused_again or isinstance(failure, Unsupported)):
            self._put("way", None, WAY_HOLDS)
        self._report(failure, rest.until - now)

    def _cut_short(self) -> bool:
        """Whether the read's end came first: not when it had a request's whole time, and nothing to show for it."""
        now = monotonic()
        return self.task.deadline <= now and (bool(self.parts) or now - self._began < self.task.request_limit)

    def _report(self, failure: ReadFailed, seconds: float, **more: Any) -> None:
        # What waiting does not mend is a mistake in the settings, which only a person can.
        report = log.error if failure.for_a_person else log.warning
        self._tell(
            report, "read_failed", error=failure.code, detail=str(failure), left_alone_seconds=round(seconds), **more
        )

    def _tell(self, report: Callable[..., Any], event: str, **more: Any) -> None:
        report(event, network=self.task.network, endpoint=self.node.name, **more)

    def _learn(self) -> None:
        if self._sent:
            self.known.count(f"requests:{self.node.id}", self._sent)
        read = [part.wallets for part in self.parts]
        size = learnt(self._size, self._most, read=read, failed=self._too_much, lone=self._lone)
        if size != self._size:
            self._put("size", size, SIZE_HOLDS)

    @property
    def _most(self) -> int:
        return self.node.ways[self._ways[0]]

    def _entry(self, what: str) -> Any:
        return self.entries.get(f"{what}:{self.node.id}")

    def _put(self, what: str, value: Any, seconds: float) -> None:
        self.known.put(f"{what}:{self.node.id}", value, seconds)
