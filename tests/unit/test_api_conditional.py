"""ETag and If-None-Match: what a client's header means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.conditional import Copies, Tagger

PLAIN = Tagger(6, 6, detail=False)
FULL = Tagger(6, 6, detail=True)
TAG = -0x0123456789ABCDEF  # negative, and with letters


def etag(tag: int = TAG, tagger: Tagger = PLAIN) -> str:
    return tagger.header(tag)


STRONG = etag().removeprefix("W/")


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ([], False),
        ([""], False),
        ([etag()], True),
        ([STRONG], True),
        ([f'"x", {etag()}'], True),
        ([f'{etag(1)},{etag()} , "y"'], True),
        ([etag(1), etag()], True),
        ([f",, {etag()},"], True),
        ([f'"a,b", {etag()}'], True),
        (["*"], True),
        ([" * "], True),
        ([etag(1)], False),
        ([etag(tagger=FULL)], False),
        ([etag(tagger=Tagger(6, 18, detail=False))], False),
        ([etag().strip('W/"')], False),
        ([f"{etag()} {etag()}"], False),
        ([f"garbage, {etag()}"], False),
        ([f"*, {etag()}"], False),
        (['"unfinished'], False),
        ([etag().upper()], False),
        ([f"{etag()}, " + '"x", ' * 1000], False),
    ],
)
def test_a_copy_is_known_by_its_tag_alone(headers: list[str], *, known: bool) -> None:
    copies = PLAIN.copies([header.encode() for header in headers])
    assert (copies is not None and copies.include(TAG)) is known


@given(st.integers(-(2**63), 2**63 - 1), st.booleans())
def test_a_tag_that_was_given_out_comes_back_as_it_was(tag: int, detail: bool) -> None:
    tagger = Tagger(6, 6, detail=detail)
    assert tagger.copies([tagger.header(tag).encode()]) == Copies(frozenset({tag}))


@given(st.binary(max_size=200))
def test_whatever_is_sent_as_a_header_is_read_without_an_error(header: bytes) -> None:
    copies = PLAIN.copies([header])
    assert copies is None or copies.tags is None or copies.tags
