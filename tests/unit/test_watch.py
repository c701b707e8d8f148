"""What of a worker is stuck: a table of moments."""

import pytest

from worker.queues.watch import ASKS_EACH, NOTICED_AFTER, ConsumerWatch

LONGEST, GRACE = 45.0, 60.0


def watch(served_at: float = 0.0) -> ConsumerWatch:
    return ConsumerWatch(LONGEST, GRACE, served_at)


@pytest.mark.parametrize(
    ("now", "asked_at", "full", "serves"),
    [
        (100.0, 99.0, False, True),
        (100.0, 100.0 - ASKS_EACH, False, False),
        (100.0, None, False, False),
        (100.0, 20.0, True, True),
    ],
)
def test_a_worker_serves_while_it_asks_or_has_no_process_free(
    now: float, asked_at: float | None, full: bool, serves: bool
) -> None:
    watched = watch()
    assert watched.serves(now, asked_at, full=full) is serves
    assert watched.served_at == (now if serves else 0.0)


@pytest.mark.parametrize(
    ("now", "served_at", "taken_at", "wedged"),
    [
        (1000.0, 1000.0, [], None),
        (1000.0, 1000.0 - NOTICED_AFTER - GRACE, [], None),
        (1000.0, 999.0 - NOTICED_AFTER - GRACE, [], "consumer"),
        (1000.0, 1000.0, [1000.0 - LONGEST - GRACE, 999.0], None),
        (1000.0, 1000.0, [999.0, 999.0 - LONGEST - GRACE], "pool"),
    ],
)
def test_what_is_stuck_for_longer_than_it_may_be_is_named(
    now: float, served_at: float, taken_at: list[float], wedged: str | None
) -> None:
    assert watch(served_at).wedged(now, taken_at) == wedged
