"""Redis and Postgres fail over under all processes: they go on with the new primary by themselves."""

from pathlib import Path

import redis
from forwarding import Forwarder, becomes_a_replica, port_of
from scene import LONG_LEASE, OFTEN, Scene

from devstack.product import api
from devstack.seed import SeededWallet, insert
from devstack.servers import HOST, redis_server
from devstack.stack import LocalChain, settings


def test_all_processes_follow_redis_to_its_new_primary_and_back(
    tmp_path: Path, database_url: str, funded: list[SeededWallet], chains: dict[str, LocalChain]
) -> None:
    """What they are connected to becomes a replica, and stays there. None of them has to be started anew."""
    insert(database_url, funded)
    with (
        redis_server(tmp_path / "first") as first,
        redis_server(tmp_path / "second") as second,
        Forwarder(port_of(first)) as forwarder,
    ):
        env = settings(database_url, f"redis://{HOST}:{forwarder.port}/0", **chains) | OFTEN | LONG_LEASE
        scene = Scene(tmp_path, env | {"REFRESH_COOLDOWN": "1", "REFRESH_DEADLINE": "60"}, funded, chains)
        with scene.stack:
            scene.begin()
            with api(tmp_path, scene.env) as served:
                scene.await_all_fresh()
                for old, new in ((first, second), (second, first)):
                    with redis.Redis.from_url(new.url) as client:
                        client.replicaof("NO", "ONE")
                    with scene.batches_in_hand():
                        becomes_a_replica(old, of=new)
                    forwarder.to = port_of(new)
                    scene.await_all_fresh()
                    response = scene.ask(served, "?refresh=true")
                    assert response.status_code == 200
                served.check()
            log = scene.worker.server.log.read_text()
            assert "Unrecoverable" not in log
