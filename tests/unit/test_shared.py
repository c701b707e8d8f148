"""What workers share of their endpoints: entries that expire, budgets, and going on without Redis."""

from time import monotonic
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
import redis
from structlog.testing import capture_logs

from worker.reading.budget import Budget
from worker.reading.request_counts import SENT_EACH
from worker.reading.shared import Shared
from worker.reading.shared_redis import FAILED_OVER, LEFT_ALONE

NOW = 1_795_000_000
SOON = NOW + 60


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> fakeredis.FakeServer:
    """A Redis of the same clock: a budget's entry lasts for a fifth of a second."""
    for module in ("_socket._base", "_helpers", "commands_mixins.server_mixin"):
        monkeypatch.setattr(f"fakeredis.{module}.time", SimpleNamespace(time=clock))
    return fakeredis.FakeServer()


def worker(server: fakeredis.FakeServer, clock: Clock, scope: str = "tron:1") -> Shared:
    return Shared(scope, "redis://given", clock, _client=fakeredis.FakeRedis(server=server))


def test_what_one_worker_learns_the_others_know(server: fakeredis.FakeServer, clock: Clock) -> None:
    worker(server, clock).put("rest:a", [5.5, 1, "throttled"], 60)
    assert worker(server, clock).get(["rest:a", "rest:b"]) == {"rest:a": [5.5, 1, "throttled"]}


def test_entries_of_other_settings_are_not_seen(server: fakeredis.FakeServer, clock: Clock) -> None:
    worker(server, clock, "tron:1").put("newest", [1, 2], 60)
    assert worker(server, clock, "tron:2").get(["newest"]) == {}


def test_each_entry_expires_in_redis_and_in_memory(server: fakeredis.FakeServer, clock: Clock) -> None:
    one = worker(server, clock)
    one.put("size:a", 32, 60)
    (key,) = fakeredis.FakeRedis(server=server).keys()
    assert 0 < fakeredis.FakeRedis(server=server).pttl(key) <= 60_000
    clock.now += 59
    assert one.get(["size:a"]) == {"size:a": 32}
    clock.now += 1
    assert one.get(["size:a"]) == {}


def test_a_flushed_redis_takes_nothing_that_a_worker_knows_itself(server: fakeredis.FakeServer, clock: Clock) -> None:
    one = worker(server, clock)
    one.put("size:a", 32, 60)
    fakeredis.FakeRedis(server=server).flushall()
    assert one.get(["size:a"]) == {"size:a": 32}


def test_without_redis_a_worker_goes_on_with_its_own_knowledge_and_comes_back_later(
    server: fakeredis.FakeServer, clock: Clock
) -> None:
    one, other = worker(server, clock), worker(server, clock)
    server.connected = False
    with capture_logs() as logs:
        one.put("size:a", 32, 600)
        assert one.get(["size:a"]) == {"size:a": 32}
    assert [line["event"] for line in logs] == ["redis_unavailable"], "told of once, not at each command"
    server.connected = True
    one.put("size:a", 16, 600)
    assert other.get(["size:a"]) == {}, "it is left alone for a while"
    clock.now += LEFT_ALONE
    one.put("size:a", 8, 600)
    assert other.get(["size:a"]) == {"size:a": 8}


