"""What a network is, and what holds for every network of a family.

A family is what code knows of a network: how its nodes are spoken to, and how its addresses are written. Everything
else about a network is data (``config.networks``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, TypeAlias

from config.addresses import Family

NetworkName: TypeAlias = str
"""A network by the name that ``wallets.network`` has, in small letters."""

FINALITIES: Mapping[Family, tuple[str, ...]] = {"evm": ("latest", "safe", "finalized"), "tron": ("latest", "solid")}
"""The finalities that nodes of a family can be asked for; a network may lack some."""

Strategy: TypeAlias = Literal["revert", "return", "multicall3", "single"]
"""How a node can be read (``worker.reading.strategies``)."""

BlockNumberSource: TypeAlias = Literal["opcode", "arbsys"]
"""Where a contract finds the number of its block."""

CANONICAL_MULTICALL3 = "0xcA11bde05977b3631167028862bE2a173976CA11"
"""Multicall3 on nearly every EVM network. Two sources: viem, mds1/multicall3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network. Times and ages are in seconds, sizes of code in bytes.

    name                   lower case, as ``wallets.network`` and ``NETWORKS_FILE`` have it
    family                 how its nodes are spoken to, and how its addresses are written
    chain_id               what each reply must prove
    usdt_contract          the token; None: there is no clear one, and the operator has to name it
    usdt_decimals          its decimals; None only where there is no contract
    native_symbol          the native coin's name, for people
    native_decimals        the native coin's decimals
    finality               the finalities that can be read at, each with the most seconds that a node's newest block of
                           it may be old, unless the environment says otherwise; 0: any age
    default_finality       the one that is read at unless the environment says otherwise
    block_seconds          usual seconds from a block to the next, for people and for sizes; nothing is refused by it
    fastest_block_seconds  the network never makes blocks faster than this for long: a block whose number is too large
                           for its time is none
    first_block            (number, unix time) of the block from which fastest_block_seconds counts; None: from 0, 0
    lag_seconds            nodes behind one address may be apart by so much
    block_number           where a contract finds the number of its block: the opcode NUMBER, or the precompile ArbSys
                           where the opcode gives the number of a parent chain's
    code_bytes             the most bytes of a contract's code (EIP-170), which bounds a read by RETURN
    init_code_bytes        the most bytes of init code (EIP-3860), which bounds a read by REVERT
    most_wallets           how many wallets a request begins with at most, by each strategy; what is learnt of a node
                           lowers it
    strategies             how it can be read, the best first
    multicall3             the contract for the strategy of that name; None: there is none
    other_tokens           further live tokens that people call USDT, each with its decimals: wallets may hold them, and
                           they are not read
    warning                what an operator has to know before using the network; empty: nothing
    testnet                its coins are worth nothing
    """

    name: NetworkName
    family: Family
    chain_id: int
    usdt_contract: str | None
    usdt_decimals: int | None
    native_symbol: str
    native_decimals: int
    finality: Mapping[str, float]
    default_finality: str
    block_seconds: float
    fastest_block_seconds: float
    first_block: tuple[int, int] | None = None
    lag_seconds: float
    block_number: BlockNumberSource = "opcode"
    code_bytes: int = 24_576
    init_code_bytes: int = 49_152
    most_wallets: Mapping[Strategy, int]
    strategies: tuple[Strategy, ...]
    multicall3: str | None
    other_tokens: Mapping[str, int] = field(default_factory=dict)
    warning: str = ""
    testnet: bool = False


EVM = Network(
    name="",
    family="evm",
    chain_id=0,
    usdt_contract=None,
    usdt_decimals=None,
    native_symbol="",
    native_decimals=18,  # two sources, for every EVM network below
    finality={"latest": 120},  # estimate: every EVM network has this one, and others differ
    default_finality="latest",
    block_seconds=1,  # estimate
    # No network makes blocks faster for long. Several have become faster without a release of their nodes (one from 3
    # to 0.45 s, another from 2 to 0.2 s): a floor at today's pace would refuse every true block after such a change.
    fastest_block_seconds=0.1,
    lag_seconds=60,  # estimate
    # By REVERT and RETURN: what fits into the bounds of EIP-3860 and EIP-170, where it was tried. By Multicall3: 5 M
    # gas, 700 kB.
    most_wallets={"revert": 2447, "return": 764, "multicall3": 500, "single": 20},
    strategies=("revert", "return", "multicall3", "single"),
    multicall3=CANONICAL_MULTICALL3,
)

TRON = Network(
    name="",
    family="tron",
    chain_id=0,
    usdt_contract=None,
    usdt_decimals=None,
    native_symbol="TRX",
    native_decimals=6,  # two sources
    # Solid is 19 blocks behind, about 57 s: two sources. The ages are estimates.
    finality={"latest": 60, "solid": 180},
    default_finality="solid",
    block_seconds=3,  # two sources
    fastest_block_seconds=0.1,  # of a network of this family whose pace is not known
    lag_seconds=60,  # estimate
    # By the clock: java-tron stops a constant call after 80 ms on mainnet. 500 wallets took 26 ms, 1,200 were too many.
    most_wallets={"return": 500, "multicall3": 100, "single": 20},
    strategies=("return", "multicall3", "single"),
    multicall3=None,  # each Tron network has its own, or none
)

FAMILIES: Mapping[Family, Network] = MappingProxyType({"evm": EVM, "tron": TRON})
"""What holds for a network of a family as long as nothing else is said of it. Names, ids and tokens are its own."""


def on_another_chain(network: Network, chain_id: int) -> Network:
    """The same network with another chain's id, as a copy of it or a test chain has.

    How fast that one makes blocks, and since when, is not known: it is taken to be as fast as any of its family may be.
    """
    pace = FAMILIES[network.family].fastest_block_seconds
    return replace(network, chain_id=chain_id, first_block=None, fastest_block_seconds=pace)
