"""The small chart of a network's ages, as numbers that a template puts into an SVG. Pure.

Ages are drawn on a logarithmic scale, so that seconds and days are legible side by side. Where nobody looked for some
minutes the lines have a gap: nothing is drawn that is not known.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import Final

from ops.history import HOURS, STEP, Point
from worker.wording import in_words

WIDTH: Final = 720.0
HEIGHT: Final = 120.0
"""Of the drawing, in its own units; the page stretches it to the width that there is."""

MARKS: Final = (
    1,
    10,
    30,
    60,
    300,
    900,
    3600,
    4 * 3600,
    12 * 3600,
    86_400,
    3 * 86_400,
    7 * 86_400,
    30 * 86_400,
    365 * 86_400,
)
"""Ages in seconds at which the scale may begin, end, and have a line."""
SPANS: Final = (1800, 3600, 2 * 3600, HOURS * 3600)
"""Seconds that the chart may show."""
MOST_LINES: Final = 4


@dataclass(frozen=True, slots=True)
class Mark:
    """A line of the scale: how far down it is, and the age that it stands for."""

    y: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Paths in the drawing's units."""

    p50: str
    p95: str
    oldest: str
    band: str
    """Between p50 and p95."""
    marks: Sequence[Mark]
    span: str
    """How far back it goes, in words."""
    sentence: str
    """What is seen, for whoever does not see it."""


def chart(points: Sequence[Point], now: float, *, interval: float) -> Chart | None:
    """The chart of these points, oldest first. None: there is nothing to draw. `interval`: seconds between passes."""
    if not points:
        return None
    span = next((each for each in SPANS if now - points[0].at <= each), SPANS[-1])
    lowest = max((mark for mark in MARKS if mark <= min(point.p50 for point in points)), default=MARKS[0])
    above = [mark for mark in MARKS if mark >= max(point.oldest for point in points) and mark > lowest]
    highest = above[0] if above else max(point.oldest for point in points)

    def x(point: Point) -> float:
        return WIDTH * (1 - (now - point.at) / span)

    def y(age: float) -> float:
        return HEIGHT * (1 - log(min(max(age, lowest), highest) / lowest) / log(highest / lowest))

    pieces = list(_pieces([point for point in points if point.at >= now - span], max(2.5 * STEP, 2.5 * interval)))
    there = [[(x(point), y(point.p95)) for point in piece] for piece in pieces]
    p50 = _lines([[(x(point), y(point.p50)) for point in piece] for piece in pieces])
    p95 = _lines(there)
    oldest = _lines([[(x(point), y(point.oldest)) for point in piece] for piece in pieces])
    back = [[(x(point), y(point.p50)) for point in reversed(piece)] for piece in pieces]
    band = "".join(f"M{_pairs([*up, *down])}Z" for up, down in zip(there, back, strict=True))
    marks = [Mark(round(y(mark), 1), in_words(mark)) for mark in _lines_of_the_scale(lowest, highest)]
    return Chart(p50, p95, oldest, band, marks, in_words(span), _told(points, now))


def _pieces(points: Sequence[Point], longest: float) -> Iterator[list[Point]]:
    """Points that follow each other without a gap."""
    piece: list[Point] = []
    for point in points:
        if piece and point.at - piece[-1].at > longest:
            yield piece
            piece = []
        piece.append(point)
    if piece:
        yield piece


def _lines(pieces: Sequence[Sequence[tuple[float, float]]]) -> str:
    """A path through each piece. A point that is alone is a dot: a line of no length, which has round ends."""
    return "".join(f"M{_pairs(piece)}" + ("h0" if len(piece) == 1 else "") for piece in pieces)


def _pairs(places: Iterable[tuple[float, float]]) -> str:
    return "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _lines_of_the_scale(lowest: float, highest: float) -> Sequence[float]:
    """A few of the marks between the ends, the highest among them."""
    between = [mark for mark in MARKS if lowest < mark <= highest]
    return between[:: -max(1, -(-len(between) // MOST_LINES))]


def _told(points: Sequence[Point], now: float) -> str:
    last, since = points[-1], in_words(max(now - points[0].at, 0))
    low, high = min(point.p95 for point in points), max(point.p95 for point in points)
    return (
        f"Ages of the balances over the last {since}. 95% of them were younger than {in_words(low)} at the best and"
        f" {in_words(high)} at the worst; now {in_words(last.p95)}, half of them {in_words(last.p50)},"
        f" the oldest {in_words(last.oldest)}."
    )
