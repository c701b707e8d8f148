"""The networks: what each one is, as data. Code knows families of networks and never a network's name.

The presets were gathered on 2026-11-25 from public sources: chain ids and contracts from aave-address-book, DefiLlama's
pegged assets, Uniswap's token list, the Superchain token list, viem and kaia-docs; Multicall3 from mds1/multicall3's
deployments; block times and finality from the networks' own documents and the source of their nodes. A comment says how
well a value is founded: *two sources* are independent of each other, *one source* is one of those, *estimate* is our
own, on the safe side. What no source says is left out. ``NETWORKS_FILE`` adds to these and changes them
(``config.networks_file``); ``config.network_settings`` joins a network with what the environment says of it.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from config.families import EVM, TRON, Network, NetworkName

__all__ = ["PRESETS", "Network", "NetworkName"]

_ETHEREUM = replace(
    EVM,
    name="ethereum",
    chain_id=1,  # two sources
    usdt_contract="0xdAC17F958D2ee523a2206206994597C13D831ec7",  # two sources; not a proxy
    usdt_decimals=6,  # two sources
    native_symbol="ETH",
    # Safe is minutes behind, finalized 13 to 19: two sources. The ages are estimates: slots are missed.
    finality={"latest": 120, "safe": 1800, "finalized": 2700},
    block_seconds=12,  # two sources
    fastest_block_seconds=12,  # a slot each since the Merge, the block below; about 1 in 100 is missed
    first_block=(15_537_394, 1_663_224_179),
    lag_seconds=240,  # estimate
    # Its next fork, Amsterdam, has no date here. It makes REVERT and RETURN run out of gas at the sizes of today: then
    # most_wallets has to be as Sepolia's, where it has come.
)

_TRON_MAINNET = replace(
    TRON,
    name="tron",
    chain_id=728_126_428,  # two sources
    usdt_contract="TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",  # two sources
    usdt_decimals=6,  # two sources
    fastest_block_seconds=3,  # from its first block on, the one below; 1 in 300 is missed
    first_block=(1, 1_529_891_469),
    multicall3="TEazPvZwDjDtFeJupyo7QunvnrnUjPH8ED",  # two sources
)

_BSC = replace(
    EVM,
    name="bsc",
    chain_id=56,  # two sources
    usdt_contract="0x55d398326f99059fF775485246999027B3197955",  # two sources; not a proxy
    usdt_decimals=18,  # two sources; counterfeits have 6
    native_symbol="BNB",
    # Finalized is 1 to 2 s behind: two sources. The ages are estimates.
    finality={"latest": 30, "finalized": 120},
    default_finality="finalized",
    block_seconds=0.45,  # two sources
    warning="the token is BSC-USD, pegged by Binance: it is not Tether's, and Tether does not redeem it",
)

_POLYGON = replace(
    EVM,
    name="polygon",
    chain_id=137,  # two sources
    usdt_contract="0xc2132D05D31c914a87C6611C10748AEb04B58e8F",  # two sources; a proxy, which became USDT0 in place
    usdt_decimals=6,  # two sources
    native_symbol="POL",
    # There is no safe block (source of its node, bor). Finalized is 2 to 8 s behind, two sources; it stood still for 10
    # to 15 minutes on 2025-09-10, one source. The ages are estimates.
    finality={"latest": 60, "finalized": 1200},
    default_finality="finalized",
    block_seconds=1.5,  # two sources
    fastest_block_seconds=0.5,  # estimate: it was 2, 1.75 and then 1.5, and may change without a fork
    first_block=(93_145_810, 1_788_423_748),  # one source: the block of a height that was published with its time
    code_bytes=32_768,  # two sources: PIP-30 and bor
)

_ARBITRUM = replace(
    EVM,
    name="arbitrum",
    chain_id=42_161,  # two sources
    usdt_contract="0xFd086bC7CD5C481DCC9C85ebE478A1C0b69FCbb9",  # two sources; a proxy, which became USDT0 in place
    usdt_decimals=6,  # two sources
    native_symbol="ETH",
    # Safe and finalized by the batch's block on Ethereum, 13 to 19 minutes: two sources. The ages are estimates.
    finality={"latest": 60, "safe": 2700, "finalized": 3600},
    block_seconds=0.25,  # two sources
    block_number="arbsys",  # two sources: NUMBER is Ethereum's, and the same for some 12 s
)

_AVALANCHE = replace(
    EVM,
    name="avalanche",
    chain_id=43_114,  # two sources
    usdt_contract="0x9702230A8Ea53601f5cD2dc00fDBc13d4dF4A8c7",  # two sources; Tether's own USDt, a proxy
    usdt_decimals=6,  # two sources
    native_symbol="AVAX",
    # Finalized is about 5 s behind: two sources. The ages are estimates.
    finality={"latest": 60, "finalized": 120},
    default_finality="finalized",
    block_seconds=2,  # one source; 1 to 2 s, by load
    other_tokens={"0xc7198437980c041c805A1EDcbA50c1Ce5db95118": 6},  # two sources: the bridged USDT.e
    warning="there are two live tokens: Tether's USDt is read, and the bridged USDT.e is not",
)

_KAIA = replace(
    EVM,
    name="kaia",
    chain_id=8_217,  # two sources
    usdt_contract="0xd077A400968890Eacc75cdc901F0356c943e4fDb",  # two sources; Tether's own
    usdt_decimals=6,  # two sources
    native_symbol="KAIA",
    finality={
        "latest": 30
    },  # every block is final, two sources: safe and finalized mean latest. The age is an estimate
    block_seconds=1,  # two sources
)

_OP_STACK_FINALITY = {"latest": 60, "safe": 1800, "finalized": 3600}
"""Of Base, Celo and OP Mainnet: safe and finalized follow Ethereum. The ages are estimates."""

_BASE = replace(
    EVM,
    name="base",
    chain_id=8_453,  # two sources
    usdt_contract="0xfde4C96c8593536E31F229EA8f37b2ADa2699bb2",  # two sources
    usdt_decimals=6,  # two sources
    native_symbol="ETH",
    finality=_OP_STACK_FINALITY,
    block_seconds=0.2,  # two sources, since 2026-11-05
    warning="the token is bridged by Base's own bridge: it is not Tether's, and Tether does not redeem it",
)

_CELO = replace(
    EVM,
    name="celo",
    chain_id=42_220,  # two sources
    usdt_contract="0x48065fbBE25f71C9282ddf5e1cD6D6A887483D5e",  # two sources; a proxy
    usdt_decimals=6,  # two sources
    native_symbol="CELO",
    finality=_OP_STACK_FINALITY,
    block_seconds=1,  # two sources
    code_bytes=65_536,  # two sources: its node's source and its pull request
    init_code_bytes=131_072,  # the same two
    warning=(
        "fees can be paid in USDT, so that a balance falls with each transaction; the fee adapter"
        " 0x0E2A3e05bc9A16F5292A6170456A710cb89C6f72 shows the same USDT with 18 decimals, and is not the token"
    ),
)

_OPTIMISM = replace(
    EVM,
    name="optimism",
    chain_id=10,  # two sources
    native_symbol="ETH",
    finality=_OP_STACK_FINALITY,
    block_seconds=2,  # two sources
    other_tokens={
        "0x01bFF41798a0BcF287b996046Ca68b395DbC1071": 6,  # two sources: USDT0
        "0x94b008aA00579c1307B0EF2c499aD98a8ce58e58": 6,  # two sources: the older, bridged one
    },
    warning=(
        "there are two live tokens, and only the one that you name is read: USDT0"
        " (0x01bFF41798a0BcF287b996046Ca68b395DbC1071) and the older, bridged one"
        " (0x94b008aA00579c1307B0EF2c499aD98a8ce58e58)"
    ),
)

_SEPOLIA = replace(
    _ETHEREUM,
    name="sepolia",
    chain_id=11_155_111,  # two sources
    usdt_contract=None,  # there is no official one
    usdt_decimals=None,
    first_block=None,
    # Since the fork Amsterdam, 2026-10-06, bounds of bytes are wider and those of gas are tighter: by RETURN some 670
    # wallets, and by REVERT fewer than fit into Ethereum's bytes. One source, and estimates on the safe side.
    code_bytes=65_536,
    init_code_bytes=131_072,
    most_wallets={**EVM.most_wallets, "revert": 1500, "return": 600},
    warning="there is no official USDT here: name a test token",
    testnet=True,
)

_BSC_TESTNET = replace(
    EVM,
    name="bsc-testnet",
    chain_id=97,  # two sources
    usdt_contract="0x337610d27c682E347C9cD60BD4b3b107C9d34dDd",  # two sources
    usdt_decimals=18,  # two sources
    native_symbol="tBNB",
    finality={"latest": 60, "finalized": 120},  # estimates
    default_finality="finalized",
    block_seconds=0.45,  # one source
    warning="the token is a test token that two projects use, and nobody vouches for it",
    testnet=True,
)

_TRON_NILE = replace(
    TRON,
    name="tron-nile",
    chain_id=3_448_148_188,  # two sources: viem and the genesis block; WalletConnect's page swaps it with Shasta's
    usdt_contract="TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf",  # one source
    usdt_decimals=6,  # one source
    strategies=("return", "single"),  # a Multicall3 is not known, or by one source that is in doubt
    testnet=True,
)

_TRON_SHASTA = replace(
    TRON,
    name="tron-shasta",
    chain_id=2_494_104_990,  # two sources: viem and the genesis block
    usdt_contract="TG3XXyExBkPp9nzdajDZsozEu4BkaSJozs",  # one source
    usdt_decimals=6,  # one source
    strategies=("return", "single"),  # a Multicall3 is not known, or by one source that is in doubt
    testnet=True,
)

PRESETS: Mapping[NetworkName, Network] = MappingProxyType(
    {
        network.name: network
        for network in (
            *(_ETHEREUM, _TRON_MAINNET, _BSC, _POLYGON, _ARBITRUM, _AVALANCHE, _KAIA, _BASE, _CELO, _OPTIMISM),
            *(_SEPOLIA, _BSC_TESTNET, _TRON_NILE, _TRON_SHASTA),
        )
    }
)
"""The networks that are known without a file, by name. None is synced before it has a node."""
