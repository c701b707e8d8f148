"""The worker's transport, with a Redis that goes away."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Consumer, Message, Queue
from running import send, sender

import worker.tasks  # noqa: F401  the messages that the transport passes on are these tasks'
from config.broker import transport_options
from devstack.servers import free_port, redis_server, wait_for
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


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_it_is_what_a_url_of_redis_stands_for(scheme: str) -> None:
    assert isinstance(Connection(f"{scheme}://127.0.0.1:1/0").transport, Transport)
