"""What requests that asked for a refresh were given, as ``/metrics`` counts it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

from prometheus_client import Counter

from api.database import UNAVAILABLE

Outcome = Literal["fresh", "cooled_down", "limited", "late", "unavailable"]
"""Fresh: read in time. Cooled down: read lately, so not read again. Limited: beyond the day's bound, so the cache
answered. Late: the deadline passed before the read. Unavailable: it could not even be asked for.
"""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

_ASKED = "Requests that asked for a refresh, by what they were given."
_REFRESHES = Counter("balance_sync_refreshes", _ASKED, ["outcome"])
_COUNTED = {outcome: _REFRESHES.labels(outcome) for outcome in OUTCOMES}


@dataclass(slots=True)
class Refresh:
    """One request that asks for a refresh."""

    outcome: Outcome = "unavailable"


@contextmanager
def count_outcome(*, counts: bool) -> Iterator[Refresh]:
    """Count what becomes of a request in the block; not one whose client goes away, which is cancelled."""
    told, given_up = Refresh(), False
    try:
        yield told
    except UNAVAILABLE:
        told.outcome = "unavailable"
        raise
    except BaseException:
        given_up = True
        raise
    finally:
        if counts and not given_up:
            _COUNTED[told.outcome].inc()
