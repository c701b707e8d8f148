"""How a network's nodes are, as the workers know it: for a person to look at. Asks no node, and loads no web3."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from config.network_settings import Chain
from config.values import named_url
from worker.nodes.urls import digest, node_names, takes_keys
from worker.reading.backoff import Rest
from worker.reading.batch_size import most_wallets
from worker.reading.shared import Shared
from worker.reading.strategies import Strategy


class Named(NamedTuple):
    """A node by the names under which the workers keep what they know of it. None is a secret."""

    id: str
    name: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node. `strategy` is None as long as none has worked yet; `requests` are those of the past hour, by spans."""

    name: str
    strategy: Strategy | None
    strategy_reason: str
    """Why not the best one, in the node's own words."""
    wallets_per_request: int
    resting_seconds: float
    resting_reason: str
    failures_in_a_row: int
    keys: int
    keys_resting: int
    requests: Mapping[float, int]

    def as_json(self) -> dict[str, Any]:
        """With the keys that scripts know: a strategy was called a way once."""
        names = {"strategy": "way", "strategy_reason": "way_reason"}
        told = {names.get(name, name): value for name, value in asdict(self).items()}
        return told | {"requests": sum(self.requests.values())}


def named_nodes(chain: Chain) -> list[Named]:
    """A network's nodes, best first."""
    urls = [url.get_secret_value() for url in chain.urls]
    keys = tuple(digest(key.get_secret_value()) for key in chain.api_keys)
    return [
        Named(digest(named_url(url)[1]), name, keys if takes_keys(url, chain.api_key_hosts) else ())
        for url, name in zip(urls, node_names(urls), strict=True)
    ]


def node_states(chain: Chain, shared: Shared) -> list[NodeState]:
    """The state of each node, best first. Two commands to Redis; without it, nothing is known of any."""
    named = named_nodes(chain)
    names = [f"{what}:{node.id}" for node in named for what in ("rest", "way", "size")]
    entries = shared.get([*names, *(f"key:{key}" for node in named for key in node.keys)])
    counts = shared.requests.of_the_past_hour([node.id for node in named])
    return [_state(chain, node, entries, counts[node.id], shared.clock()) for node in named]


def _state(
    chain: Chain, node: Named, entries: Mapping[str, Any], requests: Mapping[float, int], now: float
) -> NodeState:
    strategy, reason, *_ = entries.get(f"way:{node.id}") or (None, "")
    rest = Rest.from_entry(entries.get(f"rest:{node.id}"))
    keys = [Rest.from_entry(entries.get(f"key:{key}")) for key in node.keys]
    most = _most(chain, strategy)
    return NodeState(
        name=node.name,
        strategy=strategy,
        strategy_reason=reason,
        wallets_per_request=min(entries.get(f"size:{node.id}") or most, most),
        resting_seconds=max(rest.until - now, 0.0),
        resting_reason=rest.code,
        failures_in_a_row=rest.strikes,
        keys=len(keys),
        keys_resting=sum(key.until > now for key in keys),
        requests=requests,
    )


def _most(chain: Chain, strategy: Any = None) -> int:
    """How many wallets a request takes at the most, by a strategy or by the best one."""
    known = chain.network
    used: Any = strategy if strategy in known.strategies else known.strategies[0]
    return most_wallets(used, known.most_wallets[used], chain.per_second)


def per_request(chain: Chain, states: Sequence[NodeState] | None) -> int:
    """How many wallets a request covers just now: of the node that is asked next; of any, where none is known of."""
    awake = (
        state
        for state in states or ()
        if not state.resting_seconds and (not state.keys or state.keys_resting < state.keys)
    )
    return next((state.wallets_per_request for state in awake), _most(chain))
