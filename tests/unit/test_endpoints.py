"""Which endpoint is asked, and what happens when one fails."""

import pytest
from eth_hash.auto import keccak
from structlog.testing import capture_logs

from worker.chains.endpoints import EndpointReader, to_ask
from worker.chains.snapshot import Balance, encode
from worker.errors import BadReply, ReadFailed, Throttled, Unreachable, WrongChain

TOKEN = bytes(20)
ACCOUNT = b"\x01" * 20
NOW = 1_795_000_000.0


class FakeNode:
    """An endpoint that answers truly for one wallet, or as it is told."""

    def __init__(self, name: str, chain_id: int = 1) -> None:
        self.name, self.chain_id = name, chain_id
        self.failure: ReadFailed | None = None
        self.calls = 0

    def call(self, init_code: bytes) -> bytes:
        self.calls += 1
        if self.failure:
            raise self.failure
        words = [9, int(NOW), self.chain_id, int.from_bytes(keccak(init_code)), 5 << 128 | 6]
        return b"".join(word.to_bytes(32) for word in words)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def reader(clock: Clock, *nodes: FakeNode) -> EndpointReader:
    return EndpointReader("ethereum", 1, TOKEN, "latest", 764, nodes, clock)


@pytest.mark.parametrize(
    ("rested_from", "now", "order"),
    [
        ({}, 0, [0, 1, 2]),
        ({0: 5}, 0, [1, 2]),
        ({0: 5}, 5, [0, 1, 2]),
        ({0: 5, 1: 9, 2: 9}, 6, [0]),
        ({0: 5, 1: 5, 2: 5}, 1, []),
    ],
)
def test_endpoints_are_asked_in_order_but_for_those_left_alone(
    rested_from: dict[int, float], now: float, order: list[int]
) -> None:
    assert to_ask(3, rested_from, now) == order


def test_the_first_endpoint_answers_and_no_other_is_asked(clock: Clock) -> None:
    best, second = FakeNode("best"), FakeNode("second")
    snapshot, name = reader(clock, best, second).read([ACCOUNT], NOW)
    assert (name, snapshot.balances) == ("best", (Balance(5, 6),))
    assert (best.calls, second.calls) == (1, 0)


def test_a_failing_endpoint_is_left_alone_until_it_has_rested_and_then_is_first_again(clock: Clock) -> None:
    best, second = FakeNode("best"), FakeNode("second")
    both = reader(clock, best, second)
    best.failure = Throttled(retry_after=7)
    assert both.read([ACCOUNT], NOW)[1] == "second"
    best.failure = None
    clock.now = 6.9
    assert both.read([ACCOUNT], NOW)[1] == "second"
    assert best.calls == 1
    clock.now = 7.0
    assert both.read([ACCOUNT], NOW)[1] == "best"


def test_with_no_endpoint_to_ask_the_read_fails_as_the_last_one_did_and_asks_nobody(clock: Clock) -> None:
    only = FakeNode("only")
    only.failure = Unreachable("no answer in time")
    one = reader(clock, only)
    for _ in range(3):
        with pytest.raises(Unreachable, match="no answer in time"):
            one.read([ACCOUNT], NOW)
    assert only.calls == 1


def test_an_endpoint_of_another_chain_is_reported_as_an_error_and_the_next_is_asked(clock: Clock) -> None:
    wrong, right = FakeNode("wrong", chain_id=5), FakeNode("right")
    with capture_logs() as logs:
        assert reader(clock, wrong, right).read([ACCOUNT], NOW)[1] == "right"
    assert [(line["log_level"], line["endpoint"], line["error"]) for line in logs] == [
        ("error", "wrong", "wrong_chain")
    ]
    with pytest.raises(WrongChain):
        reader(clock, wrong).read([ACCOUNT], NOW)


def test_a_reply_to_another_request_counts_as_a_failure_of_the_endpoint(clock: Clock) -> None:
    class Cached(FakeNode):
        def call(self, init_code: bytes) -> bytes:  # noqa: ARG002  it answers what was asked before
            return super().call(encode(TOKEN, [ACCOUNT]))

    with pytest.raises(BadReply, match="another request"):
        reader(clock, Cached("cached")).read([ACCOUNT], NOW)
