"""``celery -A worker plan``: what so many wallets will cost, before there is one. Asks no node and no database.

A plan is the object that ``--json`` prints, with the keys of docs/operations.md; `lines` tells a person the same.
"""

from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

from config.families import Strategy
from config.network_settings import NodeSettings, prefix
from config.networks import NetworkName
from config.settings import WorkerSettings
from worker.admin.provider_plans import plans_of
from worker.feed.policy import PolicyFacts, choose, requests_a_day, sweep_a_day
from worker.feed.policy_words import told
from worker.reading.facts import most_wallets_of
from worker.reading.strategies import requests_of
from worker.schedule.cadence import CLAIM_AHEAD, Policy
from worker.schedule.sizing import Sizing, sizing
from worker.wording import counted, in_words

Plan = dict[str, Any]

TIGHT = 0.8
"""The share of a quota above which it is too small: refreshes, second reads and failures come on top."""
MANY = 1_000_000
"""Wallets from which on Postgres wants settings of its own."""


def plan(settings: WorkerSettings, wallets: Mapping[NetworkName, int], *, touches: int) -> Plan:
    """What the wallets of each network come to. `touches`: how often in a day each of them changes or is looked at."""
    policy = Policy(settings.sync_interval_active, settings.sync_interval_idle)
    ahead = settings.sync_interval_active * CLAIM_AHEAD
    networks = [
        _network(settings.network_settings[network], number, policy, touches=touches, ahead=ahead)
        | _kept_fresh(settings, network, number, policy, touches=touches, ahead=ahead)
        for network, number in wallets.items()
    ]
    return {
        "touches_a_day": touches,
        "wallets": sum(each["wallets"] for each in networks),
        "processes": sum(each["processes"] for each in networks),
        "disk_bytes": sum(each["disk_bytes"] for each in networks),
        "networks": networks,
    }


def _network(own: NodeSettings, wallets: int, policy: Policy, *, touches: int, ahead: float) -> Plan:
    strategies = most_wallets_of(own.network)
    budget = own.rps * max(len(own.rpc_urls), 1)

    def by(size: int) -> Sizing:
        return sizing(wallets, size, policy, touches=touches, ahead=ahead, budget=budget)

    best = by(next(iter(strategies.values())))
    return {
        "network": own.network.name,
        "wallets": wallets,
        "reads_per_hour": best.reads_a_second * 3600,
        "requests_per_hour": best.a_second * 3600,
        "requests_per_day": best.a_day,
        "daily_quota": own.daily_quota,
        "share_of_quota": best.a_day / own.daily_quota if own.daily_quota else None,
        "strategies": {
            name: {"wallets_per_request": size, "requests_per_day": _a_day(name, by(size))}
            for name, size in strategies.items()
        },
        "requests_per_second": best.a_second,
        "requests_per_second_needed": best.a_second_needed,
        "budget": budget or None,
        "first_pass_seconds": best.first_pass_seconds,
        "plans": [
            {
                "name": each.name,
                "requests_per_day": each.a_day,
                "requests_per_second": each.a_second,
                "share": best.a_day / each.a_day if each.a_day else None,
                "enough": _enough(best, each.a_day, each.a_second),
                "source": each.source,
            }
            for each in plans_of(own.network.family)
        ],
        "processes": best.processes,
        "worker_cores": best.worker_cores,
        "postgres_cores": best.postgres_cores,
        "disk_bytes": best.disk_bytes,
        "wal_bytes_per_day": list(best.wal_bytes_a_day),
    }


def _kept_fresh(
    settings: WorkerSettings, network: NetworkName, wallets: int, cadence: Policy, *, touches: int, ahead: float
) -> Plan:
    """Which way the network will be kept fresh, as far as that follows from settings alone: by a feed that sees what
    usual nodes show, and is never behind.
    """
    own = settings.network_settings[network]
    strategy, size = next(iter(most_wallets_of(own.network).items()))
    requests = requests_of(strategy, size)
    chosen = choose(
        PolicyFacts(
            wallets=wallets,
            per_batch=size,
            batch_requests=requests,
            block_seconds=own.network.block_seconds,
            cadence_a_day=requests_a_day(wallets, size, cadence, ahead=ahead, touches=touches, batch_requests=requests),
            sweep_a_day=sweep_a_day(wallets, size, settings.sync_interval_sweep, batch_requests=requests),
            per_second=own.rps * max(len(own.rpc_urls), 1),
            daily_quota=own.daily_quota,
            enabled=settings.feed,
            sees_native=own.network.family == "tron",  # as a rule its nodes tell what contracts pay
        )
    )
    words = told(chosen.way, chosen.reason, read_every=chosen.read_every, stretch=chosen.stretch)
    return {
        "policy": {
            "way": chosen.way,
            "reason": chosen.reason,
            "sentences": list(words),
            "read_every_seconds": chosen.read_every or None,
            "stretch": chosen.stretch,
            "requests_per_day": chosen.a_day,
            "share_of_quota": chosen.a_day / own.daily_quota if own.daily_quota else None,
        }
    }


