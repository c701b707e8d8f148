"""What the logs must not show."""

import logging
from typing import Literal

import pytest
import structlog

from config.logging import configure_logging


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    monkeypatch.setattr(root, "level", root.level)


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_variables(form: Literal["console", "json"], capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", form)
    token = "".join(("se", "cret"))
    try:
        raise ValueError(len(token))
    except ValueError:
        structlog.stdlib.get_logger("a").exception("failed")
    finally:
        structlog.reset_defaults()
    told = capsys.readouterr().err
    assert "ValueError: 6" in told
    assert "secret" not in told
