"""What freshness makes of counts: requests an hour, a day, of a quota; and how it is said."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.feed_state import FeedState
from db.freshness_queries import NetworkFreshness
from db.network_state import SOUND
from worker.admin.feed_report import by_settings
from worker.admin.freshness import is_late, late_lines, lines, network_report, reads_per_hour, requests_made
from worker.admin.node_states import NodeState
from worker.reading.request_counts import SPAN_SECONDS

NOW = 1_795_000_000.0
MOMENT = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)
WALLETS = NetworkFreshness(
    network="tron",
    wallets=1000,
    read=990,
    fresh=999,
    due=5,
    overdue=1,
    claimed=100,
    failing=2,
    failed=12,
    errors={"throttled": 2, "bad_address": 10},
    hopeless=10,
    waiting=495,
    reads_per_hour=1980.0,
    ages=(10.0, 50.0, 55.0, 7200.0),
    counted_at=datetime(2026, 11, 26, 8, 0, tzinfo=UTC),
    overdue_since=datetime(2026, 11, 26, 7, 55, tzinfo=UTC),
)
STATE = NodeState(
    name="node:443",
    strategy="return",
    strategy_reason="",
    wallets_per_request=500,
    resting_seconds=0.0,
    resting_reason="",
    failures_in_a_row=0,
    keys=0,
    keys_resting=0,
    requests={},
)


def test_the_cadence_of_those_that_wait_stands_for_all_that_can_be_read() -> None:
    assert reads_per_hour(WALLETS) == 1980 * 990 / 495
    assert reads_per_hour(replace(WALLETS, waiting=0)) is None


@pytest.mark.parametrize(
    ("spans", "per_hour"),
    [
        ({NOW - 3600: 30, NOW - 1800: 20, NOW: 10}, 60),
        ({NOW - 1800: 20}, 40),
        ({NOW - 10: 1}, 3600 / SPAN_SECONDS),
    ],
    ids=["an hour", "half an hour", "a moment"],
)
def test_counted_requests_are_made_a_rate_over_the_time_in_which_they_were_counted(
    spans: dict[float, int], per_hour: float
) -> None:
    made = requests_made([spans], NOW, 5.0, 1000)
    assert made is not None
    assert (made["basis"], made["counted"], made["since"]) == ("counted", sum(spans.values()), min(spans))
    assert made["per_hour"] == pytest.approx(per_hour)
    assert made["per_day"] == pytest.approx(24 * per_hour)
    assert made["share_of_quota"] == pytest.approx(24 * per_hour / 1000)


def test_the_requests_of_all_endpoints_count() -> None:
    made = requests_made([{NOW - 3600: 1, NOW: 2}, {NOW - 1800: 4}], NOW, None, None)
    assert made is not None
    assert (made["counted"], made["since"], made["share_of_quota"]) == (7, NOW - 3600, None)


def test_where_nothing_was_counted_the_cadence_says_the_least() -> None:
    assert requests_made([{}], NOW, 7.5, 360) == {
        "basis": "cadence",
        "counted": 0,
        "since": None,
        "per_hour": 7.5,
        "per_day": 180,
        "share_of_quota": 0.5,
    }
    assert requests_made([{}], NOW, None, 360) is None


def report(wallets: NetworkFreshness = WALLETS, **state: Any) -> Any:
    return network_report(wallets, [replace(STATE, **state)], size=500, now=NOW)


def test_a_network_is_told_in_lines() -> None:
    assert list(lines(report(requests={}))) == [
        "tron: 1,000 wallets, 99.9% fresh, 10 never read",
        "  age        p50 10 s, p95 50 s, p99 55 s, oldest 2 h",
        "  now        5 due, 1 overdue for up to 5 min, 100 being read",
        "  failing    12: bad_address 10, throttled 2",
        "  cadence    3,960 reads of wallets an hour",
        "  requests   8 an hour (by the cadence, at the least), 190 a day",
        "  endpoint   node:443: ready, by return, 500 wallets a request, 0 requests in the past hour",
    ]


FEED = FeedState(
    "feed",
    "many_wallets",
    6.0,
    1.0,
    72_889,
    block_number=81_234_567,
    block_time=MOMENT - timedelta(seconds=4),
    covers=True,
    sees_native=True,
    good_until=MOMENT + timedelta(seconds=9),
    missed_native=12,
    now=MOMENT,
)


def of_feed(**more: Any) -> list[str]:
    told = lines(report(replace(WALLETS, feed=FEED._replace(**more))))
    return [line.strip() for line in told if line.split()[0] in {"policy", "feed", "blind"}]


def test_how_a_network_is_kept_fresh_is_told_in_sentences() -> None:
    assert of_feed() == [
        (
            "policy     Blocks are followed: wallets that they touch are read, every 6 s, and all others by a sweep."
            " They are so many that following blocks costs less than reading all of them."
        ),
        "feed       followed to block 81,234,567, of 4 s ago, 0 touches to be served, missed: USDT 0, native 12",
    ]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"touches": 1, "oldest_touch": MOMENT - timedelta(seconds=2)}, "1 touch to be served, one for 2 s, missed"),
        ({"good_until": MOMENT - timedelta(minutes=2)}, "behind for 2 min, 0 touches"),
        ({"block_number": None}, "feed       no block was followed yet"),
        ({"policy": "cadence", "reason": "behind"}, "feed       followed to block 81,234,567"),
        ({"policy": "cadence", "reason": "behind"}, "The feed is behind the chain, and catches up."),
        ({"sees_native": False}, "blind      Blocks do not show here what contracts pay in the native coin"),
        ({"policy": "cadence", "reason": "blind"}, "celery -A worker check"),
        (
            {
                "policy": "cadence",
                "reason": "blind",
                "block_number": None,
                "good_until": MOMENT - timedelta(minutes=2),
            },
            "feed       no block was followed yet, behind for 2 min",
        ),
        ({"policy": "cadence", "reason": "quota", "stretch": 2.0}, "the cadence's intervals are 2 times as long"),
    ],
    ids=str,
)
def test_a_feed_tells_its_state(more: dict[str, Any], words: str) -> None:
    assert words in "\n".join(of_feed(**more))


def test_nothing_is_said_of_a_feed_that_there_is_not() -> None:
    assert of_feed(policy="every_block", reason="few_wallets", read_every=3.0) == [
        (
            "policy     All wallets are read every 3 s. They are so few that reading all of them costs no more than"
            " following blocks would."
        )
    ]
    assert [line for line in lines(report()) if line.split()[0] in {"policy", "feed", "blind"}] == []


def test_all_but_one_in_a_million_are_not_all() -> None:
    wallets = replace(WALLETS, wallets=1_000_000, fresh=999_999)
    assert "99.9% fresh" in next(lines(report(wallets)))
    assert "100% fresh" in next(lines(report(replace(wallets, fresh=1_000_000))))


def test_a_network_without_wallets_has_no_share_and_no_cadence() -> None:
    network = report(NetworkFreshness("tron"))
    assert [line.split(":")[0] for line in lines(network)] == ["tron", "  endpoint   node"]
    assert (network["wallets"], network["share_fresh"], network["requests"]) == (0, None, None)
    assert network["age_seconds"] == {"p50": None, "p95": None, "p99": None, "oldest": None}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            {"resting_seconds": 90.0, "resting_reason": "throttled", "failures_in_a_row": 3},
            "resting for 1 min 30 s, throttled, 3 in",
        ),
        ({"strategy": None}, "ready, not read yet"),
        ({"strategy": "single", "strategy_reason": "refused: \x1b[2Jno"}, "by single (refused: …[2Jno)"),
        ({"keys": 1}, "1 key,"),
        ({"keys": 3, "keys_resting": 2}, "3 keys, 2 of them resting"),
        ({"requests": {NOW - 600: 7, NOW: 1}}, "8 requests in the past hour"),
    ],
    ids=str,
)
def test_an_endpoint_tells_its_state(state: dict[str, Any], words: str) -> None:
    assert words in list(lines(report(**state)))[-1]


@pytest.mark.parametrize(("seconds", "late"), [(299, True), (300, False), (301, False)])
def test_a_network_is_late_when_its_longest_overdue_wallet_is_so_for_longer_than_is_meant(
    seconds: float, late: bool
) -> None:
    assert is_late(report(), seconds) is late


def test_a_network_without_any_balance_is_late_although_each_wallet_was_tried() -> None:
    made = WALLETS.counted_at and WALLETS.counted_at - timedelta(hours=1)
    never = replace(WALLETS, read=0, overdue=0, overdue_since=None, unread_since=made)
    assert is_late(report(never), 3599)
    assert not is_late(report(never), 3600)
    assert not is_late(report(replace(never, unread_since=None)), 0)


def test_what_nobody_can_tell_is_late() -> None:
    assert is_late(report(replace(WALLETS, overdue_since=None)), 10**9)


def test_wallets_alone_that_were_lost_with_their_worker_make_no_network_late() -> None:
    lost = replace(WALLETS, overdue=2, overdue_since=None, condition=SOUND._replace(lost=2))
    assert not is_late(report(lost), 0)
    assert is_late(report(replace(lost, overdue=3)), 10**9), "one more, of which nobody knows since when"


OWED = FEED._replace(touches=1, oldest_touch=MOMENT - timedelta(minutes=10), now=MOMENT)


def test_a_network_is_late_by_a_read_that_is_owed_to_a_wallet_which_a_block_touched() -> None:
    touched = replace(WALLETS, network="a", overdue=0, overdue_since=None, feed=OWED)
    assert is_late(report(touched), 599)
    assert not is_late(report(touched), 600)
    seen = {"max_overdue": 599, "late": ["a"], "networks": [report(touched)]}
    assert list(late_lines(seen)) == [
        "a is late: a wallet that a block touched has been owed a read for 10 min; at most 9 min 59 s is meant."
    ]


def test_what_is_owed_by_a_feed_that_is_switched_off_makes_no_network_late() -> None:
    touched = replace(WALLETS, overdue=0, overdue_since=None, feed=by_settings(OWED, enabled=False))
    assert not is_late(report(touched), 0)


def test_each_late_network_is_told_in_a_sentence() -> None:
    made = WALLETS.counted_at and WALLETS.counted_at - timedelta(hours=1)
    networks = [
        report(replace(WALLETS, network="a")),
        report(replace(WALLETS, network="b", unread_since=made)),
        report(replace(WALLETS, network="c", overdue_since=None)),
        report(replace(WALLETS, network="d")),
    ]
    assert list(late_lines({"max_overdue": 120, "late": ["a", "b", "c"], "networks": networks})) == [
        "a is late: a wallet has been overdue for 5 min; at most 2 min is meant.",
        (
            "b is late: a wallet has been overdue for 5 min and no wallet has a balance yet, though the first was there"
            " 1 h ago; at most 2 min is meant."
        ),
        "c is late: for how long is not known; at most 2 min is meant.",
    ]
    assert list(late_lines({"max_overdue": None, "late": None, "networks": networks})) == []


def test_an_estimate_is_said_to_be_one() -> None:
    told = list(lines(report(replace(WALLETS, ages_estimated=True))))
    assert told[1] == "  age        p50 about 10 s, p95 about 50 s, p99 about 55 s, oldest 2 h"
    assert report(replace(WALLETS, ages_estimated=True))["ages_estimated"]
    assert not report()["ages_estimated"]


def test_ages_of_which_the_sample_has_none_are_not_known() -> None:
    told = list(lines(report(replace(WALLETS, ages=(), ages_estimated=True))))
    assert told[1] == "  age        p50 not known, p95 not known, p99 not known, oldest not known"
