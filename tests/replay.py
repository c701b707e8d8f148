"""A transport that answers with what it was given, below web3, tronpy and requests: their real code runs."""

import json
from io import BytesIO
from typing import Any

from requests import PreparedRequest, Response, Session
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse


class Replay(BaseAdapter):
    """Answers every request alike, and keeps what was asked."""

    def __init__(
        self,
        body: Any = None,
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
        error: Exception | None = None,
    ) -> None:
        super().__init__()
        self.body = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.status, self.headers, self.error = status, headers or {}, error
        self.requests: list[PreparedRequest] = []

    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        self.requests.append(request)
        if self.error:
            raise self.error
        response = Response()
        response.status_code, response.url, response.request = self.status, request.url or "", request
        response.headers.update(self.headers)
        # As the real adapter does it: the body is still to be read, and perhaps to be decompressed.
        response.raw = HTTPResponse(BytesIO(self.body), self.headers, self.status, preload_content=False)
        return response

    def close(self) -> None:
        pass

    def mount_on(self, session: Session) -> "Replay":
        session.mount("http://", self)
        session.mount("https://", self)
        return self
