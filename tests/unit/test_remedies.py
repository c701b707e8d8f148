"""Each error is explained, and the docs and the operator's page explain it with the same words."""

import re
from pathlib import Path

import pytest

from ops.remedies import REMEDIES, UNKNOWN, remedy
from worker import errors

DOCS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
OF_WALLETS = {
    value
    for name, value in vars(errors).items()
    if name.isupper() and isinstance(value, str) and re.fullmatch(r"[a-z_]+", value)
}
"""The codes that are constants, since no exception has them."""


def test_every_error_has_a_remedy_and_no_other() -> None:
    assert {"bad_address", "zero_unconfirmed"} <= OF_WALLETS
    assert set(REMEDIES) == OF_WALLETS | set(errors.KINDS) | {errors.OutOfTime.code}


def test_the_docs_have_the_same_table() -> None:
    section = DOCS.split("`sync_schedule.last_error` and the logs' `error` are one of:")[1].split("\n\n")[1]
    rows = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in section.splitlines()[2:]]
    assert rows == [(f"`{code}`", *each) for code, each in REMEDIES.items()]


@pytest.mark.parametrize("code", REMEDIES)
def test_a_remedy_is_made_of_whole_sentences(code: str) -> None:
    for text in REMEDIES[code]:
        assert re.fullmatch(r"[A-Z`*].*[.`]", text), text
        assert text.count("`") % 2 == 0
        assert "|" not in text


def test_an_error_of_another_version_is_said_to_be_unknown() -> None:
    assert remedy("an_error_of_next_year") is UNKNOWN
