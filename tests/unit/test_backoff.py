"""How long a node or a key that failed is left alone, and which key is next."""

import pytest

from worker.errors import FinalityStalled, Lagging, ReadFailed, StateGone, Throttled, Unreachable
from worker.reading.backoff import Rest, key_for, rest_after
from worker.reading.strategies import ApiKey

ASLEEP = Rest(until=5.0)


def test_keys_are_used_by_turns_and_those_that_rest_are_passed_over() -> None:
    keys = [ApiKey(name, name) for name in "abc"]

    def used(rests: dict[str, Rest], attempts: int) -> str:
        found = [key_for(keys, rests, 0, turn) for turn in range(attempts)]
        return "".join(key.id for key in found if key)

    assert used({}, 6) == "abcabc"
    assert used({"b": ASLEEP}, 4) == "acac"
    assert used(dict.fromkeys("abc", ASLEEP), 4) == ""


def test_in_a_trial_the_key_is_used_that_comes_back_first() -> None:
    keys = [ApiKey(name, name) for name in "abc"]
    rests = {"a": Rest(until=9.0), "b": ASLEEP, "c": Rest(until=7.0)}
    assert key_for(keys, rests, 0, 0, trial=True) == keys[1]


@pytest.mark.parametrize(
    ("failure", "strikes", "alone", "seconds"),
    [
        (Unreachable(), 0, False, 5),
        (Unreachable(), 1, False, 20),
        (Unreachable(), 2, False, 80),
        (Unreachable(), 1, True, 10),
        (Unreachable(), 99, False, 300),
        (Unreachable(), 99, True, 30),
        (Lagging(), 0, True, 30),
        (Throttled(), 0, False, 30),
        (Throttled(retry_after=27), 4, True, 27),
        (Throttled(retry_after=0), 4, True, 30),
        (Throttled(retry_after=0.01), 4, True, 1),
        (Throttled(retry_after=10**9), 0, True, 3600),
    ],
)
def test_what_fails_rests_as_long_as_it_said_or_longer_each_time(
    failure: ReadFailed, strikes: int, *, alone: bool, seconds: float
) -> None:
    rest = rest_after(failure, Rest(0.0, strikes), 1000.0, alone=alone)
    assert rest == Rest(1000.0 + seconds, strikes + 1, failure.code, told=bool(failure.retry_after))


@pytest.mark.parametrize("failure", [FinalityStalled(), StateGone()])
@pytest.mark.parametrize(("alone", "strikes"), [(True, 0), (False, 1), (False, 9)])
def test_what_says_nothing_about_a_node_is_no_failure_of_it_and_never_makes_it_rest_for_longer(
    failure: ReadFailed, *, alone: bool, strikes: int
) -> None:
    rest = rest_after(failure, Rest(0.0, strikes), 1000.0, alone=alone)
    assert rest == Rest(1000.0 + {"finality_stalled": 30, "state_gone": 5}[failure.code], strikes, failure.code)
