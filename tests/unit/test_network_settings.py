"""What the environment says of each network: by the names of always, for every network that is known."""

import os
from pathlib import Path
from unittest.mock import patch

import pytest

from config.base_settings import Settings, misnamed, setting_names, unknown_networks
from config.network_settings import Source, prefix, source
from config.networks import PRESETS
from config.redaction import secrets
from config.settings import ApiSettings, QueueSettings, WorkerSettings, load

QUEUE = {"DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://cache/0"}
API = {**QUEUE, "JWT_SECRET": "s" * 32}
NODE = "https://node.example"
EVM_TOKEN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
TRON_TOKEN = "TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf"
USDT0, BRIDGED = PRESETS["optimism"].other_tokens
ETHEREUM = (1, "0xdAC17F958D2ee523a2206206994597C13D831ec7", 6, "latest", 10, 120, None)
TRON = (728126428, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", 6, "solid", 10, 180, None)


def loaded(**variables: str) -> WorkerSettings:
    with patch.dict(os.environ, {**QUEUE, **variables}, clear=True):
        return load(WorkerSettings)


def refusal(variables: dict[str, str], kind: type[Settings] = WorkerSettings) -> str:
    """What the start stops with, below the heading."""
    with patch.dict(os.environ, {**API, **variables}, clear=True), pytest.raises(SystemExit) as stop:
        load(kind)
    return str(stop.value).partition("\n")[2].strip()


@pytest.mark.parametrize(
    ("variables", "ethereum", "tron"),
    [
        ({}, ETHEREUM, TRON),
        ({"ETHEREUM_FINALITY": "safe"}, (*ETHEREUM[:3], "safe", 10, 1800, None), TRON),
        ({"ETHEREUM_FINALITY": "finalized"}, (*ETHEREUM[:3], "finalized", 10, 2700, None), TRON),
        ({"TRON_FINALITY": "latest"}, ETHEREUM, (*TRON[:3], "latest", 10, 60, None)),
        ({"ETHEREUM_RPS": "0.2", "TRON_RPS": "0"}, (*ETHEREUM[:4], 0.2, 120, None), (*TRON[:4], 0, 180, None)),
        ({"ETHEREUM_MAX_HEAD_AGE": "0", "TRON_MAX_HEAD_AGE": "7.5"}, (*ETHEREUM[:5], 0, None), (*TRON[:5], 7.5, None)),
        ({"CONFIRM_RISES": "1000"}, (*ETHEREUM[:6], 1000), (*TRON[:6], 1000)),
        ({"CONFIRM_RISES": "0"}, (*ETHEREUM[:6], 0), (*TRON[:6], 0)),
        ({"ETHEREUM_USDT_DECIMALS": "18"}, (*ETHEREUM[:2], 18, *ETHEREUM[3:]), TRON),
        (
            {"ETHEREUM_CHAIN_ID": "1337", "ETHEREUM_USDT_CONTRACT": EVM_TOKEN, "ETHEREUM_USDT_DECIMALS": "6"},
            (1337, EVM_TOKEN, 6, "latest", 10, 120, None),
            TRON,
        ),
        (
            {"TRON_CHAIN_ID": "3448148188", "TRON_USDT_CONTRACT": TRON_TOKEN, "TRON_USDT_DECIMALS": "0"},
            ETHEREUM,
            (3448148188, TRON_TOKEN, 0, "solid", 10, 180, None),
        ),
    ],
)
def test_what_ethereum_and_tron_are_set_to_is_as_it_always_was(
    variables: dict[str, str], ethereum: tuple[object, ...], tron: tuple[object, ...]
) -> None:
    settings = loaded(**variables)
    for network, expected in (("ethereum", ethereum), ("tron", tron)):
        chain = settings.chain(network)
        assert (
            *(chain.chain_id, chain.contract, chain.decimals, chain.finality),
            *(chain.per_second, chain.max_head_age, chain.confirm_rises),
        ) == expected
        assert (chain.urls, chain.api_keys, chain.api_key_hosts) == ((), (), ("trongrid.io",))


def test_nodes_keys_and_their_hosts_are_as_they_always_were() -> None:
    settings = loaded(
        ETHEREUM_RPC_URLS="main=https://a.example/key, https://b.example",
        TRON_RPC_URLS="http://127.0.0.1:8090",
        TRON_API_KEYS="one, two",
        TRON_API_KEY_HOSTS="tron.example,other.example",
    )
    assert settings.networks == ("ethereum", "tron")
    ethereum, tron = settings.chain("ethereum"), settings.chain("tron")
    assert [url.get_secret_value() for url in ethereum.urls] == ["main=https://a.example/key", "https://b.example"]
    assert [key.get_secret_value() for key in tron.api_keys] == ["one", "two"]
    assert tron.api_key_hosts == ("tron.example", "other.example")


@pytest.mark.parametrize("name", PRESETS)
def test_every_network_that_is_known_has_the_same_variables(name: str) -> None:
    network, own = PRESETS[name], prefix(name)
    token = TRON_TOKEN if network.family == "tron" else EVM_TOKEN
    *_, finality = network.finality
    settings = loaded(
        **{
            f"{own}RPC_URLS": f"{NODE}/key",
            f"{own}CHAIN_ID": "77",
            f"{own}USDT_CONTRACT": token,
            f"{own}USDT_DECIMALS": "9",
            f"{own}FINALITY": finality,
            f"{own}RPS": "4",
            f"{own}MAX_HEAD_AGE": "33",
            f"{own}DAILY_QUOTA": "100000",
        }
    )
    assert settings.networks == (name,)
    chain = settings.chain(name)
    assert [url.get_secret_value() for url in chain.urls] == [f"{NODE}/key"]
    assert (chain.chain_id, chain.contract, chain.decimals, chain.finality) == (77, token, 9, finality)
    assert (chain.per_second, chain.max_head_age, chain.daily_quota) == (4, 33, 100_000)


@pytest.mark.parametrize("name", [name for name, network in PRESETS.items() if network.usdt_contract])
def test_a_node_is_all_that_a_preset_with_a_token_needs(name: str) -> None:
    network = PRESETS[name]
    chain = loaded(**{f"{prefix(name)}RPC_URLS": NODE}).chain(name)
    assert (chain.network, chain.chain_id, chain.contract) == (network, network.chain_id, network.usdt_contract)
    assert (chain.decimals, chain.finality) == (network.usdt_decimals, network.default_finality)
    assert chain.max_head_age == network.finality[network.default_finality]


def test_a_dash_of_a_name_is_an_underscore_in_its_variables() -> None:
    assert loaded(BSC_TESTNET_RPC_URLS=NODE, TRON_NILE_RPC_URLS=NODE).networks == ("bsc-testnet", "tron-nile")


def test_networks_are_in_the_order_in_which_they_are_known() -> None:
    settings = loaded(**{f"{prefix(name)}RPC_URLS": NODE for name in ("polygon", "tron", "bsc", "ethereum")})
    assert settings.networks == ("ethereum", "tron", "bsc", "polygon")


def test_keys_are_of_tron_networks_and_each_has_its_own() -> None:
    settings = loaded(TRON_API_KEYS="one", TRON_NILE_API_KEYS="two", ETHEREUM_API_KEYS="three")
    keys = {name: settings.chain(name).api_keys for name in ("tron", "tron-nile", "tron-shasta", "ethereum")}
    assert {name: [key.get_secret_value() for key in each] for name, each in keys.items()} == {
        "tron": ["one"],
        "tron-nile": ["two"],
        "tron-shasta": [],
        "ethereum": [],
    }


def test_each_may_come_from_a_file(tmp_path: Path) -> None:
    path = str(tmp_path / "url")
    (tmp_path / "url").write_text(f"{NODE}/from-file\n")
    chain = loaded(BSC_RPC_URLS_FILE=path).chain("bsc")
    assert [url.get_secret_value() for url in chain.urls] == [f"{NODE}/from-file"]
    with pytest.raises(SystemExit, match="BSC_RPC_URLS and BSC_RPC_URLS_FILE are both set, to different values"):
        loaded(BSC_RPC_URLS_FILE=path, BSC_RPC_URLS=NODE)
    with patch.dict(os.environ, {**QUEUE, "BSC_RPS_FILE": f"{path}-absent"}, clear=True):
        with pytest.raises(SystemExit, match="BSC_RPS_FILE: cannot read the file it names"):
            load(WorkerSettings)
        assert load(QueueSettings), "what a process does not need it does not read"


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"BSC_RPC_URLS": "node/hunter2"}, "BSC_RPC_URLS: must be a URL that begins with http:// or https://"),
        ({"BSC_CHAIN_ID": str(2**63)}, "BSC_CHAIN_ID: Input should be less than 9223372036854775808"),
        ({"BSC_CHAIN_ID": "x"}, "BSC_CHAIN_ID: Input should be a valid integer"),
        ({"TRON_NILE_USDT_CONTRACT": EVM_TOKEN}, "TRON_NILE_USDT_CONTRACT: a Tron address has 34 characters"),
        ({"BSC_USDT_CONTRACT": TRON_TOKEN}, "BSC_USDT_CONTRACT: an EVM address is 0x and 40 hexadecimal digits"),
        (
            {"TRON_USDT_CONTRACT": "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6u"},
            "TRON_USDT_CONTRACT: the checksum of this Tron address is wrong",
        ),
        ({"BSC_USDT_DECIMALS": "78"}, "BSC_USDT_DECIMALS: Input should be less than or equal to 77"),
        ({"POLYGON_FINALITY": "safe"}, "POLYGON_FINALITY: Input should be 'latest' or 'finalized'"),
        ({"KAIA_FINALITY": "finalized"}, "KAIA_FINALITY: Input should be 'latest'"),
        ({"ETHEREUM_FINALITY": "solid"}, "ETHEREUM_FINALITY: Input should be 'latest', 'safe' or 'finalized'"),
        ({"BSC_TESTNET_RPS": "-1"}, "BSC_TESTNET_RPS: Input should be greater than or equal to 0"),
        ({"BSC_RPS": "0.01"}, "BSC_RPS: must be 0, or 0.1 or more"),
        (
            {"BSC_RPC_URLS": NODE, "BSC_RPS": "1", "SYNC_LEASE": "3"},
            "BSC_RPS leaves a read no 2 requests in its 1.25 s",
        ),
        ({"BSC_MAX_HEAD_AGE": "-1"}, "BSC_MAX_HEAD_AGE: Input should be greater than or equal to 0"),
        ({"BSC_DAILY_QUOTA": "0"}, "BSC_DAILY_QUOTA: Input should be greater than or equal to 1"),
        ({"BSC_DAILY_QUOTA": "1.5"}, "BSC_DAILY_QUOTA: Input should be a valid integer"),
        ({"BSC_DAILY_QUOTA": "hunter2"}, "BSC_DAILY_QUOTA: Input should be a valid integer"),
        ({"BSC_RPC_URLS": "http://node.example"}, "BSC_RPC_URLS names a node on another machine by http://"),
        ({"SEPOLIA_RPC_URLS": NODE}, "SEPOLIA_USDT_CONTRACT must be set: there is no official USDT here"),
        ({"OPTIMISM_RPC_URLS": NODE}, "OPTIMISM_USDT_CONTRACT must be set: there are two live tokens"),
        ({"OPTIMISM_RPC_URLS": NODE, "OPTIMISM_USDT_DECIMALS": "6"}, "OPTIMISM_USDT_CONTRACT must be set"),
    ],
)
def test_a_wrong_value_stops_the_start_with_a_sentence_that_names_the_variable(
    variables: dict[str, str], sentence: str
) -> None:
    said = refusal(variables)
    assert said.startswith(sentence)
    assert "\n" not in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "variables",
    [{"BSC_RPC_URLS": NODE, "BSC_RPS": "0.1"}, {"BSC_RPS": "1", "SYNC_LEASE": "3"}],
    ids=["the least that there is", "of a network without a node"],
)
def test_a_budget_of_always_starts(variables: dict[str, str]) -> None:
    assert loaded(**variables).chain("bsc").per_second == float(variables["BSC_RPS"])


