"""Workers that are told to stop in the middle of a batch, and a network that hangs beside one that does not."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import redis
from chaos import Restartable, Scene
from environment import forget_settings

from devstack.seed import SeededWallet, fund, insert, wallets
from devstack.servers import Server, wait_for
from devstack.stack import LocalChain, settings
from worker.chains import reader_for

PER_CHAIN = 30


@pytest.fixture(scope="module")
def funded(ethereum: LocalChain, tron: LocalChain) -> list[SeededWallet]:
    seeded = wallets(PER_CHAIN)
    for chain, network in ((ethereum, "ethereum"), (tron, "tron")):
        fund(chain, [wallet for wallet in seeded if wallet.network == network])
    return seeded


@pytest.fixture
def scene(
    tmp_path: Path, funded: list[SeededWallet], database_url: str,
    postgres_server: Server, redis_process: Server, ethereum: LocalChain, tron: LocalChain,
) -> Iterator[Scene]:
    redis.Redis.from_url(redis_process.url).flushall()
    insert(database_url, funded)
    env = settings(database_url, redis_process.url, ethereum, tron)
    env |= {"SYNC_LEASE": "30", "SYNC_INTERVAL_ACTIVE": "2", "SYNC_INTERVAL_IDLE": "2"}
    held = [Restartable(lambda server=server: nullcontext(server)) for server in (postgres_server, redis_process)]
    scene = Scene(tmp_path, env, funded, {"ethereum": ethereum, "tron": tron}, *held)
    with scene.stack:
        yield scene


def test_hang(scene, ethereum, monkeypatch):
    import time
    scene.await_all_fresh()
    ethereum.node.process.send_signal(signal.SIGSTOP)
    try:
        for name, value in scene.env.items():
            monkeypatch.setenv(name, value)
        forget_settings()
        reader = reader_for("ethereum")
        reader.known.put(f"size:{reader.endpoints[0].id}", 1, 600)
        t0 = time.monotonic()
        last = {}
        while time.monotonic() - t0 < 60:
            row = scene.rows("SELECT count(DISTINCT lease_token) FILTER (WHERE network='ethereum') AS held, max(extract(epoch from clock_timestamp() - last_synced)) FILTER (WHERE network='tron')::float AS age, min(extract(epoch from clock_timestamp() - last_synced)) FILTER (WHERE network='tron')::float AS minage FROM sync_schedule JOIN balance_cache USING (wallet_id)")[0]
            print(f"{time.monotonic()-t0:.1f} held={row['held']} tron max {row['age']:.1f} min {row['minage']:.1f} {scene.queues.lengths()}")
            time.sleep(0.7)
    finally:
        ethereum.node.process.send_signal(signal.SIGCONT)
    print(scene.worker.server.log.read_text()[-3000:])
