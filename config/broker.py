"""The message broker, as every process that talks to it has to see it: the queues and the transport's options."""

from collections.abc import Iterable
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from redis.connection import parse_url

from config.networks import NetworkName

TICKS_QUEUE = "ticks"
"""Beat's, which are short: one in line behind batches would come too late for what it is for."""

REFRESH_QUEUE = "refresh"
"""What somebody waits for."""


def sync_queue(network: NetworkName) -> str:
    """The queue of a network's batches: each has its own, so that one that hangs does not hold up the others."""
    return f"sync.{network}"


def queues(networks: Iterable[NetworkName]) -> tuple[str, ...]:
    """The queues of a worker of these networks. It serves the first two before the others."""
    return (TICKS_QUEUE, REFRESH_QUEUE, *map(sync_queue, networks))


def location(redis_url: str) -> tuple[str, dict[str, Any] | Literal[False]]:
    """Celery's `broker_url` and `broker_use_ssl` for a REDIS_URL: with what redis-py reads in it, and its defaults.

    Left to itself kombu has no `unix://`, and encrypts to anybody whose certificate nobody has checked.
    """
    parts, read = urlsplit(redis_url), parse_url(redis_url)
    if parts.scheme == "unix":
        return f"redis+socket://{parts.netloc}{parts.path}?virtual_host={read.get('db', 0)}", False
    if parts.scheme == "redis":
        return redis_url, False
    tls = {name: value for name, value in read.items() if name.startswith("ssl_")}
    return urlunsplit(parts._replace(query="")), {"ssl_cert_reqs": "required", **tls}


SOCKET_TIMEOUT = 5.0  # seconds; above the second for which a worker waits in one BRPOP
CONNECT_TIMEOUT = 3.0  # seconds


def transport_options(
    socket_timeout: float = SOCKET_TIMEOUT, connect_timeout: float = CONNECT_TIMEOUT
) -> dict[str, Any]:
    """Kombu's options for Redis. Those that decide where a message lies must be the same in every process."""
    return {
        "global_keyprefix": "bal:",
        "priority_steps": [0],  # queues, not priorities: one list each
        # Longer than a task can wait in a worker and run; the shortest of all processes wins, so it is a constant.
        "visibility_timeout": 7200,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,  # look for messages of dead workers every 10 s, not every 100
        # Without these kombu waits forever for a Redis that hangs.
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": connect_timeout,
        "socket_keepalive": True,
        "health_check_interval": 25,
    }