def test_nobody_has_a_daily_quota_who_was_given_none() -> None:
    settings = loaded(TRON_DAILY_QUOTA="100000", ETHEREUM_DAILY_QUOTA="")
    assert [settings.chain(name).daily_quota for name in ("tron", "ethereum", "bsc")] == [100_000, None, None]


def test_rises_are_confirmed_of_a_token_whose_decimals_only_the_chain_can_tell() -> None:
    chain = loaded(BSC_RPC_URLS=NODE, BSC_USDT_CONTRACT=EVM_TOKEN, CONFIRM_RISES="5").chain("bsc")
    assert (chain.decimals, chain.confirm_rises) == (None, 5)


def test_the_operator_who_names_none_of_two_tokens_is_told_both() -> None:
    said = refusal({"OPTIMISM_RPC_URLS": NODE})
    assert USDT0 in said
    assert BRIDGED in said


@pytest.mark.parametrize("contract", [USDT0, BRIDGED, USDT0.lower()])
def test_a_known_token_brings_its_decimals(contract: str) -> None:
    chain = loaded(OPTIMISM_RPC_URLS=NODE, OPTIMISM_USDT_CONTRACT=contract).chain("optimism")
    assert (chain.contract, chain.decimals) == (contract, 6)


def test_the_networks_own_token_in_another_spelling_is_no_other_token() -> None:
    assert loaded(BSC_USDT_CONTRACT=(PRESETS["bsc"].usdt_contract or "").lower()).chain("bsc").decimals == 18


