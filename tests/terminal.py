"""The product's commands as a person runs them: on a terminal of their own, or without one."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

from db.rights import WORKER
from devstack.product import environment
from devstack.servers import CAP, ROOT

CELERY = [sys.executable, "-m", "celery", "-A", "worker"]


def celery(env: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command where no terminal is, to its end."""
    return subprocess.run(
        [*CELERY, *arguments],
        cwd=ROOT,
        env=environment(env, WORKER),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=CAP,
        check=False,
    )


class Terminal:
    """A command on a terminal: what stands there, and a keyboard."""

    def __init__(self, master: int, process: "subprocess.Popen[bytes]") -> None:
        self._master, self.process, self.text = master, process, ""

    def expect(self, pattern: str) -> str:
        """Read until what is shown fits, and return it."""
        deadline = monotonic() + CAP
        while not re.search(pattern, self.text):
            if not self._read(deadline - monotonic()):
                raise AssertionError(f"{pattern!r} never came:\n{self.text}")
        return self.text

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def end(self) -> int:
        """Read to the end, and return the exit code."""
        deadline = monotonic() + CAP
        while self._read(deadline - monotonic()):
            continue
        return self.process.wait(CAP)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(seconds, 0))
        try:
            found = os.read(self._master, 65_536) if ready else b""
        except OSError:  # Linux says so when the other end is closed
            found = b""
        self.text += found.decode(errors="replace")
        return bool(found)


@contextmanager
def terminal(env: Mapping[str, str], *arguments: str) -> Iterator[Terminal]:
    """A command on a terminal, which is ended with the block at the latest."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*CELERY, *arguments],
        cwd=ROOT,
        env=environment(env, WORKER) | {"TERM": "xterm", "COLUMNS": "160"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509  one call to the kernel, which takes no lock
    )
    os.close(slave)
    try:
        yield Terminal(master, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(master)


def _take_terminal() -> None:
    """Make it the session's own terminal, so that Ctrl-C typed there becomes a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
