"""Signs of life: files of a worker's and of beat's, for probes to look at.

A sign's time of modification is the moment until which its process may be left alone, which lies ahead. A probe fails
when that moment has passed (`probe`), so it is the process that knows how long what it does may take:

- While it comes round and Redis answers, LIVENESS_GRACE from now on.
- While it waits for Redis, LIVENESS_PATIENCE from the beginning of that wait: no restart brings Redis back.

They are in a folder of our own, which nobody else can write to: in a shared one somebody could have put links, and a
process would write wherever they lead.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Literal

import structlog

from config.settings import worker_settings

log = structlog.get_logger(__name__)

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

Sign = Literal["worker", "worker-ready", "beat"]
READY: Sign = "worker-ready"
"""A worker takes messages out of its queues now. The other two say that a process need not be started anew."""


def probe(sign: Sign, folder: Path | str) -> str:
    """The shell command of a probe: it fails when a sign is not there, or its moment has passed.

    docker-compose.yml and the Kubernetes manifests have it word for word. It loads nothing of ours: a Python that
    imports the product takes seconds of CPU, each time. GNU's find and grep are in every Debian image.
    """
    return f"find {folder}/{sign} -newermt now | grep -q ."


def make_life_sign_folder(*signs: Sign) -> None:
    """Before a process starts that shows these signs: those that one before it has left say nothing of this one.

    Raises SystemExit where the folder is another's, or cannot be made.
    """
    folder = worker_settings().life_sign_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(_opened(folder))
        if not os.access(folder, os.W_OK):  # it was there before its file system took no more writes
            raise PermissionError(0, "it takes no writes")
        for sign in signs:
            withdraw(sign)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SystemExit(
            f"The settings are not usable:\n  LIFE_SIGN_DIR: is not a folder of this user's alone ({reason}):"
            " set it to one that is, and takes writes"
        ) from None


def show(sign: Sign, until: float) -> None:
    """Show a sign that is good until a moment in unix seconds. Raises OSError."""
    folder = _opened(worker_settings().life_sign_dir)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        shown = os.open(sign, flags, 0o600, dir_fd=folder)
        os.utime(shown, (until, until))
        os.close(shown)
    finally:
        os.close(folder)


def withdraw(sign: Sign) -> None:
    """Take a sign away. Raises OSError."""
    folder = _opened(worker_settings().life_sign_dir)
    try:
        os.unlink(sign, dir_fd=folder)
    except FileNotFoundError:
        pass
    finally:
        os.close(folder)


@dataclass(slots=True)
class Life:
    """One process's sign of life. A sign that cannot be shown is logged once, and the process goes on without."""

    sign: Sign
    _waits: bool = False
    _fails: bool = False

    def comes_round(self) -> None:
        """The process is at its work, and Redis answers it."""
        self._waits = False
        self.until(time() + worker_settings().liveness_grace)

    def waits_for_redis(self) -> None:
        """The process waits for Redis. What counts is the first call since it last came round."""
        if not self._waits:
            self._waits = True
            self.until(time() + worker_settings().liveness_patience)

    def until(self, moment: float) -> None:
        """The process may be left alone until then."""
        try:
            show(self.sign, moment)
        except OSError as error:
            if not self._fails:
                log.warning("life_sign_not_shown", sign=self.sign, reason=error.strerror)
            self._fails = True
        else:
            self._fails = False


def _opened(folder: Path) -> int:
    """A folder that is ours, and no link. Raises OSError."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    known = os.fstat(opened)
    if known.st_uid != os.geteuid() or known.st_mode & OTHERS_WRITE:
        os.close(opened)
        raise PermissionError(0, "others can write to it")
    return opened
