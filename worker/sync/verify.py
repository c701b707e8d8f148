"""What is believed of a read, and what is read again first. Pure: `worker.sync.batch` reads, `db.held_changes` keeps.

    doubted    which wallets of a read are doubted, and why
    confirmed  what those come to that were read again
    believed   the read with every doubt settled: a balance, an error, or a change that is held back

In: a claim, what was found for its wallets (`worker.sync.outcome`), what is known of the network (`db.held_changes`).
Out: what was found, where nothing is left that one node alone may not tell
(docs/decisions/0019-what-one-endpoint-may-tell.md).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from db.claimed_wallets import ClaimedWallet
from db.claims import Claim
from db.held_changes import HeldChange, History, Lesson, Rates
from worker.errors import CHANGE_UNCONFIRMED, RISE_UNCONFIRMED, ZERO_UNCONFIRMED
from worker.reading.contract import Balance
from worker.sync.likely import NEVER_UNLIKELY, most_likely_changed, most_likely_fallen
from worker.sync.outcome import Found, kept, older

ATTEMPTS = 2  # to have what is doubted confirmed

# The share of batches that are counted: enough, and the row is written so much less often. Counted always are the
# changes of those in which held ones came to be believed: where everything moves all the time, that is usual soon.
COUNTED = 1 / 16

# A node that lost its state, or is cheated, is mended or noticed within minutes, and the chain goes on meanwhile.
HOLD_SECONDS = 300.0
HOLD_BLOCKS = 3
HOLD_READS = 3  # batches


@dataclass(frozen=True, slots=True)
class Doubts:
    """The places of a read's wallets that are doubted, and why. `rises_above` and `several` are what it was judged by.

    `unlikely`: each is one of so many that change at once, by one node's word, that another one has to say so too.
    `unexplained`: what the blocks' events say is something else than what one node does (``worker.sync.explained``).
    """

    zeros: frozenset[int]
    rises: frozenset[int]
    unlikely: frozenset[int]
    rises_above: int | None
    several: bool
    unexplained: frozenset[int] = frozenset()

    @property
    def places(self) -> frozenset[int]:
        return self.zeros | self.rises | self.for_another_node

    @property
    def for_another_node(self) -> frozenset[int]:
        """Where the same node has no more to say: another one has to say the same, or its word is held back."""
        return self.unlikely | self.unexplained

    @property
    def to_read_again(self) -> list[int]:
        """Where there is one node it has no more to say of what changes. That it has not lost, it says again."""
        return sorted(self.zeros | self.rises | (self.for_another_node if self.several else set()))


def behind(claim: Claim, found: Sequence[Found], finality: str | None = None) -> list[int]:
    """The places of wallets that were read at a block before the one that their balances are from, and should not have
    been: not those that `kept` is for.
    """
    return [
        place
        for place, (wallet, each) in enumerate(zip(claim.wallets, found, strict=True))
        if older(wallet, each) and not kept(wallet, each, finality)
    ]


def caught_up(claim: Claim, found: Sequence[Found], again: Mapping[int, Found]) -> list[Found]:
    """`found` with those that were read `again`, where they were, at a block that is no older than theirs, and than
    what was found first, if that was not too old.
    """
    settled = list(found)
    for place, second in again.items():
        wallet, first = claim.wallets[place], found[place]
        if second.balance and not older(wallet, second) and (older(wallet, first) or _number(second) >= _number(first)):
            settled[place] = second
    return settled


def doubted(
    claim: Claim,
    found: Sequence[Found],
    history: History,
    *,
    rises_above: int | None,
    several: bool,
    unexplained: frozenset[int] = frozenset(),
    as_told: frozenset[int] = frozenset(),
) -> Doubts:
    """The wallets that one node's word is not enough for.

    `rises_above`: USDT that rises by more, in base units, is doubted; None: none is. `several`: whether there is
    another node. `unexplained`: where the feed's events say something else; `as_told`: where they do not, and a block
    touched the wallet, so that a change is not unlikely, however many there are.
    """
    places = [
        place
        for place, (wallet, each) in enumerate(zip(claim.wallets, found, strict=True))
        if each.balance and each.balance != (wallet.usdt, wallet.native) and not older(wallet, each)
    ]
    others = [Found() if place in as_told else each for place, each in enumerate(found)]
    return Doubts(
        zeros=frozenset(place for place in places if any(_zeros(claim.wallets[place], found[place]))),
        rises=frozenset(place for place in places if _rises(claim.wallets[place], found[place], rises_above)),
        unlikely=frozenset(_unlikely(claim, others, sorted(set(places) - as_told), history)),
        rises_above=rises_above,
        several=several,
        unexplained=unexplained,
    )


def _zeros(wallet: ClaimedWallet, found: Found) -> tuple[bool, bool]:
    """Which balances, USDT and native, read as zero and are not known to be: an error often looks like that.

    A wallet that was never read may have anything; so may one whose address is another one since.
    """
    balance = found.balance
    if balance is None:
        return False, False
    return wallet.usdt != 0 and balance.usdt == 0, wallet.native != 0 and balance.native == 0


def _rises(wallet: ClaimedWallet, found: Found, above: int | None) -> bool:
    """A wallet that was never read rises from nothing."""
    return above is not None and found.balance is not None and found.balance.usdt - (wallet.usdt or 0) > above


def _unlikely(claim: Claim, found: Sequence[Found], places: Iterable[int], history: History) -> set[int]:
    """Of the wallets that changed, by their places: those of an unlikely share, and those that are held until now.

    What was never read does not change.
    """
    changed = [place for place in places if claim.wallets[place].block_number is not None]
    unlikely = {place for place in changed if claim.wallets[place].id in history.held}
    if len(changed) <= NEVER_UNLIKELY:
        return unlikely
    fallen = [place for place in changed if any(_zeros(claim.wallets[place], found[place]))]
    read = Counter(
        each.node_id
        for wallet, each in zip(claim.wallets, found, strict=True)
        if each.balance and wallet.block_number is not None
    )
    for those, most in ((changed, most_likely_changed), (fallen, most_likely_fallen)):
        counts = Counter(found[place].node_id for place in those)
        too_many = {node for node, count in counts.items() if count > most(history.rates, read[node])}
        unlikely |= {place for place in those if found[place].node_id in too_many}
    return unlikely


def _same_zeros(held: HeldChange, balance: Balance) -> bool:
    """Whether what is read now has the zeros of what is held. Sums go on changing where there is business."""
    return (held.usdt == 0, held.native == 0) == (balance.usdt == 0, balance.native == 0)


def agrees(
    wallet: ClaimedWallet, first: Found, second: Found, above: int | None = None, *, exactly: bool = False
) -> bool | None:
    """Whether two reads have the same zeros, and, where the first is a rise by more than `above`, sums no further apart
    than that; `exactly`: the same balances. None: the second does not tell, having failed or being older and other.
    """
    usdt, native = zeros = _zeros(wallet, first)
    if wallet.native and first.unknown:
        return False  # an account that was there does not vanish
    if second.balance is None or not (first.block and second.block) or (wallet.native and second.unknown):
        return None
    close = _close(wallet, first, second, above) and (not exactly or first.balance == second.balance)
    if second.block.number < first.block.number:
        return True if close and zeros == _zeros(wallet, second) and not older(wallet, second) else None
    return close and not (usdt and second.balance.usdt) and not (native and second.balance.native)


def _close(wallet: ClaimedWallet, first: Found, second: Found, above: int | None) -> bool:
    if above is None or not first.balance or not second.balance or not _rises(wallet, first, above):
        return True
    return abs(first.balance.usdt - second.balance.usdt) <= above


def confirmed(claim: Claim, doubts: Doubts, found: Sequence[Found], again: Mapping[int, Found]) -> dict[int, Found]:
    """What doubted wallets come to, by their places, that were read again. Those of which the second read says nothing
    are not in it.

    Of two reads that agree the older one counts: the other confirms it at a later block, whichever came first. So an
    node that is always a block behind can be asked too. Of an unlikely change that another node knows nothing
    of, the other one's word counts: that is what the row has.
    """
    settled = {}
    for place, second in again.items():
        wallet, first, unlikely = claim.wallets[place], found[place], place in doubts.for_another_node
        verdict = agrees(wallet, first, second, doubts.rises_above, exactly=unlikely)
        if verdict:
            both = min(first, second, key=_number)
            settled[place] = both if not unlikely or first.node_id != second.node_id else _held(both)
        elif verdict is False:
            known = unlikely and second.balance == (wallet.usdt, wallet.native)
            settled[place] = second if known else Found(error=_error(doubts, place))
        elif second.untried:
            settled[place] = second  # nothing is said against it
    return settled


def believed(
    claim: Claim, doubts: Doubts, found: Sequence[Found], settled: Mapping[int, Found], history: History
) -> list[Found]:
    """`found` with each doubt settled: as a second read did, or as one that nothing confirmed."""
    every = list(found)
    for place in doubts.places:
        each = settled.get(place)
        if each is None:
            alone = place in doubts.for_another_node and place not in doubts.zeros | doubts.rises
            each = _held(found[place]) if alone else Found(error=_error(doubts, place))
        if each.held and _long_enough(history.held.get(claim.wallets[place].id), each, claim.at):
            each = each._replace(balance=each.held, held=None)
        every[place] = each
    return every


def denies(judged: Found, first: Found) -> bool:
    """Whether a doubted wallet is not what the first read of it was: another one had it otherwise, or was needed."""
    return judged.balance != first.balance if judged.balance else judged.error is not None


def denied(doubts: Doubts, found: Sequence[Found], judged: Sequence[Found]) -> set[str]:
    """The ids of nodes whose word was not taken, since another one has it otherwise and was believed."""
    return {
        found[place].node_id
        for place in doubts.for_another_node
        if judged[place].balance and denies(judged[place], found[place])
    }


def _error(doubts: Doubts, place: int) -> str:
    if place in doubts.zeros:
        return ZERO_UNCONFIRMED
    return RISE_UNCONFIRMED if place in doubts.rises else CHANGE_UNCONFIRMED


def _held(found: Found) -> Found:
    return found._replace(balance=None, held=found.balance)


def _long_enough(held: HeldChange | None, found: Found, now: float) -> bool:
    """Whether one node has said for so long, so often, over so many blocks, that a wallet changed."""
    return (
        held is not None
        and found.held is not None
        and _same_zeros(held, found.held)
        and held.reads + 1 >= HOLD_READS
        and now - held.since >= HOLD_SECONDS
        and _number(found) - held.block_number >= HOLD_BLOCKS
    )


def _number(found: Found) -> int:
    return found.block.number if found.block else 0


def lesson(
    claim: Claim, found: Sequence[Found], history: History, *, chance: float, as_told: frozenset[int] = frozenset()
) -> Lesson:
    """What is to be remembered of a batch whose doubts are settled. `chance` is in [0, 1): few batches are counted, and
    not what changed `as_told` by events: wallets are read for that, so it does not say how many change by themselves.
    """
    pairs = list(zip(claim.wallets, found, strict=True))
    hold = {wallet.id: (*each.held, _number(each)) for wallet, each in pairs if each.held and not each.soon}
    forget, believed_late = [], False
    if history.held:
        # A read that failed says nothing; one that shows something else, or that another node contradicts, does.
        over = {ZERO_UNCONFIRMED, CHANGE_UNCONFIRMED}
        were_held = [(wallet, each) for wallet, each in pairs if wallet.id in history.held]
        forget = [wallet.id for wallet, each in were_held if each.balance or each.error in over]
        believed_late = any(each.balance not in {None, (wallet.usdt, wallet.native)} for wallet, each in were_held)
    if chance >= COUNTED and not believed_late:
        return Lesson(hold, forget)
    known = [
        (wallet, each)
        for place, (wallet, each) in enumerate(pairs)
        if each.balance and wallet.block_number is not None and not older(wallet, each) and place not in as_told
    ]
    changed = sum(each.balance != (wallet.usdt, wallet.native) for wallet, each in known)
    # No sweep makes zeros usual: it would count sixteen times what it is, and the next lie would be likely.
    fallen = 0 if believed_late else sum(any(_zeros(*pair)) for pair in known)
    return Lesson(hold, forget, Rates(len(known), changed, fallen))
