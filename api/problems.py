"""Errors as RFC 9457 problem details: what a client gets, and nothing of the inside."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta

from api.replies import Reply

PROBLEM_TYPE = "application/problem+json"


class ParameterError(msgspec.Struct, frozen=True):
    """One parameter that cannot be used, and why."""

    parameter: Annotated[str, Meta(description="The parameter's name.", examples=["networks"])]
    detail: Annotated[str, Meta(description="Why it cannot be used.", examples=["must be given once"])]


class ProblemDetails(msgspec.Struct, frozen=True):
    """A problem (RFC 9457)."""

    type: Annotated[str, Meta(description="Always `about:blank`: the status says it all.", examples=["about:blank"])]
    title: Annotated[str, Meta(description="The status in words.")]
    status: Annotated[int, Meta(ge=400, le=599, description="The status, as in the status line.")]
    detail: Annotated[str, Meta(description="What is wrong with this request, or here.")]
    errors: Annotated[tuple[ParameterError, ...], Meta(description="Each parameter that is wrong.")]


class Problem(Exception):
    """Ends a request with an error."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: Sequence[ParameterError] = (),
        headers: Mapping[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        """`reason`: a short code that the log alone is told, in place of what the request held."""
        super().__init__(detail)
        self.reason = reason
        self.status, self.detail, self.errors, self.headers = status, detail, tuple(errors), dict(headers or {})

    def reply(self) -> Reply:
        """The reply that says so."""
        body = ProblemDetails("about:blank", self.status.phrase, self.status.value, self.detail, self.errors)
        headers = {"content-type": PROBLEM_TYPE, **self.headers}
        return Reply(
            msgspec.json.encode(body),
            tuple((name.lower().encode(), value.encode()) for name, value in headers.items()),
            self.status.value,
        )


def unauthorized(detail: str, *, reason: str, token_given: bool) -> Problem:
    """401, with the challenge that RFC 6750 asks for."""
    challenge = 'Bearer error="invalid_token"' if token_given else "Bearer"
    return Problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge}, reason=reason)


def unprocessable(*errors: ParameterError) -> Problem:
    """422, naming every parameter that is wrong."""
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(f"{e.parameter}: {e.detail}" for e in errors), errors=errors
    )


def unavailable(detail: str = "The balances cannot be read now; try again.") -> Problem:
    """503 for what does not answer in time."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "2"})
