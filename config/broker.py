"""The message broker, as every process that talks to it has to see it: the queues and the transport's options."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from redis.connection import parse_url

from config.networks import PRESETS, Network, NetworkName

TICKS_QUEUE = "ticks"
"""Beat's, which are short: one in line behind batches would come too late for what it is for."""

REFRESH_QUEUE = "refresh"
"""What somebody waits for."""


def sync_queue(network: NetworkName) -> str:
    """The queue of a network's batches: each has its own, so that one that hangs does not hold up the others."""
    return f"sync.{network}"


def queues(networks: Iterable[NetworkName]) -> tuple[str, ...]:
    """All queues there are with these networks.

    A worker serves the first two before the others, and those by turns (``RefreshFirst``).
    """
    return (TICKS_QUEUE, REFRESH_QUEUE, *map(sync_queue, networks))


def batches_in_a_turn(networks: Iterable[Network]) -> dict[str, int]:
    """How many batches of each network make a turn: as many as hold the wallets of one batch of the largest."""
    largest = {sync_queue(each.name): each.most_wallets[each.strategies[0]] for each in networks}
    most = max(largest.values(), default=0)
    return {queue: max(round(most / wallets), 1) for queue, wallets in largest.items()}


QUEUES = queues(("ethereum", "tron"))
"""For what has not yet been turned to `queues` of all known networks."""

PRECEDENCE = {TICKS_QUEUE: 0, REFRESH_QUEUE: 1}

BATCHES_IN_A_TURN = batches_in_a_turn((PRESETS["ethereum"], PRESETS["tron"]))
"""For what has not yet been turned to `batches_in_a_turn` of all known networks."""


class RefreshFirst:
    """The order in which a worker looks at its queues, in kombu's form: ticks, refreshes, and then networks by turns.

    A strict order would serve the last network only when the others have nothing left: never, where one cannot keep up.
    `turns` has the batches of a turn by queue; a queue that it does not have gives one.
    """

    def __init__(self, turns: Mapping[str, int] = BATCHES_IN_A_TURN) -> None:
        self.queues: list[str] = []
        self._turns = turns
        self._turn, self._batches = "", 0

    def update(self, queues: Iterable[str]) -> None:
        """These are served from now on."""
        self.queues = sorted(queues, key=lambda queue: PRECEDENCE.get(queue, len(PRECEDENCE)))

    def consume(self, count: int) -> list[str]:
        """The first `count` of them."""
        return self.queues[:count]

    def rotate(self, served: str) -> None:
        """The network that was served just now comes last, once it has had its turn."""
        if served in PRECEDENCE or served not in self.queues:
            return
        self._turn, self._batches = served, self._batches + 1 if served == self._turn else 1
        if self._batches >= self._turns.get(served, 1):
            self.queues.remove(served)
            self.queues.append(served)
            self._batches = 0


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
    socket_timeout: float = SOCKET_TIMEOUT,
    connect_timeout: float = CONNECT_TIMEOUT,
    turns: Mapping[str, int] = BATCHES_IN_A_TURN,
) -> dict[str, Any]:
    """Kombu's options for Redis. Those that decide where a message lies must be the same in every process.

    `turns` is for a process that takes batches: how many of each network's queue make a turn.
    """
    return {
        "global_keyprefix": "bal:",
        "priority_steps": [0],  # queues, not priorities: one list each
        "queue_order_strategy": partial(RefreshFirst, turns),  # refreshes overtake, networks take turns
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
