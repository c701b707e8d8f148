"""How many wallets a request takes: pieces of a batch lose no wallet, and the size that is learnt from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.families import Strategy
from worker.reading.batch_size import cut, halves, learnt, left_of, most_requests, most_wallets

pieces = st.lists(st.integers(0, 50), max_size=6).map(
    lambda sizes: [range(sum(sizes[:at]), sum(sizes[: at + 1])) for at in range(len(sizes))]
)


@given(pieces, st.integers(1, 60))
def test_cutting_loses_no_wallet_keeps_their_order_and_keeps_the_bound(whole: list[range], size: int) -> None:
    made = cut(whole, size)
    assert [at for piece in made for at in piece] == [at for piece in whole for at in piece]
    assert all(0 < len(piece) <= size for piece in made)


@given(st.integers(0, 100), st.integers(2, 3000))
def test_halves_are_two_and_differ_by_one_at_most(start: int, size: int) -> None:
    first, second = halves(range(start, start + size))
    assert [*first, *second] == list(range(start, start + size))
    assert 0 <= len(first) - len(second) <= 1


@given(pieces, st.sets(st.integers(0, 300)))
def test_what_is_left_is_all_that_was_not_read_in_the_same_order(whole: list[range], read: set[int]) -> None:
    left = left_of(whole, [range(place, place + 1) for place in read])
    assert [at for piece in left for at in piece] == [at for piece in whole for at in piece if at not in read]


@pytest.mark.parametrize(
    ("strategy", "per_second", "expected"),
    [("revert", 0.2, 2447), ("single", 0, 20), ("single", 10, 20), ("single", 3, 6), ("single", 0.2, 1)],
)
def test_a_batch_of_single_requests_is_as_large_as_the_budget_allows(
    strategy: Strategy, per_second: float, expected: int
) -> None:
    assert most_wallets(strategy, 2447 if strategy == "revert" else 20, per_second) == expected


@pytest.mark.parametrize(
    ("per_second", "pace", "limit", "expected"),
    [(0, 0.1, 25, 20), (10, 0.6, 25, 9), (0, 0.6, 25, 9), (0, 60, 25, 1), (10, 0.01, 1.25, 2)],
)
def test_nor_is_it_larger_than_what_is_read_in_half_of_a_reads_time(
    per_second: float, pace: float, limit: float, expected: int
) -> None:
    assert most_wallets("single", 20, per_second, pace=pace, limit=limit) == expected


def learn(size: int, *, read: list[range], failed: list[range], lone: list[range]) -> int:
    return learnt(size, 64, read=read, failed=failed, lone=lone)


@pytest.mark.parametrize(
    ("size", "read", "failed", "lone", "expected"),
    [
        (64, [range(64)], [], [], 64),
        (32, [range(10)], [], [], 32),  # a batch that was not full tells nothing
        (32, [range(32)], [], [], 34),
        (63, [range(63)], [], [], 64),
        (4, [range(4)], [], [], 5),
        (64, [range(32), range(32, 64)], [range(64)], [], 32),
        (64, [range(16), range(16, 32)], [range(64), range(32)], [], 16),
        (64, [range(32, 64), range(1, 32)], [range(64), range(32), range(1)], [range(1)], 64),
        (64, [], [range(64), range(32), range(16), range(8)], [], 4),
        (64, [range(5)], [range(5), range(2)], [], 64),  # a pause in the midst of a few wallets
        (64, [range(32), range(32, 64)], [range(64), range(5)], [], 32),
        (2, [range(1), range(1, 2)], [range(2)], [], 1),
    ],
)
def test_a_size_is_halved_where_size_was_the_trouble_and_grows_slowly(
    size: int, read: list[range], failed: list[range], lone: list[range], expected: int
) -> None:
    assert learn(size, read=read, failed=failed, lone=lone) == expected


def test_the_bound_on_requests_leaves_room_to_find_two_wallets() -> None:
    assert most_requests(1, 2447) >= 2 * 2 * 12
    assert most_requests(3, 1500) < 70
