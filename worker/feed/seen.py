"""A block as the tables are told of it. Pure."""

from db.feed import Seen
from worker.feed.blocks import FeedBlock

MOST_USDT = 2**256
"""No account can have so much of a token, so none can change by it."""


def seen(block: FeedBlock) -> Seen:
    """Each account once. 0: nothing of the token moved; None: nobody knows how much, nor where it cannot be so much."""
    accounts = list(block.touched)
    changes = [block.usdt.get(account, 0) for account in accounts]
    return Seen(
        number=block.number,
        hash=block.hash,
        parent=block.parent,
        time=block.time,
        accounts=accounts,
        changes=[change if change is not None and abs(change) < MOST_USDT else None for change in changes],
        sees_native=block.sees_native,
        deprecated=block.deprecated,
    )
