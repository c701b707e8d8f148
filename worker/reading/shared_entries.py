"""What the workers share of nodes: which form each entry has, and for how long it holds at the most. Pure.

What lies in Redis is treated as a stranger's, for it may be: it counts only if it has a form that workers put.
"""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from worker.errors import LONGEST_WAIT_TOLD, REST_CODES
from worker.reading.contract import FUTURE_TOLERANCE

# Seconds for which each kind of entry holds.
STRATEGY_HOLDS = 3600.0
SIZE_HOLDS = 3600.0
CONTACT_HOLDS = 3600.0
STRIKES_HOLD = 600.0  # beyond the rest
NEWEST_HOLDS = 600.0

CLOCKS_DIFFER = 10.0  # seconds by which two machines' clocks may be apart

Number = Annotated[int, msgspec.Meta(ge=0)]
Moment = Annotated[float, msgspec.Meta(ge=0)]  # unix seconds


class _Block(NamedTuple):
    number: Number
    time: Number


class _Rest(NamedTuple):
    until: Moment
    strikes: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
    code: str
    told: bool = False


class _Strategy(NamedTuple):
    strategy: str
    reason: str
    doubted_from: float = 0.0


class _Way(NamedTuple):
    way: str
    reason: str
    doubted_from: Moment


class _Refusals(NamedTuple):
    strategy: str
    said: str
    times: Number
    since: Moment


class _Form(NamedTuple):
    """`holds`: for how many seconds an entry does at the most. `moment`: the field that is a time, which lies in the
    future by `ahead` seconds at the most.
    """

    type: Any
    holds: float
    moment: str = ""
    ahead: float = 0.0


_RESTS = _Form(_Rest, LONGEST_WAIT_TOLD + STRIKES_HOLD, "until", LONGEST_WAIT_TOLD + CLOCKS_DIFFER)
FORMS: Mapping[str, _Form] = {
    "newest": _Form(_Block, NEWEST_HOLDS, "time", FUTURE_TOLERANCE),
    "rest": _RESTS,
    "key": _RESTS,
    "feed": _RESTS,  # what the feed leaves a node alone for, and reads do not
    "follow": _Form(_Way, STRATEGY_HOLDS, "doubted_from", STRATEGY_HOLDS + CLOCKS_DIFFER),
    "way": _Form(_Strategy | None, STRATEGY_HOLDS),
    "refusals": _Form(_Refusals, STRIKES_HOLD, "since", CLOCKS_DIFFER),
    "size": _Form(Annotated[int, msgspec.Meta(gt=0)], SIZE_HOLDS),
}
"""What an entry is, by its name's first part: whoever reads one need not look again."""


def entry(name: str, raw: bytes, now: float) -> tuple[Any, float] | None:
    """A value and until when it holds. None: it is not an entry of ours, and is passed over until one of ours comes."""
    try:
        value, until = msgspec.json.decode(raw, type=tuple[Any, float])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return (value, until) if is_ours(name, value, until, now) else None


def is_ours(name: str, value: Any, until: float, now: float) -> bool:
    """Whether it can be an entry of ours that was put by now: not if the clock was set back since, for instance."""
    form = FORMS.get(name.partition(":")[0])
    if form is None or not until <= now + form.holds + CLOCKS_DIFFER:
        return False
    try:
        found = msgspec.convert(value, form.type)
    except msgspec.ValidationError:
        return False
    if isinstance(found, _Rest) and found.code not in REST_CODES:
        return False
    return not form.moment or getattr(found, form.moment) <= now + form.ahead
