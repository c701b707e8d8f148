"""``celery -A worker freshness``: how fresh the cache is, and how the nodes are. Asks no node.

A report is the object that ``--json`` prints, with the keys of docs/operations.md; `lines` tells a person the same.

Requests an hour are those that workers counted in Redis as they sent them, over the past hour in spans of five minutes:
whatever made them, splits and failures included. Where nothing was counted they are what the cadence comes to: each
wallet that waits after a good read has an interval between the two, and the reads an hour that these come to, as if the
other wallets had the same mix, are divided by the wallets a request. That is the least: batches are not always full.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any

from config.network_settings import prefix
from config.networks import NetworkName
from config.settings import WorkerSettings
from db.freshness_queries import NetworkFreshness, freshness
from db.session import transaction
from worker.admin.feed_report import by_settings, feed_lines, feed_report, policy_report
from worker.admin.node_states import NodeState, node_states, per_request
from worker.reading import shared_of
from worker.reading.request_counts import SPAN_SECONDS
from worker.reading.shared_redis import SharedRedis
from worker.wording import counted, in_words, printable

Report = dict[str, Any]

AGES = ("p50", "p95", "p99", "oldest")  # of db.freshness_queries.AGE_SHARES
COUNTS = ("wallets", "read", "fresh", "due", "overdue", "claimed", "errors")


def look(settings: WorkerSettings, *, daily_quota: int | None = None, max_overdue: float | None = None) -> Report:
    """Every network that has wallets or a node. Raises SQLAlchemyError; without Redis, what the database knows.

    `daily_quota` is of each network, in place of those that the settings have. `max_overdue`: for how many seconds a
    wallet may be overdue until its network counts as late.
    """
    redis = SharedRedis("freshness", settings.redis_url.get_secret_value()).answers()
    grace = timedelta(seconds=settings.sync_lease)
    with transaction() as connection:
        found = {each.network: each for each in freshness(connection, grace=grace, parallel=True)}
    names = dict.fromkeys((*settings.known_networks, *sorted(found)))
    reports = []
    for network in names:
        synced = network in settings.networks
        if synced or network in found:
            nodes, size = _nodes(network, settings, redis=redis) if synced else ([], None)
            wallets = found.get(network, NetworkFreshness(network))
            wallets = replace(wallets, feed=by_settings(wallets.feed, enabled=settings.feed))
            quota = daily_quota or (settings.chain(network).daily_quota if synced else None)
            reports.append(network_report(wallets, nodes, synced=synced, size=size, daily_quota=quota))
    late = None if max_overdue is None else [each["network"] for each in reports if is_late(each, max_overdue)]
    return {"redis": redis, "max_overdue": max_overdue, "late": late, "networks": reports}


def is_late(report: Report, max_overdue: float) -> bool:
    """Whether a network's wallets wait for longer than that. Pure. What nobody can tell is late, and never in time."""
    # Of lost wallets alone no time is known, and nobody waits for them: one may kill whoever reads it.
    lost = report["overdue_seconds"] is None and report["overdue"] <= report["lost"]
    waiting = [report["overdue_seconds"]] if report["overdue"] and not lost else []
    waiting += [report["unread_seconds"]] if report["unread_seconds"] is not None else []
    waiting += [_owed_seconds(report) or 0.0]
    return any(seconds is None or seconds > max_overdue for seconds in waiting)


def _owed_seconds(report: Report) -> float | None:
    """For how long a wallet has been owed a read that nobody makes, since a block touched it, where blocks count."""
    feed: Report = report["feed"]
    return feed["oldest_touch_seconds"] if feed["followed"] else None


def late_lines(seen: Report) -> Iterator[str]:
    """What a person is told of each network that is late."""
    late = seen["late"] or ()
    for report in (each for each in seen["networks"] if each["network"] in late):
        waits = [in_words(report["overdue_seconds"])] if report["overdue_seconds"] is not None else []
        told = [f"a wallet has been overdue for {each}" for each in waits]
        if (unread := report["unread_seconds"]) is not None:
            told.append(f"no wallet has a balance yet, though the first was there {in_words(unread)} ago")
        if (owed := _owed_seconds(report) or 0.0) > seen["max_overdue"]:
            told.append(f"a wallet that a block touched has been owed a read for {in_words(owed)}")
        why = " and ".join(told) or "for how long is not known"
        yield f"{report['network']} is late: {why}; at most {in_words(seen['max_overdue'])} is meant."


def _nodes(network: NetworkName, settings: WorkerSettings, *, redis: bool) -> tuple[list[NodeState] | None, int]:
    """What the workers know of a network's nodes, and how many wallets a request covers."""
    chain = settings.chain(network)
    nodes = node_states(chain, shared_of(network, settings)) if redis else None
    return nodes, per_request(chain, nodes)


def network_report(
    found: NetworkFreshness,
    nodes: Sequence[NodeState] | None,
    *,
    synced: bool = True,
    size: int | None = None,
    daily_quota: int | None = None,
    now: float | None = None,
) -> Report:
    """One network's report, out of what the database and the workers know.

    `nodes` is None without Redis, `size` how many wallets a request covers, and None where nothing is read.
    """
    reads = reads_per_hour(found)
    requests = None if reads is None or size is None else reads / size
    spans = [node.requests for node in nodes or ()]
    out_since = found.condition.out_since
    return {
        "network": found.network,
        "synced": synced,
        **{name: getattr(found, name) for name in COUNTS},
        "failing": found.failed,
        "overdue_seconds": _seconds_since(found.overdue_since, found.counted_at),
        "unread_seconds": _seconds_since(found.unread_since, found.counted_at),
        "share_fresh": found.fresh / found.wallets if found.wallets else None,
        "ages_estimated": found.ages_estimated,
        "age_seconds": dict(zip(AGES, found.ages or (None,) * len(AGES), strict=True)),
        "out_since": out_since and out_since.astimezone(UTC).isoformat(),
        "out_reason": found.condition.reason,
        "lost": found.lost,
        "doubted": found.doubted,
        "reads_per_hour": reads,
        "policy": policy_report(found.feed),
        "feed": feed_report(found.feed),
        "daily_quota": daily_quota,
        "requests": requests_made(spans, time() if now is None else now, requests, daily_quota),
        "endpoints": None if nodes is None else [node.as_json() for node in nodes],
    }


