"""Whatever anybody's words hold, nothing that a terminal obeys reaches one."""

import json
import logging
import re
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from config.logging import configure_logging, escape_control_characters, escaped

Form = Literal["console", "json"]
NASTY = "a\x1b[2J\x1b]0;pwn\x07\r\n\t\x7f\x9b\u2028\u2029\u202e\u2066b"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""But for line ends, which are looked at by themselves."""


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    monkeypatch.setattr(root, "level", root.level)
    yield
    structlog.reset_defaults()


class Words:
    """An object that shows itself in words of somebody else's."""

    def __repr__(self) -> str:
        return NASTY


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize("value", [NASTY, [NASTY], {"k": NASTY}, {NASTY: 1}, (NASTY,), {NASTY}, Words(), [Words()]])
def test_no_value_of_an_event_has_control_characters(
    form: Form, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO", form)
    structlog.stdlib.get_logger("a").info("happened", said=value)
    line = capsys.readouterr().err
    assert "2J" in line
    assert not OBEYED.search(line)
    assert line.count("\n") == 1


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_message_of_a_library_has_control_characters(form: Form, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", form)
    logging.getLogger("library").warning("Task %r of %s is unknown", NASTY, NASTY)
    line = capsys.readouterr().err
    assert "2J" in line
    assert not OBEYED.search(line)
    assert line.count("\n") == 1


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_bound_context_has_control_characters(form: Form, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", form)
    with structlog.contextvars.bound_contextvars(request_id=NASTY):
        structlog.stdlib.get_logger("a").info("happened")
    line = capsys.readouterr().err
    assert "2J" in line
    assert not OBEYED.search(line)


def fail(words: str) -> None:
    raise ValueError(words)


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize("by_library", [False, True])
def test_a_traceback_keeps_its_lines_and_no_other_control_characters(
    form: Form, capsys: pytest.CaptureFixture[str], *, by_library: bool
) -> None:
    configure_logging("INFO", form)
    logger: Any = logging.getLogger("library") if by_library else structlog.stdlib.get_logger("a")
    try:
        fail(NASTY)
    except ValueError:
        logger.exception("failed")
    told = capsys.readouterr().err
    if form == "json":
        assert not OBEYED.search(told)
        told = json.loads(told)["exception"]
    assert "Traceback (most recent call last):\n  File " in told
    assert "ValueError: a\\x1b[2J" in told
    assert not OBEYED.search(told)


def test_a_message_that_ends_its_line_itself_ends_it_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json")
    logging.getLogger("celery").error("failed: %s\n", "why")
    assert json.loads(capsys.readouterr().err)["event"] == "failed: why"


@given(st.text())
def test_any_text_is_escaped_into_one_that_is_shown_as_it_is(text: str) -> None:
    shown = escaped(text)
    assert not OBEYED.search(shown)
    assert "\n" not in shown
    if not OBEYED.search(text) and "\n" not in text:
        assert shown == text


@pytest.mark.parametrize("value", [None, True, 7, 1.5, "Zoë 漢字 🙂", ["a", 1], {"a": {"b": 2}}])
def test_what_is_harmless_stays_as_it_is(value: Any) -> None:
    assert escape_control_characters(None, "info", {"event": "happened", "value": value})["value"] == value
