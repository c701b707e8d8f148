"""Who is asking: a bearer JWT, checked with an allow-list of algorithms that fits the kind of key."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic, time
from typing import Any
from uuid import UUID

import jwt
import structlog
from structlog.contextvars import get_contextvars

from api.keys import Keys, UnknownKey, keys_of
from api.problems import Problem, unauthorized
from api.token_kinds import is_access_token
from config.claims import is_user, user_named, words
from config.keys import Key
from config.settings import ApiSettings

log = structlog.get_logger(__name__)

MAX_TOKEN_BYTES = 8192
LEEWAY = 10  # seconds by which clocks may differ
MAX_REMEMBERED = 4096  # tokens
EXPIRED = "expired"
TOLD_SECONDS = 60.0
"""For which a reason for 401 is not told again, but counted."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a token speaks for, and whether it may read every user."""

    subject: str
    admin: bool

    def is_user(self, user_id: UUID) -> bool:
        """Whether this caller is the user, who needs no scope to see their own balances."""
        return is_user(self.subject, user_id)

    def may_read(self, user_id: UUID) -> bool:
        """Whether this caller may see a user's balances."""
        return self.admin or self.is_user(user_id)


class Refusals:
    """Tells the log why tokens are refused: each reason once a minute, however many requests there are.

    The access log has it for each request, where there is an access log; a wrong setting refuses everybody, and is to
    be found at any level.
    """

    def __init__(self) -> None:
        self._told: dict[str, float] = {}
        self._more: Counter[str] = Counter()

    def tell(self, reason: str) -> None:
        now = monotonic()
        if now - self._told.get(reason, float("-inf")) < TOLD_SECONDS:
            self._more[reason] += 1
            return
        self._told[reason] = now
        log.warning("token_refused", reason=reason, more=self._more.pop(reason, 0), **_request())


def _request() -> dict[str, str]:
    return {name: value for name, value in get_contextvars().items() if name == "request_id"}


class Verifier:
    """Checks tokens as the settings say. Made once; raises SystemExit when the key does not fit its algorithms.

    A client sends the same token with each page view. What was found of it is remembered until it expires, or until
    the keys are others: nothing else that is checked can change.
    """

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._keys: Keys = keys_of(settings)
        self._remembered: dict[bytes, tuple[float, int, Caller]] = {}
        self._refusals = Refusals()

    def look_for_keys(self) -> None:
        """Begin to fetch the keys, where they are a provider's, so that the first request need not wait for them."""
        self._keys.version()
        if self._settings.jwt_jwks_url is not None and self._settings.audience is None:
            log.warning("tokens_of_any_audience")

    async def caller(self, headers: Sequence[bytes]) -> Caller:
        """The caller whom the Authorization headers of a request name. Raises Problem: 401, or 503 without any keys."""
        try:
            return await self._caller(headers)
        except Problem as refused:
            if refused.reason:
                self._refusals.tell(refused.reason)
            raise

    async def _caller(self, headers: Sequence[bytes]) -> Caller:
        token = _bearer(headers)
        version = self._keys.version()
        expires, of_version, caller = self._remembered.get(token, _NOTHING)
        if of_version == version and time() < expires:
            return caller
        claims, version = await self._claims(token)
        subject = user_named(claims, self._settings.jwt_user_claim)
        if subject is None:
            raise _refused("missing_claim")
        admin = self._settings.jwt_admin_scope in words(claims, self._settings.jwt_admin_claim)
        caller = Caller(subject, admin)
        while len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[token] = int(claims["exp"]) + LEEWAY, version, caller
        return caller

    async def _claims(self, token: bytes) -> tuple[dict[str, Any], int]:
        """What a token says that is good here, and the version of the keys by which it is."""
        try:
            keys, version = await self._keys.of(token)
            found = self._decoded(token, keys)
            lives_too_long = self._lives_too_long(found["payload"])
        except (UnknownKey, jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise _refused(_reason(error)) from None
        if not is_access_token(found["header"], found["payload"]):
            raise _refused("not_an_access_token")
        if lives_too_long:
            raise _refused("lives_too_long")
        return found["payload"], version

    def _decoded(self, token: bytes, keys: Sequence[Key]) -> dict[str, Any]:
        """A token, by the first of these keys that it is signed with. Raises jwt.PyJWTError."""
        *others, last = keys
        for key in others:
            with suppress(jwt.InvalidSignatureError, jwt.InvalidAlgorithmError, jwt.InvalidKeyError):
                return self._decoded_by(token, key)
        return self._decoded_by(token, last)

    def _decoded_by(self, token: bytes, key: Key) -> dict[str, Any]:
        required = ["exp", "sub"] if self._settings.jwt_user_claim == ("sub",) else ["exp"]
        return jwt.decode_complete(
            token,
            key.material,
            algorithms=key.algorithms,
            audience=self._settings.audience,
            issuer=self._settings.jwt_issuer,
            leeway=LEEWAY,
            # An id of a token's own is of any type at some providers, and nothing here looks at it.
            options={"require": required, "verify_aud": self._settings.audience is not None, "verify_jti": False},
        )

    def _lives_too_long(self, claims: dict[str, Any]) -> bool:
        """Whether the time from now, or from when it was made (``iat``), to its end is longer than JWT_MAX_AGE.

        Counted from now alone, a token that was made for ten years would be refused at first, and taken when no more
        than JWT_MAX_AGE of the ten years is left.
        """
        most, expires, now = self._settings.jwt_max_age, int(claims["exp"]), time()
        return most is not None and expires - min(now, int(claims.get("iat", now))) > most + LEEWAY


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (UnknownKey, "unknown_key"),
    (jwt.ExpiredSignatureError, EXPIRED),
    (jwt.ImmatureSignatureError, "not_yet_valid"),
    (jwt.InvalidAudienceError, "wrong_audience"),
    (jwt.InvalidIssuerError, "wrong_issuer"),
    (jwt.InvalidSignatureError, "bad_signature"),
    (jwt.InvalidAlgorithmError, "algorithm_not_allowed"),
)
_MISSING = {"aud": "wrong_audience", "iss": "wrong_issuer"}


def _reason(error: Exception) -> str:
    """Why a token is refused, for the log: never in words that may hold a part of it."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return _MISSING.get(error.claim, "missing_claim")
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "malformed")


def _refused(reason: str) -> Problem:
    detail = "The token has expired." if reason == EXPIRED else "The token is not valid here."
    return unauthorized(detail, reason=reason, token_given=True)


_NOTHING = (0.0, -1, Caller("", admin=False))


def _bearer(headers: Sequence[bytes]) -> bytes:
    if len(headers) != 1:
        detail = "One Authorization header with a bearer token is required."
        raise unauthorized(detail, reason="no_token", token_given=False)
    scheme, _, token = headers[0].partition(b" ")
    if scheme.lower() != b"bearer":
        detail = "The Authorization header must be of the form: Bearer <token>."
        raise unauthorized(detail, reason="no_token", token_given=False)
    if not token.isascii() or len(token) > MAX_TOKEN_BYTES:
        raise _refused("malformed")
    return token.strip()


def check_may_read(caller: Caller, user_id: UUID) -> None:
    """Raise Problem: 403, the same whether or not there is such a user."""
    if not caller.may_read(user_id):
        raise Problem(HTTPStatus.FORBIDDEN, "This token is for another user.", reason="another_user")
