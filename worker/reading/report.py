"""How a network's endpoints are, as the workers know it: for a person to look at. Asks no node, and loads no web3."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from config.networks import PRESETS, NetworkName
from config.settings import WorkerSettings, worker_settings
from config.values import named_url
from worker.nodes.urls import digest, node_names, takes_keys
from worker.reading.backoff import Rest
from worker.reading.batch_size import most_wallets
from worker.reading.facts import Strategy, most_wallets_of
from worker.reading.shared import Shared


class Named(NamedTuple):
    """An endpoint by the names under which the workers keep what they know of it. None is a secret."""

    id: str
    name: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EndpointState:
    """One endpoint. `way` is None as long as none has worked yet; `requests` are those of the past hour, by spans."""

    name: str
    strategy: Strategy | None
    strategy_reason: str
    """Why not the best way, in the endpoint's own words."""
    wallets_per_request: int
    resting_seconds: float
    resting_reason: str
    failures_in_a_row: int
    keys: int
    keys_resting: int
    requests: Mapping[float, int]


def endpoints(network: NetworkName, settings: WorkerSettings) -> list[Named]:
    """A network's endpoints, best first."""
    chain = settings.chain(network)
    urls = [url.get_secret_value() for url in chain.urls]
    keys = tuple(digest(key.get_secret_value()) for key in chain.api_keys)
    return [
        Named(digest(named_url(url)[1]), name, keys if takes_keys(url, chain.api_key_hosts) else ())
        for url, name in zip(urls, node_names(urls), strict=True)
    ]


def endpoint_states(network: NetworkName, settings: WorkerSettings, shared: Shared) -> list[EndpointState]:
    """The state of each endpoint, best first. Two commands to Redis; without it, nothing is known of any."""
    named = endpoints(network, settings)
    names = [f"{what}:{node.id}" for node in named for what in ("rest", "way", "size")]
    entries = shared.get([*names, *(f"key:{key}" for node in named for key in node.keys)]) if named else {}
    counts = shared.requests.of_the_past_hour([node.id for node in named])
    per_second, now = settings.chain(network).per_second, shared.clock()
    strategies = most_wallets_of(settings.chain(network).network)
    return [_state(strategies, node, entries, counts[node.id], now, per_second) for node in named]


def _state(  # noqa: PLR0917
    strategies: Mapping[Strategy, int],
    node: Named,
    entries: Mapping[str, Any],
    requests: Mapping[float, int],
    now: float,
    per_second: float,
) -> EndpointState:
    strategy, reason, *_ = entries.get(f"way:{node.id}") or (None, "")
    rest = Rest.from_entry(entries.get(f"rest:{node.id}"))
    keys = [Rest.from_entry(entries.get(f"key:{key}")) for key in node.keys]
    return EndpointState(
        name=node.name,
        strategy=strategy,
        strategy_reason=reason,
        wallets_per_request=_size(strategies, strategy, entries.get(f"size:{node.id}"), per_second),
        resting_seconds=max(rest.until - now, 0.0),
        resting_reason=rest.code,
        failures_in_a_row=rest.strikes,
        keys=len(keys),
        keys_resting=sum(key.until > now for key in keys),
        requests=requests,
    )


def _size(strategies: Mapping[Strategy, int], strategy: Strategy | None, learnt: int | None, per_second: float) -> int:
    used = strategy if strategy and strategy in strategies else next(iter(strategies))
    most = most_wallets(used, strategies[used], per_second)
    return min(learnt or most, most)


def per_request(network: NetworkName, states: Sequence[EndpointState]) -> int:
    """How many wallets a request covers just now: of the endpoint that is asked next."""
    awake = (
        state for state in states if not state.resting_seconds and (not state.keys or state.keys_resting < state.keys)
    )
    found = next(awake, states[0] if states else None)
    if found:
        return found.wallets_per_request
    known = PRESETS if network in PRESETS else worker_settings().known_networks
    return next(iter(most_wallets_of(known[network]).values()))
