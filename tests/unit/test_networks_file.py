"""NETWORKS_FILE: a network is ten lines of TOML; what is wrong in one stops the start with a sentence."""

import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from config.base_settings import Settings, setting_names
from config.families import CANONICAL_MULTICALL3, FAMILIES
from config.networks import PRESETS
from config.settings import ApiSettings, WorkerSettings, load

EVM_TOKEN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
TRON_TOKEN = "TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf"
XYZ = f"""
[xyz]
family = "evm"
chain_id = 424242
usdt_contract = "{EVM_TOKEN}"
usdt_decimals = 8
native_symbol = "XYZ"
native_decimals = 12
finality = {{latest = 60, finalized = 300}}
block_seconds = 0.5
"""
"""Ten lines with the first, which is empty."""
SECOND_TRON = f"""
[tron-two]
family = "tron"
chain_id = 99
usdt_contract = "{TRON_TOKEN}"
usdt_decimals = 6
"""
QUEUE = {"DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://cache/0"}
SECRET = "hunter2"

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Puts a text into a file, and gives its path."""

    def written(text: str) -> str:
        (tmp_path / "networks.toml").write_text(text)
        return str(tmp_path / "networks.toml")

    return written


def loaded(path: str, **variables: str) -> WorkerSettings:
    with patch.dict(os.environ, {**QUEUE, "NETWORKS_FILE": path, **variables}, clear=True):
        return load(WorkerSettings)


def refusal(path: str, kind: type[Settings] = WorkerSettings, **variables: str) -> list[str]:
    """The sentences with which the start stops."""
    with (
        patch.dict(os.environ, {**QUEUE, "NETWORKS_FILE": path, **variables}, clear=True),
        pytest.raises(SystemExit) as stop,
    ):
        load(kind)
    heading, *sentences = str(stop.value).splitlines()
    assert heading == "The settings are not usable:"
    return [sentence.strip() for sentence in sentences]


def test_a_network_that_nobody_knows_is_ten_lines(write: Write) -> None:
    settings = loaded(write(XYZ), XYZ_RPC_URLS="https://node.example")
    assert settings.networks == ("xyz",)
    chain = settings.chain("xyz")
    assert (chain.chain_id, chain.contract, chain.decimals) == (424242, EVM_TOKEN, 8)
    assert (chain.finality, chain.max_head_age) == ("latest", 60)
    assert chain.network == settings.known_networks["xyz"]
    assert (chain.network.native_symbol, settings.native_decimals("xyz")) == ("XYZ", 12)
    assert settings.usdt_decimals("xyz") == 8


def test_what_it_does_not_say_is_as_for_most_of_its_family(write: Write) -> None:
    network = loaded(write(XYZ)).known_networks["xyz"]
    usual = FAMILIES["evm"]
    for field in ("lag_seconds", "block_number", "code_bytes", "init_code_bytes", "most_wallets", "strategies"):
        assert getattr(network, field) == getattr(usual, field)
    assert (network.fastest_block_seconds, network.first_block) == (0.1, None)
    assert network.multicall3 == CANONICAL_MULTICALL3


def test_a_second_tron_network_has_keys_of_its_own_and_no_multicall3(write: Write) -> None:
    settings = loaded(
        write(SECOND_TRON), TRON_TWO_RPC_URLS="https://api.trongrid.io", TRON_TWO_API_KEYS="one,two", TRON_API_KEYS="x"
    )
    chain = settings.chain("tron-two")
    assert [key.get_secret_value() for key in chain.api_keys] == ["one", "two"]
    assert chain.api_key_hosts == ("trongrid.io",)
    assert (chain.network.strategies, chain.finality, chain.max_head_age) == (("return", "single"), "solid", 180)


def test_a_multicall3_that_is_named_is_used_and_one_that_is_empty_is_none(write: Write) -> None:
    with_one = loaded(write(SECOND_TRON + f'multicall3 = "{TRON_TOKEN}"')).known_networks["tron-two"]
    assert with_one.strategies == ("return", "multicall3", "single")
    without = loaded(write(XYZ + 'multicall3 = ""')).known_networks["xyz"]
    assert (without.multicall3, without.strategies) == (None, ("revert", "return", "single"))


def test_of_a_known_network_what_is_said_changes_and_the_rest_stays(write: Write) -> None:
    known = loaded(write("[ethereum]\nmost_wallets = {revert = 1500}\nfinality = {finalized = 9}\n")).known_networks
    ethereum, before = known["ethereum"], PRESETS["ethereum"]
    assert ethereum.most_wallets == {**before.most_wallets, "revert": 1500}
    assert (dict(ethereum.finality), ethereum.default_finality) == ({"finalized": 9}, "finalized")
    assert (ethereum.usdt_contract, ethereum.first_block) == (before.usdt_contract, before.first_block)
    assert {name: each for name, each in known.items() if name != "ethereum"} == {
        name: each for name, each in PRESETS.items() if name != "ethereum"
    }


def test_a_known_network_with_another_chain_id_loses_the_pace_of_its_own(write: Write) -> None:
    ethereum = loaded(write("[ethereum]\nchain_id = 5\n")).known_networks["ethereum"]
    assert (ethereum.chain_id, ethereum.first_block, ethereum.fastest_block_seconds) == (5, None, 0.1)
    text = "[ethereum]\nchain_id = 5\nfirst_block = [7, 8]\nfastest_block_seconds = 2\n"
    ethereum = loaded(write(text)).known_networks["ethereum"]
    assert (ethereum.first_block, ethereum.fastest_block_seconds) == ((7, 8), 2)


def test_a_known_token_may_be_named_again_in_another_spelling(write: Write) -> None:
    contract = (PRESETS["bsc"].usdt_contract or "").lower()
    bsc = loaded(write(f'[bsc]\nusdt_contract = "{contract}"\n')).known_networks["bsc"]
    assert (bsc.usdt_contract, bsc.usdt_decimals) == (contract, 18)


@pytest.mark.parametrize("spelling", [str, str.lower])
def test_a_token_that_is_known_beside_the_networks_own_brings_its_decimals(
    spelling: Callable[[str], str], write: Write
) -> None:
    one, _ = map(spelling, PRESETS["optimism"].other_tokens)
    optimism = loaded(write(f'[optimism]\nusdt_contract = "{one}"\n')).known_networks["optimism"]
    assert (optimism.usdt_contract, optimism.usdt_decimals) == (one, 6)
    assert optimism.warning, "there are two tokens still"


def test_a_warning_goes_with_the_token_that_it_is_about(write: Write) -> None:
    token = f'[bsc]\nusdt_contract = "{EVM_TOKEN}"\nusdt_decimals = 6\n'
    assert loaded(write(token)).known_networks["bsc"].warning == ""
    assert loaded(write(token + 'warning = "mine"\n')).known_networks["bsc"].warning == "mine"


def test_the_presets_come_first_and_then_what_the_file_adds(write: Write) -> None:
    assert [*loaded(write(XYZ + SECOND_TRON)).known_networks] == [*PRESETS, "xyz", "tron-two"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[xyz", "is not TOML: "),
        (XYZ + XYZ, "is not TOML: Cannot declare ('xyz',) twice (at line 1"),
        (XYZ + "chain_id = 3", "is not TOML: Cannot overwrite a value"),
        ("a = " + "[" * 5000, "is nested too deeply"),
        ("a = 1" + "0" * 5000, "has a number too large"),
        ("xyz = 1", "[xyz]: must be a table: write [xyz], and its keys below"),
        ("[bsc_testnet]", "[bsc_testnet]: is no network's name: those are up to 32 of a to z, 0 to 9 and -"),
        ("[Bsc]", "[Bsc]: is no network's name"),
        ('["a\\u001bb"]', "[a\\x1bb]: is no network's name"),
        (f"[{'a' * 33}]", f"[{'a' * 33}]: is no network's name"),
        ("[my.net]", "[my] net: is no key of a network; those are family, chain_id, usdt_contract"),
        (XYZ + f"{SECRET[:-1]} = 1", "[xyz] hunter: is no key of a network"),
        ("[xyz]", "[xyz] family: is missing: a new network is of the family evm or tron"),
        ('[xyz]\nfamily = "svm"', "[xyz] family: Input should be 'evm' or 'tron'"),
        ('[tron]\nfamily = "evm"', "[tron] family: is tron and cannot be changed: give the new network another name"),
        (XYZ.replace("chain_id", "#"), "[xyz] chain_id: is missing: it has to be said of a new network"),
        (XYZ.replace("usdt_contract", "#"), "[xyz] usdt_contract: is missing"),
        (XYZ.replace("usdt_decimals", "#"), "[xyz] usdt_decimals: is missing"),
        (XYZ.replace("native_symbol", "#"), "[xyz] native_symbol: is missing"),
        (XYZ.replace("424242", "0"), "[xyz] chain_id: Input should be greater than 0"),
        (XYZ.replace("424242", f'"{SECRET}"'), "[xyz] chain_id: Input should be a valid integer"),
        (XYZ.replace("424242", "true"), "[xyz] chain_id: Input should be a valid integer"),
        (XYZ.replace("424242", "1.0"), "[xyz] chain_id: Input should be a valid integer"),
        (XYZ.replace("= 8", "= 78"), "[xyz] usdt_decimals: Input should be less than or equal to 77"),
        (XYZ.replace("afecb", "Afecb"), "[xyz] usdt_contract: the capitals of this EVM address do not match its"),
        (XYZ.replace(EVM_TOKEN, TRON_TOKEN), "[xyz] usdt_contract: an EVM address is 0x and 40 hexadecimal digits"),
        (SECOND_TRON.replace(TRON_TOKEN, EVM_TOKEN), "[tron-two] usdt_contract: a Tron address has 34 characters"),
        (XYZ + 'multicall3 = "0x1"', "[xyz] multicall3: an EVM address is 0x and 40 hexadecimal digits"),
        (XYZ + "other_tokens = {x = 6}", "[xyz] other_tokens.x: an EVM address is 0x and"),
        (f'[bsc]\nusdt_contract = "{EVM_TOKEN}"', "[bsc] usdt_decimals: is missing: another token may have other"),
        (f'[optimism]\nusdt_contract = "{EVM_TOKEN}"', "[optimism] usdt_decimals: is missing"),
        (XYZ.replace("finalized", "solid"), "[xyz] finality.solid: must be out of latest, safe, finalized"),
        (SECOND_TRON + "finality = {safe = 1}", "[tron-two] finality.safe: must be out of latest, solid"),
        (XYZ.replace("60", "-1"), "[xyz] finality.latest: Input should be greater than or equal to 0"),
        (XYZ.replace("60", "nan"), "[xyz] finality.latest: Input should be a finite number"),
        (XYZ.replace("{latest = 60, finalized = 300}", "{}"), "[xyz] finality: Dictionary should have at least 1 item"),
        (XYZ + 'default_finality = "safe"', "[xyz] default_finality: must be out of those of finality: latest, final"),
        (XYZ.replace("0.5", "inf"), "[xyz] block_seconds: Input should be"),
        (XYZ.replace("0.5", "1" + "0" * 400), "[xyz] block_seconds: Input should be"),
        (XYZ + "fastest_block_seconds = 0", "[xyz] fastest_block_seconds: Input should be greater than 0"),
        (XYZ + "first_block = [1]", "[xyz] first_block.1: Field required"),
        (XYZ + "first_block = [1, -2]", "[xyz] first_block.1: Input should be greater than or equal to 0"),
        (XYZ + "first_block = [1, 1788423748000]", "[xyz] first_block.1: Input should be less than 4294967296"),
        (XYZ + "fastest_block_seconds = 0.6", "[xyz] fastest_block_seconds: must not be above block_seconds"),
        ("[ethereum]\nblock_seconds = 2", "[ethereum] fastest_block_seconds: must not be above block_seconds"),
        (XYZ.replace("424242", f"{2**63}"), "[xyz] chain_id: Input should be less than 9223372036854775808"),
        (XYZ + 'block_number = "l1"', "[xyz] block_number: Input should be 'opcode' or 'arbsys'"),
        (SECOND_TRON + 'block_number = "arbsys"', "[tron-two] block_number: must be opcode for this family"),
        (XYZ + "code_bytes = 5", "[xyz] code_bytes: Input should be greater than or equal to 1024"),
        (XYZ + "most_wallets = {magic = 5}", "[xyz] most_wallets.magic: Input should be 'revert', 'return',"),
        (XYZ + "most_wallets = {revert = 0}", "[xyz] most_wallets.revert: Input should be greater than or equal to 1"),
        (XYZ + "strategies = []", "[xyz] strategies: "),
        (
            XYZ + 'strategies = ["single", "single"]',
            "[xyz] strategies: must be out of revert, return, multicall3, sing",
        ),
        (SECOND_TRON + 'strategies = ["revert"]', "[tron-two] strategies: must be out of return, multicall3, single"),
        (SECOND_TRON + 'strategies = ["multicall3"]', "[tron-two] multicall3: is missing: name the contract, or leave"),
        (XYZ + 'native_symbol = "a b"', "is not TOML: Cannot overwrite a value"),
        (XYZ.replace('"XYZ"', '"a b"'), "[xyz] native_symbol: String should match pattern"),
        (XYZ + "testnet = 1", "[xyz] testnet: Input should be a valid boolean"),
    ],
)
def test_what_is_wrong_stops_the_start_with_a_sentence_that_names_file_network_and_key(
    text: str, sentence: str, write: Write
) -> None:
    (said,) = refusal(write(text))
    assert said.startswith(f"NETWORKS_FILE: networks.toml: {sentence}")
    assert SECRET not in said


def test_all_that_is_wrong_is_told_at_once_and_by_every_process(write: Write) -> None:
    path = write("[x]\n[ethereum]\nlag_seconds = -1\n" + XYZ.replace("= 8", '= "8"'))
    said = refusal(path)
    assert [each.split(": ")[2] for each in said] == ["[x] family", "[ethereum] lag_seconds", "[xyz] usdt_decimals"]
    assert refusal(path, Settings) == refusal(path, ApiSettings, JWT_SECRET="s" * 32) == said


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "NETWORKS_FILE: cannot be read (FileNotFoundError): correct the path, or the file's rights"),
        (b"\xff", "NETWORKS_FILE: is not text in UTF-8, as TOML is"),
        (b"#" * (1 << 21), "NETWORKS_FILE: is larger than 1048576 bytes: it is not a file of networks"),
    ],
    ids=["absent", "bytes", "large"],
)
def test_a_file_that_is_none_of_networks_stops_the_start(content: bytes | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / SECRET).write_bytes(content)
    assert refusal(str(tmp_path / SECRET)) == [sentence]


def test_a_folder_is_no_file_of_networks(tmp_path: Path) -> None:
    assert refusal(str(tmp_path)) == [
        "NETWORKS_FILE: cannot be read (IsADirectoryError): correct the path, or the file's rights"
    ]


def test_an_empty_file_changes_nothing(write: Write) -> None:
    assert loaded(write("")).known_networks == PRESETS


def test_the_environment_overrides_the_file_as_it_does_a_preset(write: Write) -> None:
    settings = loaded(write(XYZ), XYZ_CHAIN_ID="7", XYZ_FINALITY="finalized", XYZ_RPS="3", XYZ_MAX_HEAD_AGE="0")
    chain = settings.chain("xyz")
    assert (chain.chain_id, chain.finality, chain.per_second, chain.max_head_age) == (7, "finalized", 3, 0)
    assert "XYZ_CHAIN_ID" in setting_names(WorkerSettings, settings.known_networks)


@pytest.mark.parametrize("spelling", [str, str.lower])
def test_two_networks_with_nodes_may_not_be_of_one_chain_and_token(
    spelling: Callable[[str], str], write: Write
) -> None:
    token = spelling(PRESETS["ethereum"].usdt_contract or "")
    path = write(XYZ.replace("424242", "1").replace(EVM_TOKEN, token))
    (said,) = refusal(path, XYZ_RPC_URLS="https://a.example", ETHEREUM_RPC_URLS="https://b.example")
    assert said == "ETHEREUM_RPC_URLS and XYZ_RPC_URLS are of one chain id and one token: set only one of the two"
    assert loaded(path, XYZ_RPC_URLS="https://a.example").networks == ("xyz",), "one of them may have nodes"
    two = {"XYZ_RPC_URLS": "https://a.example", "ETHEREUM_RPC_URLS": "https://b.example"}
    assert loaded(path, **two, XYZ_CHAIN_ID="5").networks == ("ethereum", "xyz")
    other = {"XYZ_USDT_CONTRACT": EVM_TOKEN, "XYZ_USDT_DECIMALS": "6"}
    assert loaded(path, **two, **other).networks == ("ethereum", "xyz"), "another token of one chain is another source"


# Whatever stands in a file.
KEYS = [*FAMILIES["evm"].__dataclass_fields__, "latest", "x", "é", "a b", ""]
scalars = (
    st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False).map(lambda each: float(repr(each)))
    | st.sampled_from([EVM_TOKEN, TRON_TOKEN, "evm", "tron", "latest", "solid", "arbsys", "revert", "single", SECRET])
    | st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), max_size=10)
)
nested = st.recursive(
    scalars, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.sampled_from(KEYS), each, max_size=3)
)
tables = st.dictionaries(
    st.sampled_from(["xyz", "ethereum", "tron", "tron-two", "a_b", "Ä", "", "bsc-testnet"]),
    st.dictionaries(st.sampled_from(KEYS), nested, max_size=6) | nested,
    max_size=4,
)


def quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(each):08x}" for each in text) + '"'


def toml(value: object) -> str:
    """A value in TOML, all in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return quoted(value)
    return str(value).lower()


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(described=tables, whole=st.booleans())
def test_whatever_its_tables_hold_it_is_used_or_refused_with_sentences(
    described: dict[str, object], whole: bool, write: Write
) -> None:
    text = "\n".join(f"{quoted(name)} = {toml(table)}" for name, table in described.items())
    if whole and "xyz" not in described:
        text += XYZ
    assert_used_or_refused(write(text))


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=80) | st.text(st.sampled_from("[]{}=.,\"\n'#\\x1a- "), max_size=40).map(str.encode))
def test_whatever_its_bytes_are_it_is_used_or_refused_with_sentences(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "networks.toml").write_bytes(content)
    assert_used_or_refused(str(tmp_path / "networks.toml"))


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(XYZ) - 1), other=st.characters(codec="utf-8", exclude_characters="\r"))
def test_so_is_a_good_one_with_one_character_changed(at: int, other: str, write: Write) -> None:
    assert_used_or_refused(write(XYZ[:at] + other + XYZ[at + 1 :]))


def assert_used_or_refused(path: str) -> None:
    with patch.dict(os.environ, {**QUEUE, "NETWORKS_FILE": path}, clear=True):
        try:
            settings = load(WorkerSettings)
        except SystemExit as stop:
            said = str(stop.code)
        else:
            assert_whole(settings)
            return
    heading, *sentences = said.splitlines()
    assert heading == "The settings are not usable:"
    assert sentences
    assert all(each.startswith("  NETWORKS_FILE: ") for each in sentences)
    assert said.replace("\n", "").isprintable()
    assert SECRET not in said


def assert_whole(settings: WorkerSettings) -> None:
    """Each network can be turned into what a reader needs."""
    for name, network in settings.known_networks.items():
        assert network.name == name
        if network.usdt_contract is not None:
            assert settings.chain(name).network == network
            assert settings.chain(name).max_head_age == network.finality[network.default_finality]
