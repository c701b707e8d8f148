"""Whether what was read is what the blocks' events say: between two reads of a wallet, what came in less what went out
is the difference. Pure: ``worker.sync.feed_check`` asks the tables.

A node that lies, or shows an old state, is found out so where there is no other one to ask; and so is a feed that
leaves something out. Neither is believed at once: such a wallet is read again elsewhere, or held back
(``worker.sync.verify``).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from db.claimed_wallets import ClaimedWallet
from db.claims import Claim
from db.touches import Covered, Told
from worker.reading.contract import Balance, Block
from worker.sync.outcome import Found


class Explained(NamedTuple):
    """Places of a read's wallets, by what the feed says of them.

    unexplained  the feed has told of every block up to the one that was read, and of another change
    undecided    the block that was read is after the feed's, so the change may yet be explained
    unseen       the native coin changed, and no block had touched the wallet
    lagging      the block that was read is before one that touched the wallet
    as_told      a block touched the wallet, and its token changed by what the events say
    untold       a block touched the wallet, and its row is of before the feed, which cannot say by how much it changed
    """

    unexplained: frozenset[int] = frozenset()
    undecided: frozenset[int] = frozenset()
    unseen: frozenset[int] = frozenset()
    lagging: frozenset[int] = frozenset()
    as_told: frozenset[int] = frozenset()
    untold: frozenset[int] = frozenset()
    ahead: int = 0
    """The highest block that was read at which something changed, where the feed has not told of it; or 0."""

    @property
    def likely(self) -> frozenset[int]:
        """Wallets that a block touched: that they changed is not unlikely, however many of a batch they are."""
        return self.as_told | self.untold


NOTHING_TOLD = Explained()


def explained(claim: Claim, found: Sequence[Found], told: Mapping[UUID, Told], covered: Covered) -> Explained:
    """What the feed says of what was read.

    Whatever differs from its row is to be told of before it is written: a block that was read and is undone before the
    feed has seen it would leave a balance that nothing touches any more.
    """
    places: dict[str, set[int]] = {name: set() for name in Explained._fields if name != "ahead"}
    ahead = 0
    for place, (wallet, each) in enumerate(zip(claim.wallets, found, strict=True)):
        if each.balance is None or each.block is None:
            continue
        its = told.get(wallet.id)
        differs = each.balance != (wallet.usdt, wallet.native) or (its is not None and its.usdt != 0)
        if differs and covered.since is not None and _is_ahead(each.block, covered):
            ahead = max(ahead, each.block.number)
        for name in _said(wallet, each.balance, each.block, its, covered, one_block=each.one_block):
            places[name].add(place)
    return Explained(**{name: frozenset(those) for name, those in places.items()}, ahead=ahead)


def _said(
    wallet: ClaimedWallet, balance: Balance, block: Block, its: Told | None, covered: Covered, *, one_block: bool
) -> Iterator[str]:
    """The fields of `Explained` that one read belongs to. `its`: what the feed has told of the wallet."""
    if its and its.owed > block.number:
        yield "lagging"
    if its and its.unknown:
        return
    if not one_block or not _can_be_told(wallet, block, covered):
        if its:
            yield "untold"
        return
    if balance.usdt - (wallet.usdt or 0) != (its.usdt if its else 0):
        yield "undecided" if _is_ahead(block, covered) else "unexplained"
    elif its and not _is_ahead(block, covered):
        yield "as_told"
    elif balance.native != wallet.native and not _is_ahead(block, covered):
        yield "unseen"


def _is_ahead(block: Block, covered: Covered) -> bool:
    return covered.number is None or block.number > covered.number


def _can_be_told(wallet: ClaimedWallet, block: Block, covered: Covered) -> bool:
    """Whether the feed has told of all blocks between the wallet's row and what was read, or will have.

    Not of what was never read, or is of another source, or was forgotten, nor of an older block than the row's.
    """
    return (
        bool(wallet.block_number)
        and covered.since is not None
        and covered.since <= (wallet.block_number or 0) <= block.number
    )
