"""Multicall3's calldata and results: what is asked, and every check on what comes back."""

from typing import Any

import pytest
from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import BadReply
from worker.reading import multicall
from worker.reading.contract import Balance, Block, Snapshot

MULTICALL3, TOKEN = b"\xca" * 20, b"\xda" * 20
ACCOUNTS = [bytes([number]) * 20 for number in (1, 2)]
NONCE = bytes(range(32))
REQUEST = multicall.encode(MULTICALL3, TOKEN, ACCOUNTS, NONCE)

Results = list[tuple[bool, bytes]]


def word(value: int) -> tuple[bool, bytes]:
    return True, value.to_bytes(32)


GOOD: Results = [*map(word, (85, 1_795_000_000, 728126428)), (True, NONCE), word(977), word(5), word(0), word(0)]


def reply(results: Any) -> bytes:
    encoded: bytes = abi_encode(["(bool,bytes)[]"], [results])
    return encoded


def read(results: Any) -> Snapshot:
    return multicall.decode(reply(results), REQUEST, wallets=2)


@pytest.mark.parametrize(
    ("selector", "signature"),
    [
        (multicall.AGGREGATE3, "aggregate3((address,bool,bytes)[])"),
        (multicall.GET_BLOCK_NUMBER, "getBlockNumber()"),
        (multicall.GET_BLOCK_TIMESTAMP, "getCurrentBlockTimestamp()"),
        (multicall.GET_CHAIN_ID, "getChainId()"),
        (multicall.GET_ETH_BALANCE, "getEthBalance(address)"),
        (multicall.BALANCE_OF, "balanceOf(address)"),
    ],
)
def test_a_selector_is_its_signatures_hash(selector: bytes, signature: str) -> None:
    assert keccak(signature.encode())[:4] == selector


def test_the_block_the_chain_an_echo_and_both_balances_of_each_account_are_asked_for_in_one_call() -> None:
    assert REQUEST.startswith(multicall.AGGREGATE3)
    (calls,) = abi_decode(["(address,bool,bytes)[]"], REQUEST[4:])
    assert [(bytes.fromhex(target[2:]), may_fail) for target, may_fail, _ in calls] == [
        *[(MULTICALL3, True)] * 3,
        ((4).to_bytes(20), True),
        *[(TOKEN, True), (MULTICALL3, True)] * 2,
    ]
    assert calls[3][2] == NONCE
    assert calls[6][2] == multicall.BALANCE_OF + bytes(12) + ACCOUNTS[1]


def test_two_requests_for_the_same_accounts_differ() -> None:
    assert multicall.encode(MULTICALL3, TOKEN, ACCOUNTS) != multicall.encode(MULTICALL3, TOKEN, ACCOUNTS)


def test_good_results_give_each_wallet_its_balances_in_order() -> None:
    assert read(GOOD) == Snapshot(Block(85, 1_795_000_000), 728126428, (Balance(977, 5), Balance(0, 0)))


def changed(place: int, result: tuple[bool, bytes]) -> Results:
    return [*GOOD[:place], result, *GOOD[place + 1 :]]


@pytest.mark.parametrize(
    "token", [(False, b""), (True, b""), (False, bytes(32)), (True, bytes(31)), (True, bytes(33)), word(2**128 - 1)]
)
def test_a_token_call_that_failed_gives_no_balance_at_all(token: tuple[bool, bytes]) -> None:
    assert read(changed(4, token)).balances == (None, Balance(0, 0))


@pytest.mark.parametrize(
    ("results", "complaint"),
    [
        ([], "0 results instead of 8"),
        (GOOD[:-1], "7 results"),
        ([*GOOD, word(1)], "9 results"),
        (changed(3, (True, bytes(32))), "another request"),
        (changed(3, (False, NONCE)), "another request"),
        (changed(0, (False, b"")), "block number"),
        (changed(1, (True, b"")), "block number"),
        (changed(2, (True, bytes(31))), "block number"),
        (changed(5, (False, b"")), "native balance"),
        (changed(5, word(2**128)), "native balance"),
    ],
)
def test_results_that_fail_a_check_are_refused(results: Results, complaint: str) -> None:
    with pytest.raises(BadReply, match=complaint):
        read(results)


@pytest.mark.parametrize("raw", [b"", bytes(31), b"\xff" * 64, reply(GOOD)[:-32], bytes(64), b"\x08\xc3\x79\xa0"])
def test_what_is_not_a_list_of_results_is_refused(raw: bytes) -> None:
    with pytest.raises(BadReply):
        multicall.decode(raw, REQUEST, wallets=2)


@given(st.binary(max_size=300))
def test_whatever_comes_back_is_refused_in_our_own_words(raw: bytes) -> None:
    with pytest.raises(BadReply):
        multicall.decode(raw, REQUEST, wallets=2)
