"""Which of a network's nodes may be asked, in which order, and why none may be: by what the workers know of them.

In come the entries that the workers share; out go nodes, best first. While all of them rest, now and then one read of
one worker tries one of them: the way back is found so.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from worker.errors import KINDS, ReadFailed, Throttled, Unreachable
from worker.reading.backoff import Rest
from worker.reading.shared import Shared
from worker.reading.strategies import Node
from worker.reading.trial_lock import Trial

TRIAL_EVERY = 3.0  # seconds from a trial that failed to the next, over all workers
SELDOM = 30.0  # the same of a node that failed by what passes seldom: a setting, or a quota
DOUBT_AFTER = 60.0  # seconds for which others' word that no node may be asked is taken for true unheard

PASS_SELDOM = {Throttled.code, *(code for code, kind in KINDS.items() if kind.for_a_person)}

Entries = Mapping[str, Any]


@dataclass(slots=True)
class NodeOrder:
    """The nodes of one network in one process. `has_slots`: whether it has slots reserved in a node's budget."""

    nodes: Sequence[Node]
    shared: Shared
    has_slots: Callable[[str], bool]
    _silent_since: float | None = None

    def entry_names(self) -> list[str]:
        """The names of the entries that all of this goes by, and of what an attempt goes by."""
        of_nodes = [f"{what}:{node.id}" for node in self.nodes for what in ("rest", "way", "size", "refusals")]
        return [*of_nodes, *(f"key:{key.id}" for node in self.nodes for key in node.keys)]

    def all_rest(self, entries: Entries) -> bool:
        now = self.shared.clock()
        return all(self._rest_of(node, entries)[1].until > now for node in self.nodes)

    def first(self, entries: Entries) -> Node:
        """The node that is asked next."""
        now = self.shared.clock()
        awake = (node for node in self._in_order() if self._rest_of(node, entries)[1].until <= now)
        return next(awake, self.nodes[0])

    def candidates(self, entries: Entries, avoid: Collection[str], trial: Trial) -> Iterator[tuple[Node, bool]]:
        """The nodes that may be asked, best first, and for each whether that is a trial of one that rests.

        Only where all of them rest is one tried that did not say itself for how long it wants to be left alone; or that
        others say has said so, if nothing else was to be had for a minute: they may be wrong.
        """
        now = self.shared.clock()
        rests = [(node, *self._rest_of(node, entries)) for node in self._in_order()]
        others = any(node.id not in avoid for node in self.nodes)
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

    def why_none(self, entries: Entries, wait: float) -> ReadFailed:
        """Why no node may be asked, the best one's reason, and in how many seconds to see whether one may be.

        Every process says the same, trial after trial: the network's row is written when its reason changes.
        """
        now = self.shared.clock()
        rests = [self._rest_of(node, entries)[1] for node in self.nodes]
        # None rests when another read is just trying those that failed last time.
        waits = [rest for rest in rests if rest.until > now] or [rest for rest in rests if rest.strikes]
        codes = [rest.code for rest in rests if rest in waits or rest.strikes] or [Unreachable.code]
        kind = Throttled if Throttled.code in codes else KINDS.get(codes[0], Unreachable)
        soonest = min((rest.until for rest in waits), default=now)
        until_tried = min(wait, TRIAL_EVERY) if any(not rest.told for rest in rests) else inf
        return kind("every endpoint is being left alone", retry_after=min(max(soonest - now, 0), until_tried))

    def _is_time_for(self, node: Node, rest: Rest) -> bool:
        """Whether a node that rests may be tried: by what passes seldom it is tried seldom, over all workers."""
        lock = self.shared.trial_lock(f"trial:{node.id}")
        if rest.code not in PASS_SELDOM:
            return True
        if lock.acquire(SELDOM):
            return False
        lock.keep(SELDOM)
        return True

    def _in_order(self) -> list[Node]:
        """Best first. A read begins where slots were reserved for it: a better one had no room."""
        return sorted(self.nodes, key=lambda node: not self.has_slots(node.id))

    def _doubts(self) -> bool:
        now = self.shared.clock()
        if self._silent_since is None or now < self._silent_since:
            self._silent_since = now
        return now - self._silent_since >= DOUBT_AFTER

    def _rest_of(self, node: Node, entries: Entries) -> tuple[str, Rest]:
        """A node's rest and its entry's name: while all of its keys rest, those of the key back first."""
        now, name = self.shared.clock(), f"rest:{node.id}"
        own = Rest.from_entry(entries.get(name))
        if own.until > now or not node.keys:
            return name, own
        keys = [(f"key:{key.id}", Rest.from_entry(entries.get(f"key:{key.id}"))) for key in node.keys]
        first = min(keys, key=lambda each: each[1].until)
        return first if first[1].until > now else (name, own)
