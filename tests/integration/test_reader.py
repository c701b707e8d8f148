"""The reader contract: its bytes are what its source compiles to, and they do on a real EVM what they should."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from solc import compiled

from devstack.stack import LocalChain
from worker.chains import snapshot
from worker.chains.ethereum import EthereumNode
from worker.chains.snapshot import MAX_WALLETS_BY_RETURN, READER, Balance, Snapshot, decode, encode
from worker.errors import Refused

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


def test_the_bytes_are_what_the_source_compiles_to() -> None:
    source = Path(snapshot.__file__).with_name("reader.yul")
    assert compiled(source, "Yul", "Reader") == READER


class Evm:
    """A real EVM whose code and balances a test sets as it likes."""

    def __init__(self, url: str) -> None:
        self.url, self.node = url, EthereumNode(url, "latest", timeout=30)

    def ask(self, method: str, *parameters: Any) -> Any:
        reply = requests.post(
            self.url, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}, timeout=30
        ).json()
        assert "error" not in reply, reply
        return reply["result"]

    def read(self, owners: list[bytes], token: bytes = TOKEN) -> Snapshot:
        request = encode(token, owners)
        chain_id = int(self.ask("eth_chainId"), 16)
        return decode(self.node.call(request), request, wallets=len(owners), chain_id=chain_id, now=NEVER_PASSED)


@pytest.fixture
def evm(ethereum: LocalChain) -> Iterator[Evm]:
    made = Evm(ethereum.node.url)
    before = made.ask("evm_snapshot")
    yield made
    made.ask("evm_revert", before)


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
    with pytest.raises(Refused):
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
    with pytest.raises(Refused):
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
