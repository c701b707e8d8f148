"""The use case behind ``celery -A worker freshness``: how fresh the cache is, and how its endpoints are. Asks no node.

Requests an hour are those that workers counted in Redis as they sent them, over the past hour in spans of five minutes:
whatever made them, splits and failures included. Where nothing was counted they are what the cadence comes to: each
wallet that waits after a good read has an interval between the two, and the reads an hour that these come to, as if the
other wallets had the same mix, are divided by the wallets a request. That is the least: batches are not always full.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any, Literal

from config.networks import NetworkName
from config.settings import NETWORKS, WorkerSettings
from db.freshness_queries import AGE_SHARES, NetworkFreshness, freshness
from db.network_state import SOUND, Condition, conditions
from db.session import transaction
from worker.reading import shared_of
from worker.reading.report import EndpointState, endpoint_states, per_request
from worker.reading.request_counts import SPAN_SECONDS
from worker.wording import counted, printable, told

NOBODYS = NetworkFreshness("ethereum", 0, 0, 0, 0, 0, 0, 0, {}, 0, 0, 0.0, ())


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests to a network's endpoints. `basis`: counted by workers since `since` (unix seconds), or what the cadence
    comes to at the least. `share_of_quota`: of a daily quota, if one was given.
    """

    basis: Literal["counted", "cadence"]
    counted: int
    since: float | None
    per_hour: float
    per_day: float
    share_of_quota: float | None


@dataclass(frozen=True, slots=True)
class NetworkReport:
    """All that is told of one network. `requests` is None as long as nothing was counted and no cadence is known."""

    network: NetworkName
    synced: bool
    wallets: NetworkFreshness
    reads_per_hour: float | None
    requests: Requests | None
    endpoints: Sequence[EndpointState] | None
    """None: Redis is out of reach."""
    condition: Condition = SOUND


@dataclass(frozen=True, slots=True)
class Look:
    """Every network that has wallets or a node. `redis`: whether it answered."""

    networks: Sequence[NetworkReport]
    redis: bool


def look(settings: WorkerSettings, *, daily_quota: int | None) -> Look:
    """How everything is now. Raises SQLAlchemyError; without Redis it tells what the database knows."""
    redis = shared_of(NETWORKS[0], settings).answers()
    with transaction() as connection:
        found = {each.network: each for each in freshness(connection, grace=timedelta(seconds=settings.sync_lease))}
        known = conditions(connection)
    made = []
    for network in NETWORKS:
        if network in found or network in settings.networks:
            states = endpoint_states(network, settings, shared_of(network, settings)) if redis else None
            made.append(
                reported(
                    network,
                    found.get(network),
                    states,
                    time(),
                    daily_quota=daily_quota,
                    synced=network in settings.networks,
                    condition=known.get(network, SOUND),
                )
            )
    return Look(made, redis)


def reported(
    network: NetworkName,
    wallets: NetworkFreshness | None,
    states: Sequence[EndpointState] | None,
    now: float,
    *,
    daily_quota: int | None,
    synced: bool,
    condition: Condition = SOUND,
) -> NetworkReport:
    """One network's report, out of what the database and the workers know. Pure."""
    wallets = wallets or NOBODYS
    reads = reads_per_hour(wallets)
    size = per_request(network, states or ())
    return NetworkReport(
        network=network,
        synced=synced,
        wallets=wallets,
        reads_per_hour=reads,
        requests=requests_made(states or (), now, None if reads is None else reads / size, daily_quota),
        endpoints=states,
        condition=condition,
    )


def reads_per_hour(wallets: NetworkFreshness) -> float | None:
    """What the cadence of all wallets comes to, as if it were that of those which wait for their next read. Pure."""
    if not wallets.waiting:
        return None
    return wallets.reads_per_hour / wallets.waiting * (wallets.wallets - wallets.hopeless)


def requests_made(
    states: Sequence[EndpointState], now: float, by_cadence: float | None, daily_quota: int | None
) -> Requests | None:
    """Requests an hour, as the module's docstring says. Pure."""
    spans: Counter[float] = Counter()
    for state in states:
        spans.update(state.requests)
    if not spans and by_cadence is None:
        return None
    counted, since = sum(spans.values()), min(spans, default=None)
    # Nothing is extrapolated from less than one span.
    per_hour = (by_cadence or 0.0) if since is None else counted * 3600 / max(now - since, SPAN_SECONDS)
    return Requests(
        basis="cadence" if since is None else "counted",
        counted=counted,
        since=since,
        per_hour=per_hour,
        per_day=per_hour * 24,
        share_of_quota=per_hour * 24 / daily_quota if daily_quota else None,
    )


def as_json(seen: Look) -> dict[str, Any]:
    """The object that `--json` prints; docs/operations.md has its keys."""
    return {"redis": seen.redis, "networks": [_network_json(each) for each in seen.networks]}


