"""What there is to say of a network in one sentence, and beside it. Pure: time comes in as an argument.

The first rule that holds is the verdict, so that the worst is said first. Moments, not ages, are what it is made of: a
verdict on an old picture goes on growing worse.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final

from config.network_settings import prefix
from db.feed_state import FeedState
from db.freshness_queries import NetworkFreshness
from ops.picture import NetworkPicture
from ops.remedies import remedy
from worker.errors import Unauthorized
from worker.feed.policy_words import REASONS, is_followed
from worker.wording import counted, in_words

MANY: Final = 0.1
"""The share of wallets from which on what is wrong with them is a matter for a person now."""
FEW: Final = 0.01
"""The share up to which failing wallets are matters of their own, and none of the network."""
NEARLY: Final = 0.9
"""The share of a day's quota from which on it is told of."""


LATE: Final = ("Stalled", "Behind")


class Level(IntEnum):
    """How urgent it is. Each has a shape of its own on the page."""

    GOOD = 0
    IDLE = 1
    """There is nothing to be done, or nothing is known."""
    WATCH = 2
    ACT = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """`word`: the verdict in one; `sentence`: the same in a whole one."""

    level: Level
    word: str
    sentence: str

    @property
    def is_late(self) -> bool:
        """Whether wallets are read too late, or not at all."""
        return self.word in LATE


@dataclass(frozen=True, slots=True)
class Note:
    """What should be known beside the verdict. `to_do` is empty where nothing can be done."""

    level: Level
    sentence: str
    to_do: str = ""


def verdict(network: NetworkPicture, now: float, *, lease: float) -> Verdict:
    """The verdict on a network. `lease`: SYNC_LEASE, after which nothing is late by a worker's death alone."""
    wallets = network.wallets
    if wallets is None:
        return Verdict(Level.IDLE, "Unknown", "Nothing is known: the database does not tell.")
    return (
        _without_reads(network, wallets)
        or _out(network, now)
        or _stalled(wallets, now, lease)
        or _behind(wallets, now)
        or _failing(wallets)
        or _fresh(wallets)
    )


def outdated(found: Verdict, seconds: float) -> Verdict:
    """The verdict of a picture that is too old to be believed."""
    return Verdict(Level.IDLE, "Unknown", f"Nothing was looked at for {in_words(seconds)}. Before: {found.sentence}")


def _without_reads(network: NetworkPicture, wallets: NetworkFreshness) -> Verdict | None:
    if not network.synced and wallets.wallets:
        variable = f"{prefix(network.name)}RPC_URLS"
        waiting = f"{counted(wallets.wallets, 'wallet')} {_be(wallets.wallets)} not read: {variable} is not set."
        return Verdict(Level.WATCH, "Not synced", waiting)
    if not wallets.wallets:
        return Verdict(Level.IDLE, "Empty", "There are no wallets yet.")
    return None


def _out(network: NetworkPicture, now: float) -> Verdict | None:
    condition = network.condition
    if condition is None or condition.out_since is None:
        return None
    since = condition.out_since.timestamp()
    lasted = in_words(max(now - since, 0))
    sentence = f"No endpoint answers since {clock(since, now)}, for {lasted} ({condition.reason or 'unknown'})."
    return Verdict(Level.ACT, "Out", sentence)


def _stalled(wallets: NetworkFreshness, now: float, lease: float) -> Verdict | None:
    last = wallets.last_read or wallets.unread_since
    if not wallets.overdue_free or last is None or (silent := now - last.timestamp()) <= lease:
        return None
    due = f"{counted(wallets.due, 'wallet')} {_be(wallets.due)} due"
    return Verdict(Level.ACT, LATE[0], f"Nothing was read for {in_words(silent)} while {due}.")


def _behind(wallets: NetworkFreshness, now: float) -> Verdict | None:
    if not wallets.overdue_free:
        return None
    longest = wallets.overdue_since
    since = f", one for {in_words(max(now - longest.timestamp(), 0))}" if longest else ""
    level = Level.ACT if wallets.overdue_free >= MANY * wallets.wallets else Level.WATCH
    return Verdict(level, LATE[1], f"{_of(wallets.overdue_free, wallets)} overdue{since}.")


def _failing(wallets: NetworkFreshness) -> Verdict | None:
    if wallets.failed <= FEW * wallets.wallets:
        return None
    level = Level.ACT if wallets.failed >= MANY * wallets.wallets else Level.WATCH
    return Verdict(level, "Failing", f"{_of(wallets.failed, wallets)} failing: their last read came to nothing.")


