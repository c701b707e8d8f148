"""A Redis that becomes a replica, or that cannot take writes for a while, while its connections stay as they are."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from forwarding import Forwarder, becomes_a_replica, port_of
from kombu import Connection, Consumer, Queue
from running import send, sender

import worker.tasks  # noqa: F401  the messages that the transport passes on are these tasks'
from config.broker import transport_options
from devstack.servers import HOST, Server, redis_server, wait_for
from worker.reading.shared import Shared
from worker.reading.shared_redis import LEFT_ALONE


@contextmanager
def pair(folder: Path) -> Iterator[tuple[Server, Server, Forwarder]]:
    with ExitStack() as stack:
        first, second = (stack.enter_context(redis_server(folder / name)) for name in ("first", "second"))
        yield first, second, stack.enter_context(Forwarder(port_of(first)))


def drained(connection: Connection) -> None:
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.2)


@pytest.mark.usefixtures("database_url")
def test_a_consumer_finds_its_primary_a_replica_and_takes_that_for_a_lost_connection(tmp_path: Path) -> None:
    """Waiting in a BRPOP it is sent UNBLOCKED; whatever it writes is refused."""
    with pair(tmp_path) as (first, second, forwarder):
        url = f"redis://{HOST}:{forwarder.port}/0"
        with Connection(url, transport_options=transport_options()) as connection:
            channel: Any = connection.default_channel
            received: list[Any] = []
            Consumer(channel, [Queue("refresh")], on_message=received.append).consume()
            send(sender(first.url), "sync_wallet", "a message")

            def waiting() -> bool:
                drained(connection)
                return bool(received and channel._in_poll)

            wait_for(waiting, first, what="a message, and a BRPOP for the next")
            becomes_a_replica(first, of=second)

            def lost() -> bool:
                try:
                    drained(connection)
                except connection.connection_errors:
                    return True
                return False

            wait_for(lost, first, what="a lost connection")
            with pytest.raises(connection.connection_errors):
                received[0].ack()
            with pytest.raises(connection.connection_errors), Connection(url) as anew:
                anew.connect()  # there is no use in one that takes no messages
            forwarder.to = port_of(second)
            connection.collect()
            Consumer(connection, [Queue("refresh")], on_message=received.append).consume()
            send(sender(second.url), "sync_wallet", "another message")

            def received_both() -> bool:
                drained(connection)
                return len(received) == 2

            wait_for(received_both, second, what="the next message")


@pytest.mark.usefixtures("database_url")
@pytest.mark.parametrize("settings", [{"min-replicas-to-write": "1"}, {"maxmemory": "1"}], ids=["NOREPLICAS", "OOM"])
def test_what_redis_cannot_do_just_now_is_a_lost_connection(tmp_path: Path, settings: dict[str, str]) -> None:
    with redis_server(tmp_path) as server, Connection(server.url, transport_options=transport_options()) as connection:
        connection.connect()
        producer = connection.Producer()
        with closing(redis.Redis.from_url(server.url)) as client:
            for name, value in settings.items():
                client.config_set(name, value)
            with pytest.raises(connection.connection_errors):
                producer.publish("{}", routing_key="refresh")


def test_what_workers_know_is_shared_again_with_the_new_primary(tmp_path: Path) -> None:
    clock = [1e9]
    with pair(tmp_path) as (first, second, forwarder):
        known = Shared("scope", f"redis://{HOST}:{forwarder.port}/0", clock=lambda: clock[0])
        known.put("newest", 1, 600)
        becomes_a_replica(first, of=second)
        forwarder.to = port_of(second)
        known.put("newest", 1, 600)  # is refused
        clock[0] += LEFT_ALONE
        known.put("newest", 1, 600)
        with closing(redis.Redis.from_url(second.url)) as client:
            assert client.exists("bal:chain:scope:newest")
        known._client.close()
