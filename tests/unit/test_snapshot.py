"""The bytes of a read: what is sent, and every check on what comes back."""

from typing import Any

import pytest
from eth_hash.auto import keccak
from fakes import facts
from hypothesis import given
from hypothesis import strategies as st
from vectors import recorded

from worker.errors import BadReply, Lagging, WrongChain
from worker.reading.contract import (
    MAX_WALLETS_BY_RETURN,
    MAX_WALLETS_BY_REVERT,
    READER,
    RETURN,
    REVERT,
    REVERTING_READER,
    TOKEN_CALL_FAILED,
    Balance,
    Block,
    Snapshot,
    decode,
    encode,
    richest,
)
from worker.reading.plausibility import Expected, check, newest_of

TOKEN = bytes.fromhex("dac17f958d2ee523a2206206994597c13d831ec7")
NONCE = bytes(range(12))
ACCOUNTS = [bytes([n]) * 20 for n in (1, 2, 3)]
NOW = 1_795_000_000
REQUEST = encode(TOKEN, ACCOUNTS, NONCE)

Words = list[int]


def header(request: bytes = REQUEST) -> Words:
    return [85, NOW - 12, 1, int.from_bytes(keccak(request))]


def reply(words: Words) -> bytes:
    return b"".join(word.to_bytes(32) for word in words)


def wallet(usdt: int, native: int) -> int:
    return usdt << 128 | native


GOOD = [*header(), wallet(977_000_000, 5), wallet(0, 0), wallet(2**128 - 2, 2**128 - 1)]


def read(
    body: bytes, request: bytes = REQUEST, *, wallets: int = 3, newest: Block | None = None, **changes: Any
) -> Snapshot:
    snapshot = decode(body, request, wallets=wallets)
    check(snapshot, Expected(facts(**changes), NOW, newest))
    return snapshot


def test_a_request_is_the_reader_a_nonce_the_token_and_the_accounts() -> None:
    assert READER + NONCE + TOKEN + b"".join(ACCOUNTS) == REQUEST


def test_two_requests_for_the_same_accounts_differ() -> None:
    assert encode(TOKEN, ACCOUNTS) != encode(TOKEN, ACCOUNTS)


@pytest.mark.parametrize(
    ("token", "accounts", "nonce"),
    [(TOKEN[1:], ACCOUNTS, NONCE), (TOKEN, [*ACCOUNTS, bytes(21)], NONCE), (TOKEN, ACCOUNTS, NONCE[1:])],
)
def test_a_part_of_the_wrong_length_would_shift_all_others_and_is_refused(
    token: bytes, accounts: list[bytes], nonce: bytes
) -> None:
    with pytest.raises(ValueError, match="20 each"):
        encode(token, accounts, nonce)


def test_a_full_batch_fills_the_code_size_limit_exactly() -> None:
    assert MAX_WALLETS_BY_RETURN == 764
    assert 128 + 32 * 764 <= 24_576 < 128 + 32 * 765


def test_a_good_reply_gives_each_wallet_its_balances_in_order() -> None:
    assert read(reply(GOOD)) == Snapshot(
        Block(85, NOW - 12), 1, (Balance(977_000_000, 5), Balance(0, 0), Balance(2**128 - 2, 2**128 - 1))
    )


def test_a_failed_token_call_gives_no_balance_at_all_rather_than_half_of_one() -> None:
    words = [*header(), wallet(TOKEN_CALL_FAILED, 7), wallet(1, 2), wallet(3, 4)]
    assert read(reply(words)).balances == (None, Balance(1, 2), Balance(3, 4))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        reply(GOOD)[:-1],
        reply(GOOD) + b"\0",
        reply(GOOD[:-1]),
        reply([*GOOD, wallet(1, 1)]),
        b"\x08\xc3\x79\xa0" + bytes(96),
    ],
    ids=["empty", "a byte short", "a byte long", "a wallet short", "a wallet long", "a revert reason"],
)
def test_a_reply_of_another_length_is_refused(body: bytes) -> None:
    with pytest.raises(BadReply, match="bytes instead of 224"):
        read(body)


def test_a_reply_to_another_request_for_the_same_wallets_is_refused() -> None:
    other = encode(TOKEN, ACCOUNTS, bytes(12))
    with pytest.raises(BadReply, match="another request"):
        read(reply([*header(other), *GOOD[4:]]))


