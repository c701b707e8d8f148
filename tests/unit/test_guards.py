"""The table of guards that `make guards` switches off: it must fit the code that it speaks of."""

from pathlib import Path

import pytest
from guard_table import GUARDS, Guard
from guards import ROOT, is_there, without


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_stands_where_the_table_says_and_only_there(guard: Guard) -> None:
    assert is_there(ROOT, guard)
    assert guard.without != guard.text
    assert [test for test in guard.tests if not (ROOT / test).exists()] == []


def test_no_two_guards_have_one_name() -> None:
    """Their results are told by it."""
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)


@pytest.mark.parametrize("text", [None, "", "guarded() or guarded()"], ids=["no file", "gone", "twice"])
def test_a_guard_that_is_no_longer_there_counts_as_not_caught(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "code.py").write_text(text)
    result = without(tmp_path, Guard("a guard", "code.py", "guarded()", "True", ["tests"]), whole=False)
    assert not result.caught
    assert result.told.startswith("STALE")
