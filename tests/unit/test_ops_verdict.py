"""The verdict on a network: one sentence, the worst first."""

from itertools import pairwise
from typing import Any

import pytest
from pictures import LEASE, NOW, feed, moment, network, node, picture, wallets, without_redis

from db.freshness_queries import NetworkFreshness
from db.network_state import Condition
from ops.history import HOURS, MOST_POINTS, History, Point
from ops.page_chart import HEIGHT, MARKS, WIDTH, chart
from ops.page_processes import processes, queues
from ops.page_verdict import Level, notes, outdated, verdict
from ops.page_words import ago, amount, percent, typed
from ops.page_words import moment as in_full
from ops.picture import NetworkPicture, QueuePicture, Quota

OUT = Condition(moment(720), "unreachable", 0, 0)
LATE: dict[str, Any] = {
    "fresh": 1802,
    "stale": 300,
    "due": 310,
    "overdue": 300,
    "overdue_free": 300,
    "overdue_since": moment(720),
}

VERDICTS: list[tuple[NetworkPicture, Level, str, str]] = [
    (network(), Level.GOOD, "Fresh", "All 2,102 wallets are fresh."),
    (network(wallets=wallets(wallets=1, read=1, fresh=1)), Level.GOOD, "Fresh", "The one wallet is fresh."),
    (
        network(wallets=wallets(fresh=2090, failed=12)),
        Level.GOOD,
        "Fresh",
        "2,090 of 2,102 wallets are fresh; 12 fail.",
    ),
    (
        network(wallets=wallets(fresh=1200, read=1200, never_synced=902)),
        Level.GOOD,
        "Reading in",
        "1,200 of 2,102 wallets are fresh; 902 wait for their first read.",
    ),
    (
        network(wallets=wallets(fresh=2080, failed=22)),
        Level.WATCH,
        "Failing",
        "22 of 2,102 wallets are failing: their last read came to nothing.",
    ),
    (
        network(wallets=wallets(fresh=1802, failed=300)),
        Level.ACT,
        "Failing",
        "300 of 2,102 wallets are failing: their last read came to nothing.",
    ),
    (
        network(wallets=wallets(**{**LATE, "overdue": 1, "overdue_free": 1, "stale": 1})),
        Level.WATCH,
        "Behind",
        "1 of 2,102 wallets is overdue, one for 12 min.",
    ),
    (
        network(wallets=wallets(**LATE)),
        Level.ACT,
        "Behind",
        "300 of 2,102 wallets are overdue, one for 12 min.",
    ),
    (
        network(wallets=wallets(**LATE, last_read=moment(240))),
        Level.ACT,
        "Stalled",
        "Nothing was read for 4 min while 310 wallets are due.",
    ),
    (
        network(
            wallets=NetworkFreshness(
                "tron", wallets=1, due=1, overdue=1, overdue_free=1, never_synced=1, unread_since=moment(300)
            )
        ),
        Level.ACT,
        "Stalled",
        "Nothing was read for 5 min while 1 wallet is due.",
    ),
    (
        network(wallets=wallets(**LATE, last_read=moment(240)), condition=OUT),
        Level.ACT,
        "Out",
        "No endpoint answers since 08:00 UTC, for 12 min (unreachable).",
    ),
    (
        network(condition=Condition(moment(2 * 86_400), None, 0, 0)),
        Level.ACT,
        "Out",
        "No endpoint answers since 24 Nov 08:12 UTC, for 2 d (unknown).",
    ),
    (network(wallets=NetworkFreshness("tron")), Level.IDLE, "Empty", "There are no wallets yet."),
    (
        network("bsc-testnet", synced=False, nodes=[], wallets=wallets(wallets=12)),
        Level.WATCH,
        "Not synced",
        "12 wallets are not read: BSC_TESTNET_RPC_URLS is not set.",
    ),
    (
        network(wallets=None, condition=None),
        Level.IDLE,
        "Unknown",
        "Nothing is known: the database does not tell.",
    ),
]


@pytest.mark.parametrize(("found", "level", "word", "sentence"), VERDICTS, ids=[each[3] for each in VERDICTS])
def test_the_verdict_is_one_sentence(found: NetworkPicture, level: Level, word: str, sentence: str) -> None:
    assert tuple(vars_of(verdict(found, NOW, lease=LEASE))) == (level, word, sentence)


def vars_of(judged: Any) -> tuple[Any, ...]:
    return judged.level, judged.word, judged.sentence


def test_a_network_whose_wallets_have_just_become_due_is_not_stalled() -> None:
    quiet = network(wallets=wallets(due=5, last_read=moment(600)))
    assert verdict(quiet, NOW, lease=LEASE).word == "Fresh"


