"""Foreign failures in this project's words: what a status, a header and a node's own words mean.

A node's words are looked at last, and only where structure does not tell. Nothing that a header or a body says ends in
another exception than one of ``worker.errors``.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from math import inf
from time import time
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from worker.errors import (
    BadReply,
    ReadFailed,
    Refused,
    Throttled,
    TooMuch,
    Unauthorized,
    Unavailable,
    Unreachable,
    Unsupported,
)
from worker.nodes.http import MAX_REPLY, Oversized

# Where the status alone tells. 402 is a quota that is used up. 404 and 405 are a gateway's that has lost its node, or a
# wrong path, unless the words say that the method is not there. 403 is a key that is wrong, unless the words or a
# Retry-After speak of a rate: so do TronGrid's and those of some firewalls.
STATUSES: dict[int, type[ReadFailed]] = {
    401: Unauthorized,
    402: Throttled,
    403: Unauthorized,
    404: Unavailable,
    405: Unavailable,
    413: TooMuch,
    429: Throttled,
    501: Unsupported,
}

# From here on what answers is out of order (RFC 9110 §15.6), and what its page says is not supported is
# none of our strategies.
OUT_OF_ORDER = 500

# Where what the body says does not count: a message about the limit may speak of anything.
BY_STATUS_ALONE = {401, 402, 413, 429}

BACKOFF = re.compile(r'"backoff_seconds"\s*:\s*"?([0-9]+(?:\.[0-9]+)?)', re.ASCII)  # Infura's

NO_REQUEST = "no request can be made of these settings: URL, key or proxy ({})"

# What is raised where there is no reply, or none that can be read: the first that fits.
RAISED: Sequence[tuple[tuple[type[Exception], ...], type[ReadFailed], str]] = (
    ((requests.Timeout,), Unreachable, "no answer in time"),
    ((requests.TooManyRedirects,), Refused, "a redirect, which is not followed"),
    ((Oversized,), BadReply, f"a reply of more than {MAX_REPLY} bytes"),
    ((requests.exceptions.ContentDecodingError,), BadReply, "a compressed reply that cannot be read"),
    # Before anything is sent: only a person can mend that.
    (
        (
            requests.exceptions.InvalidURL,
            requests.exceptions.MissingSchema,
            requests.exceptions.InvalidSchema,
        ),
        Unreachable,
        NO_REQUEST,
    ),
    # Every JSON decoder's error is a ValueError; or it is nested too deeply.
    ((ValueError, RecursionError), BadReply, "not JSON ({})"),
    ((Exception,), Unreachable, "{}"),
)


@dataclass(frozen=True, slots=True)
class Words:
    """What a node says where only its words tell. A number in the pattern's group is how many seconds to wait."""

    pattern: re.Pattern[str]
    kind: type[ReadFailed]
    example: str
    """As a node said it."""


def words(pattern: str, kind: type[ReadFailed], example: str) -> Words:
    return Words(re.compile(pattern, re.IGNORECASE), kind, example)


COMMON_WORDS = (
    words(
        r"too many (?:requests|connections|concurrent)|over rate|rate.?limit"
        r"|(?:rate|request|capacity|throughput|frequency|usage|quota|credits?) ?(?:count |rate )?(?:limit|exceed)",
        Throttled,
        "project ID request rate exceeded",
    ),
    words(
        r"exceed\w* (?:(?:the|its|your|free|monthly|daily|user) )*(?:quota|usage|compute units|capacity|credits?|rate)",
        Throttled,
        "Your app has exceeded its compute units per second capacity",
    ),
    words(r"free tier|out of credits|throttl|slow down", Throttled, "Request timeout on the free tier"),
    words(r"server.?(?:is )?(?:too )?busy|overloaded|error code: 1015", Throttled, "SERVER_BUSY: server busy"),
    words(
        r"unauthori[sz]ed|must be authenticated|authentication (?:required|failed)"
        r"|(?:invalid|unknown|missing|wrong|disabled|expired) (?:api|project|access)[ _-]?(?:key|id|token)"
        r"|(?:key|id|token) (?:is )?(?:not (?:allowed|exist\w*|found|valid)|invalid|missing|disabled|expired)",
        Unauthorized,
        "Unauthorized: authenticate with an API key",
    ),
    words(
        r"not supported|unsupported|not implemented"
        r"|(?:method|module|api) (?:is )?(?:unknown|not (?:found|enabled|exist))",
        Unsupported,
        "eth_call without a recipient is not supported",
    ),
)
"""What nodes and gateways of either chain say, each in words of its own, with any code and often with HTTP 200."""


def by_words(text: str, known: Iterable[Words], detail: str) -> ReadFailed | None:
    """The failure that the first fitting pattern stands for."""
    for each in known:
        if found := each.pattern.search(text):
            return each.kind(detail, retry_after=seconds_in(found[1]) if found.groups() else None)
    return None


def seconds_in(value: Any) -> float | None:
    """The number of seconds that a stranger's value says. None: it says none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number that no float holds
        return inf if not isinstance(value, str) and value > 0 else None
    except ValueError:
        return None


@contextmanager
def translated(known: Sequence[Words]) -> Iterator[None]:
    """Turn what requests and a JSON decoder raise into errors of this project.

    requests' own messages are left out and not chained: they quote the whole URL.
    """
    try:
        yield
    except requests.HTTPError as error:
        raise _for_status(error.response, known) from None
    except requests.exceptions.InvalidHeader as error:
        if error.request is None:  # it was ours, and nothing was sent
            raise Unreachable(NO_REQUEST.format(type(error).__name__)) from None
        raise BadReply("a header that cannot be read") from None
    except (requests.RequestException, HTTPError, OSError, ValueError, RecursionError) as error:
        kind, detail = next((kind, detail) for errors, kind, detail in RAISED if isinstance(error, errors))
        raise kind(detail.format(type(error).__name__)) from None


def _for_status(response: requests.Response, known: Sequence[Words]) -> ReadFailed:
    """By the status first. Words tell more only of 403, other 4xx and 5xx, where several things have one status."""
    status, detail = response.status_code, f"HTTP {response.status_code}"
    # Not `response.text`: it would guess the encoding of megabytes, character by character.
    text = response.content[:4096].decode(errors="replace")
    by_its_words = by_words(text, known, detail)
    if isinstance(by_its_words, Unsupported) and status >= OUT_OF_ORDER:
        by_its_words = None
    wait = by_its_words.retry_after if by_its_words else None
    if wait is None:
        wait = _wait_in(text, response.headers.get("Retry-After", ""))
    kind = STATUSES.get(status, Unavailable if status >= OUT_OF_ORDER else Refused)
    if by_its_words and status not in BY_STATUS_ALONE and (wait is None or not isinstance(by_its_words, TooMuch)):
        kind = type(by_its_words)
    elif wait is not None and (kind is Unavailable or status == 403):  # noqa: PLR2004
        # Whoever says when to come back wants to be left alone until then, be the status 429, 503 or 403.
        kind = Throttled
    return kind(detail, retry_after=wait)


def _wait_in(text: str, header: str) -> float | None:
    """The seconds that a body, or else a Retry-After, asks for. Where the header is repeated, the first."""
    if found := BACKOFF.search(text):
        return seconds_in(found[1])
    header = header.strip()
    if (first := header.partition(",")[0].strip()).isdecimal():
        return seconds_in(first)
    try:
        seconds = parsedate_to_datetime(header).timestamp() - time()
    except (ValueError, OverflowError, TypeError, IndexError):  # a year of twenty digits, for instance
        return None
    return seconds if seconds > 0 else None