def test_a_reply_from_another_chain_is_refused_and_named_as_that() -> None:
    with pytest.raises(WrongChain, match="chain id 1 instead of 1337"):
        read(reply(GOOD), chain_id=1337)


@pytest.mark.parametrize("number", [0, 2**63, 2**255])
def test_a_block_number_that_no_block_has_is_refused(number: int) -> None:
    with pytest.raises(BadReply, match="block number"):
        read(reply([number, *GOOD[1:]]))


@pytest.mark.parametrize("time", [0, NOW + 31, NOW * 1000])
def test_a_block_time_of_zero_or_in_the_future_is_refused(time: int) -> None:
    with pytest.raises(BadReply, match="block time"):
        read(reply([85, time, *GOOD[2:]]))


def test_a_block_time_a_little_ahead_of_our_clock_is_taken() -> None:
    assert read(reply([85, NOW + 30, *GOOD[2:]])).block.time == NOW + 30


@pytest.mark.parametrize(("age", "max_age"), [(60, 60), (10**6, 0), (-20, 1)])
def test_a_block_may_be_as_old_as_it_is_allowed_to_be(age: int, max_age: float) -> None:
    assert read(reply([85, NOW - age, *GOOD[2:]]), max_age=max_age)


def test_an_older_one_is_a_lagging_nodes() -> None:
    with pytest.raises(Lagging, match="block 85 is 61 s old, more than 60"):
        read(reply([85, NOW - 61, *GOOD[2:]]), max_age=60)


SEEN = Block(1_000_000, NOW - 24)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (1_000_000, None),
        (1_000_000 + 21, None),  # one in twelve seconds, and what a reorganisation may bring
        (1_000_000 + 22, BadReply),
        (26_000_000, BadReply),
        (1, None),  # a number that is too low shuts nothing out, and the one that was seen may be out of thin air
    ],
)
def test_a_number_that_the_chain_cannot_have_reached_since_the_newest_block_is_refused(
    number: int, kind: type[Exception] | None
) -> None:
    if kind is None:
        assert read(reply([number, *GOOD[1:]]), newest=SEEN).block.number == number
        return
    with pytest.raises(kind):
        read(reply([number, *GOOD[1:]]), newest=SEEN)


@pytest.mark.parametrize(("lag_seconds", "block_seconds"), [(60, 0.2), (60, 0.45), (60, 3), (240, 12)])
@pytest.mark.parametrize("number", [1, 999_990, 1_000_000])
def test_a_block_lags_by_the_seconds_that_it_is_older_than_the_newest_however_many_blocks_these_are(
    lag_seconds: float, block_seconds: float, number: int
) -> None:
    """Twenty blocks are four seconds of one chain, and four minutes of another."""

    def aged(seconds: float) -> bytes:
        return reply([number, int(SEEN.time - seconds), *GOOD[2:]])

    chain: dict[str, Any] = {
        "lag_seconds": lag_seconds,
        "fastest_block_seconds": min(block_seconds, 0.1),
        "first_block": (0, 0),
    }
    assert read(aged(lag_seconds), newest=SEEN, **chain).block.number == number
    with pytest.raises(Lagging, match=r"s before block 1000000, seen before"):
        read(aged(lag_seconds + 1), newest=SEEN, **chain)


def test_two_blocks_may_have_one_time() -> None:
    """As several blocks of a second have."""
    for number in range(1_000_001, 1_000_006):
        assert read(reply([number, SEEN.time, *GOOD[2:]]), newest=SEEN).block.time == SEEN.time


@pytest.mark.parametrize(
    ("fastest", "burst"),
    [(0.1, 50), (0.2, 25), (0.45, 20), (12, 20)],
)
def test_a_burst_of_blocks_is_believed_for_five_seconds_or_twenty_blocks(fastest: float, burst: int) -> None:
    chain: dict[str, Any] = {"fastest_block_seconds": fastest, "first_block": (0, 0)}
    assert read(reply([SEEN.number + burst, SEEN.time, *GOOD[2:]]), newest=SEEN, **chain)
    with pytest.raises(BadReply):
        read(reply([SEEN.number + burst + 1, SEEN.time, *GOOD[2:]]), newest=SEEN, **chain)


ANY_PACE: dict[str, Any] = {"first_block": (0, 0), "fastest_block_seconds": 0.1}


