"""What tests of several rings do with processes that run: hang them, kill them, send tasks, count a node's reads."""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import ioctl
from pathlib import Path
from termios import FIONREAD
from typing import Any

from celery import Celery

from devstack.servers import Server, wait_for

Rows = Callable[..., list[dict[str, Any]]]
"""Runs a statement, and returns its rows: `Tables.rows`, or a scene's."""


@contextmanager
def hung(*servers: Server) -> Iterator[None]:
    """Servers that hang for the block: they take connections, and answer when it is over."""
    for server in servers:
        server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for server in servers:
            server.process.send_signal(signal.SIGCONT)


def kill_9(server: Server) -> None:
    """End a process and its pool, at once and without a word."""
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()


def unread(pid: int) -> dict[int, int]:
    """How many bytes others have written into each pipe of a process that have not been read yet (on Linux)."""
    found = {}
    for opened in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            flags = int(re.findall(r"flags:\s+(\d+)", fd_info(pid, opened.name))[0], 8)
            if opened.readlink().name.startswith("pipe:") and flags & os.O_ACCMODE == os.O_RDONLY:
                end = os.open(opened, os.O_RDONLY | os.O_NONBLOCK)
                found[int(opened.name)] = int.from_bytes(ioctl(end, FIONREAD, bytes(4)), sys.byteorder)
                os.close(end)
    return found


def watched(pid: int) -> set[int]:
    """What a process waits for in its event loops. It may hold the read ends of its children's pipes too."""
    found: set[int] = set()
    for opened in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found |= {int(fd) for fd in re.findall(r"^tfd:\s+(\d+)", fd_info(pid, opened.name), re.MULTILINE)}
    return found


def fd_info(pid: int, fd: str) -> str:
    return Path(f"/proc/{pid}/fdinfo", fd).read_text()


def sender(redis_url: str) -> Celery:
    """Another program's Celery, which sends tasks by name."""
    other = Celery(broker=redis_url, set_as_current=False)
    other.conf.broker_transport_options = {"global_keyprefix": "bal:"}
    return other


def send(app: Celery, task: str, *arguments: Any, queue: str = "refresh", **more: Any) -> None:
    """Send one of the worker's tasks by its name."""
    app.send_task(f"worker.tasks.{task}", args=arguments, queue=queue, ignore_result=True, **more)


def await_lock_wait(rows: Rows, *servers: Server, statements: int = 1, application: str = "%") -> None:
    """Wait until so many statements in this database wait for somebody's lock."""
    waiting = (
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        " AND application_name LIKE %s"
    )
    wait_for(lambda: len(rows(waiting, application)) >= statements, *servers, what="a statement to wait for a lock")
