"""When blocks are left out; and what the tables are told of a block."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import BadReply, Lagging, OverBudget, ReadFailed, StateGone, Throttled, Unreachable, Unsupported
from worker.feed import gap
from worker.feed.blocks import FeedBlock
from worker.feed.gap import (
    IN_VAIN,
    LEAST_CATCH_UP,
    is_dearer_than_a_sweep,
    is_elsewhere,
    is_of_the_block,
    looks_for_newest,
)
from worker.feed.seen import seen


def test_what_is_called_pure_takes_nothing_of_the_worker_but_its_failures() -> None:
    source = ast.parse(Path(gap.__file__).read_text())
    assert {each.module for each in source.body if isinstance(each, ast.ImportFrom)} == {"math", "worker.errors"}


@given(in_vain=st.integers(0, 1000))
def test_the_next_block_is_asked_for_all_the_same_while_the_newest_is_looked_for(in_vain: int) -> None:
    assert not (looks_for_newest(in_vain) and looks_for_newest(in_vain + 1))
    assert looks_for_newest(in_vain) or looks_for_newest(in_vain + 1) or in_vain + 1 < IN_VAIN


@pytest.mark.parametrize(("newest", "elsewhere"), [(80, False), (120, False), (79, True), (121, True), (1, True)])
def test_a_lag_does_not_explain_a_newest_block_that_is_far_away_in_either_direction(
    newest: int, *, elsewhere: bool
) -> None:
    assert is_elsewhere(newest, 100, 20) == elsewhere


@pytest.mark.parametrize("blocks", [0, 1, LEAST_CATCH_UP])
def test_a_few_blocks_are_followed_whatever_a_sweep_costs(blocks: int) -> None:
    assert not is_dearer_than_a_sweep(blocks, 1, 500)


@pytest.mark.parametrize(("blocks", "dearer"), [(100, False), (101, True)])
def test_blocks_at_two_requests_each_are_held_against_a_sweep(blocks: int, *, dearer: bool) -> None:
    assert is_dearer_than_a_sweep(blocks, 100_000, 500) == dearer


@pytest.mark.parametrize(
    ("failure", "of_block"),
    [
        *((kind(""), True) for kind in (BadReply, StateGone, Lagging)),
        *((kind(""), False) for kind in (Unreachable, Throttled, OverBudget, Unsupported)),
    ],
)
def test_a_node_that_cannot_be_asked_says_nothing_of_a_block(failure: ReadFailed, *, of_block: bool) -> None:
    assert is_of_the_block(failure) == of_block


@pytest.mark.parametrize(("said", "known"), [(5, 5), (-5, -5), (None, None), (2**256, None), (-(10**80), None)])
def test_a_sum_that_no_account_can_have_is_not_known(said: int | None, known: int | None) -> None:
    block = FeedBlock(
        number=1, hash=b"", parent=b"", time=1, touched=frozenset([b"a"]), usdt={b"a": said}, sees_native=None
    )
    assert seen(block).changes == [known]
