"""What a batch's wallets come to, from what was claimed and what was read."""

from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from db.claimed_wallets import ClaimedWallet
from db.claims import Claim
from db.held_changes import NO_HISTORY
from db.outcomes import Outcome
from worker.errors import OutOfTime, ReadFailed, Throttled, TooMuch, Unreachable
from worker.reading.contract import Balance, Block, Snapshot
from worker.reading.request import Part
from worker.schedule.cadence import JUDGED_AGAIN, Policy
from worker.sync.outcome import Found, accounts_of, found_in, outcomes, with_bad_addresses
from worker.sync.verify import Doubts, agrees, behind, believed, caught_up, confirmed, doubted

NOW = 1_795_000_000.0
POLICY = Policy(active=60, idle=900)
ADDRESS = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
ACCOUNT = bytes.fromhex("a614f803b6fd780986a42c78ec9c7f77e6ded13c")


def wallet(number: int = 1, **known: Any) -> ClaimedWallet:
    fields: dict[str, Any] = {
        "account": ACCOUNT,
        "address": ADDRESS,
        "failures": 0,
        "touched_at": None,
        "due_at": NOW,
        "usdt": None,
        "native": None,
        "block_number": None,
    }
    return ClaimedWallet(id=UUID(int=number), **{**fields, **known})


def claimed(*wallets: ClaimedWallet) -> Claim:
    return Claim("tron", UUID(int=99), NOW, wallets)


def decide(
    *wallets: ClaimedWallet,
    balances: tuple[Balance | None, ...] = (),
    block: int = 10,
    failure: ReadFailed | None = None,
) -> list[Outcome]:
    claim = claimed(*wallets)
    accounts = accounts_of(claim, "tron")
    asked = len(accounts) - accounts.count(None)
    snapshot = None if failure else Snapshot(Block(block, 1), 1, balances)
    return settle(claim, found_in([Part(range(asked), snapshot, failure)], asked))


def settle(claim: Claim, found: list[Found]) -> list[Outcome]:
    accounts = accounts_of(claim, "tron")
    return outcomes(claim, accounts, with_bad_addresses(accounts, found), policy=POLICY, chance=lambda: 0.0)


def after(seconds: float) -> float:
    return NOW + seconds


def test_a_first_read_is_a_change() -> None:
    assert decide(wallet(failures=3), balances=(Balance(0, 0),)) == [
        Outcome(UUID(int=1), NOW, after(60), failures=0, changed=True, usdt=0, native=0, block_number=10, block_time=1)
    ]


@pytest.mark.parametrize("balance", [Balance(6, 5), Balance(5, 6)])
def test_either_balance_alone_is_a_change_and_makes_the_wallet_due_soon(balance: Balance) -> None:
    known = wallet(usdt=5, native=5, block_number=9, touched_at=after(-86400))
    (found,) = decide(known, balances=(balance,))
    assert (found.changed, found.due) == (True, after(60))


def test_an_unchanged_wallet_is_written_all_the_same_and_rests_longer() -> None:
    known = wallet(usdt=5, native=5, block_number=9, touched_at=after(-600))
    (found,) = decide(known, balances=(Balance(5, 5),))
    assert found == Outcome(
        UUID(int=1), NOW, after(300), failures=0, changed=False, usdt=5, native=5, block_number=10, block_time=1
    )


def test_a_wallet_that_a_user_asked_for_is_due_soon_though_nothing_changed() -> None:
    known = wallet(usdt=5, native=5, block_number=9, touched_at=after(-1))
    assert decide(known, balances=(Balance(5, 5),))[0].due == after(60)


def test_the_same_block_may_be_read_again_but_an_older_one_is_a_failure_and_no_balance() -> None:
    known = wallet(usdt=5, native=5, block_number=10, touched_at=after(-600))
    assert decide(known, balances=(Balance(7, 7),), block=10)[0].usdt == 7
    assert decide(known, balances=(Balance(7, 7),), block=9) == [Outcome(UUID(int=1), NOW, after(5), 1, "older_block")]


def test_a_wallet_without_a_usable_token_balance_fails_alone_and_has_no_balance_at_all() -> None:
    found = decide(wallet(1, failures=1), wallet(2), balances=(None, Balance(1, 2)))
    assert found[0] == Outcome(UUID(int=1), NOW, after(120), 2, "usdt_call_failed")
    assert (found[1].usdt, found[1].error) == (1, None)


def test_a_failed_read_fails_every_wallet_of_it_and_gives_none_a_balance() -> None:
    found = decide(wallet(1, usdt=5, native=5), wallet(2, failures=2), failure=Throttled())
    assert found == [
        Outcome(UUID(int=1), NOW, after(5), 1, "throttled"),
        Outcome(UUID(int=2), NOW, after(20), 3, "throttled"),
    ]


