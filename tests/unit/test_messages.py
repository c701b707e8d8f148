"""What a task takes as an argument, how many batches are sent, and what Celery is told."""

import re
import runpy
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import ImproperlyConfigured
from celery.worker import WorkController
from kombu.transport.redis import Transport
from kombu.utils.scheduling import cycle_by_name

from config.broker import transport_options
from config.settings import WorkerSettings, load, worker_settings
from worker.errors import BadArgument
from worker.queues.fair_order import FairOrder

ROOT = Path(__file__).parents[2]
THREE = ("ethereum", "tron", "bsc-testnet")
LEASE = 60
ENDING = 10  # seconds in which a worker acknowledges what it finished, and ends its processes


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
        ("follow_blocks", ["doge"]),
        ("follow_blocks", [None]),
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


def test_who_names_another_network_is_told_those_that_are_accepted(tasks: ModuleType) -> None:
    with pytest.raises(BadArgument, match=r"a network is one of ethereum, tron, bsc, .*tron-shasta, not 'doge'"):
        tasks.sync_due_wallets.run("doge")


def test_tasks_have_the_names_that_other_programs_send(tasks: ModuleType) -> None:
    names = {name for name in tasks.app.tasks if not name.startswith("celery.")}
    assert names == {
        f"worker.tasks.{task}"
        for task in (
            *("dispatch_due_wallets", "follow_blocks", "sync_due_wallets", "sync_wallets"),
            *("sync_wallet", "refresh_user"),
        )
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
        (10**9, 0, 40),
        (10**9, 15, 25),
    ],
)
def test_a_message_for_each_batch_that_is_due_less_those_that_wait(due: int, waiting: int, sent: int) -> None:
    from worker.schedule.dispatch import batches_to_send

    assert batches_to_send(due, 500, waiting) == sent


@pytest.mark.parametrize(("per_batch", "most"), [(1, 40), (500, 40), (764, 27), (2447, 9), (10**6, 1)])
def test_a_tick_looks_at_twenty_thousand_wallets_at_the_most_and_at_forty_batches(per_batch: int, most: int) -> None:
    from worker.schedule.dispatch import most_waiting

    assert most_waiting(per_batch) == most


def celerys(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, Any]:
    """Celery's settings under these of ours."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    worker_settings.cache_clear()
    try:
        return runpy.run_path(str(ROOT / "celeryconfig.py"))
    finally:
        worker_settings.cache_clear()


@pytest.mark.parametrize("lease", [3, 60, 3600])
def test_celerys_time_outs_are_in_order_at_every_lease(lease: int, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = celerys(monkeypatch, SYNC_LEASE=str(lease))
    read = load(WorkerSettings).read_limit
    assert read < conf["task_soft_time_limit"] < conf["task_time_limit"] < lease
    # A message waits in a worker behind one task, then runs, each up to the hard limit.
    assert conf["broker_transport_options"]["visibility_timeout"] > 2 * conf["task_time_limit"]
    assert conf["worker_soft_shutdown_timeout"] >= read, "a cold shutdown finishes the reads in hand too"
    assert conf["worker_prefetch_multiplier"] == 1


@pytest.mark.parametrize("interval", ["0.5", "1", "10"])
def test_a_tick_that_nobody_took_expires_some_seconds_after_the_next_one_is_due(
    interval: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tick,) = celerys(monkeypatch, DISPATCH_INTERVAL=interval)["beat_schedule"].values()
    assert tick["options"]["queue"] == "ticks", "never behind a batch, nor behind refreshes"
    assert tick["schedule"] == float(interval)
    assert tick["options"]["expires"] == float(interval) + 10, "beat's clock may be behind a worker's"


def test_each_network_with_a_node_is_followed_where_the_feed_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEED", "on")
    schedule = with_nodes(monkeypatch, "TRON", "ETHEREUM")["beat_schedule"]
    followed = {entry["args"]: entry for entry in schedule.values() if "args" in entry}
    assert set(followed) == {("tron",), ("ethereum",)}
    assert {entry["options"]["queue"] for entry in followed.values()} == {"feed"}
    assert len(schedule) == 3
    monkeypatch.setenv("FEED", "off")
    assert len(with_nodes(monkeypatch, "TRON", "ETHEREUM")["beat_schedule"]) == 1


def test_compose_gives_a_worker_the_time_that_a_shutdown_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = celerys(monkeypatch, SYNC_LEASE=str(WorkerSettings.model_fields["sync_lease"].default))
    grace, *_ = re.findall(r"stop_grace_period: (\d+)s", (ROOT / "docker-compose.yml").read_text())
    assert int(grace) >= ENDING + max(conf["task_time_limit"], conf["worker_soft_shutdown_timeout"])


def test_socket_time_outs_outlast_a_wait_for_a_message() -> None:
    assert transport_options()["socket_timeout"] > Transport.brpop_timeout


def consumed(conf: dict[str, Any], chosen: str | None = None) -> list[str]:
    """What a worker consumes from under these settings, and with this after -Q."""
    from worker.app import serve_networks_with_nodes

    app = Celery("for-a-test", set_as_current=False)
    app.conf.update(conf)
    worker: Any = SimpleNamespace(app=app)
    serve_networks_with_nodes(instance=worker)
    WorkController.setup_queues(worker, chosen or [])
    return [*app.amqp.queues.consume_from]


def with_nodes(monkeypatch: pytest.MonkeyPatch, *names: str) -> dict[str, Any]:
    return celerys(monkeypatch, **{f"{name}_RPC_URLS": "http://127.0.0.1:1" for name in names})


@pytest.mark.parametrize(
    ("configured", "served"),
    [
        ([], []),
        (["TRON"], ["sync.tron"]),
        (["TRON", "ETHEREUM", "BSC_TESTNET"], ["sync.ethereum", "sync.tron", "sync.bsc-testnet"]),
    ],
    ids=["none", "one", "three"],
)
def test_a_worker_serves_the_queues_of_the_networks_that_it_has_nodes_of(
    configured: list[str], served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = with_nodes(monkeypatch, *configured)
    assert consumed(conf) == ["ticks", "refresh", *served]
    monkeypatch.setenv("FEED", "on")
    worker_settings.cache_clear()
    assert consumed(conf) == ["ticks", "refresh", "feed", *served]


def test_queues_of_any_known_network_may_be_chosen_whatever_nodes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = with_nodes(monkeypatch, "ETHEREUM")
    chosen = "ticks,refresh,feed,sync.ethereum,sync.tron"
    assert consumed(conf, chosen) == chosen.split(",")
    with pytest.raises(ImproperlyConfigured):
        consumed(conf, "ticks,sync.etherium")


def test_a_worker_looks_at_its_queues_in_the_fair_order(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = celerys(monkeypatch)
    assert isinstance(cycle_by_name(conf["broker_transport_options"]["queue_order_strategy"])(), FairOrder)


def test_messages_hold_json_alone_and_no_result_is_kept(tasks: ModuleType) -> None:
    conf = tasks.app.conf
    assert (conf.task_serializer, conf.accept_content, conf.result_backend) == ("json", ["json"], None)
    assert conf.task_ignore_result
    assert timedelta(seconds=conf.task_time_limit) < timedelta(seconds=LEASE)
