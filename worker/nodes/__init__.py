"""The nodes of a chain. Each family has a module of its own: transport, words of errors, blocks."""

from typing import TYPE_CHECKING

from config.network_settings import Chain
from config.values import named_url
from worker.nodes.urls import node_names

if TYPE_CHECKING:
    from worker.reading.strategies import Node


def nodes_of(chain: Chain, time_limit: float) -> "list[Node]":
    """The nodes that the settings name for a chain, best first. A request ends within `time_limit` seconds."""
    urls = [url.get_secret_value() for url in chain.urls]
    named = [(named_url(url)[1], name) for url, name in zip(urls, node_names(urls), strict=True)]
    # web3 takes a second to load, and a worker that reads no EVM chain never needs it.
    if chain.network.family == "evm":
        from worker.nodes.evm import EvmNode

        return [EvmNode(url, chain.finality, time_limit, name=name) for url, name in named]
    from worker.nodes.tron import TronNode

    keys = [key.get_secret_value() for key in chain.api_keys]
    hosts = chain.api_key_hosts
    return [TronNode(url, chain.finality, time_limit, name=name, keys=keys, key_hosts=hosts) for url, name in named]
