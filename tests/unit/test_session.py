"""One engine per process, whoever asks for it."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from environment import forget_settings
from sqlalchemy import create_engine

from db import session


def test_threads_that_begin_together_have_one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but one of several would stay open, and nobody would know of their connections."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    forget_settings()
    both_make_one = Barrier(2)

    def slow(*args: Any, **options: Any) -> Any:
        with suppress(BrokenBarrierError):  # the other one waits for this one
            both_make_one.wait(0.2)
        return create_engine(*args, **options)

    monkeypatch.setattr("db.session.create_engine", slow)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: session.engine(), range(2))
    assert first is second
    forget_settings()
