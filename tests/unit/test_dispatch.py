"""What a tick sends: kombu's own code on Redis' behaviour, without a server."""

from typing import Any

import fakeredis
import kombu.transport.redis
import pytest
from kombu.utils.json import loads

FAKE = fakeredis.FakeServer()


class Client(kombu.transport.redis.GlobalKeyPrefixMixin, fakeredis.FakeStrictRedis):
    """A client as kombu makes it, of a Redis without a server."""

    def __init__(self, global_keyprefix: str = "", **_: Any) -> None:
        self.global_keyprefix = global_keyprefix
        fakeredis.FakeStrictRedis.__init__(self, server=FAKE)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> fakeredis.FakeStrictRedis:
    """The Redis behind kombu's clients."""
    monkeypatch.setattr(kombu.transport.redis, "PrefixedStrictRedis", Client)
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    behind = fakeredis.FakeStrictRedis(server=FAKE)
    behind.flushall()
    return behind


def messages(server: fakeredis.FakeStrictRedis, queue: str) -> list[Any]:
    """The arguments of the messages that wait in a queue."""
    return [loads(raw)["headers"]["argsrepr"] for raw in server.lrange(f"bal:{queue}", 0, -1)]


def test_a_tick_sends_a_message_for_each_batch_and_counts_those_that_wait(server: fakeredis.FakeStrictRedis) -> None:
    from worker.dispatch import _send

    assert [_send("tron", 1200, 500), _send("tron", 1200, 500), _send("tron", 1700, 500)] == [3, 0, 1]
    assert messages(server, "sync.tron") == ["['tron']"] * 4
    server.lpop("bal:sync.tron", 3)
    assert _send("tron", 1200, 500) == 2


def test_networks_have_queues_of_their_own(server: fakeredis.FakeStrictRedis) -> None:
    from worker.dispatch import _send

    assert (_send("tron", 1, 500), _send("ethereum", 1, 764)) == (1, 1)
    assert sorted(key.decode() for key in server.keys("bal:sync.*")) == ["bal:sync.ethereum", "bal:sync.tron"]
