"""Which way a network is kept fresh: the cheapest one that shows a change within a block, as far as the budget goes.

    every_block  all wallets are read once a block: where they fit into no more requests than a followed block costs
    feed         blocks are followed, and the wallets that a block touched are read; the others by a slow sweep
    cadence      every wallet is read at its own interval (``worker.schedule.cadence``)

In comes what is known of a network (`PolicyFacts`), out goes a `Choice` with its reason, for which
``worker.feed.policy_words`` has the sentences. Pure.

A plan's quota is kept by what may be stretched, in this order: wallets are read every second and third block, the
intervals of the cadence become longer. What is too dear then gives way to the cadence. Where nobody has named a quota,
touched wallets are read every second block if that alone keeps to what usual free plans allow.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil
from typing import Literal, TypeAlias

from worker.schedule.cadence import Policy
from worker.schedule.sizing import DAY, sizing

Way: TypeAlias = Literal["every_block", "feed", "cadence"]
Reason: TypeAlias = Literal[
    "few_wallets",
    "few_wallets_merged",
    "many_wallets",
    "many_wallets_merged",
    "many_wallets_free_plan",
    "off",
    "deprecated",
    "blind",
    "starting",
    "behind",
    "quota",
    "budget",
    "quota_too_small",
]

FOLLOWED_ALL_THE_SAME: frozenset[Reason] = frozenset({"starting", "behind", "blind"})
"""The reasons for the cadence with which blocks are still asked for, so that the feed can be taken up again."""

FEED_REQUESTS = 2  # that a followed block costs
TOUCHED_READS = 1  # a block, of the wallets that it touched: all of them fit into one

RESERVE = 0.15
"""The share of a quota that is left to refreshes, second reads and failures."""
SHARE = 0.5
"""The share of the requests a second that following and reading may take: refreshes have the other half."""

EVERY_BLOCKS = (1, 2)
"""How many blocks may pass from one read of all wallets to the next."""
MERGED_BLOCKS = (1, 2, 3)
"""Over how many blocks reads of touched wallets may be merged."""
FREE_PLAN = 100_000
"""Requests a day that providers' free plans usually allow (``worker.admin.provider_plans``)."""
FREE_PLAN_REASON: Reason = "many_wallets_free_plan"
LEAST_READ_EVERY = 1.0  # seconds; blocks may come faster, and nobody looks at a balance more often
FEED_STRETCHES = (1.0, 2.0)
"""What the cadence may be stretched by that a feed leaves to wallets paid in the native coin by contracts."""
STRETCHES = (1.0, 1.5, 2.0, 3.0, 4.0)
"""What the cadence may be stretched by where everything hangs on it."""

