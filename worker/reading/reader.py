"""A chain's endpoints, best first: one read through whichever of them answer truly."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from secrets import token_bytes
from time import monotonic
from typing import Any

import structlog

from config.networks import NetworkName
from worker.errors import ClockSkewed, OverBudget, ReadFailed, Throttled, Unreachable
from worker.reading.attempt import Attempt
from worker.reading.backoff import Rest
from worker.reading.budget import AHEAD, SECOND, Budget, latest_slot
from worker.reading.contract import ACCOUNT_BYTES, Block, Expected, can_be
from worker.reading.request import Failures, Part, ReadRequest
from worker.reading.shared import Shared
from worker.reading.shared_entries import NEWEST_HOLDS
from worker.reading.strategies import Node, requests_of
from worker.reading.strategy_choice import size_of, strategy_of
from worker.reading.trial_lock import Trial

log = structlog.get_logger(__name__)

READ_REQUESTS = 2.5  # a read ends within so many times a request's limit (config.settings)
TRIAL_EVERY = 3.0  # seconds from a trial that failed to the next, over all workers
SELDOM = 30.0  # the same of an endpoint that failed by what passes seldom: a setting, or a quota
HELD_FOR_A_READ = 5.0  # seconds in which a read must follow that may_read has said yes to
DOUBT_AFTER = 60.0  # seconds for which others' word that no endpoint may be asked is taken for true unheard

KINDS = {kind.code: kind for kind in ReadFailed.__subclasses__()}
PASS_SELDOM = {Throttled.code, *(code for code, kind in KINDS.items() if kind.for_a_person)}


@dataclass(slots=True)
class NodeReader:
    """Reads one chain. Not shared between threads; one process has one.

    `per_second` bounds the requests to each endpoint, over all workers, 0 does not; `max_age` the age of a block in
    seconds; a request ends within `request_limit` seconds.
    """

    network: NetworkName
    chain_id: int
    token: bytes
    finality: str
    endpoints: Sequence[Node]
    shared: Shared
    request_limit: float
    max_age: float = 0
    per_second: float = 0
    _budget: Budget = field(init=False)
    _no_mark_until: float = 0.0
    _silent_since: float | None = None
    _too_slow: set[str] = field(default_factory=set)
    """Endpoints for a read of which the budget can never have room: told of."""
    _skews: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Of endpoints whose blocks were not in time since one was: by how much, and which block."""
    _clock_behind: float | None = None
    """Seconds from this machine's clock to the database's, by the last read; None: there was none yet."""

    def __post_init__(self) -> None:
        self._budget = Budget(self.shared, self.per_second, self._read_limit)

    @property
    def _read_limit(self) -> float:
        return self.request_limit * READ_REQUESTS

    @property
    def max_wallets(self) -> int:
        """How many wallets the endpoint takes in one request that is asked next."""
        entries, now = self._entries(), self.shared.clock()
        awake = (node for node in self._in_order() if self._rest_of(node, entries)[1].until <= now)
        node = next(awake, self.endpoints[0])
        return size_of(node, strategy_of(node, entries, now), entries, self._budget)

    @property
    def several(self) -> bool:
        return len({node.id for node in self.endpoints}) > 1

    def may_read(self, deadline: float, *, refresh: bool = False, wallets: int | None = None) -> ReadFailed | None:
        """None: an endpoint may be asked, and its budget has room: slots are reserved for so many wallets, or a batch.

        Otherwise why not, and in how many seconds to ask again. With every endpoint at rest this is where the way back
        is found: now and then one process asks an endpoint for the balance of nobody. Raises nothing.
        """
        entries = self._entries()
        if all(self._rest_of(node, entries)[1].until > self.shared.clock() for node in self.endpoints):
            nobody, now = [token_bytes(ACCOUNT_BYTES)], self.shared.clock() + (self._clock_behind or 0.0)
            (part,) = self._read(nobody, now, deadline, refresh=refresh, probe=True)
            entries = self._entries()
            if isinstance(part.failure, OverBudget | ClockSkewed):
                return part.failure
            if part.failure:  # said as by those who did not try
                return self._resting(entries, TRIAL_EVERY)
        trial, waits = self._trial(HELD_FOR_A_READ), list[float]()
        for node, _ in self._candidates(entries, (), trial):
            seconds = self._reserve(node, entries, deadline, wallets, refresh=refresh)
            if not seconds:
                return None
            waits.append(seconds)
        trial.end(0.0)
        if waits:
            return OverBudget(f"{self.per_second:g} requests a second are used up", retry_after=min(waits))
        return self._resting(entries, trial.wait)

    def give_back(self) -> None:
        """Let others have the slots that no read will use."""
        for node in self.endpoints:
            self._budget.give_back(node.id)

    def _reserve(
        self, node: Node, entries: Mapping[str, Any], deadline: float, wallets: int | None, *, refresh: bool
    ) -> float:
        """0.0: the slots are had that a read takes at this endpoint. Otherwise when to ask again, in seconds."""
        strategy = strategy_of(node, entries, self.shared.clock())
        size = size_of(node, strategy, entries, self._budget)
        count = requests_of(strategy, size if wallets is None else min(wallets, size))
        count += self.shared.proved(f"supply:{node.id}") is None
        if (
            self.per_second
            and (count - 1) * SECOND / self.per_second > self._read_limit
            and node.id not in self._too_slow
        ):
            self._too_slow.add(node.id)
            told = {"endpoint": node.name, "requests": count, "per_second": self.per_second}
            log.error("budget_too_small", network=self.network, **told)
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

        Together the parts hold each account once; those that no endpoint read have a failure. `now` is the database's
        time in unix seconds, `deadline` ends the read on the monotonic clock. The endpoints in `avoid`, by their ids,
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
            network=self.network,
            token=self.token,
            accounts=accounts,
            expected=Expected(self.chain_id, now, self.max_age, _block(self.shared.proved("newest"))),
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
        for node, trying in self._candidates(entries, avoid, trial) if unread else ():
            expected = replace(request.expected, skews=tuple(v for k, v in self._skews.items() if k != node.id))
            attempt = Attempt(node, replace(request, expected=expected), self.shared, entries, trial=trying)
            unread, failure = attempt.take(unread)
            self._keep_skew(attempt, failure)
            parts += attempt.parts
            attempts.append(attempt)
            failed.note(Part(range(0), None, failure, node.name, node.id), attempt.lone, attempt.lone_failure)
            request = replace(request, expected=replace(request.expected, newest=attempt.newest))
            if not unread:
                break
        self.give_back()
        trial.end(0.0 if parts else TRIAL_EVERY)
        self._judge_mark(attempts)
        return parts + failed.parts(unread, self._resting(entries, trial.wait))

    def _trial(self, seconds: float) -> Trial:
        return Trial(self.shared.trial_lock(), seconds, self._read_limit)

    def _keep_skew(self, attempt: Attempt, failure: ReadFailed | None) -> None:
        """What an endpoint's reply says of the database's clock. One that is in time says that it is right."""
        if attempt.parts:
            self._skews.clear()
        if failure and failure.skew:
            self._skews[attempt.node.id] = failure.skew
            if isinstance(failure, ClockSkewed):
                told = {"endpoint": attempt.node.name, "seconds": round(failure.skew[0]), "detail": str(failure)}
                log.error("clock_skewed", network=self.network, **told)

    def _mark(self, entries: Mapping[str, Any], now: float) -> Block | None:
        """The newest block by others' word, if the chain can have made it, and their word was not wrong lately."""
        mark = _block(entries.get("newest"))
        if mark is None or self.shared.clock() < self._no_mark_until or not can_be(mark, self.chain_id, now):
            return None
        return mark

    def _judge_mark(self, attempts: Sequence[Attempt]) -> None:
        """A mark that every endpoint contradicts which gave a sound reply is not the chain's, but somebody's."""
        if any(attempt.contradicts for attempt in attempts) and not any(attempt.agrees for attempt in attempts):
            self.shared.forget("newest")
            self._no_mark_until = self.shared.clock() + NEWEST_HOLDS
            log.warning(
                "mark_doubted", network=self.network, block=attempts[0].request.mark and attempts[0].request.mark.number
            )

    def _candidates(
        self, entries: Mapping[str, Any], avoid: Collection[str], trial: Trial
    ) -> Iterator[tuple[Node, bool]]:
        """The endpoints that may be asked, best first, and for each whether that is a trial of one that rests.

        Only where all of them rest is one tried that did not say itself for how long it wants to be left alone; or that
        others say has said so, if nothing else was to be had for a minute: they may be wrong.
        """
        now = self.shared.clock()
        rests = [(node, *self._rest_of(node, entries)) for node in self._in_order()]
        others = any(node.id not in avoid for node in self.endpoints)
        allowed = [each for each in rests if not others or each[0].id not in avoid]
        if any(rest.until <= now for _, _, rest in rests):
            self._silent_since = None
            yield from (
                (node, False) for node, _, rest in allowed if rest.until <= now and (not rest.strikes or trial.ours())
            )
            return
        for node, name, rest in sorted(allowed, key=lambda each: each[2].until):
            hearsay = rest.told and self.shared.proved(name) != entries[name] and self._doubts()
            if (not rest.told or hearsay) and trial.ours() and (hearsay or self._is_time_for(node, rest)):
                yield node, True

    def _is_time_for(self, node: Node, rest: Rest) -> bool:
        """Whether an endpoint that rests may be tried: by what passes seldom it is tried seldom, over all workers."""
        if rest.code not in PASS_SELDOM:
            return True
        lock = self.shared.trial_lock(f"trial:{node.id}")
        if lock.acquire(SELDOM):
            return False
        lock.keep(SELDOM)
        return True

    def _in_order(self) -> list[Node]:
        """Best first. A read begins where slots were reserved for it: a better one had no room."""
        return sorted(self.endpoints, key=lambda node: not self._budget.holds(node.id))

    def _doubts(self) -> bool:
        now = self.shared.clock()
        if self._silent_since is None or now < self._silent_since:
            self._silent_since = now
        return now - self._silent_since >= DOUBT_AFTER

    def _entries(self) -> dict[str, Any]:
        of_nodes = [f"{what}:{node.id}" for node in self.endpoints for what in ("rest", "way", "size", "refusals")]
        return self.shared.get(
            ["newest", *of_nodes, *(f"key:{key.id}" for node in self.endpoints for key in node.keys)]
        )

    def _rest_of(self, node: Node, entries: Mapping[str, Any]) -> tuple[str, Rest]:
        """An endpoint's rest and its entry's name: while all of its keys rest, those of the key back first."""
        now, name = self.shared.clock(), f"rest:{node.id}"
        own = Rest.from_entry(entries.get(name))
        if own.until > now or not node.keys:
            return name, own
        keys = [(f"key:{key.id}", Rest.from_entry(entries.get(f"key:{key.id}"))) for key in node.keys]
        first = min(keys, key=lambda each: each[1].until)
        return first if first[1].until > now else (name, own)

    def _resting(self, entries: Mapping[str, Any], wait: float) -> ReadFailed:
        """Why no endpoint may be asked, the best one's reason, and in how many seconds to see whether one may be.

        Every process says the same, trial after trial: what the network's row tells is written when that changes.
        """
        now = self.shared.clock()
        rests = [self._rest_of(node, entries)[1] for node in self.endpoints]
        # None rests when another read is just trying those that failed last time.
        waits = [rest for rest in rests if rest.until > now] or [rest for rest in rests if rest.strikes]
        codes = [rest.code for rest in rests if rest in waits or rest.strikes] or [Unreachable.code]
        kind = Throttled if Throttled.code in codes else KINDS.get(codes[0], Unreachable)
        soonest = min((rest.until for rest in waits), default=now)
        until_tried = min(wait, TRIAL_EVERY) if any(not rest.told for rest in rests) else inf
        return kind("every endpoint is being left alone", retry_after=min(max(soonest - now, 0), until_tried))


def _block(entry: Any) -> Block | None:
    return Block(*entry) if entry else None
