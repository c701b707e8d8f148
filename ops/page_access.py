"""Who may see the operator's page: whoever has OPS_TOKEN. Pure.

A browser asks for it by HTTP Basic, as the password of any user name; a script sends it as a bearer token.
"""

from base64 import b64decode
from binascii import Error
from collections.abc import Sequence
from enum import Enum
from hmac import compare_digest


class Access(Enum):
    """What a request is to be told."""

    GRANTED = "granted"
    CLOSED = "closed"
    """There is no OPS_TOKEN: nobody may see the page."""
    REFUSED = "refused"
    """No token came, or another one."""


CHALLENGE = 'Basic realm="balance-sync", charset="UTF-8"'


def access(token: str | None, authorization: Sequence[bytes]) -> Access:
    """What a request with these Authorization headers is told. Takes as long for a token that is nearly right."""
    if not token:
        return Access.CLOSED
    if len(authorization) == 1 and compare_digest(_given(authorization[0]), token.encode()):
        return Access.GRANTED
    return Access.REFUSED


def _given(header: bytes) -> bytes:
    """The token that a header holds; empty: none."""
    scheme, _, value = header.strip().partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return b64decode(value.strip(), validate=True).partition(b":")[2]
        except Error:
            return b""
    return b""
