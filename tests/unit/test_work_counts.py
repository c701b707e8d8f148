"""What workers count of their work: what is sent, when, and into which keys, whatever lies there."""

from typing import Any

import fakeredis
import pytest
import redis
from fakes import FakeNode, Reading, accounts, fails
from structlog.testing import capture_logs

from config.work_counts import BATCH_SIZES, bound_of, counts_key, day_key
from worker.errors import READ_CODES, OverBudget, Unreachable
from worker.reading.request_counts import DAY_HOLDS, SENT_EACH
from worker.reading.shared import Shared

NOW = 1_795_000_000.0
DAY = 86_400


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


class Spying(fakeredis.FakeRedis):
    """Counts the commands that it is sent."""

    sent = 0

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.sent += 1
        return super().execute_command(*args, **options)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client() -> Spying:
    return Spying(server=fakeredis.FakeServer())


@pytest.fixture
def known(client: Spying, clock: Clock) -> Shared:
    return Shared("tron:1:digest:solid", "redis://given", clock, _client=client)


def counters(client: Spying) -> dict[str, int]:
    found: Any = client.hgetall(counts_key("tron"))
    return {name.decode(): int(value) for name, value in found.items()}


def test_a_batch_with_its_requests_costs_no_command_of_its_own(known: Shared, client: Spying, clock: Clock) -> None:
    for _ in range(20):
        known.requests.add("a", 3, failed="throttled", waited=0.25)
        known.requests.add("b", 1)
        known.requests.add_batch("synced", 480, lost=False)
    assert client.sent == 1, "the first time at once"
    clock.now += SENT_EACH
    known.requests.send_if_due()
    assert client.sent == 2
    assert counters(client) == {
        "requests:a": 60,
        "requests:b": 20,
        "failed:a:throttled": 20,
        "waited_ms": 5000,
        "batches:synced": 20,
        "size:500": 20,
        "wallets": 20 * 480,
    }
    assert client.get(day_key("tron", NOW)) == b"80"
    known.requests.send()
    assert client.sent == 4, "nothing is left to be sent"  # the two reads of this test


def test_counters_go_on_under_other_settings_and_never_expire(known: Shared, client: Spying, clock: Clock) -> None:
    known.requests.add("a", 1)
    other = Shared("tron:1:digest:latest", "redis://given", clock, _client=client)
    other.requests.add("a", 1)
    assert counters(client)["requests:a"] == 2
    assert client.ttl(counts_key("tron")) == -1
    assert DAY < client.ttl(day_key("tron", NOW)) <= DAY_HOLDS


def test_a_days_requests_are_counted_for_the_day_on_which_they_were_sent(
    known: Shared, client: Spying, clock: Clock
) -> None:
    known.requests.add("a", 1)
    known.requests.add("a", 2)
    clock.now += DAY
    known.requests.add("a", 4)
    assert (client.get(day_key("tron", NOW)), client.get(day_key("tron", NOW + DAY))) == (b"3", b"4")


def test_the_days_requests_of_all_processes_can_be_asked_for(known: Shared, client: Spying, clock: Clock) -> None:
    assert known.requests.of_the_day(NOW) is None, "nobody knows"
    known.requests.add("a", 3)
    Shared("tron:1:digest:solid", "redis://given", clock, _client=client).requests.add("a", 4)
    assert (known.requests.of_the_day(NOW), known.requests.of_the_day(NOW + DAY)) == (7, None)
    for strange in ("x", "9" * 5000):
        client.set(day_key("tron", NOW), strange)
        assert known.requests.of_the_day(NOW) is None
    client.delete(day_key("tron", NOW))
    client.rpush(day_key("tron", NOW), "x")
    with capture_logs() as logs:
        assert known.requests.of_the_day(NOW) is None
    assert logs == [], "Redis is not left alone for it"


@pytest.mark.parametrize("lies", ["text", "list", "no number", "near the end"])
def test_what_cannot_be_a_counter_of_ours_is_begun_anew(known: Shared, client: Spying, lies: str) -> None:
    key = counts_key("tron")
    if lies == "text":
        client.set(key, "x")
    elif lies == "list":
        client.rpush(key, "x")
    else:
        client.hset(key, "requests:a", "x" if lies == "no number" else str(2**63 - 1))
    with capture_logs() as logs:
        known.requests.add("a", 2)
    assert counters(client) == {"requests:a": 2}
    assert [(line["event"], line["key"]) for line in logs] == [("entry_dropped", key)]


def test_a_user_of_redis_without_the_right_to_counters_still_counts_the_past_hour(
    known: Shared, client: Spying, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Any = client.eval

    def refused(*given: Any) -> Any:
        real(*given)
        return [b"refused"]

    monkeypatch.setattr(client, "eval", refused)
    with capture_logs() as logs:
        known.requests.add("a", 2)
        clock.now += SENT_EACH
        known.requests.add("a", 2)
    assert [line["event"] for line in logs] == ["counts_refused"], "said once, and Redis is not left alone for it"
    assert sum(known.requests.of_the_past_hour(["a"])["a"].values()) == 4


def test_what_could_not_be_sent_is_sent_when_redis_is_back(
    known: Shared, client: Spying, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = client.eval

    def away(*_: Any) -> Any:
        raise redis.ConnectionError

    monkeypatch.setattr(client, "eval", away)
    with capture_logs():
        known.requests.add("a", 2)
        known.requests.add_batch("failed", 1, lost=True)
    monkeypatch.setattr(client, "eval", real)
    clock.now += 60
    known.requests.send_if_due()
    assert counters(client) == {"requests:a": 2, "batches:failed": 1, "size:1": 1, "wallets": 1, "lost": 1}


def test_an_outage_of_redis_does_not_fill_the_memory(clock: Clock) -> None:
    alone = Shared("tron:1", None, clock)
    for _ in range(10_000):
        clock.now += 60
        alone.requests.add("a", 1)
    assert len(alone.requests._spans) <= 13
    assert len(alone.requests._days) <= 2


def test_each_size_has_one_bound() -> None:
    assert [bound_of(size) for size in (0, 1, 2, 500, 501, 2500, 2501)] == [1, 1, 10, 500, 2500, 2500, None]
    assert list(BATCH_SIZES) == sorted(BATCH_SIZES)


def test_every_error_of_a_read_has_a_counter() -> None:
    assert {"throttled", "out_of_time", "state_gone", "bad_reply", "unreachable"} <= set(READ_CODES)


def test_an_attempt_counts_its_failure_and_what_it_waited_and_our_own_budget_is_no_failure() -> None:
    node = FakeNode("first")
    reading = Reading(node)
    node.fault = fails(Unreachable)
    reading.parts(accounts(3))
    unsent = reading.reader.shared.requests._unsent
    assert unsent["failed:first:unreachable"] == 1
    assert unsent["requests:first"] == len(node.asked)
    node.fault = fails(OverBudget)
    reading.clock.now += 3600
    reading.parts(accounts(3))
    assert unsent["requests:first"] == len(node.asked) > 1
    assert sum(count for name, count in unsent.items() if name.startswith("failed:")) == 1
