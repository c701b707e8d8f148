"""A chain's endpoints, best first: one read through whichever of them answer truly."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, Self

import structlog

from config.settings import Network
from worker.chains.choice import Rest, to_ask
from worker.chains.known import NEWEST_HOLDS, Known
from worker.chains.snapshot import Block, Expected, can_be
from worker.chains.task import Part, Task
from worker.chains.turn import Turn
from worker.chains.ways import Node
from worker.errors import ClockSkewed, ReadFailed, Throttled, Unreachable

log = structlog.get_logger(__name__)

READ_REQUESTS = 3  # a read ends within so many times a request's limit (config.settings)
DOUBT_AFTER = 60.0  # seconds for which others' word that no endpoint may be asked is taken for true unheard

KINDS = {kind.code: kind for kind in ReadFailed.__subclasses__()}


@dataclass(slots=True)
class Trial:
    """One read's leave to ask endpoints of its network that failed last time, taken when it is first needed."""

    known: Known
    deadline: float
    longest: float
    """Seconds for which any read of the network has it at the most."""
    held: bool = False

    def ours(self) -> bool:
        self.held = self.held or self.known.take("trial", self.deadline - monotonic(), self.longest)
        return self.held

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.held:
            self.known.give_back("trial")


@dataclass(slots=True)
class EndpointReader:
    """Reads one chain. Not shared between threads; one process has one.

    `per_second` bounds the requests to each endpoint, over all workers, 0 does not; `max_age` the age of a block in
    seconds; a request ends within `request_limit` seconds.
    """

    network: Network
    chain_id: int
    token: bytes
    finality: str
    endpoints: Sequence[Node]
    known: Known
    request_limit: float
    max_age: float = 0
    per_second: int = 0
    _no_mark_until: float = 0.0
    _silent_since: float | None = None
    _skews: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Of endpoints whose blocks were not in time since one was: by how much, and which block."""

    @property
    def max_wallets(self) -> int:
        """How many wallets the endpoint takes in one request that is asked next."""
        entries = self.known.get(self._names())
        node = next(self._in_order(entries, ()), self.endpoints[0])
        best = next(iter(node.ways))
        most = node.ways.get((entries.get(f"way:{node.id}") or [best])[0], node.ways[best])
        return min(entries.get(f"size:{node.id}") or most, most)

    @property
    def several(self) -> bool:
        return len({node.id for node in self.endpoints}) > 1

    def may_read(self, deadline: float, *, refresh: bool = False) -> ReadFailed | None:  # noqa: ARG002
        """None: an endpoint may be asked. Otherwise why none may, and in how many seconds. Raises nothing."""
        entries = self.known.get(self._names())
        if next(self._in_order(entries, ()), None) or self._doubts():
            return None
        return self._resting(entries)

    def read(
        self,
        accounts: Sequence[bytes],
        now: float,
        deadline: float,
        *,
        avoid: Collection[str] = (),
        refresh: bool = False,  # noqa: ARG002
    ) -> list[Part]:
        """The balances of `accounts`, in parts, each at one block: usually one part, more where a batch was split.

        Together the parts hold each account once; those that no endpoint read have a failure. `now` is the database's
        time in unix seconds, `deadline` ends the read on the monotonic clock. The endpoints in `avoid`, by their ids,
        are not asked, unless there is no other. Does I/O; raises nothing.
        """
        entries = self.known.get(self._names())
        task = Task(
            network=self.network,
            token=self.token,
            accounts=accounts,
            expected=Expected(self.chain_id, now, self.max_age, _block(self.known.proved("newest"))),
            started=monotonic(),
            deadline=deadline,
            request_limit=self.request_limit,
            per_second=self.per_second,
            alone=not self.several,
            mark=self._mark(entries, now),
        )
        unread, parts = [range(len(accounts))] if accounts else [], []
        failure: ReadFailed | None = None
        turns: list[Turn] = []
        with Trial(self.known, deadline, self.request_limit * READ_REQUESTS) as trial:
            for node, believed in self._to_ask(entries, avoid, trial):
                if not unread:
                    break
                expected = replace(task.expected, skews=tuple(v for k, v in self._skews.items() if k != node.id))
                turn = Turn(node, replace(task, expected=expected), self.known, believed)
                unread, failed = turn.take(unread)
                self._keep_skew(turn, failed)
                parts += turn.parts
                turns.append(turn)
                self._judge_rests(turn, entries, believed)
                failure = failed or failure
                task = replace(task, expected=replace(task.expected, newest=turn.newest))
        self._judge_mark(turns)
        failure = failure or self._resting(entries)
        return parts + [Part(piece, failure=failure) for piece in unread]

    def _keep_skew(self, turn: Turn, failure: ReadFailed | None) -> None:
        """What an endpoint's reply says of the database's clock. One that is in time says that it is right."""
        if turn.parts:
            self._skews.clear()
        if failure and failure.skew:
            self._skews[turn.node.id] = failure.skew
            if isinstance(failure, ClockSkewed):
                log.error(
                    "clock_skewed",
                    network=self.network,
                    endpoint=turn.node.name,
                    seconds=round(failure.skew[0]),
                    detail=str(failure),
                )

    def _mark(self, entries: Mapping[str, Any], now: float) -> Block | None:
        """The newest block by others' word, if the chain can have made it, and their word was not wrong lately."""
        mark = _block(entries.get("newest"))
        if mark is None or self.known.clock() < self._no_mark_until or not can_be(mark, self.chain_id, now):
            return None
        return mark

    def _judge_mark(self, turns: Sequence[Turn]) -> None:
        """A mark that every endpoint contradicts which gave a sound reply is not the chain's, but somebody's."""
        if any(turn.contradicts for turn in turns) and not any(turn.agrees for turn in turns):
            self.known.forget("newest")
            self._no_mark_until = self.known.clock() + NEWEST_HOLDS
            log.warning("mark_doubted", network=self.network, block=turns[0].task.mark and turns[0].task.mark.number)

    def _to_ask(
        self, entries: Mapping[str, Any], avoid: Collection[str], trial: Trial
    ) -> Iterator[tuple[Node, Mapping[str, Any]]]:
        """The endpoints that this read may ask, best first, with what is believed of them.

        Where others' word alone has left none to ask for a minute, those are asked that this process did not see
        failing itself.
        """
        asked = False
        for node in self._in_order(entries, avoid):
            if self._may_ask(node, entries, trial):
                asked, self._silent_since = True, None
                yield node, entries
        if asked or not self._doubts():
            return
        believed = {name: value for name, value in entries.items() if not _is_rest(name) or self.known.proved(name)}
        for node in self._in_order(believed, avoid):
            if not Rest.from_entry(believed.get(f"rest:{node.id}")).strikes:
                yield node, believed

    def _doubts(self) -> bool:
        now = self.known.clock()
        self._silent_since = now if self._silent_since is None else self._silent_since
        return now - self._silent_since >= DOUBT_AFTER

    def _judge_rests(self, turn: Turn, entries: Mapping[str, Any], believed: Mapping[str, Any]) -> None:
        """What came of asking an endpoint that rests by others' word: it does not, or they are believed once more."""
        if believed is entries:
            return
        if not turn.parts:
            self._silent_since = self.known.clock()
            return
        log.warning("rests_doubted", network=self.network, endpoint=turn.node.name)
        for name in (f"rest:{turn.node.id}", *(f"key:{key.id}" for key in turn.node.keys)):
            if name in entries and name not in believed:
                self.known.forget(name)

    def _may_ask(self, node: Node, entries: Mapping[str, Any], trial: Trial) -> bool:
        """Whether this read may ask an endpoint. One that failed last time is tried by one read at a time: should it
        hang, it holds up one process and not all of them (docs/decisions/0009-a-network-that-hangs.md).
        """
        return not Rest.from_entry(entries.get(f"rest:{node.id}")).strikes or trial.ours()

    def _names(self) -> list[str]:
        of_nodes = [f"{what}:{node.id}" for node in self.endpoints for what in ("rest", "way", "size")]
        return ["newest", *of_nodes, *(f"key:{key.id}" for node in self.endpoints for key in node.keys)]

    def _in_order(self, entries: Mapping[str, Any], avoid: Collection[str]) -> Iterator[Node]:
        rests, keys = self._rests(entries)
        others = any(node.id not in avoid for node in self.endpoints)
        for at in to_ask(rests, keys, self.known.clock()):
            if not others or self.endpoints[at].id not in avoid:
                yield self.endpoints[at]

    def _rests(self, entries: Mapping[str, Any]) -> tuple[list[Rest], list[list[Rest]]]:
        rests = [Rest.from_entry(entries.get(f"rest:{node.id}")) for node in self.endpoints]
        keys = [[Rest.from_entry(entries.get(f"key:{key.id}")) for key in node.keys] for node in self.endpoints]
        return rests, keys

    def _resting(self, entries: Mapping[str, Any]) -> ReadFailed:
        """Why no endpoint may be asked, and in how many seconds one may be."""
        rests, keys = self._rests(entries)
        now = self.known.clock()
        every = [*rests, *(rest for of_keys in keys for rest in of_keys)]
        # None rests when another read is just trying those that failed last time.
        waits = [rest for rest in every if rest.until > now] or [rest for rest in every if rest.strikes]
        codes = {rest.code for rest in waits}
        soonest = min(waits, key=lambda rest: rest.until, default=Rest(now, 0, Unreachable.code))
        kind = Throttled if Throttled.code in codes else KINDS.get(soonest.code, Unreachable)
        return kind("every endpoint is being left alone", retry_after=max(soonest.until - now, 0))


def _block(entry: Any) -> Block | None:
    return Block(*entry) if entry else None


def _is_rest(name: str) -> bool:
    return name.startswith(("rest:", "key:"))
