"""Errors as RFC 9457 problem details: what a client gets, and nothing of the inside."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec
from starlette.responses import Response

PROBLEM_TYPE = "application/problem+json"


class ParameterError(msgspec.Struct, frozen=True):
    """One parameter that cannot be used, and why."""

    parameter: str
    detail: str


class ProblemDetails(msgspec.Struct, frozen=True):
    """A problem (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[ParameterError, ...] = ()


class Problem(Exception):
    """Ends a request with an error."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: Sequence[ParameterError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, tuple(errors), dict(headers or {})

    def response(self) -> Response:
        """The reply that says so."""
        body = ProblemDetails("about:blank", self.status.phrase, self.status.value, self.detail, self.errors)
        return Response(msgspec.json.encode(body), self.status.value, headers=self.headers, media_type=PROBLEM_TYPE)


def unauthorized(detail: str, *, token_given: bool) -> Problem:
    """401, with the challenge that RFC 6750 asks for."""
    challenge = 'Bearer error="invalid_token"' if token_given else "Bearer"
    return Problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge})


def unprocessable(*errors: ParameterError) -> Problem:
    """422, naming every parameter that is wrong."""
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(f"{e.parameter}: {e.detail}" for e in errors), errors=errors
    )


def unavailable() -> Problem:
    """503 for a database that does not answer in time."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "The balances cannot be read now; try again.", headers={"Retry-After": "2"}
    )
