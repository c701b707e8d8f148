"""Durations and numbers as a person writes and reads them; and progress, on a terminal and elsewhere."""

import io
import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.admin.progress import OCCASION, Progress, progress_line
from worker.wording import counted, in_words, parsed


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86_400), ("1h30m", 5400), ("1d2h3m4s", 93_784), (" 10M ", 600)],
)
def test_a_duration_is_numbers_with_their_units(text: str, seconds: float) -> None:
    assert parsed(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "10", "m", "10 m", "10x", "1.5h", "-1h", "30m1h", "1h1h", "0s", "0d0h", "9999999d", "٣m", "1h\n2m"]
)
def test_what_is_no_duration_is_told_with_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration(: write numbers with their units, as 90s| above zero)"):
        parsed(text)


@given(st.tuples(*[st.integers(0, 99)] * 4).filter(any))
def test_a_duration_is_the_sum_of_its_parts(numbers: tuple[int, ...]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in zip(numbers, "dhms", strict=True) if number)
    days, hours, minutes, seconds = numbers
    assert parsed(text) == timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.3, "less than 1 s"),
        (1, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (100, "1 min 40 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (86_399, "23 h 59 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_is_told_by_its_two_largest_units(seconds: float, text: str) -> None:
    assert in_words(seconds) == text


def test_one_thing_is_not_several() -> None:
    assert [counted(number, "wallet") for number in (0, 1, 2, 10_000)] == [
        "0 wallets",
        "1 wallet",
        "2 wallets",
        "10,000 wallets",
    ]


@pytest.mark.parametrize(
    ("done", "total", "seconds", "line"),
    [
        (0, 1000, 3.0, "read 0 of 1,000 wallets, 0%"),
        (250, 1000, 5.0, "read 250 of 1,000 wallets, 25%, 50 a second, 15 s left"),
        (999, 1000, 999.0, "read 999 of 1,000 wallets, 99%, 1 a second, 1 s left"),
        (1000, 1000, 10.0, "read 1,000 of 1,000 wallets, 100%, 100 a second"),
        (1, 4, 20.0, "read 1 of 4 wallets, 25%, 3.0 a minute, 1 min left"),
        (0, 0, 0.0, "read 0 of 0 wallets, 100%"),
    ],
)
def test_a_line_of_progress_has_rate_and_time_left(done: int, total: int, seconds: float, line: str) -> None:
    assert progress_line("read", done, total, seconds) == line
    assert progress_line("read", done, total, seconds, more="2 failed") == line + " (2 failed)"


class Screen(io.StringIO):
    """A terminal that remembers what was written to it."""

    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_where_no_terminal_is_a_line_comes_now_and_then() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, quiet=False, clock=clock)
    for at in range(25):
        clock.now = float(at)
        progress.show(f"line {at}")
    progress.clear()
    assert stream.getvalue() == f"line {OCCASION:.0f}\nline {2 * OCCASION:.0f}\n"


def test_a_script_that_asked_for_json_sees_no_progress() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, quiet=True, clock=clock)
    clock.now = 100.0
    progress.show("line")
    progress.say("words")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("quiet", [True, False])
def test_on_a_terminal_one_line_is_drawn_again_and_taken_away(*, quiet: bool) -> None:
    screen = Screen()
    progress = Progress(screen, quiet=quiet)
    progress.show("first")
    progress.show("second")
    progress.say("words that stay")
    progress.clear()
    assert screen.getvalue() == "\r\x1b[Kfirst\r\x1b[Ksecond\r\x1b[Kwords that stay\n"


def test_a_line_is_no_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen()
    Progress(screen, quiet=False).show("x" * 100)
    assert re.findall("x+", screen.getvalue()) == ["x" * 19]
