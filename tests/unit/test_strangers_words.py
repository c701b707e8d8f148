"""Whoever's words they are, none of them moves the cursor of whoever reads the log."""

from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from worker.errors import BadArgument
from worker.wording import in_short

ESCAPES = "\x1b[2J\x1b]0;pwn\x07x\r\ny\u202ez\x9b"


def test_a_nodes_words_are_one_line_without_controls_and_without_its_secrets() -> None:
    assert in_short(f"no {ESCAPES} hunter2", ["hunter2"]) == "no …[2J…]0;pwn…x y…z… …"


@pytest.mark.parametrize("said", ["hunter-2%2F", "HUNTER-2/", "hunter-2\\/", "%68unter-2/", "hunter-2%252f"])
def test_a_node_may_say_a_secret_in_any_form(said: str) -> None:
    assert in_short(f"bad key {said}.", ["hunter-2/"]) == "bad key …."


@pytest.mark.usefixtures("database_url_alone")
def test_a_refused_tasks_words_and_a_messages_request_id_are_printable() -> None:
    from worker.app import bind_task, log_refusal, unbind_task

    class Task:
        name, request = "worker.tasks.sync_wallet", {"request_id": ESCAPES}

    with capture_logs() as logs:
        log_refusal(BadArgument(ESCAPES))
    bind_task("id", Task())
    bound: dict[str, Any] = structlog.contextvars.get_contextvars()
    unbind_task()
    assert all(text.isprintable() for text in (logs[0]["detail"], bound["request_id"]))


@pytest.fixture
def database_url_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody/x")
    monkeypatch.setenv("REDIS_URL", "redis://nobody")
