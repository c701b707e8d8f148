"""Whatever comes as a token: it is refused with 401, or its caller is whom the signed claims name."""

import asyncio
import json
import string
from functools import cache
from itertools import product
from typing import Any

import jwt
import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from tokens import EC, HS256, RSA, USER, by_hand, claims, encoded, part, pem, settings, signed

from api.auth import Caller, Verifier
from api.problems import Problem

NAMES = ["sub", "exp", "nbf", "iat", "iss", "aud", "jti", "scope", "scp"]
HEADERS = ["alg", "typ", "kid", "crit", "b64", "cty", "zip", "enc", "jku", "jwk", "x5c"]
ADMIN = "balances:admin"
KEYS = {"HS256": {}, "RS256": {"jwt_public_key": pem(RSA)}, "ES256": {"jwt_public_key": pem(EC)}}
SECRETS = [b"", b"t" * 32, pem(RSA).encode(), pem(EC).encode()]  # none of them is ours

few = examples(max_examples=examples().max_examples // 4)  # JSON takes long to make up
texts = st.text(max_size=20) | st.sampled_from(["HS256", "none", "b64", "1e3", "١٢٣", "9" * 5000, ADMIN, str(USER)])
numbers = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 2**63, 1e308])
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2), max_leaves=4
)
some_claims = st.dictionaries(st.sampled_from(NAMES) | texts, values, max_size=4)
some_headers = st.dictionaries(st.sampled_from(HEADERS) | texts, values, max_size=3)


@cache
def verifier(algorithm: str = "HS256") -> Verifier:
    """One for all examples: what it remembers of a token must be no other's."""
    return Verifier(settings(**KEYS[algorithm], jwt_algorithms=algorithm))


@cache
def good(algorithm: str, subject: str = str(USER)) -> bytes:
    key: Any = {"RS256": RSA, "ES256": EC}.get(algorithm)
    return (signed(sub=subject) if key is None else signed(key, algorithm, sub=subject)).encode()


def outcome(token: bytes, algorithm: str = "HS256") -> Caller | int:
    """The caller, or the status that the request is refused with."""
    try:
        return asyncio.run(verifier(algorithm).caller([b"Bearer " + token]))
    except Problem as problem:
        return problem.status


def assert_true_to(raw: bytes, found: Caller | int) -> None:
    """Whoever was taken is whom these claims name, and no more."""
    if isinstance(found, int):
        assert found == 401
        return
    named = json.loads(raw)
    assert found.subject == named["sub"]
    assert int(named["exp"]) > 0
    assert not found.admin or ADMIN in json.dumps([named.get("scope"), named.get("scp")])


@given(st.binary(max_size=400) | st.lists(st.binary(max_size=60).map(encoded)).map(".".join).map(str.encode))
def test_bytes_that_nobody_signed_are_refused(token: bytes) -> None:
    assert outcome(token) == 401


@pytest.mark.parametrize("algorithm", KEYS)
@given(st.data())
def test_a_token_with_one_byte_changed_is_refused(algorithm: str, data: st.DataObject) -> None:
    token = good(algorithm)
    at, byte = data.draw(st.integers(0, len(token) - 1)), data.draw(st.integers(0, 255))
    changed = token[:at] + bytes([byte]) + token[at + 1 :]
    assert outcome(changed, algorithm) == (Caller(str(USER), admin=False) if changed == token else 401)


@pytest.mark.parametrize("algorithm", KEYS)
def test_no_part_of_a_token_has_a_second_last_character(algorithm: str) -> None:
    """The last character of base64 holds bits that mean nothing: a token has one form all the same."""
    token = good(algorithm)
    ends = [at - 1 for at in range(len(token)) if token[at : at + 1] == b"."] + [len(token) - 1]
    taken = {
        (end, byte)
        for end, byte in product(ends, string.ascii_letters.encode() + string.digits.encode() + b"-_=")
        if outcome(token[:end] + bytes([byte]) + token[end + 1 :], algorithm) != 401
    }
    assert taken == {(end, token[end]) for end in ends}


@given(st.sampled_from(list(KEYS)), st.binary(max_size=3), st.integers(0, 200))
def test_a_token_with_bytes_put_in_is_refused_but_for_blanks_around_and_padding_of_its_signature(
    algorithm: str, more: bytes, place: int
) -> None:
    token = good(algorithm)
    at = min(place, len(token))
    changed = token[:at] + more + token[at:]
    alike = changed.strip() == token or (at == len(token) and more.strip() in (b"=", b"=="))
    assert outcome(changed, algorithm) == 401 or alike


def test_parts_of_good_tokens_make_no_other_good_one() -> None:
    subjects = ["a", "b", str(USER)]
    tokens = [good("HS256", subject).split(b".") for subject in subjects]
    for header, payload, signature in product(range(3), repeat=3):
        made = b".".join([tokens[header][0], tokens[payload][1], tokens[signature][2]])
        # The headers are the same.
        assert outcome(made) == (Caller(subjects[payload], admin=False) if payload == signature else 401)


@few
@given(st.fixed_dictionaries({}, optional={"sub": texts, "exp": st.just(10**10)}), some_claims)
@example({"sub": "a", "exp": 10**10}, {"scope": ADMIN})
@example({"sub": "a", "exp": 10**10}, {"scope": "openid", "scp": ["profile"]})
@example({"sub": "a"}, {"exp": "9" * 4000})
def test_whatever_well_signed_claims_say_the_caller_is_whom_they_name(plain: Any, more: dict[str, Any]) -> None:
    raw = json.dumps({**more, **plain}).encode()
    assert_true_to(raw, outcome(by_hand(HS256, encoded(raw)).encode()))


@given(st.binary(max_size=60) | st.sampled_from(["utf-16", "utf-32", "utf-8-sig"]).map(json.dumps(claims()).encode))
def test_whatever_was_well_signed_instead_of_claims_is_refused_or_read_as_json(raw: bytes) -> None:
    assert_true_to(raw, outcome(by_hand(HS256, encoded(raw)).encode()))


@few
@given(some_headers)
@example({"b64": False, "crit": ["b64"]})
@example({"alg": "HS256", "crit": ["b64"], "b64": True})
def test_whatever_a_well_signed_header_says_only_the_right_algorithm_is_taken(header: dict[str, Any]) -> None:
    for given_header in (header, {**header, "alg": "HS256"}):
        found = outcome(by_hand(given_header, part(claims())).encode())
        assert found == 401 or (given_header["alg"], found) == ("HS256", Caller(str(USER), admin=False))


@few
@given(
    some_headers, st.sampled_from(list(KEYS)), st.sampled_from([b"", b"t" * 32, pem(RSA).encode(), pem(EC).encode()])
)
@example({"alg": "none"}, "HS256", b"")
@example({"alg": "HS256"}, "RS256", pem(RSA).encode())
def test_whatever_the_header_says_a_strangers_signature_proves_nothing(
    header: dict[str, Any], algorithm: str, key: bytes
) -> None:
    for given_header in (header, {**header, "alg": algorithm}):
        assert outcome(by_hand(given_header, part(claims()), key).encode(), algorithm) == 401


def test_a_good_token_of_each_kind_is_taken() -> None:
    """Without this the tests above might stand on tokens that nobody takes."""
    assert [outcome(good(name), name) for name in KEYS] == [Caller(str(USER), admin=False)] * 3
    assert jwt.decode(good("HS256"), options={"verify_signature": False})["sub"] == str(USER)
