"""What a refusal says, and the bounds of what is taken: at the very edge of each."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import jwt
import pytest
from tokens import EC, SECRET, USER, ask, settings, signed

from api.auth import MAX_TOKEN_BYTES, Caller, Verifier, check_may_read
from api.keys import ProviderKeys
from api.problems import Problem

OTHER = UUID("11111111-1c52-4e0d-85e2-862ee1cdd4d0")
INVALID = ("The token is not valid here.", 'Bearer error="invalid_token"')


def refusal(*headers: str) -> tuple[str, str]:
    """What a client is told, and the challenge of RFC 6750: with an error only where there was a token."""
    with pytest.raises(Problem) as refused:
        ask(Verifier(settings()), *headers)
    return refused.value.detail, refused.value.headers["WWW-Authenticate"]


def test_a_refusal_says_what_was_wrong_and_never_why_a_token_is_not_good() -> None:
    one = ("One Authorization header with a bearer token is required.", "Bearer")
    form = ("The Authorization header must be of the form: Bearer <token>.", "Bearer")
    assert refusal() == refusal("Bearer a", "Bearer b") == one
    assert refusal("Basic a") == refusal("") == form
    assert refusal("Bearer \u00e9") == refusal("Bearer a.b.c") == refusal("Bearer a b") == INVALID
    assert refusal(f"Bearer {signed('another' * 5)}") == INVALID
    expired = ("The token has expired.", 'Bearer error="invalid_token"')
    assert refusal(f"Bearer {signed(exp=1)}") == expired


def token_of(size: int) -> str:
    """A good token of exactly so many bytes. Three bytes make four letters: its header makes up for what is over."""
    base = 3 * (size - 400) // 4
    made = (signed(padding="x" * (base + more), headers={"kid": "k" * kid}) for more in range(300) for kid in range(3))
    return next(token for token in made if len(token) == size)


@pytest.mark.parametrize(("size", "taken"), [(MAX_TOKEN_BYTES, True), (MAX_TOKEN_BYTES + 1, False)])
def test_a_token_may_be_as_long_as_the_bound_and_no_longer(size: int, *, taken: bool) -> None:
    token = token_of(size)
    assert jwt.decode(token, SECRET, algorithms=["HS256"])["sub"] == str(USER)
    if taken:
        assert ask(Verifier(settings()), f"Bearer {token}") == Caller(str(USER), admin=False)
    else:
        assert refusal(f"Bearer {token}") == INVALID


def test_blanks_around_a_token_do_not_matter() -> None:
    assert ask(Verifier(settings()), f"Bearer   {signed()} ").subject == str(USER)


def test_the_route_lets_a_user_pass_to_their_own_balances_and_says_no_more_than_that_others_are_not_theirs() -> None:
    own = Caller(str(USER), admin=False)
    check_may_read(own, USER)
    with pytest.raises(Problem) as refused:
        check_may_read(own, OTHER)
    assert (refused.value.status, refused.value.detail) == (403, "This token is for another user.")


def test_a_token_is_checked_once_until_the_keys_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Verifier(settings(jwt_jwks_url="https://provider.example/keys", jwt_algorithms="ES256", jwt_audience="any"))
    assert isinstance(made._keys, ProviderKeys)
    published = {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(EC.public_key())), "kid": "one"}
    made._keys._client = SimpleNamespace(fetch_data=lambda: {"keys": [published]})  # type: ignore[assignment]
    header = [f"Bearer {signed(EC, 'ES256', headers={'kid': 'one'})}".encode()]
    checks: list[Any] = []
    decode = jwt.decode_complete

    def checked(*given: Any, **more: Any) -> dict[str, Any]:
        checks.append(given)
        return decode(*given, **more)

    monkeypatch.setattr(jwt, "decode_complete", checked)

    async def run() -> None:
        for _ in range(3):
            assert (await made.caller(header)).subject == str(USER)
        assert len(checks) == 1
        made._keys._version += 1  # type: ignore[attr-defined]  # others came, and the old one is among them no more
        made._keys._keys = {"two": next(iter(made._keys._keys.values()))}  # type: ignore[attr-defined]
        with pytest.raises(Problem) as refused:
            await made.caller(header)
        assert refused.value.status == 401

    asyncio.run(run())
