"""The reader contract: its bytes are what its source compiles to, and they do on a real EVM what they should."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic, time
from typing import Any

import pytest
import requests
from network import facts_for, multicall3_of
from solc import compiled
from structlog.testing import capture_logs

from config.families import Strategy
from config.networks import PRESETS, NetworkName
from devstack.servers import CAP, anvil, wait_for
from devstack.stack import ETHEREUM_CHAIN_ID, SOLID_LAG, TRON_CHAIN_ID, LocalChain
from worker.errors import ReadFailed, TooMuch, Unsupported, WrongBlockNumber
from worker.nodes.evm import EvmNode
from worker.nodes.tron import TronNode
from worker.reading import contract as snapshot
from worker.reading.contract import (
    MAX_WALLETS_BY_RETURN,
    MAX_WALLETS_BY_REVERT,
    READERS,
    REVERT,
    Balance,
    Snapshot,
)
from worker.reading.facts import ChainFacts, most_wallets_of
from worker.reading.plausibility import Expected, check
from worker.reading.reader import NodeReader
from worker.reading.shared import Shared
from worker.reading.strategies import READ, Node

SOURCES = Path(__file__).parents[1]
MULTICALL3_CODE = bytes.fromhex((SOURCES / "Multicall3.hex").read_text())  # a test compares it with its source

MULTICALL3, MULTICALL3_OF_TRON = multicall3_of("ethereum"), multicall3_of("tron")
TOKEN = bytes.fromhex("70" * 20)
NEVER_PASSED = 2**62  # a "now" that no block is after

# Tokens as a handful of opcodes each: what they answer to any call.
OWNER_TIMES_3 = "60043560030260005260206000f3"
REVERTS = "60206000fd"
INVALID = "fe"
RETURNS_NOTHING = "00"
RETURNS_31_BYTES = "60ff600052601f6000f3"
RETURNS_33_BYTES = "60ff60005260216000f3"
RETURNS_2_TO_THE_128 = "600160801b60005260206000f3"
RETURNS_THE_MARK = "6001600160801b0360005260206000f3"
RETURNS_BELOW_THE_MARK = "6002600160801b0360005260206000f3"
# Thrice the owner, but a byte short when the owner is odd: what one call leaves behind must not pass for the next one.
SHORT_FOR_ODD_OWNERS = "600435806003026000526001166020036000f3"


def test_the_multicall3_of_the_tests_is_what_its_source_compiles_to() -> None:
    source = SOURCES / "Multicall3.sol"
    assert compiled(source, "Solidity", "Multicall3").hex() == source.with_suffix(".hex").read_text().strip()


@pytest.mark.parametrize(("block_number", "hands_out"), READERS)
def test_the_bytes_are_what_the_source_compiles_to(tmp_path: Path, block_number: str, hands_out: bytes) -> None:
    """Each variant of the reader is the source with one word changed, or two."""
    source = Path(snapshot.__file__).with_name("reader.yul").read_text()
    if hands_out == REVERT:
        source = source.replace("return(0x60", "revert(0x60")
    if block_number == "arbsys":
        source = source.replace("mstore(0x60, number())", "mstore(0x60, arbsys_number())")
    variant = tmp_path / "variant.yul"
    variant.write_text(source)
    assert compiled(variant, "Yul", "Reader") == READERS[block_number, hands_out]  # type: ignore[index]


class Evm:
    """A real EVM whose code and balances a test sets as it likes."""

    def __init__(self, url: str) -> None:
        self.url, self.node = url, EvmNode(url, "latest", time_limit=CAP)

    def ask(self, method: str, *parameters: Any) -> Any:
        reply = requests.post(
            self.url, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}, timeout=CAP
        ).json()
        assert "error" not in reply, reply
        return reply["result"]

    def read(
        self, owners: list[bytes], strategy: Strategy = "return", node: Node | None = None, **changes: Any
    ) -> Snapshot:
        facts = replace(self.facts(), **changes)
        read = READ[strategy](node or self.node, facts, owners)
        check(read, Expected(facts, NEVER_PASSED))
        return read

    def facts(self, network: NetworkName = "ethereum", token: bytes = TOKEN) -> ChainFacts:
        return replace(facts_for(network, int(self.ask("eth_chainId"), 16), token), max_age=0)

    def put(self, creation: bytes, at: bytes) -> None:
        """What a contract's creation code returns is the code that it has."""
        self.ask("anvil_setCode", "0x" + at.hex(), self.ask("eth_call", {"data": "0x" + creation.hex()}, "latest"))


