"""What follows from a network's data: how it can be read, and with how many wallets a request."""

from dataclasses import replace
from typing import Any

import pytest

from config.network_settings import NodeSettings
from config.networks import PRESETS, Network, NetworkName
from config.settings import WorkerSettings, load
from worker.reading import shared_of
from worker.reading.contract import HEADER, READERS, RETURN, REVERT, encode
from worker.reading.facts import ChainFacts, facts_of, most_wallets_of

UNBOUNDED = dict.fromkeys(PRESETS["ethereum"].strategies, 10**6)
"""But by the bytes."""


def facts(name: NetworkName, **settings: Any) -> ChainFacts:
    return facts_of(NodeSettings(network=PRESETS[name], **settings).chain(None))


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("ethereum", {"revert": 2447, "return": 764, "multicall3": 500, "single": 20}),
        ("tron", {"return": 500, "multicall3": 100, "single": 20}),
        ("tron-nile", {"return": 500, "single": 20}),  # no Multicall3 is known there
        ("arbitrum", {"revert": 2445, "return": 764, "multicall3": 500, "single": 20}),  # its reader is longer
        ("sepolia", {"revert": 1500, "return": 600, "multicall3": 500, "single": 20}),  # bounded by gas
    ],
)
def test_how_a_network_is_read_and_how_many_wallets_a_request_takes(name: NetworkName, most: dict[str, int]) -> None:
    assert list(most_wallets_of(PRESETS[name]).items()) == list(most.items())


@pytest.mark.parametrize("block_number", ["opcode", "arbsys"])
@pytest.mark.parametrize(("code_bytes", "init_code_bytes"), [(24_576, 49_152), (32_768, 49_152), (65_536, 131_072)])
def test_the_largest_batch_fills_the_bounds_of_bytes_exactly(
    block_number: Any, code_bytes: int, init_code_bytes: int
) -> None:
    network = replace(
        PRESETS["ethereum"],
        block_number=block_number,
        code_bytes=code_bytes,
        init_code_bytes=init_code_bytes,
        most_wallets=UNBOUNDED,
    )
    most = most_wallets_of(network)

    def init_code(strategy: Any, hands_out: bytes, more: int = 0) -> int:
        accounts = [bytes(20)] * (most[strategy] + more)
        return len(encode(bytes(20), accounts, reader=READERS[block_number, hands_out]))

    assert init_code("revert", REVERT) <= init_code_bytes < init_code("revert", REVERT, 1)
    assert init_code("return", RETURN) <= init_code_bytes
    assert HEADER + 32 * most["return"] <= code_bytes < HEADER + 32 * (most["return"] + 1)


def test_what_is_returned_is_bounded_by_the_init_code_as_well() -> None:
    most = most_wallets_of(replace(PRESETS["ethereum"], code_bytes=10**6, most_wallets=UNBOUNDED))
    assert most["return"] == most["revert"]


def test_a_tron_network_has_no_bounds_of_bytes() -> None:
    assert (
        most_wallets_of(replace(PRESETS["tron"], most_wallets={**PRESETS["tron"].most_wallets, "return": 1000}))[
            "return"
        ]
        == 1000
    )


@pytest.mark.parametrize(
    ("changes", "strategies"),
    [
        ({"strategies": ("multicall3", "single")}, ["multicall3", "single"]),  # no call without a contract there
        ({"strategies": ("multicall3", "single"), "multicall3": None}, ["single"]),
        ({"multicall3": None}, ["revert", "return", "single"]),
        ({"strategies": ("return", "revert")}, ["return", "revert"]),
    ],
)
def test_the_strategies_are_those_of_the_data_in_that_order(changes: dict[str, Any], strategies: list[str]) -> None:
    network: Network = replace(PRESETS["ethereum"], **changes)
    assert list(most_wallets_of(network)) == strategies


@pytest.mark.parametrize(
    ("name", "seconds"), [("base", 20), ("arbitrum", 25), ("bsc", 45), ("ethereum", 1200), ("tron", 300)]
)
def test_a_block_can_be_read_at_for_as_long_as_full_nodes_keep_its_state(name: NetworkName, seconds: float) -> None:
    assert facts(name).pin_seconds == pytest.approx(seconds)


def test_another_chains_id_has_no_first_block_and_any_pace() -> None:
    own, copy = facts("ethereum"), facts("ethereum", chain_id=1337)
    assert (own.first_block, own.fastest_block_seconds) == ((15_537_394, 1_663_224_179), 12)
    assert (copy.first_block, copy.fastest_block_seconds) == ((0, 0), 0.1)
    assert copy.chain_id == 1337


def test_how_old_the_head_may_be_that_says_that_a_chain_goes_on_is_the_networks_own() -> None:
    assert facts("bsc").head_max_age == 30
    assert facts("bsc").max_age == 120


BASIS = {
    "DATABASE_URL": "postgresql://nobody/",
    "REDIS_URL": "redis://nobody",
    "ETHEREUM_RPC_URLS": "http://127.0.0.1:1",
    "ETHEREUM_USDT_CONTRACT": "0xdAC17F958D2ee523a2206206994597C13D831ec7",
}


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"ETHEREUM_CHAIN_ID": "1337"}, False),
        ({"ETHEREUM_USDT_CONTRACT": "0xdAC17F958D2ee523a2206206994597C13D831ec8".lower()}, False),
        ({"ETHEREUM_FINALITY": "safe"}, False),
        ({"ETHEREUM_USDT_CONTRACT": BASIS["ETHEREUM_USDT_CONTRACT"].lower()}, True),
        ({"ETHEREUM_RPC_URLS": "http://127.0.0.1:2"}, True),
    ],
    ids=["another chain", "another token", "another finality", "the same token, spelt otherwise", "another node"],
)
def test_what_workers_share_is_of_one_chain_token_and_finality(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], *, same: bool
) -> None:
    """Nothing that was learnt under other settings is used."""

    def scope(**settings: str) -> str:
        for name, value in {**BASIS, **settings}.items():
            monkeypatch.setenv(name, value)
        return shared_of("ethereum", load(WorkerSettings)).scope

    assert (scope() == scope(**changes)) is same
