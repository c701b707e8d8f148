"""What workers know of endpoints, as it is looked at: by the same names, without their libraries, without secrets."""

from typing import Any

import fakeredis
import pytest
from fakes import FakeNode, Reading, accounts, fails

from config.settings import WorkerSettings
from worker.admin.node_states import named_nodes, node_states, per_request
from worker.errors import TooMuch, Unreachable
from worker.reading import node_reader, nodes_for, shared_of
from worker.reading.request_counts import SENT_EACH, SPAN_SECONDS, SPANS
from worker.reading.shared import Shared

NOW = 1_795_000_000.0
KEYS = ["first-secret-key", "second-secret-key"]
SETTINGS = WorkerSettings(
    database_url="postgresql://nobody/",
    redis_url="redis://nobody",
    ethereum_rpc_urls="https://one.example/secret-key-1,https://one.example/secret-key-2,https://two.example:8545",
    tron_rpc_urls="https://api.trongrid.io,https://other.example",
    tron_api_keys=",".join(KEYS),
)

ETHEREUM, TRON = SETTINGS.chain("ethereum"), SETTINGS.chain("tron")


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(clock: Clock) -> Shared:
    return Shared("scope", "redis://given", clock, _client=fakeredis.FakeRedis(server=fakeredis.FakeServer()))


@pytest.mark.parametrize("network", ["ethereum", "tron"])
def test_endpoints_have_the_names_under_which_workers_know_them(network: Any) -> None:
    named, nodes = named_nodes(SETTINGS.chain(network)), nodes_for(network, SETTINGS)
    assert [(each.id, each.keys) for each in named] == [(node.id, tuple(key.id for key in node.keys)) for node in nodes]
    assert all(each.name.startswith(node.name) for each, node in zip(named, nodes, strict=True))
    assert node_reader(network, SETTINGS).shared.scope == shared_of(network, SETTINGS).scope


def test_endpoints_of_one_host_are_told_apart_without_their_secrets() -> None:
    named = named_nodes(ETHEREUM)
    assert [each.name for each in named] == ["one.example", "one.example#2", "two.example:8545"]
    assert "secret" not in str(named) + str(named_nodes(TRON))


def test_only_hosts_that_keys_may_be_sent_to_have_keys() -> None:
    assert [len(each.keys) for each in named_nodes(TRON)] == [2, 0]


def test_nothing_known_is_the_best_way_at_its_full_size(known: Shared) -> None:
    states = node_states(ETHEREUM, known)
    assert [(each.strategy, each.wallets_per_request, each.resting_seconds) for each in states] == [
        (None, 2447, 0.0)
    ] * 3
    assert per_request(ETHEREUM, states) == 2447
    assert per_request(TRON, node_states(TRON, known)) == 500
    assert per_request(TRON, []) == 500


def test_what_workers_learnt_is_seen(known: Shared) -> None:
    first, second, _ = named_nodes(ETHEREUM)
    known.put(f"way:{first.id}", ["return", "refused: no"], 60)
    known.put(f"size:{second.id}", 300, 60)
    known.put(f"rest:{first.id}", [NOW + 30, 2, "throttled"], 60)
    known.put(f"rest:{second.id}", [NOW - 30, 1, "lagging"], 60)
    one, two, three = node_states(ETHEREUM, known)
    assert (one.strategy, one.strategy_reason, one.wallets_per_request) == ("return", "refused: no", 764)
    assert (one.resting_seconds, one.resting_reason, one.failures_in_a_row) == (30.0, "throttled", 2)
    assert (two.resting_seconds, two.resting_reason, two.wallets_per_request) == (0.0, "lagging", 300)
    assert three.failures_in_a_row == 0
    assert per_request(ETHEREUM, [one, two, three]) == 300, "of the first that does not rest"


def test_an_endpoint_all_of_whose_keys_rest_is_not_asked_next(known: Shared) -> None:
    grid, other = named_nodes(TRON)
    known.put(f"size:{other.id}", 77, 60)
    known.put(f"key:{grid.keys[0]}", [NOW + 30, 1, "throttled"], 60)
    states = node_states(TRON, known)
    assert (states[0].keys, states[0].keys_resting, per_request(TRON, states)) == (2, 1, 500)
    known.put(f"key:{grid.keys[1]}", [NOW + 30, 1, "throttled"], 60)
    assert per_request(TRON, node_states(TRON, known)) == 77


def test_requests_are_counted_over_the_past_hour_in_spans(known: Shared, clock: Clock) -> None:
    span = NOW // SPAN_SECONDS * SPAN_SECONDS
    known.requests.add("a", 2)
    known.requests.add("a", 1)
    assert known.requests.of_the_past_hour(["a"]) == {"a": {span: 2}}, "it is sent once a second"
    clock.now += SENT_EACH
    known.requests.add("a", 2)
    known.requests.add("b", 1)
    clock.now += 2 * SPAN_SECONDS
    known.requests.add("a", 7)
    assert known.requests.of_the_past_hour(["a", "b", "c"]) == {
        "a": {span: 5, span + 2 * SPAN_SECONDS: 7},
        "b": {span: 1},
        "c": {},
    }
    clock.now = span + SPANS * SPAN_SECONDS
    assert known.requests.of_the_past_hour(["a"]) == {"a": {span + 2 * SPAN_SECONDS: 7}}, "an hour later"


def test_a_count_outlives_the_hour_in_which_it_is_looked_at_and_then_goes(known: Shared) -> None:
    known.requests.add("a", 1)
    client: Any = known._client
    (key,) = client.keys("bal:chain:*")
    assert 3600 <= client.ttl(key) <= 3600 + SPAN_SECONDS


def test_every_request_counts_whatever_became_of_it() -> None:
    node = FakeNode("first")
    reading = Reading(node)
    reading.reader.shared = Shared(
        "test", "redis://given", reading.clock, _client=fakeredis.FakeRedis(server=fakeredis.FakeServer())
    )
    reading.all_right(100)
    node.fault = fails(TooMuch)
    reading.clock.now += SENT_EACH
    reading.parts(accounts(3))
    node.fault = fails(Unreachable)
    reading.clock.now += SENT_EACH
    reading.parts(accounts(3))
    (counted,) = reading.reader.shared.requests.of_the_past_hour(["first"]).values()
    assert sum(counted.values()) == len(node.asked) > 5


def test_without_redis_nothing_is_counted_and_nothing_known() -> None:
    alone = Shared("scope", None)
    alone.requests.add("a", 1)
    assert alone.requests.of_the_past_hour(["a"]) == {"a": {}}
    assert not alone.answers()
    away = fakeredis.FakeServer()
    away.connected = False
    broken = Shared("scope", "redis://given", _client=fakeredis.FakeRedis(server=away))
    broken.requests.add("a", 1)
    assert not broken.answers()


def test_a_redis_that_answers_is_said_to(known: Shared) -> None:
    assert known.answers()
