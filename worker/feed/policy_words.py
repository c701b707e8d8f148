"""What the policy of a network is, and why, in sentences for people. Pure.

Operators' pages and commands show them; the codes are those of ``worker.feed.policy``, which Postgres keeps.
"""

from collections.abc import Iterator, Mapping

from worker.feed.policy import FOLLOWED_ALL_THE_SAME
from worker.wording import in_words

WAYS: Mapping[str, str] = {
    "every_block": "All wallets are read every {read_every}.",
    "feed": "Blocks are followed: wallets that they touch are read, every {read_every}, and all others by a sweep.",
    "cadence": "Every wallet is read at its own interval.",
}

REASONS: Mapping[str, str] = {
    "few_wallets": "They are so few that reading all of them costs no more than following blocks would.",
    "few_wallets_merged": "For each block there is no room in `*_DAILY_QUOTA` or `*_RPS`.",
    "many_wallets": "They are so many that following blocks costs less than reading all of them.",
    "many_wallets_merged": "To read them after each block there is no room in `*_DAILY_QUOTA` or `*_RPS`.",
    "many_wallets_free_plan": (
        "No quota is set, so reads are merged to keep to a usual free plan: `*_DAILY_QUOTA`, set to what yours allows,"
        " has them read after each block if it can."
    ),
    "off": "`FEED` is off.",
    "deprecated": "The token has moved to another contract, whose events are not looked at: set `*_USDT_CONTRACT`.",
    "blind": "No endpoint gives blocks with their events: `celery -A worker check` says what each of them lacks.",
    "starting": "The feed has not followed a block yet.",
    "behind": "The feed is behind the chain, and catches up.",
    "quota": "`*_DAILY_QUOTA` has no room for following blocks, or for reading all wallets once a block.",
    "budget": "`*_RPS` has no room for following blocks, or for reading all wallets once a block.",
    "quota_too_small": "`*_DAILY_QUOTA` is too small for this many wallets, however seldom they are read.",
}
UNKNOWN = "This version does not know the reason: another version wrote it."

BLIND_SPOTS: Mapping[str, str] = {
    "native_by_contracts": ("Blocks do not show here what contracts pay in the native coin: reads by the cadence do."),
    "deprecated": "The token's events come from another contract, which is not looked at.",
}


def is_followed(way: str, reason: str | None) -> bool:
    """Whether blocks are asked for: also while the feed is not relied on, if it is to be taken up again."""
    return way == "feed" or reason in FOLLOWED_ALL_THE_SAME


def blind_spots(way: str, *, sees_native: bool, deprecated: bool) -> list[str]:
    """The codes of what a network's feed does not see, of BLIND_SPOTS; none where no feed is relied on."""
    found = {"native_by_contracts": way == "feed" and not sees_native, "deprecated": deprecated}
    return [code for code, is_so in found.items() if is_so]


def told(way: str, reason: str | None, *, read_every: float, stretch: float) -> Iterator[str]:
    """A network's policy in sentences: what it is, why, and what was stretched for want of requests."""
    if way in WAYS:
        yield WAYS[way].format(read_every=in_words(read_every))
    if reason is not None:
        yield REASONS.get(reason, UNKNOWN)
    if stretch > 1:
        yield f"To keep `*_DAILY_QUOTA`, the cadence's intervals are {stretch:g} times as long."
