"""Where the keys come from that tokens are checked with: the settings, or a provider."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Protocol

import jwt
import structlog

from api.problems import unavailable
from config.key_fetching import FETCH_SECONDS, Provider, why_not
from config.keys import MIN_RSA_BITS, Key, public_keys, secrets_of, usable
from config.keys import Keys as ById
from config.settings import ApiSettings

log = structlog.get_logger(__name__)

REST_SECONDS = 10.0  # at least, between two fetches, whatever tokens name
MAX_AGE = 600.0  # seconds, after which newer keys are looked for, so that a withdrawn one is not believed for long


MOST_WITHOUT_ID = 8  # keys without ids that one token is tried with


class UnknownKey(Exception):
    """A token names a key that the provider does not have."""


class Keys(Protocol):
    """Where keys come from."""

    def version(self) -> int:
        """A number that is another when the keys are. Looks for newer ones, in the background, when these are old."""

    async def of(self, token: bytes) -> tuple[tuple[Key, ...], int]:
        """The keys that a token may be signed by, most often one, and the version that they are of.

        Raises UnknownKey, jwt.PyJWTError, and Problem (503) when there are no keys at all.
        """


def keys_of(settings: ApiSettings) -> Keys:
    """The keys that the settings name. Raises SystemExit when they do not fit the algorithms."""
    if settings.jwt_jwks_url is not None:
        url = settings.jwt_jwks_url.get_secret_value()
        return ProviderKeys(url, settings.jwt_algorithms, settings.jwt_jwks_max_age)
    if settings.jwt_public_key is not None:
        try:
            found = public_keys(settings.jwt_public_key.get_secret_value(), settings.jwt_algorithms)
            names = ", ".join(settings.jwt_algorithms)
            wrong = f"is not a PEM public key for {names} (of RSA: {MIN_RSA_BITS:,} bits or more)"
        except ValueError as error:
            found, wrong = {}, str(error)
        if not found:
            raise SystemExit(f"The settings are not usable:\n  JWT_PUBLIC_KEY: {wrong}")
        return GivenKeys(found)
    assert settings.jwt_secret is not None, "the settings have one of the three"
    secrets = secrets_of(settings.jwt_secret.get_secret_value())
    return GivenKeys({None: tuple(Key(secret, settings.jwt_algorithms) for secret in secrets)})


def id_of(token: bytes) -> str | None:
    """The id of the key that a token names. Raises jwt.PyJWTError."""
    kid: str | None = jwt.get_unverified_header(token).get("kid")
    return kid


class GivenKeys:
    """Keys that stay as they are. Those of a JWK have ids; a token that names none of them is tried with each."""

    def __init__(self, keys: ById) -> None:
        self._keys = keys
        self._all = tuple(key for each in keys.values() for key in each)

    def version(self) -> int:
        return 0

    async def of(self, token: bytes) -> tuple[tuple[Key, ...], int]:
        return self._keys.get(id_of(token), self._all), 0


class ProviderKeys:
    """A provider's published keys (JWKS): fetched in a thread, within a bound, and kept while the provider is away.

    Not for ever: keys that it has not confirmed for `max_age` seconds are dropped. Until then one that was withdrawn
    may be among them.
    """

    def __init__(self, url: str, algorithms: Sequence[str], max_age: float) -> None:
        self._client = Provider(url)
        # Its own, and one: a provider that sends a byte now and then holds no other.
        self._thread = ThreadPoolExecutor(1, "keys")
        self._algorithms, self._max_age = algorithms, max_age
        self._keys: ById = {}
        self._version = 0
        self._fetched_at = self._asked_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    def version(self) -> int:
        """As `Keys` says."""
        age = monotonic() - self._fetched_at
        if age > self._max_age and self._keys:
            self._replace({})
        if age > min(MAX_AGE, self._max_age / 2):
            self._begin()
        return self._version

    async def of(self, token: bytes) -> tuple[tuple[Key, ...], int]:
        """As `Keys` says. A key that is not known yet is asked for, not more often than the provider can bear."""
        self.version()
        kid = id_of(token)
        keys = self._find(kid)
        if not keys:
            self._begin()
            if self._fetching:
                await asyncio.shield(self._fetching)
                keys = self._find(kid)
        if not keys and not self._keys:
            raise unavailable("Tokens cannot be checked now; try again.")
        if not keys:
            raise UnknownKey
        return keys, self._version

    def _find(self, kid: str | None) -> tuple[Key, ...]:
        """Those of this id, or else those that have none; to a token that names none, the only one there is."""
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid) or self._keys.get(None, ())[:MOST_WITHOUT_ID]

    def _begin(self) -> None:
        """Fetch, unless somebody does, or did just now."""
        if self._fetching is None and monotonic() - self._asked_at >= REST_SECONDS:
            self._asked_at = monotonic()
            self._fetching = asyncio.create_task(self._fetch())

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                published = await asyncio.get_running_loop().run_in_executor(self._thread, self._client.fetch_data)
            found = usable(published, self._algorithms)
        except Exception as error:  # noqa: BLE001  whatever a provider answers, nobody's request fails by it
            # Without any, no token can be checked until the provider is back.
            level = logging.WARNING if self._keys else logging.ERROR
            log.log(level, "keys_not_fetched", error=why_not(error), kept=len(self._keys))
        else:
            self._fetched_at = monotonic()
            self._replace(found)
            if not found:
                log.error("keys_withdrawn")
        finally:
            self._fetching = None

    def _replace(self, keys: ById) -> None:
        self._keys, self._version = keys, self._version + 1