MOST_BEHIND = 3  # blocks; a feed that has more of them to follow is behind
NO_MORE_BEHIND = 1  # block; one that was behind is well again with no more than this to follow
LEAST_BEHIND = 3.0  # seconds; fast chains make three blocks in the time of one request
LEAST_SILENCE = 15.0  # seconds without an answer to the feed; before this nothing is said by it
MARGIN = 1.1
"""By how much a fresher way must be cheaper than its bound before it is taken up: else it would come and go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFacts:
    """What is known of a network.

    wallets          those that are read
    per_batch        how many of them are read together
    batch_requests   requests that a full batch takes: one, but for nodes that are asked for each wallet singly
    block_seconds    usual seconds from a block to the next
    per_second       requests a second of all its nodes together; 0: there is no bound
    daily_quota      requests a day that its plan allows, or leaves (`left_of`); None: nobody has said
    cadence_a_day    requests a day that the cadence takes (`requests_a_day`)
    sweep_a_day      those that the sweep takes (`sweep_a_day`)
    enabled          FEED
    blind            the code of the failure for which no node can be followed; None: one can
    deprecated       the token's events have left its contract
    sees_native      blocks show the native coin that contracts pay
    lag              blocks that were there and not yet followed when the feed last stopped; None: it has not begun
    silent           seconds since a node last answered the feed
    """

    wallets: int
    per_batch: int
    block_seconds: float
    cadence_a_day: float
    sweep_a_day: float
    batch_requests: int = 1
    per_second: float = 0.0
    daily_quota: int | None = None
    enabled: bool = True
    blind: str | None = None
    deprecated: bool = False
    sees_native: bool = True
    lag: float | None = 0
    silent: float = 0.0


@dataclass(frozen=True, slots=True)
class Choice:
    """A way, and why.

    `a_day`: requests a day at the most. `read_every`: seconds from one read of all wallets, or of those touched, to the
    next; 0: by the cadence. `stretch`: how many times as long the cadence's intervals are.
    """

    way: Way
    reason: Reason
    a_day: float
    read_every: float = 0.0
    stretch: float = 1.0
    follows: bool = False
    """Whether blocks are followed: also while the feed is behind, so that it can be taken up again."""

    @property
    def staleness(self) -> tuple[bool, float, float]:
        """The smaller, the fresher."""
        return self.way == "cadence", self.stretch, self.read_every


def choose(facts: PolicyFacts, so_far: Choice | None = None) -> Choice:
    """The way from now on. `so_far`: the way until now, which is kept where the other one is hardly better."""
    if not facts.enabled:
        return Choice("cadence", "off", facts.cadence_a_day)
    if _are_few(facts, so_far):
        return _first_within(facts, _every_block(facts), so_far) or _cadence(facts, _what_is_short(facts, so_far))
    if facts.deprecated:
        return _cadence(facts, "deprecated")
    feed = _of_a_free_plan(facts, so_far) or _first_within(facts, _feed(facts), so_far)
    if feed is None:
        return _cadence(facts, _what_is_short(facts, so_far))
    if (ill := _illness(facts, so_far)) is not None:
        return _cadence(facts, ill, follows=True)
    return feed


def requests_a_day(
    wallets: int, per_batch: int, policy: Policy, *, ahead: float, touches: int = 2, batch_requests: int = 1
) -> float:
    """Requests a day in which every wallet is read by intervals.

    `ahead`: seconds before their time in which wallets may fill a batch up; `touches`: how often in a day each wallet
    changes or is looked at; `batch_requests`: requests that a full batch takes.
    """
    found = sizing(wallets, per_batch, policy, touches=touches, ahead=ahead, budget=0)
    return _requests(found.a_day, found.reads_a_second * DAY, per_batch, batch_requests)


def sweep_a_day(wallets: int, per_batch: int, interval: float, *, batch_requests: int = 1) -> float:
    """Requests a day of a sweep, in full batches: its wallets fill up the reads of those that were touched.

    A wallet that was touched is read then, and its sweep begins anew: this is the most that it takes.
    """
    policy = Policy(interval, interval)
    return requests_a_day(wallets, per_batch, policy, ahead=interval, touches=0, batch_requests=batch_requests)


def left_of(quota: int, used: int, gone: float) -> int:
    """A day's quota; or, where more of it is used than of the day has gone by, what is left of it, as of a whole day.

    `gone`: the share of the day that has gone by.
    """
    if used <= quota * gone:
        return quota
    return int(max(quota - used, 0) / (1 - gone))


def _requests(batches: float, wallets: float, per_batch: int, batch_requests: int) -> float:
    """Requests of so many batches of so many wallets: one a batch, and what a full one takes beyond it by wallets."""
    return batches + (batch_requests - 1) * wallets / per_batch


def _are_few(facts: PolicyFacts, so_far: Choice | None) -> bool:
    """Whether all wallets fit into no more requests than a followed block costs."""
    margin = MARGIN if so_far is not None and so_far.way != "every_block" else 1.0
    return _requests_for_all(facts, margin) <= FEED_REQUESTS + TOUCHED_READS * facts.batch_requests


def _requests_for_all(facts: PolicyFacts, margin: float = 1.0) -> int:
    """Requests that it takes to read so many times the wallets that there are."""
    wallets = facts.wallets * margin
    return ceil(_requests(ceil(wallets / facts.per_batch), wallets, facts.per_batch, facts.batch_requests))


def _every_block(facts: PolicyFacts) -> Iterator[Choice]:
    for blocks in EVERY_BLOCKS:
        read_every = max(blocks * facts.block_seconds, LEAST_READ_EVERY)
        reason: Reason = "few_wallets" if blocks == EVERY_BLOCKS[0] else "few_wallets_merged"
        yield Choice("every_block", reason, DAY / read_every * _requests_for_all(facts), read_every)


def _feed(facts: PolicyFacts) -> Iterator[Choice]:
    """The feed, the freshest first. What it cannot see stays with the cadence."""
    followed = DAY / facts.block_seconds * FEED_REQUESTS
    for blocks in MERGED_BLOCKS:
        read_every = max(blocks * facts.block_seconds, LEAST_READ_EVERY)
        a_day = followed + DAY / read_every * TOUCHED_READS * facts.batch_requests
        rest = facts.sweep_a_day if facts.sees_native else facts.cadence_a_day
        reason: Reason = "many_wallets" if blocks == MERGED_BLOCKS[0] else "many_wallets_merged"
        yield Choice("feed", reason, a_day + rest, read_every, follows=True)
    if not facts.sees_native:
        for stretch in FEED_STRETCHES[1:]:
            yield Choice("feed", reason, a_day + rest / stretch, read_every, stretch, follows=True)


def _of_a_free_plan(facts: PolicyFacts, so_far: Choice | None) -> Choice | None:
    """The feed with reads that are merged, where nobody has named a quota, and that alone keeps to what usual plans
    allow. A network that is at a bound keeps to what it had.
    """
    if facts.daily_quota is not None:
        return None
    at_once, merged = islice(_feed(facts), 2)
    before = None if so_far is None else so_far.reason
    fits_at_once = at_once.a_day * (MARGIN if before == FREE_PLAN_REASON else 1.0) <= _allowed(FREE_PLAN)
    fits_merged = merged.a_day * (MARGIN if before == at_once.reason else 1.0) <= _allowed(FREE_PLAN)
    if fits_at_once or not fits_merged or _exceeded(facts, merged, so_far):
        return None
    return replace(merged, reason=FREE_PLAN_REASON)


def _first_within(facts: PolicyFacts, choices: Iterator[Choice], so_far: Choice | None) -> Choice | None:
    """The first of these that the budget allows."""
    return next((each for each in choices if not _exceeded(facts, each, so_far)), None)


def _exceeded(facts: PolicyFacts, choice: Choice, so_far: Choice | None) -> Reason | None:
    """The bound that a way is beyond. One that is fresher than the way so far has to stay clear of it."""
    is_fresher = so_far is not None and choice.staleness < so_far.staleness
    a_day = choice.a_day * (MARGIN if is_fresher else 1.0)
    if a_day > _allowed(facts.daily_quota):
        return "quota"
    if choice.way != "cadence" and facts.per_second and a_day / DAY > facts.per_second * SHARE:
        return "budget"
    return None


def _allowed(daily_quota: int | None) -> float:
    return float("inf") if daily_quota is None else daily_quota * (1 - RESERVE)


def _what_is_short(facts: PolicyFacts, so_far: Choice | None) -> Reason:
    """Why the cheapest of the fresh ways is too dear."""
    *_, cheapest = _every_block(facts) if _are_few(facts, so_far) else _feed(facts)
    return _exceeded(facts, cheapest, so_far) or "budget"


def _illness(facts: PolicyFacts, so_far: Choice | None) -> Reason | None:
    """Why the feed cannot be relied on just now."""
    if facts.blind is not None:
        return "blind"
    if facts.lag is None:
        return "starting"
    blocks = MOST_BEHIND if so_far is not None and so_far.way == "feed" else NO_MORE_BEHIND
    longest = max(blocks * facts.block_seconds, LEAST_BEHIND * blocks / MOST_BEHIND)
    is_silent = facts.silent > max(MOST_BEHIND * facts.block_seconds, LEAST_SILENCE)
    return "behind" if is_silent or facts.lag * facts.block_seconds > longest else None


def _cadence(facts: PolicyFacts, reason: Reason, *, follows: bool = False) -> Choice:
    """The cadence, no more stretched than the quota wants.

    Beside it a feed may be followed that is behind: for that while the day may come to more than the quota.
    """
    followed = DAY / facts.block_seconds * FEED_REQUESTS if follows and reason != "blind" else 0.0
    choices = [
        Choice("cadence", reason, facts.cadence_a_day / stretch + followed, stretch=stretch, follows=follows)
        for stretch in STRETCHES
    ]
    allowed = _allowed(facts.daily_quota)
    within = next((each for each in choices if each.a_day <= allowed), choices[-1])
    return replace(within, reason="quota_too_small") if within.a_day > allowed and not follows else within
