"""Reading chains. ``reader_for(network)`` gives the reader that the settings describe."""

from collections.abc import Sequence
from functools import cache
from typing import Protocol

from config.settings import Network, WorkerSettings, worker_settings
from worker.chains.addresses import account_bytes
from worker.chains.endpoints import Endpoint, EndpointReader
from worker.chains.snapshot import MAX_WALLETS_BY_RETURN, Snapshot
from worker.errors import NotConfigured

# java-tron stops a constant call by the clock (80 ms on mainnet). 500 wallets took 26 ms of it, and 1,200 were too
# many.
MAX_WALLETS_ON_TRON = 500


class ChainReader(Protocol):
    """Reads the balances of many accounts of one network at one block."""

    @property
    def finality(self) -> str:
        """How settled the block is that it reads: latest, safe, finalized or solid."""

    @property
    def max_wallets(self) -> int:
        """How many accounts one read covers at most."""

    def read(self, accounts: Sequence[bytes], now: float) -> tuple[Snapshot, str]:
        """Balances in the order of `accounts`, and the endpoint's name. I/O. Raises ReadFailed."""


def max_wallets(network: Network) -> int:
    """How many wallets one read covers."""
    return MAX_WALLETS_BY_RETURN if network == "ethereum" else MAX_WALLETS_ON_TRON


@cache
def reader_for(network: Network) -> ChainReader:
    """The process's reader of a network. Raises NotConfigured when the network has no endpoint."""
    settings = worker_settings()
    if network not in settings.networks:
        raise NotConfigured(f"{network.upper()}_RPC_URLS is not set")
    endpoints, contract, chain_id, finality = (
        (
            ethereum_endpoints(settings),
            settings.ethereum_usdt_contract,
            settings.ethereum_chain_id,
            settings.ethereum_finality,
        )
        if network == "ethereum"
        else (tron_endpoints(settings), settings.tron_usdt_contract, settings.tron_chain_id, settings.tron_finality)
    )
    return EndpointReader(
        network=network,
        chain_id=chain_id,
        token=account_bytes(network, contract),
        finality=finality,
        max_wallets=max_wallets(network),
        endpoints=endpoints,
    )


def ethereum_endpoints(settings: WorkerSettings) -> list[Endpoint]:
    # web3 takes a second to load, and a worker that reads Tron alone never needs it.
    from worker.chains.ethereum import EthereumNode

    return [
        EthereumNode(url.get_secret_value(), settings.ethereum_finality, settings.read_timeout)
        for url in settings.ethereum_rpc_urls
    ]


def tron_endpoints(settings: WorkerSettings) -> list[Endpoint]:
    from worker.chains.tron import TronNode

    return [
        TronNode(
            url.get_secret_value(),
            settings.tron_finality,
            settings.read_timeout,
            keys=[key.get_secret_value() for key in settings.tron_api_keys],
            key_hosts=settings.tron_api_key_hosts,
        )
        for url in settings.tron_rpc_urls
    ]
