"""A provider's keys end: when it publishes none any more, and when it has not confirmed them for too long."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
import pytest
from published_keys import EC, MAX_AGE, Provider, is_known, jwk, keys_from, token
from structlog.testing import capture_logs
from tokens import settings, signed

from api import keys
from api.auth import Verifier
from api.keys import ProviderKeys
from api.problems import Problem

AWAY = jwt.PyJWKClientConnectionError("away")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(keys, "monotonic", lambda: now[0])
    return now


async def status(made: ProviderKeys) -> int:
    """What a token of the first key comes to."""
    try:
        await made.of(token("one"))
    except Problem as problem:
        return int(problem.status)
    return 200


def run(work: Callable[[], Awaitable[None]]) -> list[Any]:
    """What the log was told meanwhile: events, their levels and how many keys were kept."""

    async def awaited() -> None:
        await work()

    with capture_logs() as logs:
        asyncio.run(awaited())
    return [(line["event"], line["log_level"], line.get("kept")) for line in logs]


@pytest.mark.parametrize("published", [[], [{"kty": "oct", "k": "c2VjcmV0", "kid": "one"}], [jwk(EC, use="enc")], [7]])
def test_a_provider_that_publishes_no_usable_key_any_more_has_withdrawn_them_all(
    published: list[Any], clock: list[float]
) -> None:
    provider = Provider(jwk(EC))
    made = keys_from(provider)

    async def work() -> None:
        assert await status(made) == 200
        before, provider.answer = made.version(), {"keys": published}
        clock[0] += keys.MAX_AGE + 1
        made.version()
        assert made._fetching
        await made._fetching
        assert made.version() != before, "what was remembered is forgotten"
        assert await status(made) == 503
        provider.answer = {"keys": [jwk(EC)]}
        clock[0] += keys.REST_SECONDS
        assert await status(made) == 200

    assert run(work) == [("keys_withdrawn", "error", None)]


def test_keys_that_were_not_confirmed_for_too_long_are_dropped(clock: list[float]) -> None:
    provider = Provider(jwk(EC))
    made = keys_from(provider)

    async def work() -> None:
        assert await status(made) == 200
        before, provider.answer = made.version(), AWAY
        clock[0] += MAX_AGE
        assert await status(made) == 200
        assert made.version() == before
        assert made._fetching
        await made._fetching
        clock[0] += keys.REST_SECONDS + 1
        assert await status(made) == 503
        assert made.version() != before, "what was remembered is forgotten"
        provider.answer = {"keys": [jwk(EC)]}
        clock[0] += keys.REST_SECONDS
        assert await status(made) == 200

    assert run(work) == [("keys_not_fetched", "warning", 1), ("keys_not_fetched", "error", 0)]


def test_after_a_quiet_night_the_first_token_waits_for_the_keys_and_nobody_is_alarmed(clock: list[float]) -> None:
    made = keys_from(Provider(jwk(EC)))

    async def work() -> None:
        assert await status(made) == 200
        clock[0] += MAX_AGE * 10
        assert await status(made) == 200

    assert run(work) == []


def test_keys_are_confirmed_well_before_they_would_be_dropped(clock: list[float]) -> None:
    provider = Provider(jwk(EC))
    made = ProviderKeys("https://provider.example/keys", ("ES256",), 60.0)
    made._client = provider  # type: ignore[assignment]

    async def work() -> None:
        assert await is_known(made, "one")
        clock[0] += 31
        made.version()
        assert made._fetching
        await made._fetching
        assert provider.asked == 2

    assert run(work) == []


def of_provider(provider: Provider) -> tuple[Verifier, ProviderKeys, list[bytes]]:
    """A verifier with a provider's keys, and the headers of a good token."""
    more = {"jwt_jwks_url": "https://provider.example/keys", "jwt_algorithms": "ES256", "jwt_audience": "us"}
    verifier = Verifier(settings(**more))
    verifier._keys = made = keys_from(provider)
    return verifier, made, [f"Bearer {signed(EC, 'ES256', headers={'kid': 'one'}, aud='us')}".encode()]


@pytest.mark.parametrize("end", ["withdrawn", "too old"])
def test_a_remembered_token_ends_with_its_key(end: str, clock: list[float]) -> None:
    provider = Provider(jwk(EC))
    verifier, made, headers = of_provider(provider)

    async def work() -> None:
        for _ in range(2):
            assert await verifier.caller(headers)
        assert (len(verifier._remembered), provider.asked) == (1, 1)
        if end == "withdrawn":
            provider.answer = {"keys": []}
            clock[0] += keys.MAX_AGE + 1
            await verifier.caller(headers)
            assert made._fetching
            await made._fetching
        else:
            provider.answer = AWAY
            clock[0] += MAX_AGE + 1
        with pytest.raises(Problem) as refused:
            await verifier.caller(headers)
        assert refused.value.status == 503

    run(work)


def test_a_token_is_not_remembered_beyond_a_key_that_was_dropped_while_it_was_checked(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier, made, headers = of_provider(provider := Provider(jwk(EC)))
    decode = jwt.decode_complete

    def slowly(*args: Any, **more: Any) -> Any:
        clock[0] += MAX_AGE + 1
        made.version()  # as another request would ask for it
        return decode(*args, **more)

    async def work() -> None:
        assert await is_known(made, "one")
        provider.answer = AWAY
        with monkeypatch.context() as patched:
            patched.setattr(jwt, "decode_complete", slowly)
            assert await verifier.caller(headers)
        with pytest.raises(Problem) as refused:
            await verifier.caller(headers)
        assert refused.value.status == 503

    run(work)
