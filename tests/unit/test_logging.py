"""What the logs must not show."""

import logging
from collections.abc import Iterator
from typing import Literal
from uuid import uuid4

import pytest
import structlog

from config.logging import configure_logging


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    levels = {name: logging.getLogger(name).level for name in ("", *HTTP)}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()


HTTP = ("urllib3", "web3", "requests")


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
    told = capsys.readouterr().err
    assert "ValueError: 32" in told
    assert token not in told


@pytest.mark.parametrize("name", [*HTTP, "urllib3.connectionpool", "web3.providers.HTTPProvider"])
def test_at_debug_the_libraries_that_log_whole_urls_say_nothing(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("DEBUG", "json")
    logging.getLogger("worker").debug("ours")
    logging.getLogger(name).debug("https://node.example/v3/hunter2")
    told = capsys.readouterr().err
    assert "ours" in told
    assert "hunter2" not in told