def test_a_chain_without_a_token_that_is_not_read_is_no_reason_not_to_start() -> None:
    settings = loaded(ETHEREUM_RPC_URLS=NODE)
    assert (settings.usdt_decimals("optimism"), settings.source("optimism")) == (None, None)
    with pytest.raises(ValueError, match="OPTIMISM_USDT_CONTRACT is not set"):
        settings.chain("optimism")


def test_another_chain_id_keeps_the_facts_but_not_the_pace_of_the_network() -> None:
    network = loaded(ETHEREUM_CHAIN_ID="1337").chain("ethereum").network
    assert (network.chain_id, network.first_block, network.fastest_block_seconds) == (1337, None, 0.1)
    assert (network.lag_seconds, network.finality) == (240, PRESETS["ethereum"].finality)
    assert loaded(ETHEREUM_CHAIN_ID="1").chain("ethereum").network == PRESETS["ethereum"]


def test_a_source_is_a_chain_and_a_token_in_one_spelling() -> None:
    ethereum = Source(1, "0xdac17f958d2ee523a2206206994597c13d831ec7")
    given = {"ETHEREUM_USDT_CONTRACT": "0xDAC17F958D2EE523A2206206994597C13D831EC7"}
    for settings in (loaded(), loaded(**given)):
        assert source(settings.chain("ethereum")) == settings.source("ethereum") == ethereum
    assert str(ethereum) == "1:0xdac17f958d2ee523a2206206994597c13d831ec7"
    other = loaded(TRON_CHAIN_ID="5").chain("tron")
    assert source(other) == Source(5, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t")
    assert loaded(TRON_CHAIN_ID="5").source("tron") == source(other)


def test_the_endpoint_knows_of_each_network_what_it_shows_and_is_given_no_node() -> None:
    given = {"ETHEREUM_USDT_DECIMALS": "18", "BSC_RPC_URLS": "no url", "TRON_FINALITY": "no finality", "TRON_RPS": "x"}
    with patch.dict(os.environ, {**API, **given}, clear=True):
        settings = load(ApiSettings)
    assert settings.known_networks == PRESETS
    assert [settings.usdt_decimals(name) for name in ("ethereum", "bsc", "tron")] == [18, 18, 6]
    assert (settings.native_decimals("ethereum"), settings.native_decimals("tron")) == (18, 6)
    assert not any(hasattr(each, "rpc_urls") for each in settings.network_settings.values())
    assert not [name for name in setting_names(ApiSettings) if name.endswith(("_RPC_URLS", "_API_KEYS"))]


def test_another_token_never_has_the_decimals_of_the_networks_own() -> None:
    variables = {"ETHEREUM_USDT_CONTRACT": EVM_TOKEN, "TRON_USDT_DECIMALS": "6"}
    assert loaded(**variables).chain("ethereum").decimals is None
    with patch.dict(os.environ, {**API, **variables}, clear=True):
        assert load(ApiSettings).usdt_decimals("ethereum") is None


def test_nodes_of_a_network_that_nobody_knows_are_told_of_and_are_no_reason_to_stop() -> None:
    variables = {**QUEUE, "ETHERIUM_RPC_URLS": NODE, "BSC_RPC_URLS": NODE, "OTHER_RPC_URLS_FILE": "/nowhere"}
    with patch.dict(os.environ, variables, clear=True):
        assert unknown_networks(load(WorkerSettings)) == ("ETHERIUM_RPC_URLS", "OTHER_RPC_URLS")


def test_variables_that_no_network_has_are_told_of_where_they_are_nearly_ones_own() -> None:
    mistyped = ("BSC_API_KEYS", "BSC_FINALTY", "BSC_RPC_URL", "TRON_NILE_USDT_CONTACT")
    sound = ("TRON_API_KEYS", "TRON_NILE_API_KEYS", "BSC_FINALITY", "BSC_RPC_URLS")
    of_others = ("BASE_URL", "BASE_DIR", "TRON_HOST", "TRONS_FINALTY", "XYZ_RPC_URL", "FINALTY")
    variables = dict.fromkeys((*mistyped, *of_others), "x") | dict.fromkeys(sound, "https://x/latest")
    with patch.dict(os.environ, {**QUEUE, **variables, "BSC_RSP_FILE": "x", "BSC_MAX_HEADAGE_FILE": "x"}, clear=True):
        assert misnamed(load(Settings)) == tuple(sorted((*mistyped, "BSC_MAX_HEADAGE")))


def test_the_secrets_of_every_network_are_masked_in_the_log_whether_its_name_is_known_or_not() -> None:
    variables = {
        "ETHEREUM_RPC_URLS": "https://a.example/1111111111aa,https://b.example/2222222222bb",
        "BSC_TESTNET_RPC_URLS": "spare=https://c.example/3333333333cc",
        "TRON_NILE_API_KEYS": "4444444444dd, 5555555555ee",
        "ETHERIUM_RPC_URLS": "https://d.example/6666666666ff",
    }
    with patch.dict(os.environ, variables, clear=True):
        found = secrets()
    for secret in ("1111111111aa", "2222222222bb", "3333333333cc", "4444444444dd", "5555555555ee", "6666666666ff"):
        assert any(each.endswith(secret) for each in found), secret


def test_so_are_those_that_come_from_files(tmp_path: Path) -> None:
    path = str(tmp_path / "key")
    (tmp_path / "key").write_text("4444444444dd\n")
    with patch.dict(os.environ, {"TRON_NILE_API_KEYS_FILE": path, "BSC_RPC_URLS_FILE": "/nowhere"}, clear=True):
        assert secrets() == ("4444444444dd",)


def test_settings_show_no_secret_of_any_network_when_they_are_printed() -> None:
    settings = loaded(BSC_RPC_URLS=f"{NODE}/hunter2", TRON_NILE_API_KEYS="hunter2", TRON_NILE_RPC_URLS=NODE)
    assert "hunter2" not in repr(settings) + repr(settings.chain("bsc")) + repr(settings.chain("tron-nile"))
