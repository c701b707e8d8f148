"""What lies in Redis of endpoints: of which form an entry of ours is, and for how long it holds at the most. Pure.

What lies there is looked at as a stranger's, for it may be: it counts only if it is of a form that workers put.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from worker.errors import LONGEST_WAIT_TOLD, REST_CODES
from worker.reading.contract import FUTURE_TOLERANCE

# Seconds for which each kind of entry holds.
WAY_HOLDS = 3600.0
SIZE_HOLDS = 3600.0
SUPPLY_HOLDS = 3600.0
STRIKES_HOLD = 600.0  # beyond the rest
NEWEST_HOLDS = 600.0

LONGEST: Mapping[str, float] = {
    "newest": NEWEST_HOLDS,
    "rest": LONGEST_WAIT_TOLD + STRIKES_HOLD,
    "key": LONGEST_WAIT_TOLD + STRIKES_HOLD,
    "way": WAY_HOLDS,
    "refusals": STRIKES_HOLD,
    "size": SIZE_HOLDS,
}
CLOCKS_DIFFER = 10.0  # seconds by which two machines' clocks may be apart
MOST_STRIKES = 1_000_000


def entry(name: str, raw: Any, now: float) -> tuple[Any, float] | None:
    """A value and until when it holds. None: it is not an entry of ours, and is passed over until one of ours comes."""
    try:
        value, until = json.loads(raw)
        return (value, float(until)) if is_ours(name, value, float(until), now) else None
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def is_ours(name: str, value: Any, until: float, now: float) -> bool:
    """Whether it can be an entry of ours that was put by now: not if the clock was set back since, for instance."""
    kind = name.partition(":")[0]
    return kind in SHAPES and SHAPES[kind](value, now) and until <= now + LONGEST[kind] + CLOCKS_DIFFER


def _number(value: Any) -> bool:
    return type(value) is int and value >= 0


def _size(value: Any, _now: float) -> bool:
    return _number(value) and value > 0


def _block(value: Any, now: float) -> bool:
    match value:
        case [number, time]:
            return _number(number) and _number(time) and time <= now + FUTURE_TOLERANCE
    return False


def _rest(value: Any, now: float) -> bool:
    match value:
        case [int() | float() as until, strikes, str() as code] | [
            int() | float() as until,
            strikes,
            str() as code,
            bool(),
        ]:
            soon = 0 <= until <= now + LONGEST_WAIT_TOLD + CLOCKS_DIFFER
            return soon and _number(strikes) and strikes <= MOST_STRIKES and code in REST_CODES
    return False


def _way(value: Any, _now: float) -> bool:
    match value:
        case None | [str(), str()] | [str(), str(), int() | float()]:
            return True
    return False


def _refusals(value: Any, now: float) -> bool:
    match value:
        case [str(), str(), times, int() | float() as since]:
            return _number(times) and 0 <= since <= now + CLOCKS_DIFFER
    return False


SHAPES: Mapping[str, Callable[[Any, float], bool]] = {
    "newest": _block,
    "rest": _rest,
    "key": _rest,
    "way": _way,
    "refusals": _refusals,
    "size": _size,
}
"""What an entry is, by its name's first part: whoever reads one need not look again."""
