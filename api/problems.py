"""Errors as RFC 9457 problem details: what a client gets, and nothing of the inside."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from msgspec import Meta

PROBLEM_TYPE = "application/problem+json"

log = structlog.get_logger(__name__)


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

    def body(self) -> bytes:
        """The problem's details as JSON."""
        details = ProblemDetails("about:blank", self.status.phrase, self.status.value, self.detail, self.errors)
        return msgspec.json.encode(details)

    def response(self) -> Response[bytes]:
        """The reply that says so."""
        return Response(self.body(), status_code=self.status.value, media_type=PROBLEM_TYPE, headers=self.headers)

    async def send(self, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        """The same reply, sent as ASGI's messages, where no framework is."""
        body = self.body()
        headers = {"content-type": PROBLEM_TYPE, "content-length": str(len(body)), **self.headers}
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status.value, "headers": encoded})
        await send({"type": "http.response.body", "body": body})


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


def told_of(scope: Any) -> dict[str, Any]:
    """What a request's line in the log is going to say besides what ``api.middleware`` knows."""
    told: dict[str, Any] = scope["told"]
    return told


def told_in_full(request: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
    """An exception handler: the client gets the problem, the log its reason."""
    if problem.reason:
        told_of(request.scope)["reason"] = problem.reason
    return problem.response()


def told_by_status(_: object, error: HTTPException) -> Response[bytes]:
    """An exception handler for what the framework refuses: no such path, a host that is none. A fault of its own is
    one of ours.
    """
    status = HTTPStatus(error.status_code)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return told_to_the_log(_, error)
    not_found = status is HTTPStatus.NOT_FOUND
    return Problem(status, "There is nothing here." if not_found else "This is no request that can be read.").response()


def told_to_the_log(_: object, error: Exception) -> Response[bytes]:
    """An exception handler for faults of ours: the log has it, the client nothing of it."""
    log.error("request_failed", exc_info=error)
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here.").response()
