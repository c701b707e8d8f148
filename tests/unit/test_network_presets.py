"""The presets are what the sources say, and each is whole: a wrong one would read another token, or another chain."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from config.addresses import account_bytes
from config.families import FAMILIES, FINALITIES, Network, on_another_chain
from config.network_settings import prefix
from config.network_table import NAME, Table
from config.networks import PRESETS
from config.networks_file import networks_in

FACTS = {
    "ethereum": ("evm", 1, "0xdAC17F958D2ee523a2206206994597C13D831ec7", 6, "ETH", 18),
    "tron": ("tron", 728126428, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", 6, "TRX", 6),
    "bsc": ("evm", 56, "0x55d398326f99059fF775485246999027B3197955", 18, "BNB", 18),
    "polygon": ("evm", 137, "0xc2132D05D31c914a87C6611C10748AEb04B58e8F", 6, "POL", 18),
    "arbitrum": ("evm", 42161, "0xFd086bC7CD5C481DCC9C85ebE478A1C0b69FCbb9", 6, "ETH", 18),
    "avalanche": ("evm", 43114, "0x9702230A8Ea53601f5cD2dc00fDBc13d4dF4A8c7", 6, "AVAX", 18),
    "kaia": ("evm", 8217, "0xd077A400968890Eacc75cdc901F0356c943e4fDb", 6, "KAIA", 18),
    "base": ("evm", 8453, "0xfde4C96c8593536E31F229EA8f37b2ADa2699bb2", 6, "ETH", 18),
    "celo": ("evm", 42220, "0x48065fbBE25f71C9282ddf5e1cD6D6A887483D5e", 6, "CELO", 18),
    "optimism": ("evm", 10, None, None, "ETH", 18),
    "sepolia": ("evm", 11155111, None, None, "ETH", 18),
    "bsc-testnet": ("evm", 97, "0x337610d27c682E347C9cD60BD4b3b107C9d34dDd", 18, "tBNB", 18),
    "tron-nile": ("tron", 3448148188, "TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf", 6, "TRX", 6),
    "tron-shasta": ("tron", 2494104990, "TG3XXyExBkPp9nzdajDZsozEu4BkaSJozs", 6, "TRX", 6),
}
"""Family, chain id, token, its decimals, native coin and its decimals."""

DEFAULTS = {
    "ethereum": {"latest": 120, "safe": 1800, "finalized": 2700},
    "tron": {"solid": 180, "latest": 60},
    "bsc": {"finalized": 120, "latest": 30},
    "polygon": {"finalized": 1200, "latest": 60},
    "arbitrum": {"latest": 60, "safe": 2700, "finalized": 3600},
    "avalanche": {"finalized": 120, "latest": 60},
    "kaia": {"latest": 30},
    "base": {"latest": 60, "safe": 1800, "finalized": 3600},
    "celo": {"latest": 60, "safe": 1800, "finalized": 3600},
    "optimism": {"latest": 60, "safe": 1800, "finalized": 3600},
    "sepolia": {"latest": 120, "safe": 1800, "finalized": 2700},
    "bsc-testnet": {"finalized": 120, "latest": 60},
    "tron-nile": {"solid": 180, "latest": 60},
    "tron-shasta": {"solid": 180, "latest": 60},
}
"""The finalities of each with their head ages, the default first."""

PAGE = (Path(__file__).parents[2] / "docs" / "networks.md").read_text()
each_preset = pytest.mark.parametrize("network", PRESETS.values(), ids=PRESETS)


def test_the_presets_are_these_and_say_this() -> None:
    said = {
        name: (
            *(each.family, each.chain_id, each.usdt_contract, each.usdt_decimals),
            *(each.native_symbol, each.native_decimals),
        )
        for name, each in PRESETS.items()
    }
    assert said == FACTS


def test_each_is_read_at_the_finalities_that_it_has() -> None:
    assert {name: dict(each.finality) for name, each in PRESETS.items()} == DEFAULTS
    assert {name: each.default_finality for name, each in PRESETS.items()} == {
        name: next(iter(ages)) for name, ages in DEFAULTS.items()
    }


def test_no_two_have_one_chain_id() -> None:
    assert len({each.chain_id for each in PRESETS.values()}) == len(PRESETS)


@each_preset
def test_each_address_is_one_of_the_family_with_a_good_checksum(network: Network) -> None:
    addresses = [network.usdt_contract, network.multicall3, *network.other_tokens]
    for address in filter(None, addresses):
        assert len(account_bytes(network.family, address)) == 20
        assert network.family == "tron" or address not in {address.lower(), address.upper()}, "it has a checksum"


@each_preset
def test_each_is_whole(network: Network) -> None:
    assert NAME.fullmatch(network.name)
    assert (network.usdt_contract is None) == (network.usdt_decimals is None)
    assert network.default_finality in network.finality
    assert set(network.finality) <= set(FINALITIES[network.family])
    assert set(network.strategies) <= set(FAMILIES[network.family].strategies)
    assert ("multicall3" in network.strategies) == (network.multicall3 is not None)
    assert set(network.most_wallets) >= set(network.strategies)
    assert 0 < network.fastest_block_seconds <= network.block_seconds
    assert network.usdt_contract not in network.other_tokens
    assert (network.usdt_contract is not None) or network.warning, "the operator is told what to choose"


@pytest.mark.parametrize(
    ("name", "number", "time", "seconds"),
    [("ethereum", 15_537_394, 1_663_224_179, 12), ("tron", 1, 1_529_891_469, 3)],
)
def test_the_pace_of_ethereum_and_tron_counts_from_a_block_of_theirs(
    name: str, number: int, time: int, seconds: float
) -> None:
    assert PRESETS[name].first_block == (number, time)
    assert PRESETS[name].fastest_block_seconds == seconds == PRESETS[name].block_seconds


def test_where_blocks_have_become_faster_without_a_release_the_floor_is_far_below_the_pace_of_today() -> None:
    for name in ("bsc", "polygon", "arbitrum", "avalanche", "kaia", "base", "celo", "optimism", "bsc-testnet"):
        network = PRESETS[name]
        assert network.first_block == ((93_145_810, 1_788_423_748) if name == "polygon" else None)
        assert network.fastest_block_seconds <= network.block_seconds / 2


def test_arbitrums_number_is_not_the_opcodes_and_all_others_are() -> None:
    assert [name for name, each in PRESETS.items() if each.block_number == "arbsys"] == ["arbitrum"]


def test_what_is_not_tethers_or_has_a_second_token_comes_with_a_warning() -> None:
    assert [name for name, each in PRESETS.items() if each.warning] == [
        *("bsc", "avalanche", "base", "celo", "optimism", "sepolia", "bsc-testnet")
    ]
    assert {name: dict(each.other_tokens) for name, each in PRESETS.items() if each.other_tokens} == {
        "avalanche": {"0xc7198437980c041c805A1EDcbA50c1Ce5db95118": 6},
        "optimism": {
            "0x01bFF41798a0BcF287b996046Ca68b395DbC1071": 6,
            "0x94b008aA00579c1307B0EF2c499aD98a8ce58e58": 6,
        },
    }
    for address in PRESETS["optimism"].other_tokens:
        assert address in PRESETS["optimism"].warning


def test_sizes_begin_where_ethereums_next_fork_still_has_gas_on_sepolia_which_has_it() -> None:
    assert PRESETS["ethereum"].most_wallets["revert"] == 2447
    assert PRESETS["sepolia"].most_wallets["revert"] == 1500
    assert PRESETS["sepolia"].most_wallets["return"] < 670


def test_testnets_are_told_apart() -> None:
    assert {name for name, each in PRESETS.items() if each.testnet} == {
        *("sepolia", "bsc-testnet", "tron-nile", "tron-shasta")
    }


def test_on_another_chain_all_is_the_same_but_the_id_and_the_pace() -> None:
    ethereum = PRESETS["ethereum"]
    copy = on_another_chain(ethereum, 1337)
    assert (copy.chain_id, copy.first_block, copy.fastest_block_seconds) == (1337, None, 0.1)
    changed = {each.name for each in fields(Network) if getattr(copy, each.name) != getattr(ethereum, each.name)}
    assert changed == {"chain_id", "first_block", "fastest_block_seconds"}


def test_every_field_has_a_line_in_the_docstring_and_a_key_in_a_networks_file() -> None:
    names = [each.name for each in fields(Network)]
    assert re.findall(r"^    (\w+) {2,}\S", Network.__doc__ or "", re.MULTILINE) == names
    assert list(Table.model_fields) == names[1:]


def test_the_page_on_networks_lists_every_preset_as_it_is() -> None:
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in PAGE.splitlines() if row.startswith("| `")]
    told = {row[0].strip("`"): row[1:] for row in rows if len(row) == 6}
    assert told == {
        name: [
            f"`{prefix(name)}`",
            str(each.chain_id),
            f"`{each.usdt_contract}`, {each.usdt_decimals}" if each.usdt_contract else "you name it",
            f"{each.native_symbol}, {each.native_decimals}",
            ", ".join(
                f"**`{tag}`** {age:g}" if tag == each.default_finality else f"`{tag}` {age:g}"
                for tag, age in each.finality.items()
            ),
        ]
        for name, each in PRESETS.items()
    }


def test_the_page_has_every_warning_and_every_key_of_a_networks_file() -> None:
    for name, each in PRESETS.items():
        assert (f"- `{name}`: {each.warning}." in PAGE) == bool(each.warning)
    table = PAGE.split("| key | meaning |")[1]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(Table.model_fields)


def test_the_pages_examples_are_networks_files_that_work() -> None:
    examples = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        (name,) = tomllib.loads(example)
        assert networks_in(example)[name] != PRESETS.get(name)
