"""Signs of life: a file that a worker touches, and one of beat's, for a health check to look at.

They are in a folder of our own, which nobody else can write to: in a shared one somebody could have put links, and a
process would write wherever they lead.
"""

import os
import stat
from pathlib import Path
from typing import Literal

from config.settings import worker_settings

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def make_life_sign_folder() -> None:
    """Before a process starts. Raises SystemExit where the folder is another's, or cannot be made."""
    folder = worker_settings().life_sign_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(_opened(folder))
    except OSError as error:
        reason = error.strerror or str(error)
        raise SystemExit(
            f"The settings are not usable:\n  LIFE_SIGN_DIR: {folder} is not a folder of this user's alone ({reason})"
        ) from None


def show_life(process: Literal["worker", "beat"]) -> None:
    """Touch a process's sign. Raises OSError."""
    folder = _opened(worker_settings().life_sign_dir)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        sign = os.open(process, flags, 0o600, dir_fd=folder)
        os.utime(sign)
        os.close(sign)
    finally:
        os.close(folder)


def _opened(folder: Path) -> int:
    """A folder that is ours, and no link. Raises OSError."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    known = os.fstat(opened)
    if known.st_uid != os.geteuid() or known.st_mode & OTHERS_WRITE:
        os.close(opened)
        raise PermissionError(0, "others can write to it")
    return opened
