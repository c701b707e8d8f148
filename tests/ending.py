"""Programs that run others for long: asked to stop, they take along what they began."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from types import FrameType
from typing import IO

import psutil

PATIENCE = 300  # seconds in which pytest ends its servers and removes its folders


def end_in_order() -> None:
    """From now on a request to stop ends this program as an exception does, so that every `finally` runs.

    Ctrl-C too where it was ignored, as it is for a program that was started in the background.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave)


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def run_pytest(
    arguments: Sequence[str], folder: Path, *, env: Mapping[str, str] | None = None, into: IO[str] | None = None
) -> int:
    """Run pytest to its end: its exit code. If we are asked to stop meanwhile, it is first, with all its processes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=folder,
        env=env,
        stdout=into,
        stderr=into and subprocess.STDOUT,
        start_new_session=True,  # a group of its own: that is how its processes are reached
    )
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            # One request: a second one would break off the tidying that the first has begun.
            os.killpg(process.pid, signal.SIGTERM)
            deadline = monotonic() + PATIENCE
            # Those that run tests side by side go on to tidy up when the one that began them has ended.
            while monotonic() < deadline and any_lives_of(process.pid):
                process.poll()
                sleep(0.1)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def any_lives_of(group: int) -> bool:
    """Whether a process of this group has not ended."""
    for each in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(each.pid) == group and each.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
