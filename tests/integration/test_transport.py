"""The worker's transport: a Redis that goes away, queues that cost much, and what dead workers had in hand."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection, Consumer, Message, Queue
from running import send, sender
from structlog.testing import capture_logs

import worker.tasks  # noqa: F401  the messages that the transport passes on are these tasks'
from config.broker import transport_options
from devstack.servers import Server, free_port, redis_server, wait_for
from worker.queues import redis_transport
from worker.queues.redis_transport import Transport


@pytest.mark.usefixtures("database_url")  # the app of the tasks wants its settings
def test_a_connection_closes_whatever_was_in_hand_when_redis_went_away(tmp_path: Path) -> None:
    received = []
    with redis_server(tmp_path) as server:
        connection = Connection(server.url, transport_options=transport_options())
        queue = Queue("refresh")
        Consumer(connection, [queue], callbacks=[lambda body, _: received.append(body)]).consume()  # unacknowledged
        Consumer(connection.channel(), [Queue("sync.tron")]).consume()  # whatever breaks first, there is another one
        send(sender(server.url), "sync_wallet", "a message")

        def in_hand_and_waiting() -> bool:
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.2)
            return bool(received and connection.default_channel._in_poll)  # type: ignore[attr-defined]  # kombu's own

        wait_for(in_hand_and_waiting, server, what="a message, and a BRPOP for the next")
        server.process.kill()
        server.process.wait()
        connection.collect()
        connection.close()
    assert [body[0] for body in received] == [["a message"]]


@pytest.mark.usefixtures("database_url")
@pytest.mark.parametrize("done", ["ack", "reject"])
def test_a_message_that_was_done_with_while_redis_was_away_is_no_longer_in_hand(tmp_path: Path, done: str) -> None:
    """Celery goes on after that. With its hands full it would take nothing more, and not notice that Redis is back."""
    received: list[Message] = []
    port = free_port()
    with redis_server(tmp_path, port) as server:
        connection = Connection(server.url, transport_options=transport_options())
        channel: Any = connection.default_channel
        Consumer(channel, [Queue("refresh")], on_message=received.append, prefetch_count=1).consume()
        send(sender(server.url), "sync_wallet", "a message")
        wait_for(lambda: drained(connection) and bool(received), server, what="a message")
        assert not channel.qos.can_consume()
        server.process.kill()
        server.process.wait()
        with pytest.raises(connection.connection_errors):
            getattr(received[0], done)()
        assert channel.qos.can_consume()
    connection.close()


def drained(connection: Connection) -> bool:
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.2)
    return True


@pytest.mark.usefixtures("database_url")
def test_a_queue_whose_messages_occupy_the_worker_for_long_is_looked_at_after_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(redis_transport, "monotonic", lambda: now[0])
    received: list[Message] = []
    options = {**transport_options(), "queue_order_strategy": "worker.queues.fair_order:FairOrder"}
    with redis_server(tmp_path) as server:
        with sender(server.url) as app:
            for queue in ["sync.ethereum"] * 4 + ["sync.tron"] * 8:
                send(app, "sync_due_wallets", "a network", queue=queue)
        connection = Connection(server.url, transport_options=options)
        channel: Any = connection.default_channel
        both = [Queue("sync.ethereum"), Queue("sync.tron")]
        Consumer(channel, both, on_message=received.append, prefetch_count=1).consume()
        taken: list[str] = []
        while len(taken) < 10:
            wait_for(lambda: drained(connection) and bool(received), server, what="a message")
            message = received.pop()
            taken.append((message.delivery_info or {})["routing_key"])
            now[0] += 25.0 if taken[-1] == "sync.ethereum" else 0.1
            message.ack()
        connection.close()
    assert taken.count("sync.ethereum") == 2, taken


@pytest.mark.usefixtures("database_url")
@pytest.mark.parametrize(
    ("queue", "known"), [("sync.bsc-testnet", True), ("ticks", True), ("sync.doge", False), ("unacked", False)]
)
def test_a_message_of_a_dead_worker_goes_back_into_the_queue_of_any_known_network(
    redis_process: Server, queue: str, *, known: bool
) -> None:
    client: Any = redis.Redis.from_url(redis_process.url)
    client.flushall()
    send(sender(redis_process.url), "sync_due_wallets", "a network", queue="refresh")
    payload = json.loads(client.lrange("bal:refresh", 0, 0)[0])
    with Connection(redis_process.url, transport_options=transport_options()) as connection, capture_logs() as logs:
        channel: Any = connection.default_channel
        restored = channel.restored(json.dumps([payload, "", queue]).encode())
    assert (restored and restored[0]) == (queue if known else None)
    assert [line["reason"] for line in logs] == ([] if known else ["of no queue"])


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_it_is_what_a_url_of_redis_stands_for(scheme: str) -> None:
    assert isinstance(Connection(f"{scheme}://127.0.0.1:1/0").transport, Transport)
