"""Beat keeps nothing on disk, and shows that it lives."""

import pickle
import shelve
import sys
from pathlib import Path

import pytest
import redis
from running import hung

from devstack import product
from devstack.product import beat
from devstack.servers import Server, wait_for


class Planted:
    """Runs when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.witness,)


@pytest.fixture
def env(database_url: str, redis_process: Server, tmp_path: Path) -> dict[str, str]:
    redis.Redis.from_url(redis_process.url).flushall()
    nowhere = {"TRON_RPC_URLS": "http://127.0.0.1:1", "LIFE_SIGN_DIR": str(tmp_path / "signs")}
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_process.url, **nowhere}


def test_beat_runs_nothing_out_of_a_schedule_file_and_writes_none(
    env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_process: Server
) -> None:
    witness, schedule = tmp_path / "witness", tmp_path / "schedule"
    with shelve.open(str(schedule)) as planted:
        planted["entries"] = {"x": Planted(witness)}
        planted["__version__"] = Planted(witness)
    before = {path: path.read_bytes() for path in tmp_path.glob("schedule*")}
    assert before
    pickle.loads(pickle.dumps(Planted(tmp_path / "proof")))
    assert (tmp_path / "proof").exists(), "the trap works"
    command = [sys.executable, "-m", "celery", "-A", "worker", "beat", "--schedule", str(schedule)]
    monkeypatch.setattr(product, "BEAT", command)
    client = redis.Redis.from_url(redis_process.url)
    with beat(tmp_path / "beat", env) as ticked:
        wait_for(lambda: client.llen("bal:ticks") >= 2, ticked, what="ticks to be sent")
    assert not witness.exists()
    assert {path: path.read_bytes() for path in tmp_path.glob("schedule*")} == before


def test_beat_shows_that_it_lives_and_stops_to_when_it_hangs(env: dict[str, str], tmp_path: Path) -> None:
    sign = tmp_path / "signs" / "beat"
    with beat(tmp_path / "beat", env) as ticked:
        wait_for(sign.exists, ticked, what="the first sign of life")
        first = sign.stat().st_mtime_ns
        wait_for(lambda: sign.stat().st_mtime_ns > first, ticked, what="another sign of life")
        with hung(ticked):
            last = sign.stat().st_mtime_ns
            another = {**env, "LIFE_SIGN_DIR": str(tmp_path / "others")}
            with beat(tmp_path / "other", another, "other") as other:
                wait_for((tmp_path / "others" / "beat").exists, other, what="the other to live")
            assert sign.stat().st_mtime_ns == last