def _a_day(strategy: Strategy, sized: Sizing) -> float:
    """Requests a day by a strategy: singly, a batch takes some of its own, and two for each wallet."""
    in_one = sized.reads_a_second / sized.a_second
    return sized.a_day * (2 + 2 * in_one if strategy == "single" else 1)


def _enough(best: Sizing, a_day: int | None, a_second: float | None) -> bool | None:
    """Whether a plan does. None: what it allows is not known, and what is known would do."""
    if a_second is not None and best.a_second_needed > a_second:
        return False
    return None if a_day is None else best.a_day <= TIGHT * a_day


def lines(network: Plan) -> Iterator[str]:
    """What a person reads of one network; its first line is a heading."""
    yield f"{network['network']}: {counted(network['wallets'], 'wallet')}"
    yield f"  reads      {network['reads_per_hour']:,.0f} of wallets an hour"
    quota = "" if network["share_of_quota"] is None else f", {network['share_of_quota']:.1%} of the quota"
    hour, day = network["requests_per_hour"], network["requests_per_day"]
    yield f"  requests   by the cadence about {hour:,.0f} an hour, {day:,.0f} a day{quota}"
    kept = network["policy"]
    if kept["reason"] != "off":
        quota = "" if kept["share_of_quota"] is None else f", {kept['share_of_quota']:.1%} of the quota"
        yield f"  policy     {' '.join(kept['sentences'])}"
        yield f"             {kept['requests_per_day']:,.0f} requests a day at the most{quota}"
    for name, each in network["strategies"].items():
        size = f"{counted(each['wallets_per_request'], 'wallet')} a request"
        yield f"  by {name:<10}  {each['requests_per_day']:,.0f} a day" + (f", {size}" if name != "single" else "")
    for each in network["plans"]:
        yield f"  plan       {each['name']}: {', '.join(_of_plan(each))}"
    processes, cores = network["processes"], network["postgres_cores"]
    yield f"  work       worker processes: about {processes}; Postgres: about {cores:.2f} cores"
    least, most = (each / 1e9 for each in network["wal_bytes_per_day"])
    yield f"  disk       {network['disk_bytes'] / 1e6:,.0f} MB, and {least:,.1f} to {most:,.1f} GB of WAL a day"
    for sentence in advice(network):
        yield f"  → {sentence}"


def _of_plan(each: Plan) -> Iterator[str]:
    yield {True: "enough", False: "not enough", None: "not known to be enough"}[each["enough"]]
    if each["share"] is not None:
        yield f"{each['share']:.0%} of its {each['requests_per_day']:,} a day"
    if each["requests_per_second"] is not None:
        yield f"{each['requests_per_second']:g} a second"


def advice(network: Plan) -> Iterator[str]:
    """What to set, in sentences. Pure."""
    own, needed, budget = prefix(network["network"]), network["requests_per_second_needed"], network["budget"]
    if budget is not None and needed > budget:
        yield f"{own}RPS: {ceil(needed)} a second in all are needed, {budget:g} are set. Raise it, or add an endpoint."
    if (share := network["share_of_quota"]) is None:
        yield f"{own}DAILY_QUOTA: set what your plan allows in a day, and commands tell the share that is used."
    elif share > TIGHT:
        yield (
            f"{own}DAILY_QUOTA is too small: refreshes and second reads come on top. Add a key or an endpoint, or raise"
            " SYNC_INTERVAL_IDLE."
        )
    if (seconds := network["first_pass_seconds"]) is not None and seconds > MINUTE:
        yield f"The first pass takes {in_words(seconds)} at the least: {own}RPS bounds it."
    if network["wallets"] >= MANY:
        yield "Give Postgres the settings for more than a million wallets: docs/operations.md, Sizing."


MINUTE = 60.0  # seconds
