"""The queues of any number of networks: each has its own, and none waits behind another's backlog."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.scheduling import cycle_by_name

from config.broker import PRECEDENCE, RefreshFirst, batches_in_a_turn, queues, sync_queue, transport_options
from config.networks import PRESETS

ALL = queues(PRESETS)
TURNS = batches_in_a_turn(PRESETS.values())


def test_every_network_has_a_queue_and_ticks_and_refreshes_come_first() -> None:
    assert ("ticks", "refresh", *(f"sync.{name}" for name in PRESETS)) == ALL


def test_a_turn_holds_about_as_many_wallets_of_each_network() -> None:
    for network in PRESETS.values():
        wallets = TURNS[sync_queue(network.name)] * network.most_wallets[network.strategies[0]]
        assert 2447 / 1.7 < wallets < 2447 * 1.7, network.name
    assert (TURNS["sync.ethereum"], TURNS["sync.bsc"], TURNS["sync.tron"], TURNS["sync.tron-nile"]) == (1, 1, 5, 5)


def test_of_no_networks_there_are_no_turns() -> None:
    assert batches_in_a_turn(()) == {}


@given(st.sets(st.sampled_from(sorted(PRESETS)), min_size=2), st.integers(1, 4))
def test_with_a_backlog_everywhere_each_network_is_served_once_a_round_and_none_a_second_time_before_that(
    names: set[str], rounds: int
) -> None:
    """With a backlog, whatever is first in the order is what Redis gives."""
    order = RefreshFirst(TURNS)
    order.update(queues(sorted(names)))
    served: Counter[str] = Counter()
    for _ in range(rounds * sum(TURNS[sync_queue(name)] for name in names)):
        first = next(queue for queue in order.consume(len(ALL)) if queue not in PRECEDENCE)
        served[first] += 1
        order.rotate(first)
    assert served == {sync_queue(name): rounds * TURNS[sync_queue(name)] for name in names}


def test_kombu_makes_the_order_with_the_turns_that_it_is_given() -> None:
    made = cycle_by_name(transport_options(turns={"sync.a": 2})["queue_order_strategy"])()
    made.update(["sync.a", "sync.b", "refresh"])
    seen = []
    for _ in range(4):
        seen.append(list(made.consume(3))[1])
        made.rotate(seen[-1])
    assert seen == ["sync.a", "sync.a", "sync.b", "sync.a"]