@pytest.mark.parametrize(
    ("chain", "time", "most"),
    [
        ({}, 1_735_689_599, 21_576_179 + 20),  # the last of 2024: it was 21,525,890
        # 86,405,017 by the fact sheet's example
        ({"first_block": (1, 1_529_891_469), "fastest_block_seconds": 3}, 1_789_887_306, 86_665_280 + 20),
        (ANY_PACE, NOW - 12, 10 * (NOW - 12) + 50),
    ],
)
def test_with_no_block_seen_before_a_number_is_bounded_by_what_the_chain_can_have_made(
    chain: dict[str, Any], time: int, most: int
) -> None:
    def seen(number: int) -> Block:
        return read(reply([number, time, *GOOD[2:]]), **chain).block

    assert seen(most).number == most
    assert seen(1).number == 1
    for number in (most + 1, 2**62):
        with pytest.raises(BadReply, match="at the most"):
            seen(number)


@pytest.mark.parametrize(
    ("block", "newest", "expected"),
    [
        (Block(5, NOW - 9), None, Block(5, NOW - 9)),
        (Block(6, NOW - 9), Block(5, NOW - 9), Block(6, NOW - 9)),
        (Block(6, NOW + 25), Block(5, NOW - 9), Block(6, NOW)),  # a clock that is ahead shuts nobody out
        (Block(5, NOW), Block(5, NOW - 9), None),
        (Block(4, NOW), Block(5, NOW - 9), None),  # true numbers would be too high beside it
    ],
)
def test_the_newest_block_is_the_one_with_the_highest_number_and_of_no_time_to_come(
    block: Block, newest: Block | None, expected: Block | None
) -> None:
    assert newest_of(block, newest, NOW + 0.7) == expected


def test_the_richest_wallet_is_found_among_those_that_have_a_balance() -> None:
    assert richest([Balance(5, 10**30), None, Balance(7, 0)]) == 7
    assert richest([None]) == richest([]) == 0


def test_the_two_readers_differ_in_how_they_hand_their_words_out_and_in_nothing_else() -> None:
    (at,) = [at for at, (one, other) in enumerate(zip(READER, REVERTING_READER, strict=True)) if one != other]
    assert (READER[at : at + 1], REVERTING_READER[at : at + 1]) == (RETURN, REVERT)
    assert encode(TOKEN, ACCOUNTS, NONCE, reader=REVERTING_READER)[163:] == REQUEST[163:]


def test_a_full_reverting_batch_fills_the_init_code_limit() -> None:
    largest = encode(TOKEN, [bytes(20)] * MAX_WALLETS_BY_REVERT, reader=REVERTING_READER)
    assert MAX_WALLETS_BY_REVERT == 2447
    assert len(largest) <= 49_152 < len(largest) + 20


def test_a_real_nodes_reply_is_read() -> None:
    vector = recorded("ethereum", 1)
    request = bytes.fromhex(vector["request"]["params"][0]["data"][2:])
    body = bytes.fromhex(vector["response"]["result"][2:])
    snapshot = decode(body, request, wallets=3)
    assert request.startswith(READER)
    assert snapshot == Snapshot(
        Block(0x4F, 0x6B049F82), 1337, (Balance(977_000_000, 10**15), Balance(977_000_001, 0), Balance(0, 0))
    )


def test_a_real_nodes_reply_about_a_token_without_code_gives_no_balance() -> None:
    vector = recorded("ethereum", 18)
    request = bytes.fromhex(vector["request"]["params"][0]["data"][2:])
    body = bytes.fromhex(vector["response"]["result"][2:])
    assert decode(body, request, wallets=3).balances == (None, None, None)


amounts = st.integers(0, 2**128 - 2)


@given(st.lists(st.tuples(amounts, st.integers(0, 2**128 - 1)), max_size=40))
def test_what_is_packed_is_what_is_read(balances: list[tuple[int, int]]) -> None:
    request = encode(TOKEN, [bytes(20)] * len(balances))
    body = reply([*header(request), *(wallet(*balance) for balance in balances)])
    assert read(body, request, wallets=len(balances)).balances == tuple(Balance(*balance) for balance in balances)


@given(st.integers(0, 8 * 128 - 1))
def test_no_bit_of_the_header_can_flip_unseen_but_those_of_a_number_and_time_that_could_be(bit: int) -> None:
    body = bytearray(reply(GOOD))
    body[bit // 8] ^= 1 << bit % 8
    try:
        snapshot = read(bytes(body))
    except (BadReply, WrongChain):
        return
    assert bit < 8 * 64, "chain id or echo"
    assert 0 < snapshot.block.number < 2**63
    assert 0 < snapshot.block.time <= NOW + 30
