"""Refreshes are bounded in a day, over all processes of the endpoint; beyond that the cache answers and says so."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from time import time
from typing import Any
from uuid import uuid4

import jwt
import pytest
import redis
import requests
from endpoint import ENV, ETHEREUM, TRON, Endpoint, log_line
from tables import Tables

from api.limits import DAY, KEY
from devstack.product import api
from devstack.seed import TRON_ADDRESS, USER, insert, wallets
from devstack.servers import CAP, Server, wait_for

REFRESH = "?refresh=true&networks=tron"
Start = Callable[..., Endpoint]


@pytest.fixture
def start(database_url: str, tables: Tables, redis_process: Server, tmp_path: Path) -> Iterator[Start]:
    """Starts a process of the endpoint, with some settings."""
    wait_for(lambda: time() % DAY < DAY - CAP / 5, what="a day that does not end in the middle of the test")
    redis.Redis.from_url(redis_process.url).flushall()
    insert(database_url, wallets(0))
    with ExitStack() as started:

        def process(**settings: str) -> Endpoint:
            env = {**ENV, "DATABASE_URL": database_url, "REDIS_URL": redis_process.url, "REFRESH_DEADLINE": str(CAP)}
            folder = tmp_path / uuid4().hex
            running: AbstractContextManager[Server] = api(folder, {**env, **settings})
            return Endpoint(started.enter_context(running), tables, database_url, redis_process.url)

        yield process


def refreshed(endpoint: Endpoint, **more: Any) -> requests.Response:
    """The answer to a refresh that a worker reads for, if it comes to that."""
    endpoint.read_all()
    messages = endpoint.redis
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(endpoint.get, REFRESH, **more)
        while not asking.done():
            if messages.blpop(["bal:refresh"], timeout=0.1):
                endpoint.read(TRON, 1_000_000)
        return asking.result()


def is_limited(response: requests.Response, bound: str) -> bool:
    """Whether it says so, and is from the cache. It is a good answer all the same."""
    assert response.status_code == 200
    cached = {entry["is_cached"] for entry in response.json()["balances"]}
    limited = response.headers.get("Refresh-Limited")
    assert (limited, cached) in [(None, {False}), (bound, {True})]
    return limited is not None


def counted(endpoint: Endpoint) -> dict[bytes, int]:
    found = [endpoint.redis.hgetall(key) for key in endpoint.redis.keys(f"{KEY}*")]
    return {name: int(number) for each in found for name, number in each.items() if int(number)}


def await_counted(endpoint: Endpoint, expected: dict[bytes, int]) -> None:
    """What cost nothing is given back a moment after the answer."""
    wait_for(lambda: counted(endpoint) == expected, endpoint.server, what=f"{expected} to be counted")


def test_a_user_has_so_many_refreshes_a_day_over_all_processes(start: Start) -> None:
    one, other = (start(REFRESH_MAX_PER_USER="3", REFRESH_COOLDOWN="0.001") for _ in range(2))
    answers = [is_limited(refreshed(endpoint), "user") for endpoint in (one, other, one, other, one)]
    assert answers == [False, False, False, True, True]
    await_counted(one, {USER.hex.encode(): 3, b"all": 3})
    assert "Refresh-Limited" not in one.get().headers, "a plain read asks for nothing"


def test_all_users_together_have_so_many_refreshes_a_day(start: Start) -> None:
    one, other = (start(REFRESH_MAX="2", REFRESH_MAX_PER_USER="0", REFRESH_COOLDOWN="0.001") for _ in range(2))
    answers = [is_limited(refreshed(endpoint), "all") for endpoint in (one, other, one, other)]
    assert answers == [False, False, True, True]


def test_however_many_ask_at_once_no_more_than_the_bound_are_read(start: Start) -> None:
    endpoint = start(REFRESH_MAX="2", REFRESH_COOLDOWN="0.001", REFRESH_DEADLINE="60")
    users = [uuid4() for _ in range(8)]
    of = {user: endpoint.tables.add("tron", TRON_ADDRESS, user_id=user)[0] for user in users}
    for wallet in of.values():
        endpoint.read(wallet, 1)
    endpoint.tables.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 minute'")
    endpoint.tables.rows("UPDATE balance_cache SET last_synced = now() - interval '1 minute'")

    def ask(user: Any) -> requests.Response:
        token = jwt.encode({"sub": str(user), "exp": 9_999_999_999}, ENV["JWT_SECRET"], "HS256")
        return endpoint.get(REFRESH, user=user, headers={"Authorization": f"Bearer {token}"})

    with ThreadPoolExecutor(len(users)) as pool:
        asking = [pool.submit(ask, user) for user in users]
        while not all(each.done() for each in asking):
            if message := endpoint.redis.blpop(["bal:refresh"], timeout=0.1):
                for wallet in of.values():
                    if str(wallet) in message[1].decode():
                        endpoint.read(wallet, 2)
    assert [is_limited(each.result(), "all") for each in asking].count(False) == 2


def test_what_the_cool_down_answers_or_joins_another_read_is_not_counted(start: Start) -> None:
    endpoint = start(REFRESH_MAX_PER_USER="1", REFRESH_COOLDOWN=str(CAP))
    endpoint.read_all()
    endpoint.tables.rows("UPDATE sync_schedule SET claimed_at = now() - interval '1 day'")
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(endpoint.get, REFRESH)
        assert endpoint.await_message()
        await_counted(endpoint, {USER.hex.encode(): 1, b"all": 1})
        endpoint.redis.flushall()  # so that joining would have room to be counted
        joining = pool.submit(endpoint.get, REFRESH)
        wait_for(lambda: endpoint.redis.keys(f"{KEY}*") != [], endpoint.server, what="it to be counted")
        endpoint.read(TRON, 1_000_000)
        assert not is_limited(first.result(), "user")
        assert "Refresh-Limited" not in joining.result().headers
    await_counted(endpoint, {})
    for _ in range(3):
        answer = endpoint.get(REFRESH)
        assert (answer.json()["balances"][0]["is_cached"], "Refresh-Limited" in answer.headers) == (True, False)
        await_counted(endpoint, {})


def test_an_admins_refresh_counts_for_the_user_who_is_asked_for(start: Start) -> None:
    endpoint = start(REFRESH_MAX_PER_USER="1", REFRESH_COOLDOWN="0.001")
    claims = {"sub": str(uuid4()), "exp": 9_999_999_999, "scope": "balances:admin"}
    headers = {"Authorization": f"Bearer {jwt.encode(claims, ENV['JWT_SECRET'], 'HS256')}", "X-Request-ID": "admin"}
    assert not is_limited(refreshed(endpoint, headers=headers), "user")
    assert log_line(endpoint, "admin")["admin"] is True
    await_counted(endpoint, {USER.hex.encode(): 1, b"all": 1})
    own = {**endpoint.authorization, "X-Request-ID": "own"}
    assert is_limited(refreshed(endpoint, headers=own), "user")
    assert log_line(endpoint, "own")["refresh_limited"] == "user"


def test_the_count_ends_with_its_day_and_an_emptied_redis_begins_it_anew(start: Start) -> None:
    endpoint = start(REFRESH_MAX_PER_USER="1", REFRESH_COOLDOWN="0.001")
    assert [is_limited(refreshed(endpoint), "user") for _ in range(2)] == [False, True]
    keys = endpoint.redis.keys(f"{KEY}*")
    assert keys
    for key in keys:
        assert DAY - CAP <= int(endpoint.redis.ttl(key)) <= DAY + 3600
    endpoint.redis.flushall()
    assert [is_limited(refreshed(endpoint), "user") for _ in range(2)] == [False, True]


def test_beyond_the_bound_a_wallet_never_read_is_waited_for_as_on_a_plain_read(start: Start) -> None:
    endpoint = start(REFRESH_MAX_PER_USER="1", REFRESH_COOLDOWN="0.001")
    assert not is_limited(refreshed(endpoint), "user")
    (new,) = endpoint.tables.add("tron", "TNew", user_id=USER)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(endpoint.get, REFRESH)
        assert str(new) in endpoint.await_message().text
        endpoint.read(new, 5_000_000)
        answer = asking.result()
    assert answer.headers["Refresh-Limited"] == "user"
    assert [entry["is_cached"] for entry in answer.json()["balances"]] == [True, False]


def test_without_bounds_nothing_is_counted(start: Start) -> None:
    endpoint = start(REFRESH_MAX="0", REFRESH_MAX_PER_USER="0", REFRESH_COOLDOWN="0.001")
    assert [is_limited(refreshed(endpoint), "user") for _ in range(2)] == [False, False]
    assert endpoint.redis.keys(f"{KEY}*") == []


def test_with_redis_away_a_refresh_is_let_through_and_marked(start: Start) -> None:
    endpoint = start(REFRESH_MAX_PER_USER="1", REDIS_URL="redis://127.0.0.1:1/0", REFRESH_DEADLINE="2")
    endpoint.read_all()
    for _ in range(2):
        answer = endpoint.get(REFRESH)
        assert (answer.json()["balances"][0]["is_cached"], "Refresh-Limited" in answer.headers) == (True, False)
    assert endpoint.tables.schedule(TRON)["requested_at"] is not None
    assert endpoint.tables.schedule(ETHEREUM)["requested_at"] is None
    assert "refresh_not_counted" in endpoint.server.log.read_text()


@pytest.mark.parametrize("planted", ["another type", "no number", "beyond every bound"])
def test_a_count_that_somebody_has_planted_stops_no_refresh_and_no_bound(start: Start, planted: str) -> None:
    endpoint = start(REFRESH_MAX_PER_USER="1", REFRESH_MAX="1000", REFRESH_COOLDOWN="0.001")
    for day in (0, 1):  # should it end meanwhile
        key = f"bal:refreshes:{int(time() // 86_400) + day}"
        if planted == "another type":
            endpoint.redis.set(key, "x")
        else:
            endpoint.redis.hset(key, "all", "x" if planted == "no number" else 10**9)
    assert [is_limited(refreshed(endpoint), "user") for _ in range(2)] == [False, True]