def test_a_bad_address_is_not_asked_for_and_judged_again_in_half_a_day_whatever_became_of_the_read() -> None:
    bad = wallet(2, account=None, address="0xdAC17F958D2ee523a2206206994597C13D831ec7")
    with capture_logs() as logs:
        assert accounts_of(claimed(wallet(1), bad), "tron") == [ACCOUNT, None]
    assert [(line["event"], line["log_level"]) for line in logs] == [("bad_address", "warning")]
    expected = Outcome(bad.id, NOW, after(JUDGED_AGAIN), 1, "bad_address")
    assert decide(wallet(1), bad, balances=(Balance(1, 1),))[1] == expected
    assert decide(wallet(1), bad, failure=Throttled())[1] == expected


def test_balances_stay_with_their_wallets_when_one_in_the_middle_is_not_asked_for() -> None:
    bad = wallet(2, account=None, address="nonsense")
    found = decide(wallet(1), bad, wallet(3), balances=(Balance(1, 1), Balance(3, 3)))
    assert [(outcome.wallet_id.int, outcome.usdt) for outcome in found] == [(1, 1), (2, None), (3, 3)]


def test_an_address_is_checked_once_and_its_account_is_kept_only_when_it_was_read_well() -> None:
    new = wallet(1, account=None)
    assert accounts_of(claimed(new), "tron") == [ACCOUNT]
    assert decide(new, balances=(Balance(1, 1),))[0].account == ACCOUNT
    assert decide(new, failure=Throttled())[0].account is None
    known = wallet(1, account=ACCOUNT)
    assert accounts_of(claimed(known), "tron") == [ACCOUNT]
    assert decide(known, balances=(Balance(1, 1),))[0].account is None


def test_an_account_that_is_not_the_addresss_is_found_anew_and_set_right() -> None:
    forged = wallet(1, account=b"\x07" * 20)
    assert accounts_of(claimed(forged), "tron") == [ACCOUNT]
    assert decide(forged, balances=(Balance(1, 1),))[0].account == ACCOUNT


def test_a_wallet_that_the_schedule_takes_for_one_of_another_network_is_not_read() -> None:
    assert accounts_of(claimed(wallet(1, address=None)), "tron") == [None]


def test_a_wallet_that_was_long_overdue_is_put_anywhere_in_its_interval() -> None:
    claim = claimed(wallet(usdt=5, native=5, block_number=9, touched_at=after(-86400), due_at=after(-3600)))
    found = [read(5, 5)]
    dues = [
        outcomes(claim, [ACCOUNT], found, policy=POLICY, chance=lambda jitter=jitter: jitter)[0].due  # type: ignore[misc]
        for jitter in (0.0, 0.5, 0.999)
    ]
    assert [round(due - NOW) for due in dues] == [900, 474, 49]


def test_a_wallet_that_failed_until_now_is_put_anywhere_in_its_interval_too() -> None:
    claim = claimed(wallet(usdt=5, native=5, block_number=9, touched_at=after(-86400), failures=3))
    (found,) = outcomes(claim, [ACCOUNT], [read(5, 5)], policy=POLICY, chance=lambda: 0.999)
    assert round(found.due - NOW) == 49


def test_more_or_fewer_balances_than_wallets_is_never_paired_up() -> None:
    for balances in ((), (Balance(1, 1), Balance(2, 2))):
        with pytest.raises(ValueError, match="a balance, or None, for each"):
            decide(wallet(1), balances=balances)


def test_nodes_that_want_to_be_left_alone_are_until_then_but_no_longer_than_the_idle_interval() -> None:
    assert decide(wallet(), failure=Throttled(retry_after=27))[0].due == after(27)
    assert decide(wallet(), failure=Throttled(retry_after=1))[0].due == after(5)
    assert decide(wallet(), failure=Throttled(retry_after=10**6))[0].due == after(900)


def test_each_part_of_a_read_has_its_own_block_and_its_own_failure() -> None:
    claim = claimed(*(wallet(number) for number in range(1, 6)))
    parts = [
        Part(range(3, 4), failure=TooMuch()),
        Part(range(2), Snapshot(Block(10, 100), 1, (Balance(1, 1), Balance(2, 2)))),
        Part(range(2, 3), Snapshot(Block(11, 103), 1, (Balance(3, 3),), one_block=False)),
        Part(range(4, 5), failure=Unreachable()),
    ]
    decided = settle(claim, found_in(parts, 5))
    assert [(each.usdt, each.block_number, each.block_time, each.one_block, each.error) for each in decided] == [
        (1, 10, 100, True, None),
        (2, 10, 100, True, None),
        (3, 11, 103, False, None),
        (None, None, None, True, "too_much"),
        (None, None, None, True, "unreachable"),
    ]


