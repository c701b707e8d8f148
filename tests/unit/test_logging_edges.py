"""What other people's loggers may say: a node's URL may hold its key, and some of them log whole URLs."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from config.logging import configure_logging

THEIRS = ("urllib3", "web3", "requests")


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    levels = {name: logging.getLogger(name).level for name in ("", *THEIRS)}
    yield
    structlog.reset_defaults()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("name", THEIRS)
def test_at_the_level_debug_we_say_all_and_the_libraries_that_log_urls_do_not(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("DEBUG", "json")
    logging.getLogger(f"{name}.connectionpool").debug("GET https://node.example/v3/%s", "0123456789abcdef")
    logging.getLogger("worker.sync.batch").debug("ours")
    told = capsys.readouterr().err
    assert "ours" in told
    assert "0123456789abcdef" not in told
