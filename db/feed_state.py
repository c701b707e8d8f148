"""How each network is kept fresh and how its feed of blocks is, for operators. Plain SQL; changes nothing."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from config.networks import NetworkName

_STATES = """
SELECT c.network, c.policy, c.reason, c.read_every, c.stretch, c.requests_a_day, c.block_number, c.block_time,
       c.since IS NOT NULL, c.sees_native, c.deprecated, c.good_until, c.missed_usdt, c.missed_native, c.jumps,
       c.reorganisations, coalesce(t.touches, 0), t.oldest, now()
  FROM feed_cursor AS c
  LEFT JOIN (SELECT network, count(*) AS touches,
                    min(due_at) FILTER (WHERE wallet_id NOT IN (SELECT unnest(wallet_ids) FROM leases)) AS oldest
               FROM touches WHERE due_at <= now() GROUP BY network) AS t ON t.network = c.network
"""


class FeedState(NamedTuple):
    """One network's policy and feed. Moments are those of the database's clock."""

    policy: str
    reason: str | None
    """Codes of ``worker.feed.policy``."""
    read_every: float
    stretch: float
    requests_a_day: int | None
    block_number: int | None = None
    """The last block that was followed; None: there was none yet."""
    block_time: datetime | None = None
    covers: bool = False
    """Whether no block is missing, so that wallets may wait for their sweep."""
    sees_native: bool = False
    deprecated: bool = False
    good_until: datetime | None = None
    missed_usdt: int = 0
    missed_native: int = 0
    jumps: int = 0
    reorganisations: int = 0
    touches: int = 0
    """Reads that are owed to wallets that a block touched, and whose time has come."""
    oldest_touch: datetime | None = None
    """Since when the longest of them is owed, but for wallets that somebody reads, or whose worker never came back."""
    now: datetime | None = None


BY_CADENCE = FeedState("cadence", None, 0.0, 1.0, None)
"""A network for which nobody has decided anything: it never had a feed."""


def feed_states(connection: Connection) -> dict[NetworkName, FeedState]:
    """The state of each network that ever had a feed."""
    rows = connection.exec_driver_sql(_STATES).all()
    return {network: FeedState(*values) for network, *values in rows}