@pytest.mark.parametrize("failure", [TooMuch(), OutOfTime()])
def test_a_wallet_that_is_too_much_by_itself_is_its_own_fault_but_several_are_not(failure: ReadFailed) -> None:
    (alone,) = found_in([Part(range(1), failure=failure)], 1)
    together = found_in([Part(range(2), failure=failure)], 2)
    assert (alone.error, alone.alone) == (failure.code, True)
    assert [(each.error, each.alone) for each in together] == [(failure.code, False)] * 2


@pytest.mark.parametrize(
    "pieces", [[range(1)], [range(1), range(1)], [range(2), range(1)], [range(3)], [range(1), range(2, 3)]]
)
def test_a_read_that_leaves_a_wallet_out_or_speaks_of_one_twice_is_an_error_of_ours(pieces: list[range]) -> None:
    with pytest.raises(ValueError, match="each of its wallets"):
        found_in([Part(piece, failure=Unreachable()) for piece in pieces], 2)


KNOWN = {"usdt": 977, "native": 5, "block_number": 9}


def doubts_of(claim: Claim, found: list[Found]) -> Doubts:
    return doubted(claim, found, NO_HISTORY, rises_above=None, several=False)


def read(usdt: int, native: int, block: int = 10) -> Found:
    return Found(Balance(usdt, native), Block(block, 1))


@pytest.mark.parametrize(
    ("known", "now", "falls"),
    [
        (KNOWN, read(0, 5), True),
        (KNOWN, read(977, 0), True),
        (KNOWN, read(1, 1), False),
        (KNOWN, Found(error="throttled"), False),
        ({**KNOWN, "usdt": 0}, read(0, 5), False),
        ({}, read(0, 5), True),  # never read: it may have anything
        ({}, read(977, 0), True),
        ({}, read(977, 5), False),
        ({}, Found(error="throttled"), False),
        ({**KNOWN, "native": 0}, read(1, 0), False),
        (KNOWN, read(0, 0, block=8), False),  # older than what is known: not written anyhow
        ({}, Found(Balance(0, 0), Block(10, 1), unknown=True), True),
        ({**KNOWN, "native": 0}, Found(Balance(1, 0), Block(10, 1), unknown=True), False),
    ],
)
def test_a_zero_that_is_not_known_to_be_one_is_doubted(known: dict[str, Any], now: Found, *, falls: bool) -> None:
    claim = claimed(wallet(1, usdt=1, native=1, block_number=9), wallet(2, **known))
    assert doubts_of(claim, [read(1, 1), now]).to_read_again == [1] * falls


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (read(0, 5), read(0, 5), True),
        (read(0, 5), read(0, 77, block=11), True),
        (read(0, 5), read(977, 5), False),
        (read(977, 0), read(0, 5), False),
        (read(0, 0), read(0, 5), False),
        (read(0, 5), read(0, 77, block=9), True),  # the other way round: the first agrees with the second
        (read(0, 0), read(0, 5, block=9), None),
        (read(0, 5), read(0, 0, block=9), None),
        (read(0, 5), read(0, 5, block=8), None),  # older than what is known
        (read(0, 5), read(977, 5, block=9), None),
        (read(0, 5), Found(error="unreachable"), None),
    ],
)
def test_a_second_read_agrees_at_the_same_or_a_later_block(first: Found, second: Found, verdict: bool | None) -> None:
    assert agrees(wallet(1, **KNOWN), first, second) is verdict


def single(usdt: int, native: int, block: int = 10, *, unknown: bool = False) -> Found:
    return Found(Balance(usdt, native), Block(block, 1), one_block=False, unknown=unknown)


NOBODY = single(977, 0, unknown=True)
NEVER_READ: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("known", "first", "second", "verdict"),
    [
        (KNOWN, single(977, 0), single(977, 0), True),
        (KNOWN, read(977, 0), single(977, 0), True),
        (KNOWN, single(977, 0), read(977, 0), True),
        (KNOWN, single(977, 0), single(977, 5), False),
        (KNOWN, NOBODY, single(977, 0), False),  # an account that was there does not vanish
        (KNOWN, NOBODY, NOBODY, False),
        (KNOWN, single(977, 0), NOBODY, None),
        (KNOWN, read(977, 0), NOBODY, None),
        (NEVER_READ, NOBODY, NOBODY, True),
        (NEVER_READ, NOBODY, read(977, 0), True),
        (NEVER_READ, NOBODY, single(977, 5), False),
    ],
)
def test_an_account_that_a_node_does_not_know_is_no_empty_account(
    known: dict[str, Any], first: Found, second: Found, verdict: bool | None
) -> None:
    assert agrees(wallet(1, **known), first, second) is verdict


