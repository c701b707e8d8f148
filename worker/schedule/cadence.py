"""When is a wallet due next? The whole rule. Pure: time and chance come in as arguments, both as numbers.

Times are unix seconds, spans seconds, `jitter` is a number in [0, 1).
"""

from dataclasses import dataclass

JUDGED_AGAIN = 86_400.0 / 2  # seconds
"""For a wallet without a valid address: no node is asked for it, so it costs nothing to judge its address anew, by a
later version perhaps, between this and twice as long from now."""

SPREAD = 0.2
"""The share of the active interval over which chance spreads due times: wallets enrolled together drift apart."""

RESTING_SPREAD = 0.35
"""The same for longer intervals. A million wallets that grew quiet together must not come back together."""

GROWTH = 0.5
"""An unchanged wallet's interval is this share of the time since its last change."""

CLAIM_AHEAD = 0.25
"""The share of the active interval within which a wallet that is not yet due travels along with those that are.

Due times are spread, so that hardly any fall on one moment: without this a thousand wallets would come a few at a
time, and cost a request for each few. The price is that some are read by up to this share too early.
"""

FIRST_RETRY = 5.0  # seconds
MAX_DOUBLINGS = 16


@dataclass(frozen=True, slots=True)
class Policy:
    """The cadence, in seconds, of a wallet in use and of one that has long been quiet."""

    active: float
    idle: float


def due_after_success(now: float, touched: float | None, policy: Policy, jitter: float, *, overdue: float = 0) -> float:
    """The next read after a good one at `now`.

    `touched`: when the balance last changed or a user last asked. Just touched, a wallet is due after the active
    interval; the longer it stays quiet the longer it rests, up to the idle interval. `overdue`: for how long it had
    been due. After a downtime a whole fleet is overdue at once, so chance then puts each anywhere in its interval.
    """
    active = policy.active
    rest = active if touched is None else min(max((now - touched) * GROWTH, active), policy.idle)
    soonest = active * (1 - SPREAD)
    if rest > active and overdue <= active:
        soonest = max(rest * (1 - RESTING_SPREAD), soonest)
    return now + rest - (rest - soonest) * jitter


def due_after_failed_read(now: float, failures: int, policy: Policy, jitter: float, *, retry_after: float = 0) -> float:
    """The next try after a read that failed for all its wallets. It is a node's fault, and one request tries them all:
    so soon at first, and never later than the active interval, unless the nodes asked to be left alone for longer
    (`retry_after`, up to the idle interval). `failures` counts this one.
    """
    earliest = now + min(retry_after + FIRST_RETRY * jitter, policy.idle) if retry_after else now
    return max(_back_off(now, failures, FIRST_RETRY, policy.active, jitter), earliest)


def due_after_failed_wallet(now: float, failures: int, policy: Policy, jitter: float) -> float:
    """The next try of a wallet that alone failed in a good read: from the active interval on, up to the idle one."""
    return _back_off(now, failures, policy.active, policy.idle, jitter)


def _back_off(now: float, failures: int, first: float, longest: float, jitter: float) -> float:
    return now + min(first * (1 << min(failures - 1, MAX_DOUBLINGS)), longest) * (1 - SPREAD * jitter)