def test_wallets_that_kill_their_workers_make_a_network_neither_stalled_nor_behind() -> None:
    """They stay overdue while all others are fresh and wait for their time."""
    lost = wallets(fresh=2101, stale=1, due=1, overdue=1, last_read=moment(240))
    judged = verdict(network(wallets=lost), NOW, lease=LEASE)
    sentence = "2,101 of 2,102 wallets are fresh; 1 lost with its worker."
    assert vars_of(judged) == (Level.GOOD, "Fresh", sentence)
    one_more = wallets(fresh=2100, stale=2, due=2, overdue=2, overdue_free=1, overdue_since=moment(70))
    judged = verdict(network(wallets=one_more), NOW, lease=LEASE)
    assert vars_of(judged) == (Level.WATCH, "Behind", "1 of 2,102 wallets is overdue, one for 1 min 10 s.")


def test_a_verdict_grows_worse_as_its_picture_grows_old() -> None:
    late = network(wallets=wallets(**LATE, last_read=moment(30)))
    assert verdict(late, NOW, lease=LEASE).word == "Behind"
    assert (
        verdict(late, NOW + 300, lease=LEASE).sentence == "Nothing was read for 5 min 30 s while 310 wallets are due."
    )


def test_what_was_seen_too_long_ago_is_never_told_as_good() -> None:
    told = outdated(verdict(network(), NOW, lease=LEASE), 240)
    assert told.level is Level.IDLE
    assert told.sentence == "Nothing was looked at for 4 min. Before: All 2,102 wallets are fresh."


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        (network(condition=OUT), Level.ACT, "No answer came"),
        (network(quota=Quota(100, 10, 95.0)), Level.WATCH, "takes 95% of the quota"),
        (network(quota=Quota(100, 10, 140.0)), Level.ACT, "takes 140% of the quota"),
        (network(wallets=wallets(without_schedule=2)), Level.WATCH, "2 wallets have no schedule"),
        (network(wallets=wallets(condition=Condition(None, None, 3, 0))), Level.WATCH, "3 wallets had a worker"),
        (network(wallets=wallets(condition=Condition(None, None, 0, 1))), Level.WATCH, "1 change is held back"),
        (network(nodes=[node(keys_refused=1)]), Level.ACT, "refuses 1 key of 3"),
        (network(wallets=wallets(feed=feed(good_until=moment(124)))), Level.WATCH, "is behind for 2 min"),
        (
            network(wallets=wallets(feed=feed(policy="cadence", reason="behind", good_until=moment(64)))),
            Level.WATCH,
            "is behind for 1 min",
        ),
        (
            network(wallets=wallets(feed=feed(policy="cadence", reason="deprecated"))),
            Level.WATCH,
            "moved to another contract",
        ),
        (
            network(wallets=wallets(feed=feed(policy="cadence", reason="blind", good_until=moment(64)))),
            Level.WATCH,
            "No endpoint gives blocks with their events",
        ),
        (
            network(nodes=[node(keys=0, resting_reason="unauthorized", resting_seconds=9.0)]),
            Level.ACT,
            "does not know its key",
        ),
    ],
)
def test_what_else_should_be_known_is_noted(found: NetworkPicture, level: Level, words: str) -> None:
    (note,) = notes(found)
    assert note.level is level
    assert words in note.sentence
    assert note.to_do


@pytest.mark.parametrize("quota", [None, Quota(100), Quota(100, 10, 60.0)])
def test_a_network_in_good_order_has_no_note(quota: Quota | None) -> None:
    assert list(notes(network(quota=quota))) == []
    assert list(notes(network(quota=quota, wallets=wallets(feed=feed())))) == []
    left = feed(policy="every_block", reason="few_wallets", good_until=moment(999))
    assert list(notes(network(quota=quota, wallets=wallets(feed=left)))) == [], "a feed that was left is not behind"


def states(found: Any, now: float = NOW, ticks: float = 1.0) -> dict[str, tuple[Level, str]]:
    return {each.name: (each.level, each.sentence) for each in processes(found, now, ticks=ticks)}


def test_beat_and_workers_are_judged_by_what_they_did_last() -> None:
    assert states(picture())["Beat"] == (Level.GOOD, "last tick carried out 5 s ago")
    assert states(picture(dispatched=NOW - 240))["Beat"] == (Level.ACT, "last tick carried out 4 min ago")
    assert states(picture(dispatched=None))["Beat"] == (Level.ACT, "no tick was ever carried out")
    assert states(picture())["Workers"] == (Level.GOOD, "2 seen within a minute")
    assert states(picture(workers={"one": NOW - 240}))["Workers"] == (Level.ACT, "none seen for 4 min")
    assert states(picture(workers={}))["Workers"] == (Level.ACT, "none was ever seen")


def test_what_was_found_well_is_not_called_missing_for_the_time_until_the_next_pass() -> None:
    queue = QueuePicture("sync", 9, NOW - 3, NOW - 3)
    before = picture(queues=[queue])
    assert [states(before, NOW + 290)[name][0] for name in ("Beat", "Workers")] == [Level.GOOD] * 2
    assert [each.level for each in queues(before, NOW + 290) or ()] == [Level.GOOD]
    late = picture(dispatched=before.at - 240)
    assert [states(late, ticks=ticks)["Beat"][0] for ticks in (20.0, 30.0)] == [Level.ACT, Level.GOOD]


