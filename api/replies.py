"""What a handler gives back: a status, headers and a body, as ASGI wants them."""

from typing import NamedTuple

Headers = tuple[tuple[bytes, bytes], ...]

JSON_TYPE = (b"content-type", b"application/json")

# Nothing that this API says may be kept by anyone but the client it was said to, nor be taken for a page.
HEADERS: Headers = (
    (b"cache-control", b"private, no-cache"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
)


class Reply(NamedTuple):
    """A reply. `HEADERS`, the body's length and the request's id are added to each."""

    body: bytes
    headers: Headers = (JSON_TYPE,)
    status: int = 200
