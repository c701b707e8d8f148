"""How a network is kept fresh, as ``celery -A worker freshness`` tells it: its policy, and its feed of blocks. Pure.

Both reports are objects that ``--json`` prints, with the keys of docs/operations.md.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from db.feed_state import FeedState
from worker.feed.policy_words import BLIND_SPOTS, blind_spots, is_followed, told
from worker.wording import counted, in_words

Report = dict[str, Any]


def by_settings(found: FeedState, *, enabled: bool) -> FeedState:
    """The state as it counts under these settings: with FEED=off nobody follows blocks, whatever was decided before."""
    if enabled or found.reason is None:
        return found
    return found._replace(policy="cadence", reason="off", read_every=0.0, stretch=1.0, requests_a_day=None)


def policy_report(found: FeedState) -> Report:
    """Which way the network is kept fresh, and why."""
    words = told(found.policy, found.reason, read_every=found.read_every, stretch=found.stretch)
    return {
        "way": found.policy,
        "reason": found.reason,
        "sentences": list(words),
        "read_every_seconds": found.read_every or None,
        "stretch": found.stretch,
        "requests_per_day": found.requests_a_day,
    }


def feed_report(found: FeedState) -> Report:
    """How far blocks were followed, what is owed to the wallets that they touched, and what was not seen by them."""
    is_behind = found.good_until is not None and found.now is not None and found.good_until <= found.now
    return {
        "followed": is_followed(found.policy, found.reason),
        "block_number": found.block_number,
        "block_age_seconds": _since(found.block_time, found.now),
        "behind_seconds": _since(found.good_until, found.now) if is_behind else None,
        "covers": found.covers,
        "touches": found.touches,
        "oldest_touch_seconds": _since(found.oldest_touch, found.now),
        "missed_usdt": found.missed_usdt,
        "missed_native": found.missed_native,
        "jumps": found.jumps,
        "reorganisations": found.reorganisations,
        "blind_spots": blind_spots(found.policy, sees_native=found.sees_native, deprecated=found.deprecated),
    }


def feed_lines(policy: Report, feed: Report) -> Iterator[str]:
    """What a person reads of it; nothing of a network for which nobody has decided anything yet."""
    if policy["reason"] is not None:
        yield f"  policy     {' '.join(policy['sentences'])}"
    if feed["followed"]:
        yield f"  feed       {', '.join(_of_feed(feed))}"
    for code in feed["blind_spots"]:
        yield f"  blind      {BLIND_SPOTS[code]}"


def _of_feed(feed: Report) -> Iterator[str]:
    if feed["block_number"] is None:
        yield "no block was followed yet"
    else:
        yield f"followed to block {feed['block_number']:,}, of {in_words(feed['block_age_seconds'] or 0)} ago"
    if feed["behind_seconds"] is not None:
        yield f"behind for {in_words(feed['behind_seconds'])}"
    if feed["block_number"] is None:
        return
    waits = "" if feed["oldest_touch_seconds"] is None else f", one for {in_words(feed['oldest_touch_seconds'])}"
    yield f"{counted(feed['touches'], 'touch', 'touches')} to be served{waits}"
    yield f"missed: USDT {feed['missed_usdt']:,}, native {feed['missed_native']:,}"


def _since(moment: datetime | None, now: datetime | None) -> float | None:
    return None if moment is None or now is None else max((now - moment).total_seconds(), 0.0)
