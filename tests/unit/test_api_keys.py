"""A provider's published keys: which of them are used, with which algorithms, and when they are fetched."""

import asyncio
from threading import Event
from typing import Any

import jwt
import pytest
from published_keys import ALL, EC, ED, RSA, Provider, is_known, jwk, keys_from, token

from api import keys
from api.problems import Problem
from config.keys import usable
from devstack.servers import CAP


@pytest.mark.parametrize(
    ("entry", "algorithms"),
    [
        (jwk(RSA), ("RS256", "RS512", "PS256")),
        (jwk(RSA, alg="RS512"), ("RS512",)),
        (jwk(RSA, use="sig"), ("RS256", "RS512", "PS256")),
        (jwk(EC), ("ES256",)),
        (jwk(EC, alg="ES256"), ("ES256",)),
        (jwk(ED), ("EdDSA",)),
        (jwk(RSA, use="enc"), None),
        (jwk(RSA, alg="RSA-OAEP"), None),
        (jwk(RSA, alg="RS384"), None),
        (jwk(EC, alg="RS256"), None),
        (jwk(RSA, alg="HS256"), None),
        (jwk(RSA, kid={"a": 1}), None),  # type: ignore[arg-type]  # as an attacker might
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "one"}, None),
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "one", "alg": "RS256"}, None),
        ({"kid": "one"}, None),
        ("no key", None),
    ],
)
def test_a_key_is_used_with_the_algorithms_that_fit_it_and_are_allowed(
    entry: Any, algorithms: tuple[str, ...] | None
) -> None:
    found = usable({"keys": [entry]}, ALL)
    assert (found["one"][0].algorithms if found else None) == algorithms


@pytest.mark.parametrize(
    "spoilt",
    [
        {"kty": "RSA", "n": 5, "e": "AQAB", "kid": "two"},
        {"kty": "RSA", "n": "AQAB", "e": {}, "kid": "two"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "two"},
        {"kty": ["RSA"], "kid": "two"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "two"},
    ],
)
def test_a_malformed_key_spoils_none_of_the_others(spoilt: Any) -> None:
    assert usable({"keys": [spoilt, jwk(EC)]}, ALL).keys() == {"one"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(keys, "monotonic", lambda: now[0])
    return now


def test_an_unknown_key_is_asked_for_once_however_many_tokens_name_it(clock: list[float]) -> None:
    provider = Provider(jwk(EC))
    made = keys_from(provider)

    async def run() -> None:
        assert await asyncio.gather(*(is_known(made, "one") for _ in range(50))) == [True] * 50
        assert provider.asked == 1
        assert await asyncio.gather(*(is_known(made, f"no-{number}") for number in range(50))) == [False] * 50
        assert provider.asked == 1, "it was asked just now"
        clock[0] += keys.REST_SECONDS
        provider.answer = {"keys": [jwk(EC, "two")]}
        assert await is_known(made, "two")
        assert not await is_known(made, "one"), "a withdrawn key is not believed"
        assert provider.asked == 2

    asyncio.run(run())


@pytest.mark.parametrize(
    "answer",
    [
        jwt.PyJWKClientConnectionError("away"),
        TimeoutError(),
        ValueError(),
        {},
        {"keys": 7},
        {"keys": None},
        [],
        None,
        "x",
        7,
        RecursionError(),
    ],
)
def test_the_old_keys_are_kept_while_the_provider_is_out_of_order(answer: Any, clock: list[float]) -> None:
    provider = Provider(jwk(EC))
    made = keys_from(provider)

    async def run() -> None:
        assert await is_known(made, "one")
        before, provider.answer = made.version(), answer
        clock[0] += keys.MAX_AGE + 1
        assert not await is_known(made, "two")
        assert provider.asked == 2
        assert await is_known(made, "one")
        assert made.version() == before

    asyncio.run(run())


def test_without_any_keys_a_token_can_be_neither_good_nor_bad(clock: list[float]) -> None:
    provider = Provider(jwk(EC))
    provider.answer = jwt.PyJWKClientConnectionError("away")
    made = keys_from(provider)

    async def run() -> None:
        for _ in range(2):
            with pytest.raises(Problem) as refused:
                await made.of(token("one"))
            assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "2")
        assert provider.asked == 1
        provider.answer = {"keys": [jwk(EC)]}
        clock[0] += keys.REST_SECONDS
        assert await is_known(made, "one")

    asyncio.run(run())


def test_keys_that_have_become_old_are_looked_for_in_the_background(clock: list[float]) -> None:
    provider = Provider(jwk(EC))
    made = keys_from(provider)

    async def run() -> None:
        made.version()
        assert made._fetching
        await made._fetching
        before = made.version()
        assert provider.asked == 1
        clock[0] += keys.MAX_AGE + 1
        assert made.version() == before, "nobody waits"
        assert made._fetching
        await made._fetching
        assert (made.version() > before, provider.asked) == (True, 2)

    asyncio.run(run())


def test_a_provider_that_dawdles_holds_one_thread(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "FETCH_SECONDS", 0.05)
    over = Event()

    class Dawdling(Provider):
        def fetch_data(self) -> Any:
            self.asked += 1
            over.wait(CAP)
            return self.answer

    provider = Dawdling(jwk(EC))
    made = keys_from(provider)

    async def run() -> None:
        attempts = 0
        while not provider.asked or attempts < 3:  # what has not begun when its time is over never does
            with pytest.raises(Problem):
                await made.of(token("one"))
            clock[0] += keys.REST_SECONDS
            attempts += 1
        assert provider.asked == 1
        monkeypatch.setattr(keys, "FETCH_SECONDS", CAP)
        over.set()
        assert await is_known(made, "one")

    asyncio.run(run())


def test_a_token_without_a_kid_is_of_the_only_key_if_there_is_one(clock: list[float]) -> None:  # noqa: ARG001
    async def run() -> None:
        assert await is_known(keys_from(Provider(jwk(EC))), None)
        assert not await is_known(keys_from(Provider(jwk(EC), jwk(RSA, "two"))), None)

    asyncio.run(run())
