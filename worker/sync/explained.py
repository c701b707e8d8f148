"""Whether what was read is what the blocks' events say: between two reads of a wallet, what came in less what went out
is the difference. Pure: ``worker.sync.feed_check`` asks the tables.

A node that lies, or shows an old state, is found out so where there is no other one to ask; and so is a feed that
leaves something out. Neither is believed at once: such a wallet is read again elsewhere, or held back
(``worker.sync.verify``).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from db.claimed_wallets import ClaimedWallet
from db.claims import Claim
from db.touches import Covered, Told
from worker.sync.outcome import Found, older


class Explained(NamedTuple):
    """Places of a read's wallets, by what the feed says of them.

    unexplained  the feed has told of every block up to the one that was read, and of another change
    undecided    the block that was read is after the feed's, so the change may yet be explained
    unseen       the native coin changed, and no block had touched the wallet
    lagging      the block that was read is before one that touched the wallet
    as_told      a block touched the wallet, and its token changed by what the events say
    """

    unexplained: frozenset[int] = frozenset()
    undecided: frozenset[int] = frozenset()
    unseen: frozenset[int] = frozenset()
    lagging: frozenset[int] = frozenset()
    as_told: frozenset[int] = frozenset()
    ahead: int = 0
    """The highest block that was read at which something changed, where the feed has not told of it; or 0."""


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
        its, number = told.get(wallet.id), each.block.number
        if its and its.owed > number:
            places["lagging"].add(place)
        is_ahead = covered.number is None or number > covered.number
        differs = each.balance != (wallet.usdt, wallet.native) or (its is not None and its.usdt != 0)
        if is_ahead and differs and covered.since is not None:
            ahead = max(ahead, number)
        if not _can_be_told(wallet, each, covered) or (its and its.unknown):
            continue
        changed = each.balance.usdt - (wallet.usdt or 0) != (its.usdt if its else 0)
        native = each.balance.native != wallet.native and its is None
        if changed:
            places["undecided" if is_ahead else "unexplained"].add(place)
        elif not is_ahead and (native or its):
            places["as_told" if its else "unseen"].add(place)
    return Explained(**{name: frozenset(those) for name, those in places.items()}, ahead=ahead)


def _can_be_told(wallet: ClaimedWallet, found: Found, covered: Covered) -> bool:
    """Whether the feed has told of all blocks between the wallet's row and what was read, or will have.

    Not of what was never read, or is of another source, or was forgotten, nor of a read that may be of a later block.
    """
    return (
        found.one_block
        and bool(wallet.block_number)
        and covered.since is not None
        and (wallet.block_number or 0) >= covered.since
        and not older(wallet, found)
    )
