"""Durations, numbers and strangers' words as a person writes and reads them. Pure."""

import re
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from pathlib import PurePath
from traceback import extract_tb

from config.redaction import mask_for

UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
PATTERN = re.compile("".join(rf"(?:(?P<{unit}>[0-9]{{1,9}}){unit})?" for unit in UNITS), re.ASCII)
LONGEST = timedelta(days=36_500)
MAX_DETAIL = 160  # characters of a node's own words that are kept


def parsed(text: str) -> timedelta:
    """A duration such as 90s, 10m, 2h, 1d or 1h30m. Raises ValueError with a sentence that says how it is written."""
    found = PATTERN.fullmatch(text.strip().lower())
    if not found or not found.group():
        raise ValueError(f"{text!r:.40} is not a duration: write numbers with their units, as 90s, 10m, 2h, 1d, 1h30m.")
    seconds = sum(int(number or 0) * UNITS[unit] for unit, number in found.groupdict().items())
    if not 0 < seconds <= LONGEST.total_seconds():
        raise ValueError(f"{text!r:.40} is not a duration above zero and below {LONGEST.days} days.")
    return timedelta(seconds=seconds)


def in_words(seconds: float) -> str:
    """A duration in short: its two largest units, rounded."""
    if seconds < 1:
        return "less than 1 s"
    whole = round(seconds)
    for unit, smaller in (("d", "h"), ("h", "m"), ("m", "s")):
        if whole >= UNITS[unit]:
            rest = whole % UNITS[unit] // UNITS[smaller]
            return f"{whole // UNITS[unit]} {_name(unit)}" + (f" {rest} {_name(smaller)}" if rest else "")
    return f"{whole} s"


def counted(number: int, what: str, several: str | None = None) -> str:
    """A number of things, each a `what`; `several` is its plural, where that is not made by an s."""
    return f"{number:,} {what if number == 1 else several or f'{what}s'}"


def _name(unit: str) -> str:
    return "min" if unit == "m" else unit


def printable(words: str) -> str:
    """A stranger's words, of which none may move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "…" for letter in words)


_masks = cache(mask_for)


def in_short(text: object, secrets: Iterable[str]) -> str:
    """A node's own words, on one line, without the secrets, cut to a length that a log line bears."""
    short = re.sub(r"\s+", " ", str(text))
    for secret in secrets:
        short = short.replace(secret, "…")
    short = _masks(tuple(secrets))(short)  # in other capitals, decoded, or whatever the node makes of them
    return printable(short[:MAX_DETAIL])


def where(error: BaseException) -> str:
    """Where an error came from, without its words and values: a stranger's, or a secret, may be among them."""
    return " ".join(f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in extract_tb(error.__traceback__)[-4:])