@pytest.fixture
def evm(ethereum: LocalChain) -> Iterator[Evm]:
    made = Evm(ethereum.node.url)
    before = made.ask("evm_snapshot")
    yield made
    made.ask("evm_revert", before)
    made.ask("evm_setIntervalMining", 1)  # which a test may have stopped


@pytest.fixture(scope="module")
def spoilt_token() -> bytes:
    return compiled(SOURCES / "Spoilt.sol", "Solidity", "Spoilt")


def put_token(evm: Evm, code: str) -> None:
    evm.ask("anvil_setCode", "0x" + TOKEN.hex(), "0x" + code)


def owner(number: int) -> bytes:
    return (0x10_0000 + number).to_bytes(20)


def thrice(owners: list[bytes], native: dict[bytes, int] | None = None) -> tuple[Balance, ...]:
    return tuple(Balance(int.from_bytes(each) * 3, (native or {}).get(each, 0)) for each in owners)


@pytest.mark.parametrize("wallets", [0, 1, 2, MAX_WALLETS_BY_RETURN])
def test_every_wallet_gets_its_own_balances(evm: Evm, wallets: int) -> None:
    put_token(evm, OWNER_TIMES_3)
    owners = [owner(number) for number in range(wallets)]
    native = {each: 10**18 + int.from_bytes(each) * 7 for each in owners[::5]}
    for each, amount in native.items():
        evm.ask("anvil_setBalance", "0x" + each.hex(), hex(amount))
    assert evm.read(owners).balances == thrice(owners, native)


def test_one_wallet_more_than_the_bound_is_refused_whole(evm: Evm) -> None:
    put_token(evm, OWNER_TIMES_3)
    with pytest.raises(TooMuch):
        evm.read([owner(number) for number in range(MAX_WALLETS_BY_RETURN + 1)])


def test_the_block_is_the_one_that_executed_the_read(evm: Evm) -> None:
    put_token(evm, OWNER_TIMES_3)
    before = int(evm.ask("eth_blockNumber"), 16)
    block = evm.read([owner(1)]).block
    after = int(evm.ask("eth_blockNumber"), 16)
    assert before <= block.number <= after
    assert block.time == int(evm.ask("eth_getBlockByNumber", hex(block.number), False)["timestamp"], 16)


@pytest.mark.parametrize(
    "code",
    ["", REVERTS, RETURNS_NOTHING, RETURNS_31_BYTES, RETURNS_33_BYTES, RETURNS_2_TO_THE_128, RETURNS_THE_MARK],
    ids=["no code", "reverts", "nothing", "31 bytes", "33 bytes", "2^128", "2^128-1"],
)
def test_a_token_that_gives_no_usable_word_gives_no_balance(evm: Evm, code: str) -> None:
    put_token(evm, code)
    assert evm.read([owner(1), owner(2), owner(3)]).balances == (None, None, None)


def test_a_token_that_eats_all_gas_fails_the_read_and_gives_no_balance(evm: Evm) -> None:
    put_token(evm, INVALID)
    with pytest.raises(TooMuch):
        evm.read([owner(1), owner(2), owner(3)])


def test_the_largest_balance_that_fits_is_read_exactly(evm: Evm) -> None:
    put_token(evm, RETURNS_BELOW_THE_MARK)
    evm.ask("anvil_setBalance", "0x" + owner(9).hex(), hex(2**127))
    assert evm.read([owner(9)]).balances == (Balance(2**128 - 2, 2**127),)


