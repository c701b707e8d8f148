"""The worker's transport, with a Redis that goes away."""

from contextlib import suppress
from pathlib import Path

import pytest
from kombu import Connection, Consumer, Queue
from running import send, sender

import worker.tasks  # noqa: F401  the messages that the transport passes on are these tasks'
from config.broker import transport_options
from devstack.servers import redis_server, wait_for
from worker.transport import Transport


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


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_it_is_what_a_url_of_redis_stands_for(scheme: str) -> None:
    assert isinstance(Connection(f"{scheme}://127.0.0.1:1/0").transport, Transport)