def test_an_unknown_account_is_found_in_its_place() -> None:
    snapshot = Snapshot(Block(10, 1), 1, (Balance(1, 1), Balance(0, 0)), one_block=False, unknown=frozenset({1}))
    found = found_in([Part(range(2), snapshot)], 2)
    assert [each.unknown for each in found] == [False, True]
    assert doubts_of(claimed(wallet(1), wallet(2)), found).zeros == {1}


def test_a_zero_that_is_not_confirmed_is_a_failure_that_is_soon_tried_again() -> None:
    claim = claimed(*(wallet(number, **KNOWN) for number in range(5)))
    found = [read(977, 5), *[read(0, 5)] * 4]
    doubts = doubts_of(claim, found)
    second = {1: read(0, 5), 2: read(977, 5), 3: Found(error="unreachable"), 4: read(977, 5, block=9)}
    settled = confirmed(claim, doubts, found, second)
    assert settled.keys() == {1, 2}, "what the second read does not tell, a third one may"
    settled |= confirmed(claim, doubts, found, {3: read(0, 5), 4: Found(error="unreachable")})
    every = believed(claim, doubts, found, settled, NO_HISTORY)
    decided = settle(claim, every)
    assert [(each.usdt, each.error) for each in decided] == [
        (977, None),
        (0, None),
        (None, "zero_unconfirmed"),
        (0, None),
        (None, "zero_unconfirmed"),
    ]
    assert decided[2].due == after(5)


def test_of_two_reads_with_the_same_zero_the_older_is_written_for_the_other_confirms_it_at_a_later_block() -> None:
    claim = claimed(*(wallet(number, **KNOWN) for number in range(3)))
    answers, found = [read(0, 7, block=11), read(0, 7, block=10), read(0, 7, block=9)], [read(0, 6)] * 3
    settled = confirmed(claim, doubts_of(claim, found), found, dict(enumerate(answers)))
    assert settled == {0: read(0, 6), 1: read(0, 6), 2: read(0, 7, block=9)}


def test_what_was_read_at_an_older_block_is_taken_from_a_second_read_that_is_not() -> None:
    claim = claimed(wallet(1, **KNOWN), *(wallet(number, **{**KNOWN, "block_number": 11}) for number in (2, 3, 4)))
    found = [read(1, 1), read(2, 2), read(3, 3), read(4, 4)]
    assert behind(claim, found) == [1, 2, 3]
    answers = [read(22, 22, block=11), read(33, 33, block=10), Found(error="unreachable")]
    settled = caught_up(claim, found, dict(zip([1, 2, 3], answers, strict=True)))
    assert [(each.usdt, each.error) for each in settle(claim, settled)] == [
        (1, None),
        (22, None),
        (None, "older_block"),
        (None, "older_block"),
    ]


def test_what_was_read_at_a_finality_that_is_behind_keeps_the_newer_row_and_has_not_failed() -> None:
    """`finalized` is minutes behind `latest`: a row of that is right, and a change of the setting is no fault."""
    newer = {**KNOWN, "block_number": 11}
    latest = {"finality": "latest", "failures": 3}
    claim = claimed(wallet(1, **newer, **latest), wallet(2, **KNOWN, **latest), wallet(3, **newer))
    found = [read(1, 1), read(2, 2), read(3, 3)]
    assert behind(claim, found, "finalized") == [2], "of this one it is not known at which finality it was read"
    assert behind(claim, found, "latest") == [0, 2]

    def made(finality: str) -> list[Outcome]:
        accounts = [ACCOUNT] * len(found)
        return outcomes(claim, accounts, found, policy=POLICY, chance=lambda: 0.0, finality=finality)

    assert [(each.usdt, each.failures, each.error) for each in made("finalized")] == [
        (None, 0, None),
        (2, 0, None),
        (None, 1, "older_block"),
    ]
    assert [each.error for each in made("latest")] == ["older_block", None, "older_block"]


def test_while_it_waits_for_such_a_block_a_quiet_wallet_is_read_no_more_often_than_usual() -> None:
    known: dict[str, Any] = {**KNOWN, "block_number": 11, "finality": "latest"}
    claim = claimed(wallet(1, **{**known, "touched_at": 0.0}), wallet(2, **{**known, "touched_at": NOW}))
    made = outcomes(claim, [ACCOUNT] * 2, [read(1, 1)] * 2, policy=POLICY, chance=lambda: 0.0, finality="finalized")
    assert [each.due for each in made] == [after(POLICY.idle), after(POLICY.active)]