def test_without_a_url_nothing_is_shared(clock: Clock) -> None:
    alone = Shared("tron:1", None, clock)
    alone.put("size:a", 32, 60)
    assert alone.get(["size:a", "way:a"]) == {"size:a": 32}


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        *(("size:a", raw) for raw in ("nonsense", "5", "[]", "null", '["x", 9e18]', "[0, 9e18]", "[5, null]", "[5]")),
        *(("newest", f"[{value}, {SOON}]") for value in ("5", "[5]", "[5, -1]", '[5, "5"]', "[5, 5, 5]", "null")),
        *(("rest:a", f"[{value}, {SOON}]") for value in ("5", "[5, 1]", '["5", 1, ""]', '[5, "1", ""]', "[5, 1, 1]")),
        ("rest:a", '[[NaN, 1, ""], 9e18]'),
        ("key:a", "[5, {SOON}]"),
        *(("way:a", f"[{value}, {SOON}]") for value in ("5", '"revert"', '["revert"]', '["revert", 5]', '[["x"], ""]')),
        ("size:a", "[" * 10**5),
        ("contact:a", f"[5, {SOON}]"),  # money is held against it
        ("size:a", f"[5, {NOW + 3600 + 11}]"),  # longer than ours hold
        ("newest", f"[[5, 6], {NOW + 600 + 11}]"),
        ("newest", f"[[5, {NOW + 31}], {SOON}]"),  # a block of the future
        ("rest:a", f'[[{NOW + 3600 + 11}, 1, "throttled"], {SOON}]'),
        ("key:a", f'[[{NOW + 3600 + 11}, 1, "throttled"], {SOON}]'),
        ("rest:a", f'[[{NOW}, {10**7}, "throttled"], {SOON}]'),
        ("rest:a", f'[[{NOW}, 1, "no code of ours"], {SOON}]'),
    ],
)
def test_what_is_no_entry_in_redis_is_as_good_as_none_and_the_others_are_read(
    server: fakeredis.FakeServer, clock: Clock, name: str, raw: str
) -> None:
    fakeredis.FakeRedis(server=server).set(f"bal:chain:tron:1:{name}", raw)
    one = worker(server, clock)
    worker(server, clock).put("size:b", 32, 60)
    with capture_logs() as logs:
        assert one.get([name, "size:b"]) == {"size:b": 32}
    assert logs == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("newest", [5, 6]),
        ("rest:a", [5.5, 1, "throttled"]),
        ("key:a", [0.0, 0, ""]),
        ("way:a", ["return", "refused: no"]),
        ("way:a", None),
        ("size:a", 1),
    ],
)
def test_what_a_worker_puts_is_an_entry_to_the_others(
    server: fakeredis.FakeServer, clock: Clock, name: str, value: object
) -> None:
    worker(server, clock).put(name, value, 60)
    assert worker(server, clock).get([name]) == {name: value}


def test_every_key_in_redis_expires(server: fakeredis.FakeServer, clock: Clock) -> None:
    one = worker(server, clock)
    one.put("newest", [1, 2], 60)
    one.trial_lock().acquire(25)
    budget = Budget(one, 10, 30)
    assert not budget.reserve("node", 3, monotonic() + 25, refresh=False)
    client = fakeredis.FakeRedis(server=server)
    names = list(client.scan_iter())
    assert len(names) == 4
    assert all(client.pttl(name) > 0 for name in names)


def planted(server: fakeredis.FakeServer, name: str, kind: str, value: str) -> str:
    client, key = fakeredis.FakeRedis(server=server), f"bal:chain:tron:1:{name}"
    if kind == "text":
        client.set(key, value)
    elif kind == "list":
        client.rpush(key, value)
    else:
        client.hset(key, "tat1", value)
    return key