def test_a_short_answer_fails_its_own_wallet_and_no_other(evm: Evm) -> None:
    put_token(evm, SHORT_FOR_ODD_OWNERS)
    owners = [owner(number) for number in range(10)]
    expected = [None if number % 2 else balance for number, balance in enumerate(thrice(owners))]
    assert list(evm.read(owners).balances) == expected


def test_the_same_wallet_twice_is_answered_twice(evm: Evm) -> None:
    put_token(evm, OWNER_TIMES_3)
    assert evm.read([owner(5), owner(6), owner(5)]).balances == thrice([owner(5), owner(6), owner(5)])


STRATEGIES: list[Strategy] = ["revert", "return", "multicall3", "single"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_way_gives_the_same_balances_of_the_same_block(evm: Evm, strategy: Strategy) -> None:
    put_token(evm, OWNER_TIMES_3)
    evm.put(MULTICALL3_CODE, MULTICALL3)
    evm.ask("evm_setIntervalMining", 0)  # so that there is one block
    owners = [owner(number) for number in range(20)]
    evm.ask("anvil_setBalance", "0x" + owners[3].hex(), hex(10**18))
    read = evm.read(owners, strategy=strategy)
    assert read.balances == thrice(owners, {owners[3]: 10**18})
    assert read == evm.read(owners, strategy="return")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("code", [REVERTS, RETURNS_31_BYTES, RETURNS_33_BYTES, RETURNS_2_TO_THE_128, RETURNS_THE_MARK])
def test_by_every_strategy_a_token_without_a_usable_word_gives_no_balance(
    evm: Evm, strategy: Strategy, code: str
) -> None:
    put_token(evm, code)
    evm.put(MULTICALL3_CODE, MULTICALL3)
    assert evm.read([owner(1), owner(2)], strategy=strategy).balances == (None, None)


def test_a_full_batch_by_revert_is_read_whole(evm: Evm) -> None:
    put_token(evm, OWNER_TIMES_3)
    owners = [owner(number) for number in range(MAX_WALLETS_BY_REVERT)]
    assert evm.read(owners, strategy="revert").balances == thrice(owners)
    with pytest.raises(TooMuch):
        evm.read([*owners, owner(1)], strategy="revert")


def test_an_address_without_a_multicall3_is_not_taken_for_one(evm: Evm) -> None:
    put_token(evm, OWNER_TIMES_3)
    evm.ask("anvil_setCode", "0x" + MULTICALL3.hex(), "0x")
    with pytest.raises(Unsupported, match="no Multicall3"):
        evm.read([owner(1)], strategy="multicall3")


@pytest.mark.parametrize("code", [OWNER_TIMES_3, RETURNS_31_BYTES, RETURNS_33_BYTES])
def test_another_contract_in_its_place_is_not_believed(evm: Evm, code: str) -> None:
    put_token(evm, OWNER_TIMES_3)
    evm.ask("anvil_setCode", "0x" + MULTICALL3.hex(), "0x" + code)
    with pytest.raises(ReadFailed):
        evm.read([owner(1)], strategy="multicall3")


@pytest.mark.parametrize("place", [0, 5, 1000, 1999])
def test_a_wallet_that_eats_all_gas_is_found_and_all_others_are_read(evm: Evm, spoilt_token: bytes, place: int) -> None:
    evm.put(spoilt_token, TOKEN)
    spoilt, others = owner(5), [owner(number) for number in range(6, 2005)]
    owners = [*others[:place], spoilt, *others[place:]]
    reader = NodeReader(evm.facts(), [evm.node], Shared("test"), request_limit=CAP)
    parts = reader.read(owners, time(), monotonic() + CAP)
    found = {
        at: balance
        for part in parts
        if part.snapshot
        for at, balance in zip(part.wallets, part.snapshot.balances, strict=True)
    }
    assert found.get(place) is None
    assert {at: balance for at, balance in found.items() if at != place} == {
        at: balance for at, balance in enumerate(thrice(owners)) if at != place
    }
    assert len(parts) <= 2 * 11 + 1, "halved and halved again, not read one by one"


# On a chain whose opcode NUMBER is a parent chain's

ARBSYS = (0x64).to_bytes(20)
OWN_NUMBER = 400_000_000  # of a block, by ArbSys: another number than the opcode's
SAYS_OWN_NUMBER = f"63{OWN_NUMBER:08x}60005260206000f3"
ANSWERS_SHORT = f"63{OWN_NUMBER:08x}600052601f6000f3"


@pytest.mark.parametrize("strategy", ["revert", "return", "multicall3"])
@pytest.mark.parametrize("wallets", [0, 1, 100])
def test_where_number_is_a_parent_chains_the_precompile_is_asked_and_all_else_is_as_ever(
    evm: Evm, strategy: Strategy, wallets: int
) -> None:
    put_token(evm, OWNER_TIMES_3)
    evm.put(MULTICALL3_CODE, MULTICALL3)
    evm.ask("anvil_setCode", "0x" + ARBSYS.hex(), "0x" + SAYS_OWN_NUMBER)
    owners = [owner(number) for number in range(wallets)]
    if owners:
        evm.ask("anvil_setBalance", "0x" + owners[-1].hex(), hex(10**18))
    read = evm.read(owners, strategy, block_number="arbsys")
    assert read.block.number == OWN_NUMBER
    assert read.balances == thrice(owners, dict.fromkeys(owners[-1:], 10**18))
    assert evm.read(owners, strategy).block.number < 10**6, "the opcode's, without the precompile"


@pytest.mark.parametrize("strategy", ["revert", "return"])
def test_a_full_batch_with_the_precompile_fills_the_bounds_exactly(evm: Evm, strategy: Strategy) -> None:
    put_token(evm, OWNER_TIMES_3)
    evm.ask("anvil_setCode", "0x" + ARBSYS.hex(), "0x" + SAYS_OWN_NUMBER)
    most = most_wallets_of(
        replace(PRESETS["arbitrum"], most_wallets=dict.fromkeys(PRESETS["arbitrum"].strategies, 10**6))
    )[strategy]
    owners = [owner(number) for number in range(most)]
    assert evm.read(owners, strategy, block_number="arbsys").balances == thrice(owners)
    with pytest.raises(TooMuch):
        evm.read([*owners, owner(1)], strategy, block_number="arbsys")


@pytest.mark.parametrize("strategy", ["revert", "return"])
@pytest.mark.parametrize("code", ["", REVERTS, ANSWERS_SHORT], ids=["no code", "reverts", "short"])
def test_without_the_precompile_there_is_no_number_and_that_is_said(evm: Evm, strategy: Strategy, code: str) -> None:
    put_token(evm, OWNER_TIMES_3)
    evm.ask("anvil_setCode", "0x" + ARBSYS.hex(), "0x" + code)
    with pytest.raises(WrongBlockNumber, match="no precompile ArbSys"):
        evm.read([owner(1)], strategy, block_number="arbsys")


def test_a_chain_whose_number_is_a_parent_chains_is_not_believed_by_the_opcode(evm: Evm, spoilt_token: bytes) -> None:
    """Contracts find another number than the node itself has: here it is the precompile's that is the wrong one."""
    evm.put(spoilt_token, TOKEN)
    evm.ask("anvil_setCode", "0x" + ARBSYS.hex(), "0x" + SAYS_OWN_NUMBER)
    facts = replace(evm.facts(), block_number="arbsys", first_block=(OWN_NUMBER, 0))
    reader = NodeReader(facts, [evm.node], Shared("test"), request_limit=CAP)
    with capture_logs() as logs:
        (part,) = reader.read([owner(9)], time(), monotonic() + CAP)
    assert isinstance(part.failure, WrongBlockNumber)
    assert [(line["event"], line["log_level"], line["error"]) for line in logs] == [
        ("read_failed", "error", "wrong_block_number")
    ]


# Bounds of gas

GAS_LIMIT = 8_000_000  # in which some twelve hundred wallets are read, and not 2,447
MANY = 2 * MAX_WALLETS_BY_REVERT


@pytest.fixture(scope="module")
def small_evm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evm]:
    """A node that gives a call little gas."""
    folder = tmp_path_factory.mktemp("gas")
    with anvil(folder, "evm", ETHEREUM_CHAIN_ID, 1, gas_limit=GAS_LIMIT) as server:
        made = Evm(server.url)
        made.ask("evm_mine")
        yield made