def _network_json(each: NetworkReport) -> dict[str, Any]:
    wallets = each.wallets
    ages = dict(zip(("p50", "p95", "p99", "oldest"), wallets.ages or (None,) * len(AGE_SHARES), strict=True))
    return {
        "network": each.network,
        "synced": each.synced,
        "wallets": wallets.wallets,
        "read": wallets.read,
        "fresh": wallets.fresh,
        "share_fresh": wallets.fresh / wallets.wallets if wallets.wallets else None,
        "age_seconds": ages,
        "due": wallets.due,
        "overdue": wallets.overdue,
        "claimed": wallets.claimed,
        "failing": wallets.failing,
        "errors": wallets.errors,
        "out_since": each.condition.out_since and each.condition.out_since.astimezone(UTC).isoformat(),
        "out_reason": each.condition.reason,
        "lost": each.condition.lost,
        "doubted": each.condition.doubted,
        "reads_per_hour": each.reads_per_hour,
        "requests": None if each.requests is None else asdict(each.requests),
        "endpoints": None if each.endpoints is None else [_endpoint_json(state) for state in each.endpoints],
    }


def _endpoint_json(state: EndpointState) -> dict[str, Any]:
    # The keys that scripts know; a strategy was a way once.
    names = {"strategy": "way", "strategy_reason": "way_reason"}
    return {names.get(name, name): value for name, value in asdict(state).items()} | {
        "requests": sum(state.requests.values())
    }


def lines(each: NetworkReport) -> Iterator[str]:
    """What a person reads of one network; its first line is a heading. Pure."""
    wallets = each.wallets
    yield _heading(each)
    yield from _condition_lines(each.condition)
    if wallets.ages:
        yield "  age        " + ", ".join(
            f"{name} {told(age)}" for name, age in zip(("p50", "p95", "p99", "oldest"), wallets.ages, strict=True)
        )
    if wallets.wallets:
        yield f"  now        {wallets.due:,} due, {wallets.overdue:,} overdue, {wallets.claimed:,} being read"
    if wallets.failing:
        most_first = sorted(wallets.errors.items(), key=lambda item: (-item[1], item[0]))
        yield f"  failing    {wallets.failing:,}: " + ", ".join(f"{code} {count:,}" for code, count in most_first)
    yield from _cost_lines(each)
    for state in each.endpoints or ():
        yield f"  endpoint   {_endpoint_line(state)}"


def _condition_lines(condition: Condition) -> Iterator[str]:
    if condition.out_since:
        seconds = (datetime.now(UTC) - condition.out_since).total_seconds()
        yield f"  out        for {told(max(seconds, 0))}: no endpoint answers ({condition.reason})"
    if condition.lost:
        yield f"  lost       {counted(condition.lost, 'wallet')} whose worker never came back: tried apart from others"
    if condition.doubted:
        yield f"  doubted    {counted(condition.doubted, 'wallet')}: so many changed at once, by one endpoint's word"


def _heading(each: NetworkReport) -> str:
    wallets = each.wallets
    parts = [counted(wallets.wallets, "wallet")]
    if wallets.wallets:
        # Cut off, not rounded: 100% is said of all of them, and of nothing less.
        parts.append(f"{1000 * wallets.fresh // wallets.wallets / 10:g}% fresh")
    if never := wallets.wallets - wallets.read:
        parts.append(f"{never:,} never read")
    if not each.synced:
        parts.append(f"not synced: {each.network.upper()}_RPC_URLS is not set")
    return f"{each.network}: {', '.join(parts)}"


def _cost_lines(each: NetworkReport) -> Iterator[str]:
    if each.reads_per_hour is not None:
        yield f"  cadence    {each.reads_per_hour:,.0f} reads of wallets an hour"
    if each.requests is None:
        return
    made = each.requests
    how = f"counted since {told(time() - made.since)} ago" if made.since else "by the cadence, at the least"
    yield f"  requests   {made.per_hour:,.0f} an hour ({how}), {made.per_day:,.0f} a day" + (
        f", {made.share_of_quota:.1%} of the quota" if made.share_of_quota is not None else ""
    )


def _endpoint_line(state: EndpointState) -> str:
    parts = [f"resting for {told(state.resting_seconds)}" if state.resting_seconds else "ready"]
    if state.failures_in_a_row:
        parts.append(f"{state.resting_reason}, {state.failures_in_a_row} in a row")
    if state.strategy is None:
        parts.append("not read yet")
    else:
        parts.append(
            f"by {state.strategy}" + (f" ({printable(state.strategy_reason)})" if state.strategy_reason else "")
        )
    parts.append(f"{counted(state.wallets_per_request, 'wallet')} a request")
    if state.keys:
        parts.append(
            counted(state.keys, "key") + (f", {state.keys_resting} of them resting" if state.keys_resting else "")
        )
    parts.append(f"{counted(sum(state.requests.values()), 'request')} in the past hour")
    return f"{state.name}: {', '.join(parts)}"