@pytest.mark.parametrize(("kind", "value"), [("text", "x"), ("text", str(2**63 - 1)), ("list", "x"), ("hash", "x")])
def test_a_count_that_is_none_is_deleted_and_counted_anew(
    server: fakeredis.FakeServer, clock: Clock, kind: str, value: str
) -> None:
    key = planted(server, f"count:requests:a:{NOW // 300}", kind, value)
    one = worker(server, clock)
    with capture_logs() as logs:
        one.requests.add("a", 2)
    assert [(line["event"], line["key"]) for line in logs] == [("entry_dropped", key)]
    clock.now += SENT_EACH
    one.requests.add("a", 3)
    assert one.requests.of_the_past_hour(["a"]) == {"a": {NOW // 300 * 300.0: 5}}


def test_a_count_below_zero_is_not_told(server: fakeredis.FakeServer, clock: Clock) -> None:
    planted(server, f"count:requests:a:{NOW // 300}", "text", "-5")
    assert worker(server, clock).requests.of_the_past_hour(["a"]) == {"a": {}}


def test_what_is_about_the_server_is_an_outage_and_deletes_nothing(clock: Clock) -> None:
    class Refusing(fakeredis.FakeRedis):
        def eval(self, *_: object, **__: object) -> Any:
            raise redis.ResponseError("NOPERM this user has no permissions to run the 'incrby' command")

    one = Shared("tron:1", "redis://given", clock, _client=Refusing())
    with capture_logs() as logs:
        one.requests.add("a", 2)
    assert [line["event"] for line in logs] == ["redis_unavailable"]


def test_what_one_worker_takes_no_other_has_until_it_is_given_back(server: fakeredis.FakeServer, clock: Clock) -> None:
    one, other = worker(server, clock), worker(server, clock)
    assert one.trial_lock().acquire(25) == 0.0
    assert 24 <= other.trial_lock().acquire(25) <= 25
    assert one.trial_lock().acquire(25) == 0.0, "it has it still"
    one.trial_lock().release()
    assert other.trial_lock().acquire(25) == 0.0
    assert worker(server, clock, "tron:2").trial_lock().acquire(25) == 0.0, "each network has its own"


def test_who_comes_too_late_to_give_back_what_he_took_takes_it_from_nobody(
    server: fakeredis.FakeServer, clock: Clock
) -> None:
    one, other = worker(server, clock), worker(server, clock)
    assert one.trial_lock().acquire(5) == 0.0
    clock.now += 6
    assert other.trial_lock().acquire(5) == 0.0
    one.trial_lock().release()
    one.trial_lock().keep(0.1)
    assert worker(server, clock).trial_lock().acquire(5) > 4
    assert one.trial_lock().acquire(5) > 4
    other.trial_lock().release()
    assert one.trial_lock().acquire(5) == 0.0


def test_what_was_taken_may_be_left_to_end_by_itself(server: fakeredis.FakeServer, clock: Clock) -> None:
    one, other = worker(server, clock), worker(server, clock)
    one.trial_lock().acquire(25)
    one.trial_lock().keep(3)
    assert one.trial_lock().acquire(25) == pytest.approx(3, abs=0.1), "not for him either"
    clock.now += 3.1
    assert other.trial_lock().acquire(25) == 0.0


def test_without_redis_each_worker_takes_what_it_wants(server: fakeredis.FakeServer, clock: Clock) -> None:
    one, other = worker(server, clock), worker(server, clock)
    assert one.trial_lock().acquire(25) == 0.0
    server.connected = False
    assert other.trial_lock().acquire(25) == 0.0
    other.trial_lock().release()


@pytest.mark.parametrize("px", [None, 10**9])
def test_a_leave_that_nobody_of_ours_can_have_for_so_long_is_removed(
    server: fakeredis.FakeServer, clock: Clock, px: int | None
) -> None:
    fakeredis.FakeRedis(server=server).set("bal:chain:tron:1:trial", "x", px=px)
    one = worker(server, clock)
    assert one.trial_lock().acquire(25, 30) > 0
    assert one.trial_lock().acquire(25, 30) == 0.0


def test_a_leave_that_another_read_has_is_left_to_it(server: fakeredis.FakeServer, clock: Clock) -> None:
    one, other = worker(server, clock), worker(server, clock)
    assert one.trial_lock().acquire(25, 25) == 0.0
    assert all(other.trial_lock().acquire(1, 25) > 1 for _ in range(2))


def test_a_redis_that_has_become_a_replica_is_left_for_a_moment_by_new_connections(clock: Clock) -> None:
    left: list[str] = []

    class Replica(fakeredis.FakeRedis):
        def set(self, *_: object, **__: object) -> Any:
            raise redis.ReadOnlyError("READONLY You can't write against a read only replica.")

    client = Replica()
    client.connection_pool.disconnect = lambda: left.append("it")
    one = Shared("tron:1", "redis://given", clock, _client=client)
    with capture_logs() as logs:
        one.put("size:a", 5, 60)
    assert left == ["it"]
    assert [line["left_alone_seconds"] for line in logs] == [FAILED_OVER]


def test_a_clock_that_is_set_back_keeps_nothing_for_longer_than_an_entry_may_hold(clock: Clock) -> None:
    alone = Shared("tron:1", None, clock)
    alone.put("rest:a", [NOW + 3000, 5, "throttled", True], 3600)
    alone.put("size:a", 5, 3600)
    alone.trial_lock().keep(3)
    clock.now -= 100_000
    assert alone.get(["rest:a", "size:a"]) == {}
    assert not alone.trial_lock().acquire(3)


def test_nor_does_it_leave_redis_alone_for_so_long(server: fakeredis.FakeServer, clock: Clock) -> None:
    one = worker(server, clock)
    server.connected = False
    one.put("size:a", 16, 600)
    server.connected = True
    clock.now -= 3600
    one.put("size:a", 8, 600)
    assert worker(server, clock).get(["size:a"]) == {"size:a": 8}
