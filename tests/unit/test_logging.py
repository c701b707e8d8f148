"""What the logs must not show."""

import logging
from typing import Literal
from uuid import uuid4

import pytest
import structlog

from config.logging import configure_logging


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    monkeypatch.setattr(root, "level", root.level)


def fail(token: str) -> None:
    raise ValueError(len(token))


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_variables(form: Literal["console", "json"], capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", form)
    token = uuid4().hex
    try:
        fail(token)
    except ValueError:
        structlog.stdlib.get_logger("a").exception("failed")
    finally:
        structlog.reset_defaults()
    told = capsys.readouterr().err
    assert "ValueError: 32" in told
    assert token not in told
