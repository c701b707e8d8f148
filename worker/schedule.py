"""When is a wallet due next? The whole rule. Pure: time and chance come in as arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""For a wallet that no read can help: it rests until its address changes, which makes it due again."""

SPREAD = 0.2
"""The share of an interval over which chance spreads due times, so that wallets enrolled together drift apart."""

GROWTH = 0.5
"""An unchanged wallet's interval is this share of the time since its last change."""

FIRST_RETRY = timedelta(seconds=5)
MAX_DOUBLINGS = 16


@dataclass(frozen=True, slots=True)
class Policy:
    """The cadence of a wallet in use and of one that has long been quiet."""

    active: timedelta
    idle: timedelta


def due_after_success(now: datetime, touched: Sequence[datetime | None], policy: Policy, jitter: float) -> datetime:
    """The next read after a good one at `now`. `touched`: when the balance last changed, when a user last asked.

    Just touched, a wallet is due after the active interval; the longer it stays quiet the longer it rests, up to the
    idle interval. `jitter` in [0, 1) takes up to SPREAD off.
    """
    last = max((at for at in touched if at is not None), default=now)
    rest = max((now - last).total_seconds() * GROWTH, policy.active.total_seconds())
    return now + timedelta(seconds=min(rest, policy.idle.total_seconds()) * (1 - SPREAD * jitter))


def due_after_failed_read(
    now: datetime, failures: int, policy: Policy, jitter: float, *, told: timedelta = timedelta(0)
) -> datetime:
    """The next try after a read that failed for all its wallets. It is a node's fault, and one request tries them all:
    so soon at first, and never later than the active interval, unless the nodes want to be left alone longer (`told`,
    up to the idle interval). `failures` counts this one.
    """
    return max(_back_off(now, failures, FIRST_RETRY, policy.active, jitter), now + min(told, policy.idle))


def due_after_failed_wallet(now: datetime, failures: int, policy: Policy, jitter: float) -> datetime:
    """The next try of a wallet that alone failed in a good read: from the active interval on, up to the idle one."""
    return _back_off(now, failures, policy.active, policy.idle, jitter)


def _back_off(now: datetime, failures: int, first: timedelta, most: timedelta, jitter: float) -> datetime:
    return now + min(first * (1 << min(failures - 1, MAX_DOUBLINGS)), most) * (1 - SPREAD * jitter)
