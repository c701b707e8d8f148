"""The metrics that ``/metrics`` serves: their names, kinds, labels and help. Docs, alerts and the dashboard are held
against this table by tests. Pure data.

Moments are unix seconds, so that an age goes on growing while nobody collects. What is not known has no sample: it is
never told as zero, and never from an earlier pass.
"""

from typing import Literal, NamedTuple

PREFIX = "balance_sync_"

Kind = Literal["gauge", "counter", "histogram"]


class Metric(NamedTuple):
    """One family of samples. A counter's name ends in ``_total``, as Prometheus shows it."""

    name: str
    """Without the prefix."""
    kind: Kind
    labels: tuple[str, ...]
    help: str


WALLET_STATES = ("fresh", "stale", "failing", "never_synced")
"""Each wallet is in one of them. Fresh: its last read was good, and the next is not overdue. Stale: it is overdue.
Failing: its last read failed. Never synced: it has no balance yet, whatever its last read came to.
"""

KEY_STATES = ("ready", "resting", "refused")

_NETWORK = ("network",)
_ENDPOINT = ("network", "endpoint")

METRICS: tuple[Metric, ...] = (
    # Wallets, out of Postgres.
    Metric("wallets", "gauge", ("network", "state"), "Wallets by state; the states add up to all of them."),
    Metric("failing_wallets", "gauge", ("network", "error"), "Wallets whose last read failed, by its error."),
    Metric("due_wallets", "gauge", _NETWORK, "Wallets whose time has come and that nobody reads yet."),
    Metric("overdue_wallets", "gauge", _NETWORK, "Wallets that have been due for longer than a lease."),
    Metric("claimed_wallets", "gauge", _NETWORK, "Wallets that are being read."),
    Metric("lost_wallets", "gauge", _NETWORK, "Wallets whose lease ran out: their worker never came back."),
    Metric("held_changes", "gauge", _NETWORK, "Wallets with a change that one endpoint alone tells, not yet believed."),
    Metric("wallets_without_schedule", "gauge", _NETWORK, "Wallets without a row in sync_schedule."),
    Metric("oldest_read_timestamp_seconds", "gauge", _NETWORK, "When the balance that is oldest was read."),
    Metric("last_read_timestamp_seconds", "gauge", _NETWORK, "When the newest balance was read."),
    Metric(
        "overdue_since_timestamp_seconds",
        "gauge",
        _NETWORK,
        "Since when the longest overdue wallet is due, lost ones left out.",
    ),
    Metric("block_timestamp_seconds", "gauge", _NETWORK, "Time of the newest block of which a balance is."),
    Metric("network_synced", "gauge", _NETWORK, "1 if the settings name an endpoint of it; 0: it is not read."),
    Metric("network_out_since_timestamp_seconds", "gauge", _NETWORK, "Since when no endpoint of it answers."),
    # How networks are kept fresh, out of Postgres.
    Metric("freshness_policy", "gauge", ("network", "policy"), "1 for the policy by which a network is kept fresh."),
    Metric("feed_block_timestamp_seconds", "gauge", _NETWORK, "Time of the last block that the feed has followed."),
    Metric("feed_behind_since_timestamp_seconds", "gauge", _NETWORK, "Since when the feed is behind its chain."),
    Metric("feed_missed_total", "counter", ("network", "asset"), "Changes that were read and that no block had told."),
    Metric("feed_touches", "gauge", _NETWORK, "Reads owed to wallets that a block touched."),
    Metric(
        "feed_oldest_touch_timestamp_seconds",
        "gauge",
        _NETWORK,
        "Since when the longest of those is owed that nobody is making.",
    ),
    Metric("feed_jumps_total", "counter", _NETWORK, "Gaps after which the feed went on at the head."),
    Metric("feed_reorganisations_total", "counter", _NETWORK, "Reorganisations that the feed has found."),
    # Endpoints, out of Redis.
    Metric("requests_total", "counter", _ENDPOINT, "Requests that were sent to an endpoint."),
    Metric(
        "failed_reads_total",
        "counter",
        (*_ENDPOINT, "error"),
        "Reads that failed at an endpoint, by the error; change_unconfirmed: another one denied it.",
    ),
    Metric("endpoint_resting_until_timestamp_seconds", "gauge", _ENDPOINT, "Until when an endpoint is left alone."),
    Metric("endpoint_rest", "gauge", (*_ENDPOINT, "error"), "1 while an endpoint is left alone, with the reason."),
    Metric("endpoint_failures_in_a_row", "gauge", _ENDPOINT, "Reads that failed since the last good one."),
    Metric("endpoint_keys", "gauge", (*_ENDPOINT, "state"), "API keys of an endpoint by state."),
    Metric("endpoint_wallets_per_request", "gauge", _ENDPOINT, "Wallets that one request covers just now."),
    Metric("daily_quota_requests", "gauge", _NETWORK, "Requests a day that the plan allows (<NETWORK>_DAILY_QUOTA)."),
    Metric("quota_used_ratio", "gauge", _NETWORK, "Share of the quota used since midnight UTC."),
    Metric("quota_predicted_ratio", "gauge", _NETWORK, "Share that the whole day comes to, by the past hour's pace."),
    # Work, counted by the workers in Redis.
    Metric("batches_total", "counter", ("network", "outcome"), "Batches by what they came to."),
    Metric("batch_wallets", "histogram", _NETWORK, "Wallets in a batch."),
    Metric("budget_wait_seconds_total", "counter", _NETWORK, "Seconds that reads waited for slots of the budget."),
    Metric("lost_batches_total", "counter", _NETWORK, "Batches tried again because their lease ran out."),
    Metric("queue_messages", "gauge", ("queue",), "Messages that wait in a queue."),
    Metric("queue_oldest_timestamp_seconds", "gauge", ("queue",), "When the message that waits longest was sent."),
    Metric("beat_last_dispatch_timestamp_seconds", "gauge", (), "When a worker last carried out a tick of beat's."),
    Metric("worker_last_seen_timestamp_seconds", "gauge", ("queue",), "When a worker that serves a queue was seen."),
    # Settings, so that alerts need no numbers of their own.
    Metric("setting_seconds", "gauge", ("name",), "A setting in seconds, by its name."),
    Metric("max_head_age_seconds", "gauge", _NETWORK, "How old an endpoint's newest block may be."),
    # This process itself.
    Metric("redis_up", "gauge", (), "1 if Redis answered in the last pass."),
    Metric("database_up", "gauge", (), "1 if Postgres answered in the last pass."),
    Metric("collected_timestamp_seconds", "gauge", (), "When the last pass over Postgres that succeeded began."),
    Metric("collection_seconds", "gauge", (), "How long that pass took."),
    Metric("collection_failures_total", "counter", (), "Passes that failed."),
)

SETTINGS = (
    *("collect_interval", "dispatch_interval", "refresh_deadline"),
    *("sync_interval_active", "sync_interval_idle", "sync_lease"),
)
"""The settings that ``setting_seconds`` has: alerts take their thresholds from these."""

ENDPOINT_METRICS: tuple[Metric, ...] = (
    Metric("request_seconds", "histogram", ("route", "status"), "How long requests took."),
    Metric("refreshes_total", "counter", ("outcome",), "Requests that asked for a refresh, by what they were given."),
)
"""What the endpoint serves at its own ``/metrics``, besides those of prometheus_client's own."""

REFRESH_OUTCOMES = ("fresh", "cooled_down", "limited", "late", "unavailable")
"""What a request that asked for a refresh was given (``api.refresh_outcomes``)."""
