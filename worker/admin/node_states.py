"""How a network's nodes are, as the workers know it: for a person to look at. Asks no node, and loads no web3."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from config.families import Strategy
from config.network_settings import Chain
from config.values import named_url
from worker.errors import Unauthorized
from worker.nodes.urls import digest, node_names, takes_keys
from worker.reading.backoff import Rest
from worker.reading.batch_size import learnt_size, most_wallets
from worker.reading.facts import ChainFacts, facts_of
from worker.reading.shared import Shared


class NamedNode(NamedTuple):
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
    keys_refused: int = 0
    """Keys that rest since the node does not know them: a person has to mend that."""
    left_alone: Rest = field(default_factory=Rest)
    """Until when nobody asks it, and why: for its own failures or, where all its keys rest, for the first one's."""

    @property
    def rests(self) -> bool:
        return self.resting_seconds > 0 or 0 < self.keys == self.keys_resting

    def as_json(self) -> dict[str, Any]:
        """With the keys that scripts know: a strategy was called a way once."""
        names = {"strategy": "way", "strategy_reason": "way_reason"}
        own = {name: value for name, value in asdict(self).items() if name not in {"keys_refused", "left_alone"}}
        told = {names.get(name, name): value for name, value in own.items()}
        return told | {"requests": sum(self.requests.values())}


def named_nodes(chain: Chain) -> list[NamedNode]:
    """A network's nodes, best first."""
    urls = [url.get_secret_value() for url in chain.urls]
    keys = tuple(digest(key.get_secret_value()) for key in chain.api_keys)
    return [
        NamedNode(digest(named_url(url)[1]), name, keys if takes_keys(url, chain.api_key_hosts) else ())
        for url, name in zip(urls, node_names(urls), strict=True)
    ]


def node_states(chain: Chain, shared: Shared) -> list[NodeState]:
    """The state of each node, best first. Two commands to Redis; without it, nothing is known of any."""
    named, facts = named_nodes(chain), facts_of(chain)
    names = [f"{what}:{node.id}" for node in named for what in ("rest", "way", "size")]
    entries = shared.get([*names, *(f"key:{key}" for node in named for key in node.keys)])
    counts = shared.requests.of_the_past_hour([node.id for node in named])
    states = []
    for node in named:
        strategy, reason, *_ = entries.get(f"way:{node.id}") or (None, "")
        most = _most(facts, chain, strategy)
        rest = Rest.from_entry(entries.get(f"rest:{node.id}"))
        of_keys = [Rest.from_entry(entries.get(f"key:{key}")) for key in node.keys]
        resting = [each for each in of_keys if each.until > shared.clock()]
        states.append(
            NodeState(
                name=node.name,
                strategy=strategy,
                strategy_reason=reason,
                wallets_per_request=learnt_size(node.id, strategy, entries, most),
                resting_seconds=max(rest.until - shared.clock(), 0.0),
                resting_reason=rest.code,
                failures_in_a_row=rest.strikes,
                keys=len(of_keys),
                keys_resting=len(resting),
                requests=counts[node.id],
                keys_refused=sum(each.code == Unauthorized.code for each in resting),
                left_alone=left_alone(rest, of_keys, shared.clock()),
            )
        )
    return states


def left_alone(own: Rest, keys: Sequence[Rest], now: float) -> Rest:
    """Until when nobody asks a node: by its own rest, or by that of the first key to be back. Pure."""
    if own.until > now or not keys:
        return own
    first = min(keys, key=lambda each: each.until)
    return first if first.until > now else own


def _most(facts: ChainFacts, chain: Chain, strategy: Any = None) -> int:
    """How many wallets a request takes at the most, by a strategy or by the best one."""
    used: Strategy = strategy if strategy in facts.most_wallets else facts.best_strategy
    return most_wallets(used, facts.most_wallets[used], chain.per_second)


def per_request(chain: Chain, states: Sequence[NodeState] | None) -> int:
    """How many wallets a request covers just now: of the node that is asked next; of any, where none is known of."""
    awake = (state.wallets_per_request for state in states or () if not state.rests)
    return next(awake, _most(facts_of(chain), chain))
