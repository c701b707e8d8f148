"""A chain's nodes, best first: one read through whichever of them answer truly."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from secrets import token_bytes
from time import monotonic
from typing import Any

import structlog

from config.work_counts import BatchOutcome
from worker.errors import ClockSkewed, OverBudget, ReadFailed
from worker.reading.attempt import Attempt
from worker.reading.budget import AHEAD, SECOND, Budget, latest_slot
from worker.reading.contact import NO_CONTACT, contact_requests
from worker.reading.contract import ACCOUNT_BYTES, Block
from worker.reading.facts import ChainFacts
from worker.reading.node_order import TRIAL_EVERY, NodeOrder
from worker.reading.plausibility import Expected, can_be
from worker.reading.request import Failures, Part, ReadRequest
from worker.reading.shared import Shared
from worker.reading.shared_entries import NEWEST_HOLDS
from worker.reading.strategies import Node, requests_of
from worker.reading.strategy_choice import size_of, strategy_of
from worker.reading.trial_lock import Trial

log = structlog.get_logger(__name__)

READ_REQUESTS = 2.5  # a read ends within so many times a request's limit (config.settings)
HELD_FOR_A_READ = 5.0  # seconds in which a read must follow that may_read has said yes to


@dataclass(slots=True)
class NodeReader:
    """Reads one chain. Not shared between threads; one process has one.

    `per_second` bounds the requests to each node, over all workers, 0 does not; a request ends within `request_limit`
    seconds.
    """

    facts: ChainFacts
    nodes: Sequence[Node]
    shared: Shared
    request_limit: float
    per_second: float = 0
    _budget: Budget = field(init=False)
    _order: NodeOrder = field(init=False)
    _decimals_are_set: bool = field(init=False)
    _no_mark_until: float = 0.0
    _too_slow: set[str] = field(default_factory=set)
    """Nodes for a read of which the budget can never have room: that was logged."""
    _skews: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Of nodes whose blocks were not in time since one was: by how much, and which block."""
    _clock_behind: float | None = None
    """Seconds from this machine's clock to the database's, by the last read; None: there was none yet."""

    def __post_init__(self) -> None:
        self._budget = Budget(self.shared, self.per_second, self._read_limit)
        self._decimals_are_set = self.facts.decimals is not None
        self._order = NodeOrder(self.nodes, self.shared, self._budget.holds)

    @property
    def finality(self) -> str:
        return self.facts.finality

    @property
    def decimals(self) -> int | None:
        """The token's decimals: by the settings, or else by `expect_decimals`, or by the node that was asked first."""
        return self.facts.decimals

    def expect_decimals(self, decimals: int | None) -> None:
        """Hold nodes against these decimals, where the settings do not say: once more, if others had been found."""
        if not self._decimals_are_set and decimals not in {None, self.facts.decimals}:
            self.facts = replace(self.facts, decimals=decimals)
            for node in self.nodes:
                self.shared.prove(f"contact:{node.id}", None, 0)

    @property
    def budget(self) -> Budget:
        """What its requests count against, and those of whoever asks the same nodes for something else."""
        return self._budget

    @property
    def order(self) -> NodeOrder:
        """Which of its nodes may be asked, best first."""
        return self._order

    @property
    def _read_limit(self) -> float:
        return self.request_limit * READ_REQUESTS

    @property
    def max_wallets(self) -> int:
        """How many wallets the node that is asked next takes in one request, or in a batch of single ones."""
        return self.full_batch[0]

    @property
    def full_batch(self) -> tuple[int, int]:
        """How many wallets the node that is asked next takes together, and how many requests it is asked for them."""
        entries = self._entries()
        node = self._order.first(entries)
        strategy = strategy_of(self.facts, node, entries, self.shared.clock())
        wallets = size_of(self.facts, node, strategy, entries, self._budget)
        return wallets, requests_of(strategy, wallets)

    @property
    def several(self) -> bool:
        return len({node.id for node in self.nodes}) > 1

    def may_read(self, deadline: float, *, refresh: bool = False, wallets: int | None = None) -> ReadFailed | None:
        """None: a node may be asked, and its budget has room: slots are reserved for so many wallets, or a batch.

        Otherwise why not, and in how many seconds to ask again. With every node at rest this is where the way back is
        found: now and then one process asks a node for the balance of nobody. Raises nothing.
        """
        entries = self._entries()
        if self._order.all_rest(entries):
            nobody, now = [token_bytes(ACCOUNT_BYTES)], self.shared.clock() + (self._clock_behind or 0.0)
            (part,) = self._read(nobody, now, deadline, refresh=refresh, probe=True)
            entries = self._entries()
            if isinstance(part.failure, OverBudget | ClockSkewed):
                return part.failure
            if part.failure:  # said as by those who did not try
                return self._order.why_none(entries, TRIAL_EVERY)
        trial, waits = self._trial(HELD_FOR_A_READ), list[float]()
        for node, _ in self._order.candidates(entries, (), trial):
            seconds = self._reserve(node, entries, deadline, wallets, refresh=refresh)
            if not seconds:
                return None
            waits.append(seconds)
        trial.end(0.0)
        if waits:
            return OverBudget(f"{self.per_second:g} requests a second are used up", retry_after=min(waits))
        return self._order.why_none(entries, trial.wait)

    def give_back(self) -> None:
        """Let others have the slots that no read will use."""
        for node in self.nodes:
            self._budget.give_back(node.id)

    def count_batch(self, outcome: BatchOutcome, wallets: int, *, lost: bool) -> None:
        """Count what a batch came to, among those of all workers."""
        self.shared.requests.add_batch(outcome, wallets, lost=lost)

    def count_denied(self, nodes: Collection[str]) -> None:
        """Count for each of these nodes that another one, which is believed, had it otherwise."""
        self.shared.requests.add_denied(nodes)

    def _reserve(
        self, node: Node, entries: Mapping[str, Any], deadline: float, wallets: int | None, *, refresh: bool
    ) -> float:
        """0.0: the slots are reserved that a read takes at this node. Otherwise when to ask again, in seconds."""
        strategy = strategy_of(self.facts, node, entries, self.shared.clock())
        size = size_of(self.facts, node, strategy, entries, self._budget)
        reads = requests_of(strategy, size if wallets is None else min(wallets, size))
        contact = contact_requests(self.facts, strategy, self.shared.proved(f"contact:{node.id}") or NO_CONTACT)
        count = self._budget.with_contact(reads, contact, deadline)
        if (
            self.per_second
            and (count - 1) * SECOND / self.per_second > self._read_limit
            and node.id not in self._too_slow
        ):
            self._too_slow.add(node.id)
            budget = {"requests": count, "per_second": self.per_second}
            log.error("budget_too_small", network=self.facts.network, endpoint=node.name, **budget)
        pace, ahead = node.session.pace, None if refresh else AHEAD
        latest = latest_slot(deadline, pace, self.request_limit)
        return self._budget.reserve(node.id, count, latest, refresh=refresh, ahead=ahead, pace=pace)

    def read(
        self,
        accounts: Sequence[bytes],
        now: float,
        deadline: float,
        *,
        avoid: Collection[str] = (),
        refresh: bool = False,
    ) -> list[Part]:
        """The balances of `accounts`, in parts, each at one block: usually one part, more where a batch was split.

        Together the parts hold each account once; those that no node read have a failure. `now` is the database's
        time in unix seconds, `deadline` ends the read on the monotonic clock. The nodes in `avoid`, by their ids,
        are not asked, unless there is no other. Does I/O; raises nothing.
        """
        self._clock_behind = now - self.shared.clock()
        return self._read(accounts, now, deadline, avoid=avoid, refresh=refresh)

    def _read(
        self,
        accounts: Sequence[bytes],
        now: float,
        deadline: float,
        *,
        avoid: Collection[str] = (),
        refresh: bool,
        probe: bool = False,
    ) -> list[Part]:
        entries = self._entries()
        request = ReadRequest(
            accounts=accounts,
            expected=Expected(self.facts, now, _block(self.shared.proved("newest"))),
            started=monotonic(),
            deadline=deadline,
            request_limit=self.request_limit,
            budget=self._budget,
            refresh=refresh,
            alone=not self.several,
            probe=probe,
            any_time=probe and self._clock_behind is None,
            mark=self._mark(entries, now),
        )
        unread, parts = [range(len(accounts))] if accounts else [], list[Part]()
        failed = Failures()
        attempts: list[Attempt] = []
        trial = self._trial(max(deadline - monotonic(), 0))
        for node, trying in self._order.candidates(entries, avoid, trial) if unread else ():
            expected = replace(request.expected, skews=tuple(v for k, v in self._skews.items() if k != node.id))
            attempt = Attempt(node, replace(request, expected=expected), self.shared, entries, trial=trying)
            unread, failure = attempt.take(unread)
            self._keep_skew(attempt, failure)
            parts += attempt.parts
            attempts.append(attempt)
            failed.note(
                Part(range(0), None, failure, node.name, node.id),
                attempt.pieces.failing_alone,
                attempt.pieces.failure_alone,
            )
            if self.facts.decimals is None and attempt.parts:
                self.facts = replace(self.facts, decimals=attempt.decimals)
            request = replace(request, expected=replace(request.expected, facts=self.facts, newest=attempt.newest))
            if not unread:
                break
        self.give_back()
        trial.end(0.0 if parts else TRIAL_EVERY)
        self._judge_mark(attempts)
        return parts + failed.parts(unread, self._order.why_none(entries, trial.wait))

    def _trial(self, seconds: float) -> Trial:
        return Trial(self.shared.trial_lock(), seconds, self._read_limit)

    def _keep_skew(self, attempt: Attempt, failure: ReadFailed | None) -> None:
        """What a node's reply says of the database's clock. One that is in time says that it is right."""
        if attempt.parts:
            self._skews.clear()
        if failure and failure.skew:
            self._skews[attempt.node.id] = failure.skew
            if isinstance(failure, ClockSkewed):
                skew = {"seconds": round(failure.skew[0]), "detail": str(failure)}
                log.error("clock_skewed", network=self.facts.network, endpoint=attempt.node.name, **skew)

    def _mark(self, entries: Mapping[str, Any], now: float) -> Block | None:
        """The newest block by others' word, if the chain can have made it, and their word was not wrong lately."""
        mark = _block(entries.get("newest"))
        if mark is None or self.shared.clock() < self._no_mark_until or not can_be(mark, self.facts, now):
            return None
        return mark

    def _judge_mark(self, attempts: Sequence[Attempt]) -> None:
        """A mark that every node contradicts which gave a sound reply is not the chain's, but somebody's."""
        if any(attempt.contradicts for attempt in attempts) and not any(attempt.agrees for attempt in attempts):
            self.shared.forget("newest")
            self._no_mark_until = self.shared.clock() + NEWEST_HOLDS
            log.warning(
                "mark_doubted",
                network=self.facts.network,
                block=attempts[0].request.mark and attempts[0].request.mark.number,
            )

    def _entries(self) -> dict[str, Any]:
        return self.shared.get(["newest", *self._order.entry_names()])


def _block(entry: Any) -> Block | None:
    return Block(*entry) if entry else None
