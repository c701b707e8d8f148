"""What a call of Multicall3 says byte by byte, and what is said of a reply that is none."""

import pytest
from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode

from worker.errors import BadReply
from worker.reading import multicall

MULTICALL3, TOKEN, ACCOUNT = (bytes([byte]) * 20 for byte in (1, 2, 3))
NONCE = bytes(range(32))


def calls(request: bytes) -> list[tuple[str, bool, bytes]]:
    (made,) = abi_decode(["(address,bool,bytes)[]"], request[len(multicall.AGGREGATE3) :])
    return list(made)


def test_an_address_is_an_argument_of_32_bytes_with_zeros_before_it() -> None:
    assert multicall.padded(ACCOUNT) == bytes(12) + ACCOUNT


def test_each_call_may_fail_by_itself_so_that_one_wallet_does_not_fail_all() -> None:
    made = calls(multicall.encode(MULTICALL3, TOKEN, [ACCOUNT, ACCOUNT]))
    assert len(made) == multicall.HEADERS + 4
    assert all(may_fail for _, may_fail, _ in made)


def test_the_nonce_that_is_given_is_sent_and_else_one_of_32_bytes() -> None:
    assert calls(multicall.encode(MULTICALL3, TOKEN, [], NONCE))[3][2] == NONCE
    assert len(calls(multicall.encode(MULTICALL3, TOKEN, []))[3][2]) == 32


def reply(echo: bytes, native: int) -> bytes:
    words = (
        [word.to_bytes(32) for word in (10, 1_795_000_000, 1)] + [echo] + [word.to_bytes(32) for word in (7, native)]
    )
    made: bytes = abi_encode(["(bool,bytes)[]"], [[(True, word) for word in words]])
    return made


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b"", r"not the results of a Multicall3 \(InsufficientDataBytes\)"),
        (reply(bytes(32), 5), "the reply answers another request"),
        (reply(NONCE, 2**128), "a native balance that cannot be"),
    ],
)
def test_a_reply_that_is_refused_is_refused_in_so_many_words(raw: bytes, complaint: str) -> None:
    request = multicall.encode(MULTICALL3, TOKEN, [ACCOUNT], NONCE)
    with pytest.raises(BadReply, match=rf"^{complaint}$"):
        multicall.decode(raw, request, wallets=1)
