"""In which way a node tells the events of a block: what the workers have learnt of it, and what is learnt anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.errors import ReadFailed, Refused, TooMuch, Unsupported
from worker.reading.shared import Shared
from worker.reading.shared_entries import STRATEGY_HOLDS
from worker.reading.strategy_choice import BETTER_AFTER

NONE = "none"
"""The way of a node that cannot be followed."""


def entry_name(node_id: str) -> str:
    """The name of the entry that the workers share of a node: its way, why not a better one, and until when."""
    return f"follow:{node_id}"


def cannot_follow(node_id: str, shared: Shared) -> str | None:
    """Why a node cannot be followed, as far as this process has seen for itself lately; None: it may be asked."""
    seen = shared.proved(entry_name(node_id))
    return seen[1] if seen and seen[0] == NONE and shared.clock() < seen[2] else None


@dataclass(slots=True)
class WayChoice:
    """The ways that are left to try with one node for one block, the first of which is tried next."""

    node_id: str
    ways: Sequence[str]
    shared: Shared
    entries: Mapping[str, Any]
    _left: list[str] = field(default_factory=list)
    _proven: bool = False
    _failures: list[ReadFailed] = field(default_factory=list)

    def __post_init__(self) -> None:
        remembered = self._remembered
        self._left = list(self.ways)
        if remembered and remembered[0] in self.ways and not self._is_doubted(remembered):
            # What others say works is tried first. Only what worked in this process is taken for all that works.
            self._proven = self.shared.proved(entry_name(self.node_id)) == remembered
            others = [way for way in self.ways if way != remembered[0]]
            self._left = [remembered[0], *([] if self._proven else others)]

    @property
    def way(self) -> str:
        return self._left[0]

    @property
    def reason(self) -> str:
        """Why it is not a better one; empty: there is none, or nothing is known."""
        return f"{self._failures[0].code}: {self._failures[0]}" if self._failures else ""

    @property
    def _remembered(self) -> Sequence[Any] | None:
        return self.entries.get(entry_name(self.node_id))

    def _is_doubted(self, entry: Sequence[Any]) -> bool:
        return bool(entry[0] != self.ways[0] and self.shared.clock() >= entry[2])

    def next_after(self, failure: ReadFailed) -> bool:
        """Whether to go on in another way: what has worked here is left for nothing but that it is not supported."""
        if not isinstance(failure, Unsupported | Refused | TooMuch):
            return False
        if self._proven:
            if not isinstance(failure, Unsupported):
                return False
            self._proven = False
            self._left += [way for way in self.ways if way != self.way]
        self._failures.append(failure)
        self._left.pop(0)
        return bool(self._left)

    def give_up(self, failure: ReadFailed) -> None:
        """Keep for a while that the node cannot be followed."""
        reason, until = self.reason or f"{failure.code}: {failure}", self.shared.clock() + BETTER_AFTER
        self.shared.put(entry_name(self.node_id), [NONE, reason, until], STRATEGY_HOLDS)

    def worked(self) -> None:
        """Keep the way that has just worked. What is not the best one is doubted within minutes."""
        remembered = self._remembered
        if remembered and remembered[0] == self.way and not self._is_doubted(remembered):
            self.shared.prove(entry_name(self.node_id), remembered, STRATEGY_HOLDS)
            return
        until = 0.0 if self.way == self.ways[0] else self.shared.clock() + BETTER_AFTER
        self.shared.put(entry_name(self.node_id), [self.way, self.reason, until], STRATEGY_HOLDS)
