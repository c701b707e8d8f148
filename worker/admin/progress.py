"""Showing a long command's progress: one line that is drawn again on a terminal, and a line now and then elsewhere."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from typing import TextIO

import click

from worker.wording import counted, in_words

OCCASION = 10.0  # seconds between lines where no terminal is
CLEARED = "\r\x1b[K"


def progress_line(what: str, done: int, total: int, seconds: float, *, more: str = "") -> str:
    """How far something is, how fast it goes, and how long it will take at that rate. Pure."""
    share = 100 * done // total if total else 100
    line = f"{what} {done:,} of {counted(total, 'wallet')}, {share}%"
    if done and seconds > 0:
        rate = done / seconds
        line += f", {rate:,.0f} a second" if rate >= 1 else f", {60 * rate:,.1f} a minute"
        if done < total:
            line += f", {in_words((total - done) / rate)} left"
    return line + (f" ({more})" if more else "")


class Progress:
    """Where progress is shown. `quiet`: nowhere but on a terminal."""

    def __init__(self, stream: TextIO, *, quiet: bool, clock: Callable[[], float] = monotonic) -> None:
        self._stream, self._terminal, self._quiet, self._clock = stream, stream.isatty(), quiet, clock
        self._drawn = False
        self._next = clock() + OCCASION

    def show(self, line: str) -> None:
        """The state just now; where no terminal is, only when the last one is some time ago."""
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            click.echo(CLEARED + line[:width], file=self._stream, nl=False)
            self._drawn = True
        elif not self._quiet and self._clock() >= self._next:
            self._next = self._clock() + OCCASION
            click.echo(line, file=self._stream)

    def say(self, line: str) -> None:
        """A line that stays."""
        self.clear()
        if self._terminal or not self._quiet:
            click.echo(line, file=self._stream)

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Show for how long something has been going on of which nothing else is known."""
        over, started = Event(), self._clock()

        def tell() -> None:
            while not over.wait(1):
                self.show(f"{what}: {in_words(self._clock() - started)} …")

        teller = Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield
        finally:
            over.set()
            teller.join()
            self.clear()

    def clear(self) -> None:
        """Take the line away that was drawn last."""
        if self._drawn:
            click.echo(CLEARED, file=self._stream, nl=False)
            self._drawn = False
