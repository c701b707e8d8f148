"""Reading chains. ``reader_for(network)`` gives the reader that the settings describe."""

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, Protocol

from config.network_settings import prefix, source
from config.networks import NetworkName
from config.settings import WorkerSettings, worker_settings
from config.work_counts import BatchOutcome
from worker.errors import NotConfigured, ReadFailed
from worker.nodes import nodes_of
from worker.nodes.urls import digest
from worker.reading.facts import facts_of
from worker.reading.reader import NodeReader
from worker.reading.request import Part
from worker.reading.shared import Shared
from worker.reading.strategies import Node


class ChainReader(Protocol):
    """Reads the balances of many accounts of one network."""

    @property
    def finality(self) -> str:
        """How settled the block is that it reads: latest, safe, finalized or solid."""

    @property
    def decimals(self) -> int | None:
        """The token's decimals; None: neither the settings nor a node has said so yet."""

    def expect_decimals(self, decimals: int | None) -> None:
        """Believe no node from now on that says otherwise, where the settings do not say. None: nothing is known."""

    @property
    def max_wallets(self) -> int:
        """How many accounts one request covers just now."""

    @property
    def several(self) -> bool:
        """Whether it has more than one node."""

    def may_read(self, deadline: float, *, refresh: bool = False, wallets: int | None = None) -> ReadFailed | None:
        """Whether a node may be asked, and its budget has room before `deadline`: to be asked before any claim.

        None: yes, and slots in the budget are reserved for the next `read` of this process, for so many wallets, or a
        whole batch. If that does not come within a few seconds, they are lost; if none will come, `give_back` lets
        others have them. Otherwise why not, with `retry_after` in seconds: OverBudget when only our own budget is in
        the way, else what the nodes are being left alone for. I/O, to Redis; where all of them rest, now and then
        to one of them. Raises nothing.
        """

    def give_back(self) -> None:
        """Let others have what `may_read` reserved: no read will come. At most one command a node."""

    def count_batch(self, outcome: BatchOutcome, wallets: int, *, lost: bool) -> None:
        """Count what a batch came to. `lost`: a worker had claimed it before, and never came back. No I/O."""

    def count_denied(self, nodes: Collection[str]) -> None:
        """Count for each of these nodes, by its id, that another one, which is believed, had it otherwise. No I/O."""

    def read(
        self,
        accounts: Sequence[bytes],
        now: float,
        deadline: float,
        *,
        avoid: Collection[str] = (),
        refresh: bool = False,
    ) -> list[Part]:
        """The balances of `accounts`, in parts, each at one block or with a failure. I/O; raises nothing.

        A part whose failure is OverBudget was not asked of any node for want of budget: nothing is wrong.
        `refresh`: somebody waits for these wallets.
        """


_readers: dict[NetworkName, NodeReader] = {}


@cache
def reader_for(network: NetworkName) -> ChainReader:
    """The process's reader of a network. Raises NotConfigured where the network has no node."""
    made = _readers[network] = node_reader(network, worker_settings())
    return made


def node_reader_of(network: NetworkName) -> NodeReader:
    """What `reader_for` gives, for those who ask the same nodes other things. Raises NotConfigured."""
    reader_for(network)
    return _readers[network]


def send_counts(*, at_the_end: bool = False) -> None:
    """Send what this process has counted and not sent yet. At most one command a network, every few seconds; or at
    once, at the end of the process. Raises nothing.
    """
    for reader in _readers.values():
        counts = reader.shared.requests
        (counts.send if at_the_end else counts.send_if_due)()


def node_reader(network: NetworkName, settings: WorkerSettings) -> NodeReader:
    """A reader of a network. Raises NotConfigured where it has no node."""
    if network not in settings.networks:
        raise NotConfigured(f"{prefix(network)}RPC_URLS is not set")
    chain = settings.chain(network)
    return NodeReader(
        facts=facts_of(chain),
        nodes=nodes_for(network, settings),
        shared=shared_of(network, settings),
        request_limit=settings.request_limit,
        per_second=chain.per_second,
    )


def shared_of(network: NetworkName, settings: WorkerSettings, client: Any = None) -> Shared:
    """What the workers know of a network's nodes under these settings. `client` is of Redis, where there is one yet."""
    chain = settings.chain(network)
    # What was learnt under other settings is about other chains, tokens or blocks.
    of_source = source(chain)
    scope = f"{network}:{of_source.chain_id}:{digest(of_source.contract)}:{chain.finality}"
    return Shared(scope, settings.redis_url.get_secret_value(), _client=client)


def nodes_for(network: NetworkName, settings: WorkerSettings) -> list[Node]:
    """The nodes of a network, best first."""
    return nodes_of(settings.chain(network), settings.request_limit)
