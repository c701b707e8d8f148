"""The database's clock against that of blocks: a skew beyond the tolerance is the clock's, and no node's."""

import pytest
from fakes import NOW, FakeNode, Reading, accounts, facts
from structlog.testing import capture_logs

from worker.admin.check_nodes import clocks
from worker.errors import BadReply, ClockSkewed, Lagging, ReadFailed
from worker.reading.backoff import Rest
from worker.reading.contract import CLOCK_TOLERANCE, FUTURE_TOLERANCE, Block, Snapshot
from worker.reading.plausibility import Expected, check

MAX_AGE = 120


def failure(
    time: float, *, host: float | None = None, skews: tuple[tuple[float, int], ...] = (), number: int = 100
) -> ReadFailed | None:
    """What a block of a time, in seconds from the database's, comes to."""
    expected = Expected(facts(max_age=MAX_AGE), NOW, host=None if host is None else NOW + host, skews=skews)
    try:
        check(Snapshot(Block(number, int(NOW + time)), 1, ()), expected)
    except ReadFailed as found:
        return found
    return None


@pytest.mark.parametrize("time", [FUTURE_TOLERANCE, 0, -MAX_AGE])
def test_a_skew_up_to_the_tolerance_costs_nothing(time: float) -> None:
    assert failure(time, host=10**6, skews=((time, 99),)) is None


@pytest.mark.parametrize(
    ("time", "host", "kind"),
    [
        (40, 40, ClockSkewed),  # the database's is 40 s behind
        (40, 15, ClockSkewed),
        (-130, -130, ClockSkewed),  # it is 130 s ahead
        (-130, -15, ClockSkewed),
        (40, 0, BadReply),  # both clocks are against the node
        (-130, 0, Lagging),
        (40, CLOCK_TOLERANCE, BadReply),  # they hardly differ
        (40, -40, BadReply),  # a third opinion
        (-300, -130, Lagging),
        (40, None, BadReply),
        (-130, None, Lagging),
    ],
)
def test_with_one_endpoint_this_hosts_clock_decides_whose_fault_a_blocks_time_is(
    time: float, host: float | None, kind: type[ReadFailed]
) -> None:
    found = failure(time, host=host)
    assert type(found) is kind
    assert found.skew == (time, 100)
    if kind is ClockSkewed:
        assert f"{abs(time)} s {'behind' if time > 0 else 'ahead of'} block 100, and this host's clock" in str(found)


@pytest.mark.parametrize(
    ("time", "other", "kind"),
    [
        (40, (45, 99), ClockSkewed),
        (40, (45, 100), ClockSkewed),
        (40, (40 + FUTURE_TOLERANCE + 1, 99), BadReply),
        (40, (-130, 99), BadReply),
        (-130, (-125, 99), ClockSkewed),
        (-130, (-125, 100), Lagging),  # the same block: the chain stands still
        (-190, (-130, 99), Lagging),
    ],
)
def test_with_several_another_endpoints_last_block_decides(
    time: float, other: tuple[float, int], kind: type[ReadFailed]
) -> None:
    assert type(failure(time, host=0, skews=(other,))) is kind


def test_no_time_at_all_is_nobodys_clock() -> None:
    assert type(failure(-NOW, host=0, skews=((-NOW, 99),))) is BadReply


def test_no_endpoint_rests_for_the_databases_clock_and_the_log_names_it() -> None:
    one, two = FakeNode("one"), FakeNode("two")
    one.newest = two.newest = Block(100, int(NOW) + 40)
    reading = Reading(one, two, max_age=MAX_AGE)
    with capture_logs() as logs:
        (part,) = reading.parts(accounts(1))
    assert part.failure
    assert part.failure.code == "clock_skewed"
    (line,) = [line for line in logs if line["event"] == "clock_skewed"]
    assert (line["log_level"], line["seconds"], line["endpoint"]) == ("error", 40, "two")
    assert not Rest.from_entry(reading.reader.shared.get(["rest:two"]).get("rest:two")).strikes
    reading.clock.now += 6  # the first one's rest is over: it was the first to say so
    one.newest = two.newest = Block(101, int(reading.clock.now) + 40)
    with capture_logs() as logs:
        assert reading.failure().code == "clock_skewed"
    assert [line["event"] for line in logs] == ["clock_skewed"] * 2, "by now each knows of the other"
    reading.clock.now += 6  # until the next trial
    one.newest = two.newest = Block(102, int(reading.clock.now))
    assert reading.parts(accounts(1))[0].node_name == "one"
    one.newest = Block(103, int(reading.clock.now) + 40)
    with capture_logs() as logs:
        assert reading.parts(accounts(1))[0].node_name == "two"
    assert [line["error"] for line in logs] == ["bad_reply"], "one alone is wrong itself"


def test_an_endpoint_is_no_witness_for_itself() -> None:
    node = FakeNode()
    reading = Reading(node)
    for _ in range(3):
        node.newest = Block(node.newest.number + 1, int(reading.clock.now) + 40)
        assert reading.failure().code == "bad_reply"
        reading.clock.now += 60


def test_the_only_endpoint_does_not_rest_where_this_hosts_clock_agrees_with_it() -> None:
    node = FakeNode()
    reading = Reading(node)
    node.newest = Block(100, int(NOW) + 40)
    reading.reader.shared.clock = lambda: NOW + 40
    for _ in range(2):
        assert reading.failure().code == "clock_skewed"
    assert len(node.asked) == 2, "it is asked again at once: it is well"


@pytest.mark.parametrize(
    ("ahead", "ages", "said"),
    [
        (0, [12, 900], None),
        (CLOCK_TOLERANCE, [12], None),
        (-60, [12, 15], "database's clock is 60 s behind this machine's, which the newest blocks agree with"),
        (130, [12, 15], "database's clock is 130 s ahead of this machine's, which the newest blocks agree with"),
        (40, [12], "database's clock is 40 s ahead of this machine's"),  # nothing is too old yet
        (40, [-40], "database's clock is 40 s ahead of this machine's"),  # this machine's is behind
        (0, [-40, -38], "both are off from the newest block of every endpoint"),
        (0, [130, 140], "both are off from the newest block of every endpoint"),
        (0, [130, 12], None),  # one node is behind
        (-40, [12], "database's clock is 40 s behind this machine's"),  # within what a block may be ahead by
        (-40, [], "database's clock is 40 s behind this machine's"),
    ],
)
def test_the_check_says_which_clock_is_off(ahead: float, ages: list[float], said: str | None) -> None:
    found = list(clocks(ahead, [(age, MAX_AGE) for age in ages]))
    assert [each.detail.endswith(said or "") for each in found] == [True] * (said is not None)
    assert all(each.to_do for each in found)


@pytest.mark.parametrize(
    ("ahead", "age", "whose"),
    [(-60, 12, "the database server's"), (40, -40, "this machine's"), (40, 12, "the wrong one")],
)
def test_the_check_says_which_clock_to_set(ahead: float, age: float, whose: str) -> None:
    (found,) = clocks(ahead, [(age, MAX_AGE)])
    assert whose in found.to_do
    assert "NTP" in found.to_do
    assert found.ok is (whose != "the database server's"), "what a worker goes by is right, or may be"
