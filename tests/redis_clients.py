"""How each client of the product reaches a Redis: redis-py, and kombu, which Celery stands on."""

from collections.abc import Callable
from contextlib import closing
from shutil import which
from subprocess import run

import pytest
from kombu import Connection

import worker.app  # noqa: F401  its transport
from config import redis_address
from config.broker import location, transport_options

PATIENCE = 20.0  # seconds; a server that is only slow is not out of reach


def by_redis_py(url: str, timeout: float = PATIENCE) -> None:
    with closing(redis_address.client(url, timeout=timeout)) as opened:
        opened.ping()


def by_kombu(url: str, timeout: float = PATIENCE) -> None:
    broker_url, tls = location(url)
    with Connection(broker_url, ssl=tls, transport_options=transport_options(timeout, timeout, url)) as connection:
        connection.connect()
        connection.Producer().publish('[["a"], {}, {}]', routing_key="refresh", serializer="json")


CLIENTS: dict[str, Callable[..., None]] = {"redis-py": by_redis_py, "kombu": by_kombu}


def redis_with_tls() -> str:
    """The `redis-server` of this machine. Skips the test where it has none, or one without TLS."""
    program = which("redis-server")
    if program is None:
        pytest.skip("this machine has no redis-server, and that of the tests' packages is built without TLS")
    tried = run([program, "--port", "0", "--tls-port", "1", "--dir", "/nowhere"], capture_output=True, check=False)
    if b"tls-port" in tried.stdout + tried.stderr:  # it does not know the word
        pytest.skip("the redis-server of this machine is built without TLS")
    return program
