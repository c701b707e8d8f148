"""How numbers, moments and strangers' words are written on the page: the filters of its templates. Pure."""

import re
from datetime import UTC, datetime
from decimal import Decimal, localcontext

from markupsafe import Markup, escape

from worker.wording import in_words, printable

UNKNOWN = "unknown"
SMALLEST = 0.001  # of all
_TYPED = re.compile(r"`([^`]+)`")


def number(value: float | None) -> str:
    """A count, with its thousands set apart."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def percent(share: float | None) -> str:
    """A share, cut off and not rounded: 100% is said of all of them and of nothing less, 0% of none."""
    if share is None:
        return UNKNOWN
    if 0 < share < SMALLEST:
        return f"<{SMALLEST:.1%}"
    return f"{int(share * 1000 + 1e-9) / 10:g}%"


def duration(seconds: float | None) -> str:
    """A length of time in short."""
    return UNKNOWN if seconds is None else in_words(max(seconds, 0))


def ago(moment: float | datetime | None, now: float) -> str:
    """How long ago a moment was, or in how long it will be."""
    if moment is None:
        return UNKNOWN
    at = moment.timestamp() if isinstance(moment, datetime) else moment
    return f"{in_words(now - at)} ago" if at <= now else f"in {in_words(at - now)}"


def moment(at: float | datetime) -> str:
    """A moment in full, in UTC."""
    then = at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return then.strftime("%Y-%m-%d %H:%M:%S UTC")


def machine_moment(at: float | datetime) -> str:
    """The same, as an attribute of HTML has it."""
    then = at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


def amount(units: int | None, decimals: int | None) -> str:
    """An amount of base units, exactly, with at least two decimals. Without decimals it is told in base units."""
    if units is None:
        return UNKNOWN
    if decimals is None:
        return f"{units:,} base units"
    with localcontext(prec=100):
        digits = f"{Decimal(units).scaleb(-decimals):,f}"
    whole, _, part = digits.partition(".")
    return f"{whole}.{part.rstrip('0').ljust(min(decimals, 2), '0')}".rstrip(".")


def typed(text: str) -> Markup:
    """A text of ours, in which what stands between backticks is code."""
    return Markup(_TYPED.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704  escaped before


def words(text: str) -> str:
    """A stranger's words, of which none may turn the line around or hide. The template escapes them."""
    return printable(text)


def plural_of(what: str, count: int) -> str:
    """The name of so many things."""
    return what if count == 1 else f"{what}s"


FILTERS = {
    each.__name__: each
    for each in (number, percent, duration, ago, moment, machine_moment, amount, typed, words, plural_of)
}
