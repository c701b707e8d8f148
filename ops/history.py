"""The ages of the balances over the last hours, as the page draws them. Pure, and bounded.

In come pictures, one after each pass; out go points, one a minute at the most. Kept in memory alone: whoever wants days
has Prometheus. A minute that nobody looked at has no point, so that a gap is seen as one.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from config.networks import NetworkName
from ops.picture import Picture

STEP = 60.0  # seconds between two points
HOURS = 6
MOST_POINTS = int(HOURS * 3600 / STEP)


class Point(NamedTuple):
    """A network at one moment. Ages in seconds."""

    at: float
    p50: float
    p95: float
    oldest: float


class History:
    """The points of each network, oldest first."""

    def __init__(self) -> None:
        self.since: float | None = None
        """When the first picture was added: what was before is not known."""
        self._points: dict[NetworkName, deque[Point]] = {}

    def add(self, picture: Picture) -> None:
        """Note what a pass found, unless the minute has a point already. A network without ages gets no point."""
        self.since = picture.at if self.since is None else self.since
        for network in picture.networks:
            points = self._points.setdefault(network.name, deque(maxlen=MOST_POINTS))
            if (
                network.wallets
                and network.wallets.ages
                and not (points and _minute(points[-1].at) == _minute(picture.at))
            ):
                p50, p95, _, oldest = network.wallets.ages
                points.append(Point(picture.at, p50, p95, oldest))

    def of(self, network: NetworkName, now: float) -> Sequence[Point]:
        """The points of the last hours."""
        # A copy, made at once: the thread of the passes may add to it meanwhile.
        return [point for point in list(self._points.get(network, ())) if now - HOURS * 3600 <= point.at <= now]


def _minute(at: float) -> int:
    return int(at // STEP)
