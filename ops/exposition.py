"""A `Picture` as Prometheus reads it. Pure: values in, bytes out.

Every sample goes through the table of ``ops.metrics``; what is unknown has none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector as Source

from config.networks import NetworkName
from config.work_counts import BATCH_SIZES
from ops.metrics import KEY_STATES, METRICS, PREFIX, WALLET_STATES, Metric
from ops.picture import NetworkPicture, Picture, Work
from worker.admin.node_states import NodeState
from worker.feed.policy_words import is_followed

Sample = tuple[str, tuple[str, ...], float | Work]
"""A metric's name without the prefix, the values of its labels, and its value: of a histogram all that was counted."""
Samples = Iterator[Sample]


@dataclass(frozen=True, slots=True)
class Known:
    """What this process knows whether or not it has a picture."""

    settings: Mapping[str, float] = field(default_factory=dict)
    """In seconds, by their names."""
    head_ages: Mapping[NetworkName, float] = field(default_factory=dict)
    quotas: Mapping[NetworkName, int] = field(default_factory=dict)
    collected: float | None = None
    """When the last pass over Postgres that succeeded began."""
    seconds: float | None = None
    """How long it took."""
    failures: int = 0


def rendered(picture: Picture | None, known: Known) -> bytes:
    """All metrics in Prometheus' text form. None: there is no picture, or it is too old to be shown."""
    registry = CollectorRegistry()
    registry.register(_Families(families(picture, known)))
    return generate_latest(registry)


class _Families(Source):
    """What `generate_latest` wants to have."""

    def __init__(self, found: Sequence[Family]) -> None:
        self._found = found

    def collect(self) -> Sequence[Family]:
        return self._found


def families(picture: Picture | None, known: Known) -> list[Family]:
    """Every family of the table, in its order, with its samples."""
    made = {metric.name: _family(metric) for metric in METRICS}
    for name, labels, value in _samples(picture, known):
        _add(made[name], labels, value)
    return list(made.values())


def _family(metric: Metric) -> Any:
    kinds = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily, "histogram": HistogramMetricFamily}
    return kinds[metric.kind](f"{PREFIX}{metric.name}", metric.help, labels=metric.labels)


def _add(family: Any, labels: Sequence[str], value: float | Work) -> None:
    if isinstance(value, Work):
        counts = accumulate(value.batch_sizes.get(bound, 0) for bound in (*BATCH_SIZES, None))
        bounds = [*(f"{bound:.1f}" for bound in BATCH_SIZES), "+Inf"]
        family.add_metric(labels, buckets=list(zip(bounds, counts, strict=True)), sum_value=value.batch_wallets)
    else:
        family.add_metric(labels, value)


def _samples(picture: Picture | None, known: Known) -> Samples:
    yield from _of_this_process(picture, known)
    if picture is None:
        return
    for network in picture.networks:
        yield "network_synced", (network.name,), float(network.synced)
        yield from _of_wallets(network)
        yield from _of_feed(network)
        yield from _of_nodes(network)
        yield from _of_quota(network)
        if network.work:
            yield from _of_work(network.name, network.work)
    for queue in picture.queues or ():
        yield "queue_messages", (queue.name,), queue.messages
        yield from _moment("queue_oldest_timestamp_seconds", queue.oldest, queue.name)
        yield from _moment("worker_last_seen_timestamp_seconds", queue.worker_seen, queue.name)
    yield from _moment("beat_last_dispatch_timestamp_seconds", picture.dispatched)


def _of_this_process(picture: Picture | None, known: Known) -> Samples:
    for name, seconds in known.settings.items():
        yield "setting_seconds", (name,), seconds
    for network, seconds in known.head_ages.items():
        yield "max_head_age_seconds", (network,), seconds
    for network, requests in known.quotas.items():
        yield "daily_quota_requests", (network,), requests
    if picture:
        yield "database_up", (), float(picture.database)
        yield "redis_up", (), float(picture.redis)
    yield from _moment("collected_timestamp_seconds", known.collected)
    if known.seconds is not None:
        yield "collection_seconds", (), known.seconds
    yield "collection_failures_total", (), known.failures


