"""What a read is by the blocks' events: a table of everything that the feed and a read can say of one wallet."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.claimed_wallets import ClaimedWallet
from db.claims import Claim
from db.held_changes import NO_HISTORY, HeldChange, History, Rates
from db.touches import Covered, Told
from worker.reading.contract import Balance, Block
from worker.sync.explained import Explained, explained
from worker.sync.likely import NEVER_UNLIKELY
from worker.sync.outcome import Found
from worker.sync.verify import doubted, lesson

NOW = 1_795_000_000.0
WALLET = UUID(int=1)
COVERED = Covered(number=100, since=50)


def judged(
    told: Told | None,
    *,
    usdt: int = 977,
    native: int = 5,
    block: int = 100,
    row: int | None = 90,
    covered: Covered = COVERED,
    **more: Any,
) -> dict[str, Any]:
    """Of a wallet whose row has 977 and 5: what is said of it, by name, and the block that the feed is behind."""
    usdt_before, native_before = (None, None) if row is None else (977, 5)
    wallet = ClaimedWallet(WALLET, bytes(20), "", 0, None, NOW, usdt_before, native_before, row)
    found = Found(Balance(usdt, native), Block(block, 1), **more)
    said = explained(Claim("ethereum", UUID(int=9), NOW, (wallet,)), [found], {WALLET: told} if told else {}, covered)
    return {name: value for name, value in said._asdict().items() if value}


PLACE = frozenset({0})
UNEXPLAINED, UNDECIDED, UNSEEN = {"unexplained": PLACE}, {"undecided": PLACE}, {"unseen": PLACE}
AS_TOLD, LAGGING, NOTHING = {"as_told": PLACE}, {"lagging": PLACE}, dict[str, Any]()
PAID = Told(95, 7, unknown=False)
TOUCHED = Told(95, 0, unknown=False)
UNKNOWN = Told(95, 0, unknown=True)


@pytest.mark.parametrize(
    ("told", "read", "expected"),
    [
        # Nothing was told.
        (None, {}, NOTHING),
        (None, {"usdt": 978}, UNEXPLAINED),
        (None, {"usdt": 0}, UNEXPLAINED),
        (None, {"native": 6}, UNSEEN),
        (None, {"usdt": 978, "native": 6}, UNEXPLAINED),
        # A sum was told.
        (PAID, {"usdt": 984}, AS_TOLD),
        (PAID, {"usdt": 984, "native": 6}, AS_TOLD),
        (PAID, {"usdt": 977}, UNEXPLAINED),
        (PAID, {"usdt": 985}, UNEXPLAINED),
        (PAID, {"usdt": 0}, UNEXPLAINED),
        (Told(95, -977, unknown=False), {"usdt": 0}, AS_TOLD),
        # Nothing of the token moved, and the wallet was touched.
        (TOUCHED, {}, AS_TOLD),
        (TOUCHED, {"native": 6}, AS_TOLD),
        (TOUCHED, {"usdt": 978}, UNEXPLAINED),
        # Not all was told.
        (UNKNOWN, {"usdt": 12345}, NOTHING),
        (UNKNOWN, {}, NOTHING),
        (UNKNOWN, {"native": 6}, NOTHING),
        # The read is of a block before one that touched the wallet: the sum is of the blocks that it can show.
        (Told(101, 0, unknown=False), {}, {**LAGGING, **AS_TOLD}),
        (Told(101, 0, unknown=True), {}, LAGGING),
        (Told(101, 0, unknown=False), {"usdt": 984}, {**LAGGING, **UNEXPLAINED}),
        # The read is of a block that was not followed yet.
        (None, {"block": 101}, NOTHING),
        (None, {"block": 101, "usdt": 978}, {**UNDECIDED, "ahead": 101}),
        (None, {"block": 101, "native": 6}, {"ahead": 101}),
        (PAID, {"block": 101, "usdt": 984}, {"ahead": 101}),
        (PAID, {"block": 101, "usdt": 977}, {**UNDECIDED, "ahead": 101}),
        # A block touched it, and what the row lacks of before the feed nobody can say.
        (PAID, {"usdt": 12345, "row": 49}, {"untold": PLACE}),
        (TOUCHED, {"native": 6, "row": 49}, {"untold": PLACE}),
        (UNKNOWN, {"usdt": 12345, "row": 49}, NOTHING),
        # Nothing can be said of these.
        (None, {"usdt": 978, "row": None}, NOTHING),
        (None, {"usdt": 978, "row": 0}, NOTHING),
        (None, {"usdt": 978, "row": 49}, NOTHING),
        (None, {"usdt": 978, "row": 50}, UNEXPLAINED),
        (None, {"usdt": 978, "block": 89}, NOTHING),
        (None, {"usdt": 978, "one_block": False}, NOTHING),
        (None, {"usdt": 978, "covered": Covered(None, None)}, NOTHING),
        (None, {"usdt": 978, "covered": Covered(100, None)}, NOTHING),
    ],
)
def test_what_is_said_of_a_read(told: Told | None, read: dict[str, Any], expected: dict[str, Any]) -> None:
    assert judged(told, **read) == expected


def test_of_a_read_that_failed_nothing_is_said() -> None:
    wallet = ClaimedWallet(WALLET, bytes(20), "", 0, None, NOW, 977, 5, 90)
    claim = Claim("ethereum", UUID(int=9), NOW, (wallet,))
    assert explained(claim, [Found(error="unreachable")], {WALLET: PAID}, COVERED) == Explained()


@given(
    told=st.builds(Told, st.integers(80, 110), st.integers(-977, 977), st.booleans()) | st.none(),
    usdt=st.integers(0, 2000),
    block=st.integers(80, 110),
    row=st.integers(0, 110) | st.none(),
    since=st.integers(0, 110) | st.none(),
    number=st.integers(0, 110) | st.none(),
)
def test_no_change_is_called_explained_that_the_events_do_not_say(
    *, told: Told | None, usdt: int, block: int, row: int | None, since: int | None, number: int | None
) -> None:
    said = judged(told, usdt=usdt, block=block, row=row, covered=Covered(number, since))
    if "as_told" in said:
        assert told is not None
        assert usdt - 977 == told.usdt
        assert not told.unknown
        assert number is not None
        assert block <= number
    assert len({"unexplained", "undecided", "unseen", "as_told"} & said.keys()) <= 1


def many(count: int) -> tuple[Claim, list[Found]]:
    """So many wallets, each of which has one base unit more."""
    wallets = tuple(ClaimedWallet(UUID(int=at), bytes(20), "", 0, None, NOW, 977, 5, 90) for at in range(count))
    return Claim("ethereum", UUID(int=10**9), NOW, wallets), [Found(Balance(978, 5), Block(100, 1))] * count


def test_changes_that_are_as_told_are_not_unlikely_and_the_others_are_judged_by_themselves() -> None:
    claim, found = many(3 * NEVER_UNLIKELY)
    everywhere = frozenset(range(len(found)))
    some = frozenset(range(2 * NEVER_UNLIKELY - 1))

    def unlikely(as_told: frozenset[int], held: History = NO_HISTORY) -> frozenset[int]:
        return doubted(claim, found, held, rises_above=None, several=False, as_told=as_told).unlikely

    assert unlikely(frozenset()) == everywhere
    assert unlikely(everywhere) == frozenset()
    assert unlikely(some) == everywhere - some, "of these, too many have changed"
    held = History(NO_HISTORY.rates, {claim.wallets[0].id: HeldChange(1, 2, 3, 4.0, 5)})
    assert unlikely(everywhere, held) == frozenset(), "also one that was held until now"


def test_what_changed_as_told_teaches_nothing_of_how_many_change() -> None:
    claim, found = many(10)
    assert lesson(claim, found, NO_HISTORY, chance=0.0).rates == Rates(10, 10, 0)
    assert lesson(claim, found, NO_HISTORY, chance=0.0, as_told=frozenset(range(4))).rates == Rates(6, 6, 0)
