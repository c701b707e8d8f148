"""What is known of a chain before any of its nodes is asked: one frozen value, which each part of a read goes by. Pure.

In come the settings of a network (``config.network_settings.Chain``); out goes `ChainFacts`, in which everything is
worked out that follows from them: the token's bytes, the most wallets of a request, how long a block can be read at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from config.addresses import Family, account_bytes
from config.families import BlockNumberSource, Strategy
from config.network_settings import Chain
from config.networks import Network, NetworkName
from worker.reading.contract import (
    READERS,
    RETURN,
    REVERT,
    most_by_init_code,
    most_by_return,
)

HEAD_FINALITY = "latest"
"""The finality of a chain's head, in every family."""

FRESH_HEAD = 120.0  # seconds; how old a head may be that says that the chain goes on, where the network does not say

# A full node keeps the states of its last 128 blocks or so. What is read at a pinned block has to be done before that.
PIN_BLOCKS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainFacts:
    """What a reader goes by. Times and ages are in seconds.

    network                the network's name, for logs and for people
    family                 how its nodes are spoken to
    chain_id               what each reply must prove
    token                  the token's 20 bytes
    decimals               the decimals that the token must have; None: the node that is asked first tells them
    finality               how settled the block is that is read
    max_age                how old a block of that finality may be; 0: any age
    head_max_age           how old the newest block of all may be where a chain goes on
    lag_seconds            how far nodes behind one address may be apart
    first_block            (number, time) of the block from which the next one counts
    fastest_block_seconds  no chain of this kind makes blocks faster for long
    block_number           where a contract finds the number of its block
    multicall3             Multicall3's 20 bytes; empty: there is none
    most_wallets           how a node can be read, the best first, each with the most wallets that a request takes
    pin_seconds            for so long a block's state can be asked for, on a node that keeps few
    """

    network: NetworkName
    family: Family
    chain_id: int
    token: bytes
    decimals: int | None
    finality: str
    max_age: float = 0
    head_max_age: float = FRESH_HEAD
    lag_seconds: float = 60
    first_block: tuple[int, int] = (0, 0)
    fastest_block_seconds: float = 0.1
    block_number: BlockNumberSource = "opcode"
    multicall3: bytes = b""
    most_wallets: Mapping[Strategy, int]
    pin_seconds: float = inf

    @property
    def best_strategy(self) -> Strategy:
        return next(iter(self.most_wallets))


def facts_of(chain: Chain) -> ChainFacts:
    """The facts of a chain under these settings. Raises BadAddress where the token's address is none."""
    network = chain.network
    return ChainFacts(
        network=network.name,
        family=network.family,
        chain_id=chain.chain_id,
        token=account_bytes(network.family, chain.contract),
        decimals=chain.decimals,
        finality=chain.finality,
        max_age=chain.max_head_age,
        head_max_age=network.finality.get(HEAD_FINALITY) or FRESH_HEAD,
        lag_seconds=network.lag_seconds,
        first_block=network.first_block or (0, 0),
        fastest_block_seconds=network.fastest_block_seconds,
        block_number=network.block_number,
        multicall3=account_bytes(network.family, network.multicall3) if network.multicall3 else b"",
        most_wallets=most_wallets_of(network),
        pin_seconds=PIN_BLOCKS * network.block_seconds,
    )


def most_wallets_of(network: Network) -> dict[Strategy, int]:
    """How a network can be read, the best first, each with the most wallets that a request takes.

    On EVM networks the bytes of code and of init code are bounded; what a request begins with is bounded by the data as
    well, since gas is, and differs from network to network.
    """
    bounds = dict[Strategy, int]()
    if network.family == "evm":
        by_init_code = {
            hands_out: most_by_init_code(network.init_code_bytes, READERS[network.block_number, hands_out])
            for hands_out in (REVERT, RETURN)
        }
        bounds["revert"] = by_init_code[REVERT]
        bounds["return"] = min(by_init_code[RETURN], most_by_return(network.code_bytes))
    allowed = [each for each in network.strategies if each != "multicall3" or network.multicall3]
    return {each: min(network.most_wallets[each], bounds.get(each, network.most_wallets[each])) for each in allowed}
