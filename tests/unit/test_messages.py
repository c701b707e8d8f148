"""What a task takes as an argument, how many batches are sent, and what Celery is told."""

from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from worker.errors import BadArgument

LEASE = 60


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("SYNC_LEASE", str(LEASE))


@pytest.fixture
def tasks() -> ModuleType:
    from worker import tasks

    return tasks


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("sync_due_wallets", ["doge"]),
        ("sync_due_wallets", [None]),
        ("sync_due_wallets", [["tron"]]),
        ("sync_wallets", ["doge", []]),
        ("sync_wallets", ["tron", "5c81c005-1c52-4e0d-85e2-862ee1cdd4d0"]),
        ("sync_wallets", ["tron", ["no uuid"]]),
        ("sync_wallets", ["tron", [{"$ne": 1}]]),
        ("sync_wallet", ["'; DROP TABLE wallets"]),
        ("sync_wallet", [7]),
        ("sync_wallet", [None]),
        ("refresh_user", ["no uuid"]),
        ("refresh_user", ["5c81c005-1c52-4e0d-85e2-862ee1cdd4d0", "tron"]),
        ("refresh_user", ["5c81c005-1c52-4e0d-85e2-862ee1cdd4d0", ["doge"]]),
    ],
)
def test_an_argument_that_is_not_what_the_task_takes_is_refused_before_anything_is_asked(
    tasks: ModuleType, task: str, arguments: list[Any]
) -> None:
    with pytest.raises(BadArgument):
        getattr(tasks, task).run(*arguments)


def test_a_refused_argument_is_quoted_but_not_at_length(tasks: ModuleType) -> None:
    with pytest.raises(BadArgument) as refused:
        tasks.sync_wallet.run("x" * 10_000)
    assert len(str(refused.value)) < 120


def test_tasks_have_the_names_that_other_programs_send(tasks: ModuleType) -> None:
    names = {name for name in tasks.app.tasks if not name.startswith("celery.")}
    assert names == {
        f"worker.tasks.{task}"
        for task in ("dispatch_due_wallets", "sync_due_wallets", "sync_wallets", "sync_wallet", "refresh_user")
    }


@pytest.mark.parametrize(
    ("due", "waiting", "sent"),
    [
        (0, 0, 0),
        (1, 0, 1),
        (500, 0, 1),
        (501, 0, 2),
        (501, 1, 1),
        (501, 2, 0),
        (501, 9, 0),
        (10**9, 0, 20),
        (10**9, 15, 5),
    ],
)
def test_a_message_for_each_batch_that_is_due_less_those_that_wait(due: int, waiting: int, sent: int) -> None:
    from worker.dispatch import batches_to_send

    assert batches_to_send(due, 500, waiting) == sent


def test_celerys_time_outs_are_in_order(tasks: ModuleType) -> None:
    conf = tasks.app.conf
    assert conf.task_soft_time_limit < conf.task_time_limit < LEASE
    assert conf.broker_transport_options["visibility_timeout"] > 3600 + conf.task_time_limit, "at the longest lease too"
    tick = conf.beat_schedule["dispatch-due-wallets"]
    assert tick["options"]["expires"] <= tick["schedule"]


def test_a_worker_serves_refreshes_first(tasks: ModuleType) -> None:
    assert [queue.name for queue in tasks.app.conf.task_queues] == ["refresh", "sync.ethereum", "sync.tron"]
    assert tasks.app.conf.broker_transport_options["queue_order_strategy"] == "priority"


def test_messages_hold_json_alone_and_no_result_is_kept(tasks: ModuleType) -> None:
    conf = tasks.app.conf
    assert (conf.task_serializer, conf.accept_content, conf.result_backend) == ("json", ["json"], None)
    assert conf.task_ignore_result
    assert timedelta(seconds=conf.task_time_limit) < timedelta(seconds=LEASE)
