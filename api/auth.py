"""Who is asking: a bearer JWT, checked with an allow-list of algorithms that fits the kind of key."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from time import time
from typing import Any
from uuid import UUID

import jwt
import structlog

from api.keys import Keys, UnknownKey, keys_of
from api.problems import Problem, unauthorized
from config.settings import ApiSettings

log = structlog.get_logger(__name__)

MAX_TOKEN_BYTES = 8192
LEEWAY = 10  # seconds by which clocks may differ
SCOPE_CLAIMS = ("scope", "scp")
MAX_REMEMBERED = 4096  # tokens


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a token speaks for, and whether it may read every user."""

    subject: str
    admin: bool

    def may_read(self, user_id: UUID) -> bool:
        """Whether this caller may see a user's balances."""
        return self.admin or self.subject.lower() == str(user_id)


class Verifier:
    """Checks tokens as the settings say. Made once; raises SystemExit when the key does not fit its algorithms.

    A client sends the same token with each page view. What was found of it is remembered until it expires, or until
    the keys are others: nothing else that is checked can change.
    """

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._keys: Keys = keys_of(settings)
        self._remembered: dict[bytes, tuple[float, int, Caller]] = {}

    def look_for_keys(self) -> None:
        """Begin to fetch the keys, where they are a provider's, so that the first request need not wait for them."""
        self._keys.version()
        of_a_provider = self._settings.jwt_jwks_url is not None
        if of_a_provider and self._settings.jwt_issuer is None and self._settings.jwt_audience is None:
            log.warning("tokens_of_any_audience")

    async def caller(self, headers: Sequence[bytes]) -> Caller:
        """The caller whom the Authorization headers of a request name. Raises Problem: 401, or 503 without any keys."""
        token = _bearer(headers)
        version = self._keys.version()
        expires, of_version, caller = self._remembered.get(token, _NOTHING)
        if of_version == version and time() < expires:
            return caller
        claims = await self._claims(token)
        caller = Caller(claims["sub"], self._settings.jwt_admin_scope in _scopes(claims))
        while len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[token] = int(claims["exp"]) + LEEWAY, self._keys.version(), caller
        return caller

    async def _claims(self, token: bytes) -> dict[str, Any]:
        try:
            key = await self._keys.of(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key.material,
                algorithms=key.algorithms,
                audience=self._settings.jwt_audience,
                issuer=self._settings.jwt_issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "sub"], "verify_aud": self._settings.jwt_audience is not None},
            )
        except jwt.ExpiredSignatureError:
            raise unauthorized("The token has expired.", token_given=True) from None
        except (UnknownKey, jwt.PyJWTError, ValueError, TypeError, OverflowError):
            raise unauthorized("The token is not valid here.", token_given=True) from None
        return claims


_NOTHING = (0.0, -1, Caller("", admin=False))


def _bearer(headers: Sequence[bytes]) -> bytes:
    if len(headers) != 1:
        raise unauthorized("One Authorization header with a bearer token is required.", token_given=False)
    scheme, _, token = headers[0].partition(b" ")
    if scheme.lower() != b"bearer":
        raise unauthorized("The Authorization header must be of the form: Bearer <token>.", token_given=False)
    if not token.isascii() or len(token) > MAX_TOKEN_BYTES:
        raise unauthorized("The token is not valid here.", token_given=True)
    return token.strip()


def _scopes(claims: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    for name in SCOPE_CLAIMS:
        value = claims.get(name)
        if isinstance(value, str):
            found.update(value.split())
        elif isinstance(value, list):
            found.update(item for item in value if isinstance(item, str))
    return found


def check_may_read(caller: Caller, user_id: UUID) -> None:
    """Raise Problem: 403, the same whether or not there is such a user."""
    if not caller.may_read(user_id):
        raise Problem(HTTPStatus.FORBIDDEN, "This token is for another user.")
