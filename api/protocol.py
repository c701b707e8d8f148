"""HTTP as uvicorn speaks it, with a bound on what comes before a request is whole, and errors in the API's own form.

The parser keeps a header until it ends, and copies it with each read: without a bound, one client's forty megabytes
stop everybody for seconds.
"""

from http import HTTPStatus
from random import getrandbits
from typing import Final

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.problems import Problem
from api.replies import HEADERS

MAX_HEAD: Final = 64 * 1024
"""Bytes of a request line and headers. What is whole with one read, of a quarter MB at the most, is served besides."""

log = structlog.get_logger(__name__)


class BoundedProtocol(HttpToolsProtocol):
    """For uvicorn's ``--http``."""

    _head = 0
    """Bytes of the request so far that were no body."""
    _whole = _at_start = True
    """Whether the last request has ended; whether it had before this read."""
    _counts = True
    """Whether all of this read is of the same request."""

    def data_received(self, data: bytes) -> None:
        self._at_start, self._counts = self._whole, True
        super().data_received(data)
        if self._counts:
            self._head += len(data)
            if self._head > MAX_HEAD and not self._whole:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large.")

    def on_message_begin(self) -> None:
        self._counts = self._at_start
        self._head, self._whole, self._at_start = 0, False, False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._whole = True
        super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._head -= len(body)
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  the name is uvicorn's
        self._refuse(HTTPStatus.BAD_REQUEST, "This is no HTTP request that can be read.")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:  # else it would be in the midst of another answer
            request_id = f"{getrandbits(128):032x}"
            reply = Problem(status, detail).reply()
            lines = [
                *HEADERS,
                *reply.headers,
                (b"x-request-id", request_id.encode()),
                (b"content-length", str(len(reply.body)).encode()),
                (b"connection", b"close"),
            ]
            head = b"".join(b"%s: %s\r\n" % line for line in lines)
            self.transport.write(STATUS_LINE[status] + head + b"\r\n" + reply.body)
            peer = self.client[0] if self.client else None
            log.warning("request_refused", status=status.value, client=peer, request_id=request_id)
        self.transport.close()
