"""REDIS_URL may name Sentinels: every client finds the master that they tell of, before and after a fail-over."""

from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from environment import forget_settings
from kombu import Connection, Consumer, Queue
from sentinels import Watched, watched

import worker.tasks  # noqa: F401  its transport, and the tasks whose messages it passes on
from config import redis_address
from config.broker import location, transport_options
from config.settings import QueueSettings, load
from devstack.servers import wait_for
from worker.reading.shared_redis import SharedRedis


@pytest.fixture
def pair(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ARG001  a setting too
    with watched(tmp_path) as found:
        monkeypatch.setenv("REDIS_URL", found.url)
        forget_settings()
        yield found


def connection_of(url: str) -> Connection:
    broker_url, tls = location(url)
    return Connection(broker_url, ssl=tls, transport_options=transport_options(redis_url=url))


def sent(connection: Connection) -> None:
    connection.Producer().publish('[["a"], {}, {}]', routing_key="refresh", serializer="json")


def test_both_clients_find_the_master_before_and_after_a_fail_over(pair: Watched) -> None:
    url = load(QueueSettings).redis_url.get_secret_value()
    with closing(redis_address.client(url, timeout=20)) as client, connection_of(url) as connection:
        assert client.ping()
        sent(connection)
        assert client.llen("bal:refresh") == 1
        pair.fail_over()

        def written() -> bool:
            with suppress(redis.RedisError):
                return bool(client.set("bal:x", "1"))
            return False

        wait_for(written, what="redis-py to find the new master")
        with connection_of(url) as anew:
            before = client.llen("bal:refresh")
            sent(anew)
            assert client.llen("bal:refresh") == before + 1


def test_a_consumer_of_the_old_master_loses_its_connection_and_not_its_process(pair: Watched) -> None:
    url = load(QueueSettings).redis_url.get_secret_value()
    connection = connection_of(url)
    Consumer(connection, [Queue("refresh")], callbacks=[lambda *_: None]).consume()
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.2)
    pair.fail_over()
    lost: list[BaseException] = []

    def noticed() -> bool:
        try:
            connection.drain_events(timeout=0.2)
        except TimeoutError:
            return False
        except connection.connection_errors as error:
            lost.append(error)
        return bool(lost)

    wait_for(noticed, what="the consumer to notice")
    connection.close()


def test_what_workers_share_is_shared_anew_after_a_fail_over(pair: Watched) -> None:
    shared = SharedRedis("scope", pair.url)
    assert shared.answers()
    pair.fail_over()
    wait_for(shared.answers, what="what is shared to be reachable")


def test_a_wrong_name_of_the_master_is_an_error_that_shows_no_password(pair: Watched) -> None:
    with (
        closing(redis_address.client(pair.url.replace("/balances/", "/others/"), timeout=20)) as client,
        pytest.raises(redis.RedisError) as caught,
    ):
        client.ping()
    assert "hunter2" not in str(caught.value)
