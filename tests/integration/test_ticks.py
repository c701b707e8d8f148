"""Beat's ticks, while nobody takes them."""

from pathlib import Path
from typing import Any

import pytest
import redis

from devstack.product import beat
from devstack.servers import Server, tail, wait_for
from worker.schedule.beat import MAX_TICKS

TICKS, FEED = "bal:ticks", "bal:feed"
FOLLOWED = ["TRON", "ETHEREUM", "BSC"]


@pytest.mark.parametrize(("queue", "networks", "most"), [(TICKS, [], MAX_TICKS), (FEED, FOLLOWED, 3 * MAX_TICKS)])
def test_ticks_that_nobody_takes_do_not_pile_up(
    redis_process: Server, tmp_path: Path, queue: str, networks: list[str], most: int
) -> None:
    """The networks that are followed share one queue: each of them has room in it for ticks of its own."""
    client: Any = redis.Redis.from_url(redis_process.url)
    client.flushall()
    client.lpush(queue, *["a message"] * (most - 5))
    env = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": redis_process.url, "FEED": "on"}
    env |= {f"{network}_RPC_URLS": "http://127.0.0.1:1" for network in networks}
    with beat(tmp_path, env | {"DISPATCH_INTERVAL": "60" if networks else "0.05"}) as ticking:

        def looks() -> int:
            return int(client.info("commandstats").get("cmdstat_llen", {"calls": 0})["calls"])

        def look_again(times: int) -> None:
            before = looks()
            wait_for(lambda: looks() >= before + times, ticking, what="beat to look at what waits")

        wait_for(lambda: client.llen(queue) >= most, ticking, what="ticks up to the bound")
        look_again(12)
        assert client.llen(queue) == most
        assert tail(ticking.log, 100).count("ticks_held") == 1, "told of once"
        client.ltrim(queue, 0, 1)
        wait_for(lambda: client.llen(queue) > 2, ticking, what="ticks again")
    client.flushall()
