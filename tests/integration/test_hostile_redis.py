"""Whoever can write to Redis does their worst to a real worker and to beat."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection
from running import send, sender

from devstack import product
from devstack.product import beat, worker
from devstack.servers import Server, redis_server, wait_for

QUEUES = ("refresh", "sync.ethereum", "sync.tron")
GARBAGE: list[bytes | str] = [
    *(b"not json", b"\xff", "[]", "5", "null", "{}", "[" * 10_000, '{"headers": {"task": 5}}', " " * 2**21),
    '{"headers": {"task": "worker.tasks.sync_wallet"}}',
    '{"headers": {"task": "worker.tasks.sync_wallet", "id": "1"}, "properties": {}, "body": "hunter2"}',
    json.dumps(
        {
            "headers": {"task": "celery.starmap", "id": "1"},
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "properties": {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": "refresh"}},
            "body": "hunter2",
        }
    ),
    json.dumps(
        {
            "headers": {"task": "\x1b[2Jno.such.task", "id": "1", "argsrepr": "hunter2"},
            "content-type": "application/x-python-serialize",
            "content-encoding": "binary",
            "properties": {"body_encoding": "base64", "delivery_tag": {}, "delivery_info": 5},
            "body": "hunter2 is not base64",
        }
    ),
]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Server]:
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def client(own_redis: Server) -> Any:
    return redis.Redis.from_url(own_redis.url)


@pytest.fixture
def env(database_url: str, own_redis: Server) -> dict[str, str]:
    """No node answers: none is asked for what is done here."""
    nowhere = {"ETHEREUM_RPC_URLS": "http://127.0.0.1:1", "TRON_RPC_URLS": "http://127.0.0.1:1"}
    return {"DATABASE_URL": database_url, "REDIS_URL": own_redis.url, **nowhere}


@pytest.fixture
def works(own_redis: Server) -> Callable[[Server], None]:
    """Wait until a worker has taken a message that is sent now, from each queue."""
    count = iter(range(1000))

    def await_it(worked: Server) -> None:
        for queue in QUEUES:
            sign = f"sign {next(count)}"
            send(sender(own_redis.url), "sync_wallet", sign, queue=queue, declare=[])
            wait_for(lambda sign=sign: f"not '{sign}'" in worked.log.read_text(), worked, what=f"{queue} to be served")  # type: ignore[misc]

    return await_it


def test_garbage_in_the_queues_is_dropped_with_a_line_each_and_its_content_is_not_told(
    env: dict[str, str], client: Any, tmp_path: Path, works: Callable[[Server], None]
) -> None:
    with worker(tmp_path, env) as worked:
        works(worked)
        for queue in QUEUES:
            client.rpush(f"bal:{queue}", *GARBAGE)
        works(worked)
        log = worked.log.read_text()
    dropped = [line for line in log.splitlines() if "message_dropped" in line]
    assert len(dropped) == len(QUEUES) * len(GARBAGE)
    assert any("of_task=celery.starmap" in line and "an unknown task" in line for line in dropped)
    assert any("?[2Jno.such.task" in line for line in dropped)
    assert "hunter2" not in log
    assert "\x1b[2J" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize("started", ["before", "after"])
def test_keys_of_another_type_are_deleted_and_the_worker_goes_on(
    env: dict[str, str], client: Any, tmp_path: Path, works: Callable[[Server], None], started: str
) -> None:
    def plant() -> None:
        client.delete(*(f"bal:{name}" for name in (*QUEUES, "unacked", "unacked_index")))
        client.set("bal:refresh", "x")
        client.hset("bal:sync.tron", "x", "x")
        client.sadd("bal:sync.ethereum", "x")
        client.set("bal:unacked", "x")
        client.rpush("bal:unacked_index", "x")
        client.rpush("bal:unacked_mutex", "x")
        for exchange in ("", *QUEUES):
            client.set(f"bal:_kombu.binding.{exchange}", "x")

    if started == "after":
        plant()
    with worker(tmp_path, env) as worked:
        if started == "before":
            works(worked)
            plant()
        wait_for(lambda: client.type("bal:sync.ethereum") in {b"none", b"list"}, worked, what="the keys to be mended")
        works(worked)
        assert "Traceback" not in worked.log.read_text()
        assert "key_dropped" in worked.log.read_text()


def test_what_dead_workers_seem_to_have_had_in_hand_does_no_harm(
    env: dict[str, str], client: Any, tmp_path: Path, works: Callable[[Server], None]
) -> None:
    good = {
        "headers": {"task": "worker.tasks.sync_wallet", "id": "1"},
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "properties": {"delivery_info": {}},
        "body": '[["from a dead worker"], {}, null]',
    }
    held = [b"\xff", "not json", "5", "[]", '[1, "", "refresh"]', '[{}, "", "another"]', '[{"headers": 5}, {}, []]']
    for at, each in enumerate([*held, json.dumps([good, "", "refresh"])]):
        client.hset("bal:unacked", f"tag-{at}", each)
        client.zadd("bal:unacked_index", {f"tag-{at}": at})
    client.zadd("bal:unacked_index", {b"\xff of nothing": -5})
    client.set("bal:unacked_mutex", "held for ever")
    with worker(tmp_path, env) as worked:
        wait_for(lambda: "not 'from a dead worker'" in worked.log.read_text(), worked, what="the good one to be done")
        works(worked)
        assert "Traceback" not in worked.log.read_text()
    assert client.zcard("bal:unacked_index") == client.hlen("bal:unacked") == 0


def test_a_published_shutdown_ends_no_worker_and_no_channel_is_left(
    env: dict[str, str], client: Any, own_redis: Server, tmp_path: Path, works: Callable[[Server], None]
) -> None:
    with worker(tmp_path, env) as worked:
        works(worked)
        assert client.pubsub_channels() == []
        with Connection(own_redis.url, transport_options={"global_keyprefix": "bal:"}) as connection:
            Celery(broker=own_redis.url, set_as_current=False).control.broadcast("shutdown", connection=connection)
        works(worked)


def test_nobody_tells_a_worker_anything_whatever_its_command_line(
    env: dict[str, str], client: Any, tmp_path: Path, works: Callable[[Server], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = [word for word in product.WORKER if "--without" not in word]
    monkeypatch.setattr("devstack.product.WORKER", [*plain, "--task-events"])
    with worker(tmp_path, env) as worked:
        works(worked)
        assert client.pubsub_channels() == []


def test_beat_goes_on_beside_keys_of_another_type(env: dict[str, str], client: Any, tmp_path: Path) -> None:
    client.set("bal:ticks", "x")
    client.set("bal:_kombu.binding.ticks", "x")
    with beat(tmp_path, env) as ticked:
        wait_for(lambda: client.type("bal:ticks") == b"list", ticked, what="a tick to be sent")
        assert "Traceback" not in ticked.log.read_text()