def _seconds_since(moment: datetime | None, now: datetime | None) -> float | None:
    return None if moment is None or now is None else (now - moment).total_seconds()


def reads_per_hour(found: NetworkFreshness) -> float | None:
    """What the cadence of all wallets comes to, as if it were that of those which wait for their next read. Pure."""
    if not found.waiting:
        return None
    return found.reads_per_hour / found.waiting * (found.wallets - found.hopeless)


def requests_made(
    nodes: Sequence[Mapping[float, int]], now: float, by_cadence: float | None, daily_quota: int | None
) -> Report | None:
    """Requests an hour, as the module's docstring says, out of each node's counts by the starts of spans. Pure."""
    spans: Counter[float] = Counter()
    for each in nodes:
        spans.update(each)
    if not spans and by_cadence is None:
        return None
    since = min(spans, default=None)
    # Nothing is extrapolated from less than one span.
    per_hour = (by_cadence or 0.0) if since is None else spans.total() * 3600 / max(now - since, SPAN_SECONDS)
    return {
        "basis": "cadence" if since is None else "counted",
        "counted": spans.total(),
        "since": since,
        "per_hour": per_hour,
        "per_day": per_hour * 24,
        "share_of_quota": per_hour * 24 / daily_quota if daily_quota else None,
    }


def lines(report: Report) -> Iterator[str]:
    """What a person reads of one network; its first line is a heading."""
    yield _heading(report)
    yield from _lines_of_trouble(report)
    if report["read"]:
        yield f"  age        {', '.join(_ages(report))}"
    if report["wallets"]:
        longest = "" if report["overdue_seconds"] is None else f" for up to {in_words(report['overdue_seconds'])}"
        overdue = f"{report['overdue']:,} overdue{longest}"
        yield f"  now        {report['due']:,} due, {overdue}, {report['claimed']:,} being read"
    if report["failing"]:
        most_first = sorted(report["errors"].items(), key=lambda item: (-item[1], item[0]))
        yield f"  failing    {report['failing']:,}: " + ", ".join(f"{code} {count:,}" for code, count in most_first)
    yield from feed_lines(report["policy"], report["feed"])
    yield from _lines_of_cost(report)
    for node in report["endpoints"] or ():
        yield f"  endpoint   {node['name']}: {', '.join(_of_node(node))}"


def _ages(report: Report) -> Iterator[str]:
    """An estimate is said to be one; that of the oldest is none."""
    for name, age in report["age_seconds"].items():
        about = "about " if report["ages_estimated"] and name != "oldest" else ""
        yield f"{name} {about}{in_words(age)}" if age is not None else f"{name} not known"


def _lines_of_trouble(report: Report) -> Iterator[str]:
    if report["out_since"]:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(report["out_since"])).total_seconds()
        yield f"  out        for {in_words(max(seconds, 0))}: no endpoint answers ({report['out_reason']})"
    if lost := report["lost"]:
        yield f"  lost       {counted(lost, 'wallet')} whose worker never came back: tried apart from others"
    if doubted := report["doubted"]:
        yield f"  doubted    {counted(doubted, 'wallet')}: so many changed at once, by one endpoint's word"


def _lines_of_cost(report: Report) -> Iterator[str]:
    if (reads := report["reads_per_hour"]) is not None:
        yield f"  cadence    {reads:,.0f} reads of wallets an hour"
    if made := report["requests"]:
        how = (
            f"counted since {in_words(time() - made['since'])} ago" if made["since"] else "by the cadence, at the least"
        )
        share = "" if made["share_of_quota"] is None else f", {made['share_of_quota']:.1%} of the quota"
        yield f"  requests   {made['per_hour']:,.0f} an hour ({how}), {made['per_day']:,.0f} a day{share}"


def _heading(report: Report) -> str:
    wallets, network = report["wallets"], report["network"]
    parts = [counted(wallets, "wallet")]
    if wallets:
        # Cut off, not rounded: 100% is said of all of them, and of nothing less.
        parts.append(f"{1000 * report['fresh'] // wallets / 10:g}% fresh")
    if never := wallets - report["read"]:
        parts.append(f"{never:,} never read")
    if not report["synced"]:
        parts.append(f"not synced: {prefix(network)}RPC_URLS is not set")
    return f"{network}: {', '.join(parts)}"


def _of_node(node: Report) -> Iterator[str]:
    yield f"resting for {in_words(node['resting_seconds'])}" if node["resting_seconds"] else "ready"
    if strikes := node["failures_in_a_row"]:
        yield f"{node['resting_reason']}, {strikes} in a row"
    why = f" ({printable(node['way_reason'])})" if node["way_reason"] else ""
    yield f"by {node['way']}{why}" if node["way"] else "not read yet"
    yield f"{counted(node['wallets_per_request'], 'wallet')} a request"
    if node["keys"]:
        yield counted(node["keys"], "key") + (
            f", {node['keys_resting']} of them resting" if node["keys_resting"] else ""
        )
    yield f"{counted(node['requests'], 'request')} in the past hour"
