"""Whether a batch that was not read says something of its wallets, or of its network alone."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from db.claimed_wallets import ClaimedWallet
from db.claims import Claim
from db.network_state import State
from worker.errors import OverBudget, ReadFailed, Throttled, TooMuch, Unreachable
from worker.reading.contract import Balance, Block, Snapshot
from worker.reading.request import Part
from worker.schedule.cadence import JUDGED_AGAIN, Policy
from worker.sync.outcome import found_in, outage, outcomes, with_bad_addresses

NOW = 1_795_000_000.0
POLICY = Policy(active=60, idle=900)
OUT = State(datetime.fromtimestamp(NOW, UTC), "unreachable")
READ = Part(range(1), Snapshot(Block(10, 1), 1, (Balance(1, 1),)))


def failed(failure: ReadFailed, at: int = 0) -> Part:
    return Part(range(at, at + 1), failure=failure)


@pytest.mark.parametrize(
    ("parts", "state", "code"),
    [
        ([failed(Unreachable())], State(), "unreachable"),
        ([failed(Unreachable())], OUT, "unreachable"),
        ([failed(Unreachable()), failed(Throttled(), 1)], State(), "throttled"),
        ([READ, failed(Unreachable(), 1)], State(), None),  # an endpoint has answered
        ([failed(Unreachable())], State(back_lately=True), None),  # so it has a minute ago: it may be these wallets
        ([failed(TooMuch())], State(), None),  # an answer too
        ([failed(TooMuch()), failed(Unreachable(), 1)], State(), None),
        ([failed(OverBudget())], State(), None),  # nobody was asked
        ([failed(Unreachable()), failed(OverBudget(), 1)], State(), "unreachable"),
        ([], State(), None),  # a mistake of our own
    ],
)
def test_a_batch_of_which_nothing_was_read_is_an_outage_unless_an_endpoint_answered(
    parts: list[Part], state: State, code: str | None
) -> None:
    found = outage(parts, state)
    assert (found and found.code) == code


def wallets(number: int) -> Claim:
    known: dict[str, Any] = {"failures": 2, "touched_at": None, "due_at": NOW - 5, "usdt": 1, "native": 1}
    made = (ClaimedWallet(UUID(int=at), bytes(20), "T", block_number=9, **known) for at in range(number))
    return Claim("tron", UUID(int=99), NOW, tuple(made))


def test_wallets_that_nobody_was_asked_for_have_no_outcome_and_stay_as_they_are() -> None:
    claim = wallets(3)
    found = found_in([READ, failed(OverBudget(), 1), failed(Unreachable(), 2)], 3)
    made = outcomes(claim, [bytes(20)] * 3, found, policy=POLICY, chance=lambda: 0.0)
    assert [(each.wallet_id.int, each.error, each.was_due) for each in made] == [
        (0, None, NOW - 5),
        (2, "unreachable", NOW - 5),
    ]


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1 - 2**-53])
def test_an_address_that_is_none_is_judged_again_within_a_day(jitter: float) -> None:
    found = with_bad_addresses([None], [])
    made = outcomes(wallets(1), [None], found, policy=POLICY, chance=lambda: jitter)
    assert NOW + JUDGED_AGAIN <= made[0].due <= NOW + 2 * JUDGED_AGAIN <= NOW + 86_400
