"""The worker's transport, with a Redis that goes away."""

from contextlib import suppress
from pathlib import Path

from kombu import Connection, Consumer, Exchange, Queue
from kombu.transport import resolve_transport

import worker.app  # noqa: F401  it installs the transport
from config.broker import transport_options
from devstack.servers import redis_server
from worker.transport import Transport


def test_a_connection_closes_whatever_was_in_hand_when_redis_went_away(tmp_path: Path) -> None:
    received = []
    with redis_server(tmp_path) as server:
        connection = Connection(server.url, transport_options=transport_options())
        queue = Queue("refresh")
        Consumer(connection, [queue], callbacks=[lambda body, _: received.append(body)]).consume()  # unacknowledged
        commands = Queue("commands", Exchange("commands", type="fanout"), auto_delete=True)  # a worker has such a one
        Consumer(connection.channel(), [commands]).consume()
        connection.Producer().publish("a message", routing_key="refresh")
        with suppress(TimeoutError):  # when there is nothing more to take
            while True:
                connection.drain_events(timeout=0.2)
        assert connection.default_channel._in_poll, "a BRPOP is under way"
        server.process.kill()
        server.process.wait()
        connection.collect()
        connection.close()
    assert received == ["a message"]


def test_it_is_what_a_url_of_redis_stands_for() -> None:
    assert resolve_transport("redis") is resolve_transport("rediss") is Transport
