"""The message broker, as every process that talks to it has to see it: the queues and the transport's options."""

from collections.abc import Iterable
from typing import Any, Literal

from config.networks import NetworkName
from config.redis_address import kombus

TICKS_QUEUE = "ticks"
"""Beat's, which are short: one in line behind batches would come too late for what it is for."""

REFRESH_QUEUE = "refresh"
"""What somebody waits for."""


FEED_QUEUE = "feed"
"""The tasks that follow the blocks of the networks."""


def sync_queue(network: NetworkName) -> str:
    """The queue of a network's batches: each has its own, so that one that hangs does not hold up the others."""
    return f"sync.{network}"


def queues(networks: Iterable[NetworkName], *, feed: bool) -> tuple[str, ...]:
    """The queues of a worker of these networks. It serves the first two before the others.

    `feed`: whether FEED_QUEUE is among them, which a worker with FEED=off leaves to others.
    """
    return (TICKS_QUEUE, REFRESH_QUEUE, *((FEED_QUEUE,) if feed else ()), *map(sync_queue, networks))


def location(redis_url: str) -> tuple[str, dict[str, Any] | Literal[False]]:
    """Celery's `broker_url` and `broker_use_ssl` for a REDIS_URL."""
    broker_url, tls, _ = kombus(redis_url)
    return broker_url, tls


KEY_PREFIX = "bal:"
"""What each of kombu's keys begins with: a queue is a list of this and its name."""

SOCKET_TIMEOUT = 5.0  # seconds; above the second for which a worker waits in one BRPOP
CONNECT_TIMEOUT = 3.0  # seconds
HEALTH_CHECK_INTERVAL = 25  # seconds
LONGEST_PAUSE = 5.0  # seconds from one try to reach Redis to the next; kombu's grow to half a minute


def transport_options(
    socket_timeout: float = SOCKET_TIMEOUT, connect_timeout: float = CONNECT_TIMEOUT, redis_url: str = ""
) -> dict[str, Any]:
    """Kombu's options for Redis. Those that decide where a message lies must be the same in every process.

    With `redis_url` those too that lead to the master of Sentinel's servers.
    """
    timeouts = {"socket_timeout": socket_timeout, "socket_connect_timeout": connect_timeout}
    of_sentinel = kombus(redis_url, timeouts)[2] if redis_url else {}
    return {
        "global_keyprefix": KEY_PREFIX,
        "priority_steps": [0],  # queues, not priorities: one list each
        # Longer than a task can wait in a worker and run; the shortest of all processes wins, so it is a constant.
        "visibility_timeout": 7200,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,  # look for messages of dead workers every 10 s, not every 100
        # Without these kombu waits forever for a Redis that hangs.
        **timeouts,
        **of_sentinel,
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK_INTERVAL,
    }
