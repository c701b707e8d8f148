"""A worker that starts before the servers that it needs: it says what it waits for, and works once they are there."""

from pathlib import Path
from urllib.parse import urlsplit

from forwarding import Forwarder, port_of
from starts import Started, runs

from db.rights import WORKER
from devstack.roles import as_role
from devstack.servers import HOST, Server, free_port


def test_a_worker_gets_ready_when_redis_and_the_database_come_up_after_it(
    database_url: str, redis_process: Server, tmp_path: Path
) -> None:
    parts = urlsplit(as_role(database_url, WORKER))
    with Forwarder(free_port()) as redis, Forwarder(free_port()) as postgres:
        env = {
            "DATABASE_URL": parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{postgres.port}").geturl(),
            "REDIS_URL": f"redis://{HOST}:{redis.port}/0",
            "ETHEREUM_RPC_URLS": "http://127.0.0.1:1",
        }
        worker = Started("worker", env, tmp_path)
        try:
            worker.says("redis_awaited")
            worker.says("database_awaited")
            postgres.to = parts.port or 0
            redis.to = port_of(redis_process)
            worker.becomes(runs())
        finally:
            worker.stop()
