"""What workers note in Redis for operators."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from environment import forget_settings

from config.ops_keys import DISPATCHED, FORGOTTEN_AFTER, WORKERS, worker_entry, worker_of
from devstack.servers import Server
from worker.liveness import Life
from worker.ops_notes import OpsNotes
from worker.queues import consumer
from worker.queues.watch import ASKS_EACH, ConsumerWatch

ENTRY = worker_entry("worker@host", ["ticks", "sync.tron"])


@pytest.fixture
def client(redis_process: Server, monkeypatch: pytest.MonkeyPatch, database_url: str) -> Any:
    assert database_url
    monkeypatch.setenv("REDIS_URL", redis_process.url)
    forget_settings()
    found: Any = redis.Redis.from_url(redis_process.url)
    found.flushall()
    return found


def commands(client: Any) -> dict[str, int]:
    return {name: int(each["calls"]) for name, each in client.info("commandstats").items()}


def test_an_entry_says_which_worker_and_which_queues() -> None:
    assert worker_of(ENTRY) == ("worker@host", ["ticks", "sync.tron"])
    assert worker_of(worker_entry("a|b@host", ["ticks"])) == ("a|b@host", ["ticks"])


def test_a_tick_that_was_carried_out_is_one_command(client: Any) -> None:
    before = commands(client).get("cmdstat_set", 0)
    OpsNotes().dispatched()
    assert abs(int(client.get(DISPATCHED)) - time.time()) < FORGOTTEN_AFTER
    assert commands(client)["cmdstat_set"] == before + 1


def test_a_worker_is_in_the_list_until_it_is_gone_and_those_of_long_ago_leave_it(client: Any) -> None:
    now = int(time.time())
    client.zadd(WORKERS, {"long ago|ticks": now - FORGOTTEN_AFTER - 100, "lately|ticks": now - 100})
    notes = OpsNotes()
    notes.seen(ENTRY)
    notes.seen(ENTRY)
    assert set(client.zrange(WORKERS, 0, -1)) == {ENTRY.encode(), b"lately|ticks"}
    notes.gone(ENTRY)
    assert client.zrange(WORKERS, 0, -1) == [b"lately|ticks"]


def test_a_worker_is_in_the_list_only_while_it_takes_messages(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "NOTED_EACH", 0)
    channel = SimpleNamespace(_brpop_sent_at=None, qos=SimpleNamespace(can_consume=lambda: True, _taken={}))
    queues = SimpleNamespace(consume_from=["ticks", "sync.tron"])
    celery = SimpleNamespace(
        hostname="worker@host",
        app=SimpleNamespace(amqp=SimpleNamespace(queues=queues)),
        life=Life("worker"),
        task_consumer=SimpleNamespace(channel=channel),
    )
    signs, watch = consumer.SignsOfLife(celery), ConsumerWatch(60, 60, time.monotonic())
    signs._look(celery, watch)
    assert client.zcard(WORKERS) == 0, "it has not asked for a message yet"
    channel._brpop_sent_at = time.monotonic()
    signs._look(celery, watch)
    assert client.zrange(WORKERS, 0, -1) == [ENTRY.encode()]
    client.delete(WORKERS)
    channel._brpop_sent_at -= ASKS_EACH + 1
    signs._look(celery, watch)
    assert client.zcard(WORKERS) == 0, "it asks for none any more"


def test_what_a_stranger_left_under_the_lists_name_makes_room(client: Any) -> None:
    client.set(WORKERS, "x")
    notes = OpsNotes()
    notes.seen(ENTRY)
    notes.seen(ENTRY)
    assert client.zrange(WORKERS, 0, -1) == [ENTRY.encode()]


def test_a_redis_that_is_away_fails_no_note(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.ping()
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    forget_settings()
    notes = OpsNotes()
    notes.dispatched()
    notes.seen(ENTRY)
    notes.gone(ENTRY)