def test_without_redis_nothing_is_said_of_beat_workers_and_queues() -> None:
    found = without_redis()
    assert states(found)["Beat"] == states(found)["Workers"] == (Level.IDLE, "unknown without Redis")
    assert queues(found, NOW) is None


@pytest.mark.parametrize(
    ("queue", "level"),
    [
        (QueuePicture("sync", 0, None, NOW - 3), Level.GOOD),
        (QueuePicture("sync", 9, NOW - 30, NOW - 3), Level.GOOD),
        (QueuePicture("sync", 9, NOW - 90, NOW - 3), Level.WATCH),
        (QueuePicture("sync", 0, None, None), Level.WATCH),
        (QueuePicture("sync", 9, None, NOW - 90), Level.ACT),
    ],
)
def test_a_queue_is_judged_by_who_serves_it_and_how_long_messages_wait(queue: QueuePicture, level: Level) -> None:
    (found,) = queues(picture(queues=[queue]), NOW) or []
    assert found.level is level


def test_the_history_has_a_point_a_minute_and_forgets_what_is_hours_old() -> None:
    made = History()
    first = NOW - 2 * HOURS * 3600
    for half_minute in range(4 * HOURS * 60):
        made.add(picture(at=first + 30 * half_minute))
    points = made.of("tron", NOW)
    assert made.since == first
    assert len(points) == len(made._points["tron"]) == MOST_POINTS
    assert points[0].at >= NOW - HOURS * 3600
    assert {round(after.at - before.at) for before, after in pairwise(points)} == {60}


def test_a_pass_that_knows_no_age_leaves_a_gap_in_the_history() -> None:
    made = History()
    for found in (network(wallets=None), network(wallets=wallets(ages=()))):
        made.add(picture(found))
    assert made.of("tron", NOW) == []


def points(*ages: tuple[float, tuple[float, float, float]]) -> list[Point]:
    return [Point(NOW - seconds_ago, *each) for seconds_ago, each in ages]


def test_a_chart_is_broken_where_nobody_looked() -> None:
    seen = points(*((60.0 * minute, (10.0, 20.0, 30.0)) for minute in (20, 19, 18, 3, 2, 1)))
    drawn = chart(seen, NOW, interval=30)
    assert drawn
    assert drawn.p95.count("M") == drawn.band.count("M") == 2
    assert chart(seen, NOW, interval=300).p95.count("M") == 2  # type: ignore[union-attr]
    assert chart([], NOW, interval=30) is None


@pytest.mark.parametrize("age", [0.0, 0.3, 1.0, 59.9, 86_400.0, 4e9])
def test_a_chart_stays_within_its_frame_whatever_the_ages(age: float) -> None:
    drawn = chart(points((61.0, (0.0, age, age)), (1.0, (age, age, age))), NOW, interval=30)
    assert drawn
    for path in (drawn.p50, drawn.p95, drawn.oldest):
        for pair in path.strip("M").split("L"):
            x, y = map(float, pair.split())
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT
    assert all(0 <= mark.y <= HEIGHT for mark in drawn.marks)


def test_a_chart_says_what_it_shows_to_whoever_does_not_see_it() -> None:
    drawn = chart(points((600.0, (10.0, 20.0, 30.0)), (0.0, (15.0, 240.0, 400.0))), NOW, interval=30)
    assert drawn
    assert drawn.sentence == (
        "Ages of the balances over the last 10 min. 95% of them were younger than 20 s at the best and 4 min at the"
        " worst; now 4 min, half of them 15 s, the oldest 6 min 40 s."
    )
    assert list(MARKS) == sorted(MARKS)


@pytest.mark.parametrize(
    ("units", "decimals", "text"),
    [
        (0, 6, "0.00"),
        (977_000_000, 6, "977.00"),
        (1, 18, "0.000000000000000001"),
        (10**77 + 1, 18, f"{10**59:,}.000000000000000001"),
        (1_234_567_890_000, 6, "1,234,567.89"),
        (5, 0, "5"),
        (1_500, None, "1,500 base units"),
        (None, 6, "unknown"),
    ],
)
def test_an_amount_is_told_exactly(units: int | None, decimals: int | None, text: str) -> None:
    assert amount(units, decimals) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100%"), (0.99999, "99.9%"), (0.0, "0%"), (0.0001, "<0.1%"), (None, "unknown"), (1.4, "140%")],
)
def test_a_share_is_cut_off_and_never_rounded_to_all_or_none(share: float | None, text: str) -> None:
    assert percent(share) == text


def test_words_of_ours_mark_what_is_typed_and_are_escaped_all_the_same() -> None:
    assert typed("Set `A<B>` & go") == "Set <code>A&lt;B&gt;</code> &amp; go"


def test_moments_are_told_in_full_and_from_now() -> None:
    assert in_full(NOW) == "2026-11-26 08:12:31 UTC"
    assert ago(NOW - 5, NOW) == "5 s ago"
    assert ago(moment(-5), NOW) == "in 5 s"
    assert ago(None, NOW) == "unknown"