def _fresh(wallets: NetworkFreshness) -> Verdict:
    if wallets.fresh == wallets.wallets:
        which = "The one wallet is" if wallets.wallets == 1 else f"All {wallets.wallets:,} wallets are"
        return Verdict(Level.GOOD, "Fresh", f"{which} fresh.")
    rest = []
    if wallets.failed:
        rest.append(f"{wallets.failed:,} {'fails' if wallets.failed == 1 else 'fail'}")
    if wallets.stale:  # and not late: nobody is waited for but these
        rest.append(f"{wallets.stale:,} lost with {'its worker' if wallets.stale == 1 else 'their workers'}")
    if first := wallets.wallets - wallets.fresh - wallets.failed - wallets.stale:
        rest.append(f"{first:,} {'waits for its' if first == 1 else 'wait for their'} first read")
    word = "Reading in" if first else "Fresh"
    return Verdict(Level.GOOD, word, f"{_of(wallets.fresh, wallets)} fresh; {', '.join(rest)}.")


def notes(network: NetworkPicture) -> Iterator[Note]:
    """What else should be known of a network."""
    if network.condition and network.condition.out_since:
        why = remedy(network.condition.reason or "")
        yield Note(Level.ACT, why.meaning, why.to_do)
    if network.quota and network.quota.predicted is not None:
        yield from _of_the_quota(network.quota.predicted / network.quota.a_day)
    if network.wallets:
        yield from _of_wallets(network.wallets)
        yield from _of_feed(network.wallets.feed)
    for node in network.nodes or ():
        if node.keys_refused:
            refused = f"{node.name} refuses {counted(node.keys_refused, 'key')} of {node.keys:,}."
            yield Note(Level.ACT, refused, remedy(Unauthorized.code).to_do)
        elif node.resting_reason == Unauthorized.code and node.resting_seconds:
            yield Note(Level.ACT, f"{node.name} does not know its key.", remedy(Unauthorized.code).to_do)


def _of_wallets(wallets: NetworkFreshness) -> Iterator[Note]:
    if wallets.without_schedule:
        without = f"{counted(wallets.without_schedule, 'wallet')} {_have(wallets.without_schedule)} no schedule."
        yield Note(Level.WATCH, without, "A worker enrols them within the hour. If it lasts, see whether beat runs.")
    if wallets.doubted:
        held = f"{counted(wallets.doubted, 'change')} {_be(wallets.doubted)} held back: one endpoint alone says so."
        yield Note(Level.WATCH, held, "Compare the endpoints: `unlikely_changes` in the worker's log names the one.")
    if wallets.lost:
        lost = f"{counted(wallets.lost, 'wallet')} had a worker that never came back."
        yield Note(
            Level.WATCH, lost, "They are tried again, apart from others. If it lasts, a wallet kills its workers."
        )


def _of_feed(feed: FeedState) -> Iterator[Note]:
    if feed.reason in A_PERSONS:
        yield Note(Level.WATCH, REASONS[feed.reason], A_PERSONS[feed.reason])
    elif is_followed(feed.policy, feed.reason) and feed.good_until and feed.now and feed.good_until <= feed.now:
        lasted = in_words((feed.now - feed.good_until).total_seconds())
        behind = f"The feed of blocks is behind for {lasted}: wallets are read by the cadence."
        yield Note(Level.WATCH, behind, "If it lasts, see the endpoints, and whether a worker serves the queue `feed`.")


A_PERSONS: Final = {
    "blind": "Another endpoint beside these. Until then wallets are read by the cadence.",
    "deprecated": "Name the token's new contract, and restart the workers.",
    "quota_too_small": "A larger plan, another key or endpoint, or longer intervals.",
}
"""Reasons of a policy that waiting does not change, and what to do."""


def _of_the_quota(share: float) -> Iterator[Note]:
    if share >= NEARLY:
        beyond = share > 1
        sentence = f"At the pace of the past hour the day takes {share:.0%} of the quota."
        yield Note(
            Level.ACT if beyond else Level.WATCH, sentence, "Longer intervals, more endpoints, or a larger plan."
        )


def clock(moment: float, now: float) -> str:
    """A moment as the page has it: the time of day, with the day where that is another one."""
    then, today = (datetime.fromtimestamp(each, UTC) for each in (moment, now))
    return then.strftime("%H:%M UTC" if then.date() == today.date() else "%d %b %H:%M UTC")


def _of(number: int, wallets: NetworkFreshness) -> str:
    return f"{number:,} of {counted(wallets.wallets, 'wallet')} {_be(number)}"


def _be(number: int) -> str:
    return "is" if number == 1 else "are"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"
