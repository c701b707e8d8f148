"""Holding a batch against the feed: what the tables say of its wallets. I/O; ``worker.sync.explained`` judges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection

from db.claims import Claim
from db.session import until_done
from db.touches import NOT_COVERED, Covered, Told, covered, told, watch
from worker.feed.reach import reach
from worker.sync.explained import NOTHING_TOLD, Explained, explained
from worker.sync.outcome import Found


@dataclass(slots=True)
class FeedCheck:
    """What the feed knows of one claim. `deadline` is of the monotonic clock."""

    claim: Claim
    deadline: float
    enabled: bool = True
    """FEED."""
    usdt_missed: int = 0
    native_missed: int = 0
    owed: Mapping[UUID, int] = field(default_factory=dict)
    """Wallets that were read ahead of the feed, with their blocks: a read at or after it is owed to them."""
    as_told: frozenset[int] = frozenset()
    """The places of wallets that changed by what the events say."""
    _at: Covered | None = None

    @property
    def follows(self) -> bool:
        """Whether the feed tells of this network's blocks."""
        return self.enabled and self.claim.state.freshness.policy == "feed"

    def watch(self, accounts: Sequence[bytes | None], lease: timedelta) -> None:
        """Have the feed look for accounts that it does not look for yet. Before they are read."""
        new = {
            wallet.id: account
            for wallet, account in zip(self.claim.wallets, accounts, strict=True)
            if account is not None and account != wallet.watched
        }
        if self.follows and new:
            until_done(lambda connection: watch(connection, self.claim.network, new, lease=lease), self.deadline)

    def look(self, found: Sequence[Found]) -> Explained:
        """What the feed says of what was read. Where blocks have been read that it has not told of, and something has
        changed, it is followed up to there first.
        """
        if not self.follows and not self.claim.state.freshness.touches:
            return NOTHING_TOLD
        judged = self._look(found)
        if judged.ahead and self.follows and reach(self.claim.network, judged.ahead, self.deadline):
            judged = self._look(found)
        return judged

    def look_again(self, found: Sequence[Found], again: Mapping[int, Found]) -> dict[int, Found]:
        """Of what was read again, what the feed explains."""
        if not self.follows:
            return {}
        seconds = [again.get(place, Found()) for place in range(len(found))]
        judged = self.look(seconds)
        doubtful = judged.unexplained | judged.undecided | judged.lagging
        return {place: each for place, each in again.items() if each.balance and place not in doubtful}

    def note_missed(self, judged: Explained, found: Sequence[Found], believed: Sequence[Found]) -> None:
        """Count what was believed though the feed had not told of it, and keep what is as it has told."""
        self.as_told = judged.likely
        kept = [
            first.balance is not None and first.balance == last.balance
            for first, last in zip(found, believed, strict=True)
        ]
        at = self._at.number if self._at and self.follows else None
        self.owed = {
            wallet.id: each.block.number
            for wallet, each in zip(self.claim.wallets, believed, strict=True)
            if at is not None and each.balance and each.block and each.block.number > at
            if each.balance != (wallet.usdt, wallet.native)
        }
        self.usdt_missed = sum(kept[place] for place in judged.unexplained)
        self.native_missed = sum(kept[place] for place in judged.unseen)

    def _look(self, found: Sequence[Found]) -> Explained:
        reads = [
            (wallet.id, wallet.block_number or 0, each.block.number)
            for wallet, each in zip(self.claim.wallets, found, strict=True)
            if each.balance and each.block
        ]

        def ask(connection: Connection) -> tuple[Covered, dict[UUID, Told]]:
            return covered(connection, self.claim.network), told(connection, self.claim.network, reads)

        at, of_wallets = until_done(ask, self.deadline)
        self._at = at if self.follows else NOT_COVERED
        return explained(self.claim, found, of_wallets, self._at)
