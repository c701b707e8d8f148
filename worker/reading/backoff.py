"""How long what failed is left alone, a node or one of its keys, and which key is next. Pure: time is an argument."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.errors import ReadFailed
from worker.reading.strategies import ApiKey

SHORTEST_REST = 1.0  # seconds, whatever the node itself said
LONGEST_REST = 300.0  # seconds, unless the node itself said more
LONGEST_REST_ALONE = 30.0  # where no other node could be asked instead


@dataclass(frozen=True, slots=True)
class Rest:
    """Until when a node or a key is left alone (unix seconds), how often in a row it failed, and with which code last.

    `told`: it said itself for how long.
    """

    until: float = 0.0
    strikes: int = 0
    code: str = ""
    told: bool = False

    @classmethod
    def from_entry(cls, entry: Any) -> "Rest":
        return cls(*entry) if entry else cls()

    def entry(self) -> list[Any]:
        return [self.until, self.strikes, self.code, self.told]


def key_for(
    keys: Sequence[ApiKey], rests: Mapping[str, Rest], now: float, attempt: int, *, trial: bool = False
) -> ApiKey | None:
    """The key for the `attempt`-th request: those that do not rest take turns. None where all of them rest.

    In a trial it is then the one whose rest ends first.
    """
    awake = [key for key in keys if rests.get(key.id, Rest()).until <= now]
    if awake:
        return awake[attempt % len(awake)]
    return min(keys, key=lambda key: rests[key.id].until) if keys and trial else None


def rest_after(failure: ReadFailed, before: Rest, now: float, *, alone: bool) -> Rest:
    """How long to leave alone what failed: as long as it said, or longer with each failure in a row.

    Where no other node could be asked instead (`alone`), it is tried again sooner.
    """
    if failure.retry_after:  # a zero is no rest at all, and each trial would be a whole batch
        return Rest(now + max(failure.retry_after, SHORTEST_REST), before.strikes + 1, failure.code, told=True)
    if not failure.rest_grows:
        return Rest(now + failure.rest, before.strikes, failure.code)
    growth, longest = (2, LONGEST_REST_ALONE) if alone else (4, LONGEST_REST)
    seconds = min(failure.rest * growth ** min(before.strikes, 16), longest)
    return Rest(now + seconds, before.strikes + 1, failure.code)
