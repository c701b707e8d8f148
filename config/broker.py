"""The message broker, as every process that talks to it has to see it: the queues and the transport's options."""

from typing import Any

from config.settings import Network

REFRESH_QUEUE = "refresh"
"""What somebody waits for, and beat's ticks, which are short."""


def sync_queue(network: Network) -> str:
    """The queue of a network's batches: each has its own, so that one that hangs does not hold up the other."""
    return f"sync.{network}"


QUEUES = (REFRESH_QUEUE, sync_queue("ethereum"), sync_queue("tron"))
"""In the order in which a worker serves them."""

SOCKET_TIMEOUT = 5.0  # seconds; above the second for which a worker waits in one BRPOP
CONNECT_TIMEOUT = 3.0  # seconds


def transport_options(
    socket_timeout: float = SOCKET_TIMEOUT, connect_timeout: float = CONNECT_TIMEOUT
) -> dict[str, Any]:
    """Kombu's options for Redis. Those that decide where a message lies must be the same in every process."""
    return {
        "global_keyprefix": "bal:",
        "priority_steps": [0],  # queues, not priorities: one list each
        "queue_order_strategy": "priority",  # the order of the queues is strict
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
