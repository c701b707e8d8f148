"""With which of its API keys a node is asked: by turns, and not with those that it wants to be left alone with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import randrange
from typing import Any

from worker.reading.backoff import Rest, key_for
from worker.reading.strategies import ApiKey

_reads_begun = count(randrange(1024))  # noqa: S311  each process begins at another key, so that all are used evenly


@dataclass(slots=True)
class NodeKeys:
    """A node's keys in one attempt, and the one that it is asked with. `trial`: also if all of them rest."""

    keys: Sequence[ApiKey]
    entries: Mapping[str, Any]
    trial: bool = False
    current: ApiKey | None = None
    rests: dict[str, Rest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rests = {key.id: Rest.from_entry(self.entries.get(f"key:{key.id}")) for key in self.keys}

    def choose(self, now: float) -> bool:
        """Have another key as the current one. False: there is none that may be used."""
        first = self.current is None
        self.current = key_for(self.keys, self.rests, now, next(_reads_begun), trial=self.trial and first)
        return self.current is not None
