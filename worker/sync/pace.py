"""How often wallets are read, by how their network is kept fresh. Pure."""

from typing import NamedTuple

from config.settings import WorkerSettings
from db.network_state import Freshness
from worker.schedule.cadence import SPREAD, Policy


class Pace(NamedTuple):
    """The intervals of wallets that were read at the block `since` or later; those of others are the cadence's."""

    policy: Policy
    since: int


def cadence_of(settings: WorkerSettings, freshness: Freshness) -> Policy:
    """The intervals of the cadence, which a small quota makes longer."""
    stretch = freshness.stretch if settings.feed else 1.0
    return Policy(settings.sync_interval_active * stretch, settings.sync_interval_idle * stretch)


def pace_of(settings: WorkerSettings, freshness: Freshness) -> Pace | None:
    """The pace of wallets that are kept fresh otherwise than by the cadence. None: none are.

    What the feed cannot see stays with the cadence: native coin that contracts pay, where no block shows it, and what
    happened before it began.
    """
    if not settings.feed:
        return None
    if freshness.policy == "every_block":
        # Chance makes some due a little earlier, and the first one takes all others along: it is due after a block.
        slowest = freshness.read_every / (1 - SPREAD)
        return Pace(Policy(slowest, slowest), 0)
    if freshness.policy == "feed" and freshness.sees_native and freshness.since is not None:
        return Pace(Policy(settings.sync_interval_sweep, settings.sync_interval_sweep), freshness.since)
    return None
