"""What workers count of their work in Redis, and by which names: they add to it, and the ops process reads it. Pure.

The names hold the network's name alone, and not its settings: a counter goes on when a finality or a token is changed.
"""

from datetime import UTC, datetime
from typing import Literal

from config.families import NetworkName

BatchOutcome = Literal["synced", "failed", "handed_back"]

BATCH_OUTCOMES: tuple[BatchOutcome, ...] = ("synced", "failed", "handed_back")
"""Synced: at least one wallet could be read. Failed: none could. Handed back: nothing was decided, and all of its
wallets are due as before, since no node answered or the process was ended."""
BATCH_SIZES = (1, 10, 100, 500, 2500)
"""Upper bounds of the sizes by which batches are counted."""

WALLETS, WAITED, LOST = "wallets", "waited_ms", "lost"
"""Fields: the wallets of all batches, the milliseconds that reads waited for the budget, batches tried again."""


def counts_key(network: NetworkName) -> str:
    """A hash of counts that only grow, for as long as Redis keeps it."""
    return f"bal:counts:{network}"


def day_key(network: NetworkName, moment: float) -> str:
    """The number of requests that were sent on the day (UTC) of a moment in unix seconds."""
    return f"bal:counts:{network}:{datetime.fromtimestamp(moment, UTC).date().isoformat()}"


def requests_field(node_id: str) -> str:
    """Requests to a node."""
    return f"requests:{node_id}"


def failed_field(node_id: str, code: str) -> str:
    """Reads that failed at a node, by the error's code."""
    return f"failed:{node_id}:{code}"


def outcome_field(outcome: str) -> str:
    """Batches by what they came to."""
    return f"batches:{outcome}"


def size_field(bound: int | None) -> str:
    """Batches of at most so many wallets, and of more than the next smaller bound. None: of more than the last."""
    return f"size:{bound or 'more'}"


def bound_of(wallets: int) -> int | None:
    """The bound by which a batch of so many wallets is counted."""
    return next((bound for bound in BATCH_SIZES if wallets <= bound), None)