def _of_wallets(network: NetworkPicture) -> Samples:
    found, condition, label = network.wallets, network.condition, (network.name,)
    if found is None:
        return
    for state in WALLET_STATES:
        yield "wallets", (network.name, state), getattr(found, state)
    for error, wallets in found.errors.items():
        yield "failing_wallets", (network.name, error), wallets
    for name in ("due", "overdue", "claimed"):
        yield f"{name}_wallets", label, getattr(found, name)
    yield "wallets_without_schedule", label, found.without_schedule
    yield from _moment("oldest_read_timestamp_seconds", found.oldest_read, network.name)
    yield from _moment("last_read_timestamp_seconds", found.last_read, network.name)
    yield from _moment("overdue_since_timestamp_seconds", found.overdue_since, network.name)
    yield from _moment("block_timestamp_seconds", found.block_time, network.name)
    if condition:
        yield "lost_wallets", label, condition.lost
        yield "held_changes", label, condition.doubted
        yield from _moment("network_out_since_timestamp_seconds", condition.out_since, network.name)


def _of_feed(network: NetworkPicture) -> Samples:
    if network.wallets is None or not network.synced:
        return
    feed, label = network.wallets.feed, (network.name,)
    yield "freshness_policy", (network.name, feed.policy), 1
    for asset, missed in (("usdt", feed.missed_usdt), ("native", feed.missed_native)):
        yield "feed_missed_total", (network.name, asset), missed
    yield "feed_jumps_total", label, feed.jumps
    yield "feed_reorganisations_total", label, feed.reorganisations
    yield "feed_touches", label, feed.touches
    yield from _moment("feed_oldest_touch_timestamp_seconds", feed.oldest_touch, network.name)
    if is_followed(feed.policy, feed.reason):  # a feed that was left is not behind
        yield from _moment("feed_block_timestamp_seconds", feed.block_time, network.name)
        if feed.good_until and feed.now and feed.good_until <= feed.now:
            yield from _moment("feed_behind_since_timestamp_seconds", feed.good_until, network.name)


def _of_nodes(network: NetworkPicture) -> Samples:
    for node in network.nodes or ():
        labels = (network.name, node.name)
        until = node.left_alone.until if node.rests else 0.0
        yield "endpoint_resting_until_timestamp_seconds", labels, until
        if node.rests:
            yield "endpoint_rest", (*labels, node.left_alone.code), 1
        yield "endpoint_failures_in_a_row", labels, node.failures_in_a_row
        yield "endpoint_wallets_per_request", labels, node.wallets_per_request
        if node.keys:
            for state, keys in zip(KEY_STATES, _keys(node), strict=True):
                yield "endpoint_keys", (*labels, state), keys


def _keys(node: NodeState) -> tuple[int, int, int]:
    """How many of a node's keys are in each of KEY_STATES."""
    return node.keys - node.keys_resting, node.keys_resting - node.keys_refused, node.keys_refused


def _of_quota(network: NetworkPicture) -> Samples:
    quota = network.quota
    if quota and quota.used is not None:
        yield "quota_used_ratio", (network.name,), quota.used / quota.a_day
    if quota and quota.predicted is not None:
        yield "quota_predicted_ratio", (network.name,), quota.predicted / quota.a_day


def _of_work(network: NetworkName, work: Work) -> Samples:
    for endpoint, requests in work.requests.items():
        yield "requests_total", (network, endpoint), requests
    for (endpoint, error), reads in work.failed_reads.items():
        yield "failed_reads_total", (network, endpoint, error), reads
    for outcome, batches in work.batches.items():
        yield "batches_total", (network, outcome), batches
    yield "batch_wallets", (network,), work
    yield "budget_wait_seconds_total", (network,), work.budget_wait_seconds
    yield "lost_batches_total", (network,), work.lost_batches


def _moment(name: str, value: datetime | float | None, *labels: str) -> Samples:
    if value is not None:
        yield name, labels, value.timestamp() if isinstance(value, datetime) else value