@pytest.mark.parametrize("strategies", [("revert",), ("return",), ("revert", "return")], ids="+".join)
def test_where_a_full_batch_runs_out_of_gas_it_is_read_in_halves_and_the_size_is_remembered(
    small_evm: Evm, spoilt_token: bytes, strategies: tuple[Strategy, ...]
) -> None:
    """Nothing is said of the node, which does not rest; and the next batch begins with the size that was learnt."""
    small_evm.put(spoilt_token, TOKEN)
    facts = small_evm.facts()
    facts = replace(facts, most_wallets=dict.fromkeys(strategies, MAX_WALLETS_BY_REVERT))
    reader = NodeReader(facts, [small_evm.node], Shared("test"), request_limit=CAP)
    owners = [owner(number) for number in range(6, 6 + MANY)]
    for number in range(2):
        learnt = reader.max_wallets
        with capture_logs() as logs:
            parts = reader.read(owners, time(), monotonic() + CAP)
        read = {
            place: balance
            for part in parts
            if part.snapshot
            for place, balance in zip(part.wallets, part.snapshot.balances, strict=True)
        }
        assert [read[place] for place in range(MANY)] == list(thrice(owners))
        assert [line["event"] for line in logs] == []
        assert reader.shared.get([f"rest:{small_evm.node.id}"]) == {}
        assert reader.max_wallets < MAX_WALLETS_BY_REVERT
        assert number == 0 or {len(part.wallets) for part in parts} == {learnt, MANY % learnt}, "each at the first try"


