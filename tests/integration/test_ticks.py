"""Beat's ticks, while nobody takes them."""

from pathlib import Path
from typing import Any

import redis

from devstack.product import beat
from devstack.servers import Server, tail, wait_for
from worker.schedule.beat import MAX_TICKS

QUEUE = "bal:ticks"


def test_ticks_that_nobody_takes_do_not_pile_up(redis_process: Server, tmp_path: Path) -> None:
    client: Any = redis.Redis.from_url(redis_process.url)
    client.flushall()
    client.lpush(QUEUE, *["a message"] * (MAX_TICKS - 5))
    env = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": redis_process.url}
    with beat(tmp_path, env | {"DISPATCH_INTERVAL": "0.05"}) as ticking:

        def looks() -> int:
            return int(client.info("commandstats").get("cmdstat_llen", {"calls": 0})["calls"])

        def look_again(times: int) -> None:
            before = looks()
            wait_for(lambda: looks() >= before + times, ticking, what="beat to look at what waits")

        wait_for(lambda: client.llen(QUEUE) >= MAX_TICKS, ticking, what="ticks up to the bound")
        look_again(20)
        assert client.llen(QUEUE) == MAX_TICKS
        assert tail(ticking.log, 100).count("ticks_held") == 1, "told of once"
        client.ltrim(QUEUE, 0, 1)
        wait_for(lambda: client.llen(QUEUE) > 2, ticking, what="ticks again")
    client.flushall()
