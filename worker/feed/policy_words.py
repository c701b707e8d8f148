"""What the policy of a network is, and why, in sentences for people. Pure.

Operators' pages and commands show them; the codes are those of ``worker.feed.policy``, which Postgres keeps.
"""

from collections.abc import Iterator, Mapping

WAYS: Mapping[str, str] = {
    "every_block": "All wallets are read once a block.",
    "feed": "Blocks are followed: a wallet is read when a block has touched it, and otherwise by a sweep.",
    "cadence": "Every wallet is read at its own interval.",
}

REASONS: Mapping[str, str] = {
    "few_wallets": "The wallets are so few that reading all of them costs no more than following blocks would.",
    "many_wallets": "The wallets are so many that following blocks costs less than reading all of them.",
    "off": "`FEED` is off.",
    "finality": "Nodes do not give the blocks of this finality one by one.",
    "deprecated": "The token has moved to another contract, whose events are not looked at. Set `*_USDT_CONTRACT`.",
    "blind": "No endpoint gives blocks with their events: `celery -A worker check` says of each what it lacks.",
    "starting": "The feed has not followed a block yet.",
    "behind": "The feed is behind the chain, and catches up.",
    "quota": "`*_DAILY_QUOTA` has no room for following blocks or for reading all wallets once a block.",
    "budget": "`*_RPS` has no room for following blocks or for reading all wallets once a block.",
    "quota_too_small": "`*_DAILY_QUOTA` is too small for this many wallets, however seldom they are read.",
}

UNKNOWN = "This version does not know the reason: another version wrote it."


def told(way: str, reason: str | None, *, read_every: float, block_seconds: float, stretch: float) -> Iterator[str]:
    """A network's policy, in sentences: what it is, why, and what was stretched for want of requests."""
    if way in WAYS:
        yield WAYS[way]
    if reason is not None:
        yield REASONS.get(reason, UNKNOWN)
    blocks = round(read_every / block_seconds) if block_seconds else 0
    if way != "cadence" and blocks > 1 and read_every > FAST:
        yield f"To keep the quota or the budget, they are read every {blocks} blocks."
    if stretch > 1:
        yield f"To keep the quota, the cadence's intervals are {stretch:g} times as long."


FAST = 1.0  # seconds; reads are no closer than this, also where blocks are