@pytest.mark.parametrize("strategy", ["return", "multicall3", "single"])
def test_a_tron_node_is_read_in_every_way_of_its_own(tron: LocalChain, strategy: Strategy) -> None:
    evm = Evm(tron.evm.url)
    holders = [(0x61_0000 + 16 * STRATEGIES.index(strategy) + number).to_bytes(20) for number in range(5)]
    tron.chain.mint(tron.token, [(holder, 100 + at) for at, holder in enumerate(holders)])
    tron.chain.set_native([(holders[0], 55)])
    evm.put(MULTICALL3_CODE, MULTICALL3_OF_TRON)
    solid = tron.chain.head() + SOLID_LAG + 2
    wait_for(lambda: tron.chain.head() >= solid, tron.evm, what="the funds to be solidified")
    node = TronNode(tron.node.url, "solid", time_limit=CAP)
    of_tron = evm.facts("tron", tron.token)
    read = evm.read(holders, strategy, node, token=tron.token, multicall3=of_tron.multicall3)
    assert read.balances == tuple(Balance(100 + at, 55 if at == 0 else 0) for at in range(5))
    assert read.chain_id == TRON_CHAIN_ID
    assert read.one_block is (strategy != "single")


def test_a_tron_node_without_a_multicall3_says_so(tron: LocalChain) -> None:
    Evm(tron.evm.url).ask("anvil_setCode", "0x" + MULTICALL3_OF_TRON.hex(), "0x")
    node = TronNode(tron.node.url, "latest", time_limit=CAP)
    with pytest.raises(Unsupported):
        READ["multicall3"](node, Evm(tron.evm.url).facts("tron", tron.token), [owner(1)])
