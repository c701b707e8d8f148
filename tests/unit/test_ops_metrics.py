"""What `/metrics` says of a picture: the table's families and no others, and nothing of what is unknown."""

import ast
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from config.ops_settings import OpsSettings
from config.work_counts import BATCH_OUTCOMES, BATCH_SIZES
from db.feed_state import FeedState
from db.freshness_queries import NetworkFreshness
from db.network_state import Condition
from ops.collector import Collector
from ops.exposition import Known, rendered
from ops.metrics import ENDPOINT_METRICS, METRICS, PREFIX, SETTINGS, WALLET_STATES, Metric
from ops.picture import NetworkPicture, Picture, QueuePicture, Quota, Work
from worker.admin.node_states import NodeState
from worker.feed.policy import FOLLOWED_ALL_THE_SAME
from worker.reading.backoff import Rest

AT = datetime(2026, 11, 26, 8, tzinfo=UTC)
FIXED = {
    "wallets": ("network", "state"),
    "oldest_read_timestamp_seconds": ("network",),
    "overdue_since_timestamp_seconds": ("network",),
    "last_read_timestamp_seconds": ("network",),
    "block_timestamp_seconds": ("network",),
    "feed_block_timestamp_seconds": ("network",),
    "feed_missed_total": ("network", "asset"),
    "requests_total": ("network", "endpoint"),
    "endpoint_resting_until_timestamp_seconds": ("network", "endpoint"),
    "queue_messages": ("queue",),
    "beat_last_dispatch_timestamp_seconds": (),
    "collected_timestamp_seconds": (),
    "redis_up": (),
}
"""Names that other programs depend on."""
LABELS = {
    *("network", "endpoint", "error", "state", "queue", "outcome", "name", "route", "status"),
    *("policy", "asset"),
}

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: bytes) -> Samples:
    return {
        (sample.name.removeprefix(PREFIX), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def of(found: Samples, name: str) -> dict[tuple[str, ...], float]:
    """A metric's values by the values of its labels, which are in the order of their names."""
    return {tuple(value for _, value in labels): number for (each, labels), number in found.items() if each == name}


def node(name: str = "a.example", **more: Any) -> NodeState:
    values: dict[str, Any] = {
        "strategy": "revert",
        "strategy_reason": "",
        "wallets_per_request": 500,
        "resting_seconds": 0.0,
        "resting_reason": "",
        "failures_in_a_row": 0,
        "keys": 0,
        "keys_resting": 0,
        "requests": {},
    }
    return NodeState(name, **{**values, **more})


FEED = FeedState(
    "feed",
    "many_wallets",
    3.0,
    1.0,
    87_000,
    block_number=7,
    block_time=AT,
    good_until=AT,
    missed_usdt=1,
    missed_native=2,
    jumps=3,
    reorganisations=4,
    touches=5,
    oldest_touch=AT,
    now=AT,
)
WALLETS = NetworkFreshness(
    "tron",
    wallets=10,
    read=9,
    fresh=6,
    stale=2,
    failing=1,
    never_synced=1,
    failed=2,
    errors={"throttled": 1, "refused": 1},
    due=3,
    overdue=2,
    claimed=1,
    without_schedule=1,
    ages=(1.0, 2.0, 3.0, 4.0),
    oldest_read=AT,
    last_read=AT,
    block_time=AT,
    overdue_since=AT,
    feed=FEED,
)
WORK = Work(
    requests={"a.example": 7},
    failed_reads={("a.example", "throttled"): 2},
    batches={"synced": 3, "failed": 1, "handed_back": 0},
    batch_sizes={10: 1, 500: 2, None: 1},
    batch_wallets=3500,
    budget_wait_seconds=1.5,
    lost_batches=1,
)
TRON = NetworkPicture(
    name="tron",
    synced=True,
    wallets=WALLETS,
    condition=Condition(AT, "unreachable", 4, 5),
    nodes=[
        node(
            keys=3,
            keys_resting=2,
            keys_refused=1,
            resting_seconds=9.0,
            failures_in_a_row=2,
            left_alone=Rest(AT.timestamp() + 9, 2, "throttled"),
        )
    ],
    work=WORK,
    quota=Quota(100, 25, 50.0),
    max_head_age=180.0,
)
FULL = Picture(
    at=AT.timestamp(),
    seconds=0.5,
    database=True,
    redis=True,
    networks=[TRON],
    queues=[QueuePicture("ticks", 3, AT.timestamp(), AT.timestamp())],
    dispatched=AT.timestamp(),
    workers={},
)
KNOWN = Known({"sync_lease": 60.0}, {"tron": 180.0}, {"tron": 100}, AT.timestamp(), 0.5, 1)


def test_every_family_of_the_table_is_served_with_its_kind_and_labels_and_no_other() -> None:
    text = rendered(FULL, KNOWN).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(families) == {f"{PREFIX}{metric.name}".removesuffix("_total") for metric in METRICS}
    for metric in METRICS:
        family = families[f"{PREFIX}{metric.name}".removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert family.samples, f"{metric.name} has a sample in a picture that has everything"
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)


def test_the_names_that_are_fixed_are_as_they_were() -> None:
    table = {metric.name: metric.labels for metric in METRICS}
    assert {name: table[name] for name in FIXED} == FIXED


@pytest.mark.parametrize("metric", [*METRICS, *ENDPOINT_METRICS], ids=lambda metric: str(metric.name))
def test_a_name_follows_the_rules_of_prometheus(metric: Metric) -> None:
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not metric.name.endswith(("_count", "_sum", "_bucket", "_ms"))
    assert set(metric.labels) <= LABELS, "no label that grows with wallets, users or blocks"
    assert metric.help.endswith(".")


def test_a_picture_is_told_number_for_number() -> None:
    found = samples(rendered(FULL, KNOWN))
    assert of(found, "wallets") == {("tron", state): getattr(WALLETS, state) for state in WALLET_STATES}
    assert sum(of(found, "wallets").values()) == WALLETS.wallets
    assert of(found, "failing_wallets") == {("throttled", "tron"): 1, ("refused", "tron"): 1}
    assert of(found, "endpoint_keys") == {
        ("a.example", "tron", "ready"): 1,
        ("a.example", "tron", "resting"): 1,
        ("a.example", "tron", "refused"): 1,
    }
    assert of(found, "endpoint_rest") == {("a.example", "throttled", "tron"): 1}
    assert of(found, "endpoint_resting_until_timestamp_seconds") == {("a.example", "tron"): AT.timestamp() + 9}
    assert of(found, "quota_used_ratio") == {("tron",): 0.25}
    assert of(found, "quota_predicted_ratio") == {("tron",): 0.5}
    buckets = of(found, "batch_wallets_bucket")
    assert buckets == {
        (le, "tron"): n for le, n in [("1.0", 0), ("10.0", 1), ("100.0", 1), ("500.0", 3), ("2500.0", 3), ("+Inf", 4)]
    }
    assert (of(found, "batch_wallets_sum"), of(found, "batch_wallets_count")) == ({("tron",): 3500}, {("tron",): 4})
    assert of(found, "freshness_policy") == {("tron", "feed"): 1}
    assert of(found, "feed_missed_total") == {("usdt", "tron"): 1, ("native", "tron"): 2}
    for name, number in (("jumps_total", 3), ("reorganisations_total", 4), ("touches", 5)):
        assert of(found, f"feed_{name}") == {("tron",): number}
    of_feed = ("feed_block", "feed_behind_since", "feed_oldest_touch")
    for name in (*of_feed, "oldest_read", "last_read", "block", "overdue_since", "network_out_since"):
        assert of(found, f"{name}_timestamp_seconds") == {("tron",): AT.timestamp()}, "a moment, and no age"


def of_feed(**more: Any) -> set[str]:
    """The metrics of a feed that have a sample, by their names."""
    tron = replace(TRON, wallets=replace(WALLETS, feed=FEED._replace(**more)))
    return {name for name, _ in samples(rendered(replace(FULL, networks=[tron]), KNOWN)) if name.startswith("feed_")}


def test_a_feed_that_is_not_relied_on_is_neither_behind_nor_at_a_block() -> None:
    moments = {"feed_block_timestamp_seconds", "feed_behind_since_timestamp_seconds"}
    assert moments <= of_feed()
    for wanted in FOLLOWED_ALL_THE_SAME:
        assert moments <= of_feed(policy="cadence", reason=wanted), "it is to be taken up again"
    assert "feed_behind_since_timestamp_seconds" in of_feed(policy="cadence", reason="blind", block_time=None)
    for reason in ("off", "deprecated", "quota", None):
        assert not moments & of_feed(policy="cadence", reason=reason)
    assert not moments & of_feed(policy="every_block", reason="few_wallets")


def test_a_feed_that_keeps_up_is_not_behind() -> None:
    later = AT + timedelta(seconds=1)
    assert "feed_behind_since_timestamp_seconds" not in of_feed(good_until=later)
    assert "feed_behind_since_timestamp_seconds" not in of_feed(good_until=None)
    assert "feed_missed_total" in of_feed(good_until=None), "a counter begins at zero, so that its first step is seen"


def test_without_redis_its_part_is_absent_and_never_zero() -> None:
    tron = NetworkPicture("tron", True, WALLETS, None, None, None, Quota(100), 180.0)
    found = samples(rendered(Picture(AT.timestamp(), 0.5, True, False, [tron]), KNOWN))
    assert of(found, "redis_up") == {(): 0}
    assert of(found, "due_wallets") == {("tron",): 3}
    for name in ("requests_total", "queue_messages", "endpoint_failures_in_a_row", "batches_total", "quota_used_ratio"):
        assert of(found, name) == {}


def test_without_postgres_its_part_is_absent_and_never_zero() -> None:
    tron = NetworkPicture("tron", True, None, None, [node()], WORK, None, 180.0)
    found = samples(rendered(Picture(AT.timestamp(), 0.5, False, True, [tron], queues=[]), KNOWN))
    assert of(found, "database_up") == {(): 0}
    assert of(found, "requests_total") == {("a.example", "tron"): 7}
    for metric in METRICS:
        if "wallet" in metric.name and metric.name not in {"batch_wallets", "endpoint_wallets_per_request"}:
            assert of(found, metric.name) == {}
    assert of(found, "block_timestamp_seconds") == {}
    assert of(found, "collected_timestamp_seconds") == {(): AT.timestamp()}, "a moment goes on being true"


def test_a_network_that_has_never_been_read_has_no_moments() -> None:
    tron = NetworkPicture(
        "tron", True, NetworkFreshness("tron", wallets=1, never_synced=1), None, None, None, None, 1.0
    )
    found = samples(rendered(Picture(AT.timestamp(), 0.5, True, False, [tron]), KNOWN))
    assert of(found, "wallets")["tron", "never_synced"] == 1
    assert [name for name, _ in found if name.endswith("read_timestamp_seconds")] == []


def test_before_the_first_pass_only_settings_are_told() -> None:
    found = samples(rendered(None, Known({"sync_lease": 60.0}, {"tron": 180.0})))
    assert {name for name, _ in found} == {"setting_seconds", "max_head_age_seconds", "collection_failures_total"}


def settings(monkeypatch: pytest.MonkeyPatch) -> OpsSettings:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("TRON_RPC_URLS", "http://127.0.0.1:1")
    monkeypatch.setenv("COLLECT_INTERVAL", "5")
    return OpsSettings()


class Passes:
    """Passes that find what a test wants, at a moment that it sets."""

    def __init__(self) -> None:
        self.now = AT.timestamp()
        self.found: Picture | Exception = FULL

    def run(self) -> Picture:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    made = Passes()
    monkeypatch.setattr("ops.collector.time", lambda: made.now)
    return made


def test_after_three_intervals_without_a_pass_what_was_found_vanishes(
    passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector(settings(monkeypatch), passes.run)
    assert collector.wrong() == "No pass over Postgres has succeeded yet."
    collector.run_pass()
    passes.now += 15
    assert of(samples(collector.metrics), "due_wallets") == {("tron",): 3}
    assert collector.wrong() is None
    passes.now += 1
    found = samples(collector.metrics)
    assert {name for name, _ in found} == {
        *("setting_seconds", "max_head_age_seconds", "collected_timestamp_seconds"),
        *("collection_seconds", "collection_failures_total"),
    }
    assert collector.wrong() == "No pass over Postgres has succeeded for 16 s."
    assert {labels[0][1] for name, labels in found if name == "setting_seconds"} == set(SETTINGS)


def test_that_postgres_does_not_answer_is_told_until_the_next_pass_can_have_waited_for_it_in_vain(
    passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alert whose series is not there for a moment counts its time anew."""
    passes.found = replace(FULL, database=False, counted=False, seconds=12, networks=[])
    collector = Collector(settings(monkeypatch), passes.run)
    collector.run_pass()
    passes.now += 15 + 12 + 5  # it began the next multiple of the interval later, and took as long
    assert of(samples(collector.metrics), "database_up") == {(): 0}
    passes.now += 15
    assert "database_up" not in {name for name, _ in samples(collector.metrics)}


def test_a_fault_of_ours_in_a_pass_is_told_once_and_the_next_pass_may_do_better(
    passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector(settings(monkeypatch), passes.run)
    passes.found = ZeroDivisionError("a fault")
    with capture_logs() as logs:
        for _ in range(3):
            collector.run_pass()
    assert [line["event"] for line in logs] == ["collection_broken"]
    assert of(samples(collector.metrics), "collection_failures_total") == {(): 3}
    passes.found = FULL
    collector.run_pass()
    assert of(samples(collector.metrics), "database_up") == {(): 1}


def test_a_million_wallets_and_many_errors_make_no_more_than_four_hundred_series() -> None:
    codes = [f"error_{at}" for at in range(20)]
    nodes = [node(f"{at}.example", keys=2, left_alone=Rest(1, 1, "x"), resting_seconds=5.0) for at in range(5)]
    work = Work(
        requests={each.name: 1 for each in nodes},
        failed_reads={(each.name, code): 1 for each in nodes[:2] for code in codes[:3]},
        batches=dict.fromkeys(BATCH_OUTCOMES, 1),
        batch_sizes=dict.fromkeys((*BATCH_SIZES, None), 1),
    )
    wallets = replace(WALLETS, errors=dict.fromkeys(codes[:6], 1))
    networks = [
        NetworkPicture(name, True, wallets, TRON.condition, nodes, work, Quota(1, 1, 1.0), 1.0)
        for name in ("ethereum", "tron", "bsc")
    ]
    names = ("ticks", "refresh", "sync.ethereum", "sync.tron", "sync.bsc")
    queues = [QueuePicture(name, 1, AT.timestamp(), AT.timestamp()) for name in names]
    picture = Picture(AT.timestamp(), 1.0, True, True, networks, queues, AT.timestamp(), {})
    known = Known(dict.fromkeys(SETTINGS, 1.0), {"tron": 1.0}, {"tron": 1}, AT.timestamp(), 1.0, 1)
    assert 200 < len(samples(rendered(picture, known))) < 400


def test_the_metrics_load_no_chains_library_and_no_celery() -> None:
    root = Path(__file__).parents[2]
    code = "import sys, ops.app; print(sorted({'web3', 'tronpy', 'celery', 'kombu'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    assert ran.stdout == "[]\n"


def test_no_metric_is_named_anywhere_but_in_the_table() -> None:
    root = Path(__file__).parents[2]
    names = {metric.name for metric in METRICS}
    tree = ast.parse((root / "ops" / "exposition.py").read_text())
    yielded = {
        node.value.elts[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Yield)
        and isinstance(node.value, ast.Tuple)
        and isinstance(node.value.elts[0], ast.Constant)
    }
    assert yielded <= names
