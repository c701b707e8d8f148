"""Who is asking: a bearer JWT, checked with an allow-list of algorithms that fits the kind of key."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

import jwt

from api.problems import Problem, unauthorized
from config.settings import ApiSettings

MAX_TOKEN_BYTES = 8192
LEEWAY = 10  # seconds by which clocks may differ
SCOPE_CLAIMS = ("scope", "scp", "scopes")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a token speaks for, and whether it may read every user."""

    subject: str
    admin: bool

    def may_read(self, user_id: UUID) -> bool:
        """Whether this caller may see a user's balances."""
        return self.admin or self.subject.lower() == str(user_id)


class Verifier:
    """Checks tokens as the settings say. Made once; raises SystemExit when the key does not fit its algorithms."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._algorithms = list(settings.jwt_algorithms)
        if settings.jwt_secret is not None:
            self._key: Any = settings.jwt_secret.get_secret_value()
        elif settings.jwt_public_key is not None:
            self._key = _public_key(settings.jwt_public_key.get_secret_value(), self._algorithms)

    def caller(self, headers: list[str]) -> Caller:
        """The caller whom the Authorization headers of a request name. Raises Problem: 401."""
        token = _bearer(headers)
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=self._algorithms,
                audience=self._settings.jwt_audience,
                issuer=self._settings.jwt_issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "sub"], "verify_aud": self._settings.jwt_audience is not None},
            )
        except jwt.ExpiredSignatureError:
            raise unauthorized("The token has expired.", token_given=True) from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise unauthorized("The token is not valid here.", token_given=True) from None
        return Caller(str(claims["sub"]), self._settings.jwt_admin_scope in _scopes(claims))


def _bearer(headers: list[str]) -> str:
    if len(headers) != 1:
        raise unauthorized("One Authorization header with a bearer token is required.", token_given=False)
    scheme, _, token = headers[0].partition(" ")
    if scheme.lower() != "bearer":
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


def _public_key(text: str, algorithms: list[str]) -> Any:
    try:
        keys = [jwt.get_algorithm_by_name(name).prepare_key(text) for name in algorithms]
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise SystemExit(
            f"The settings are not usable:\n  JWT_PUBLIC_KEY: is not a PEM public key for {', '.join(algorithms)}"
        ) from error
    return keys[0]  # PyJWT takes the same key for each algorithm that it fits


def check_may_read(caller: Caller, user_id: UUID) -> None:
    """Raise Problem: 403, the same whether or not there is such a user."""
    if not caller.may_read(user_id):
        raise Problem(HTTPStatus.FORBIDDEN, "This token is for another user.")
