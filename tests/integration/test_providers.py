"""Providers' published keys over real HTTP and HTTPS: their shapes, their firewalls, and those that never end."""

import asyncio
import gzip
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import pytest
from authorities import Authority
from published_keys import OTHER_RSA, PUBLISHED, RSA, jwk
from structlog.testing import capture_logs
from tokens import USER, ask, settings, signed

from api import keys as api_keys
from api.auth import Verifier
from api.keys import ProviderKeys
from config import key_fetching
from config.key_fetching import Provider, why_not
from config.proxies import CERTIFICATES
from devstack.servers import CAP, HOST

Answer = Callable[[BaseHTTPRequestHandler], None]
A_DRIP = 0.05  # seconds between two bytes
DRIPS = 200  # after which even a provider that drips is done: a fetch without a deadline ends, and is seen to be one


def said(published: Any, status: int = 200, *, body: bytes | None = None, **headers: str) -> Answer:
    """An answer that is the same to everybody."""
    sent = json.dumps(published).encode() if body is None else body

    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(status)
        for name, value in headers.items():
            to.send_header(name.replace("_", "-"), value)
        to.end_headers()
        to.wfile.write(sent)

    return answer


class Site:
    """A provider's server, whose answer tests change. `asked` are the headers of each request."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answer: Answer = said({"keys": []})
        self.asked: list[dict[str, str]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append({name.lower(): value for name, value in self.headers.items()})
                try:
                    site.answer(self)
                except OSError:  # whoever asked has gone
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://{HOST}:{self._server.server_address[1]}/keys"
        self.over = Event()
        self.dripped_to_its_end = False
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine trusts, and goes through, is no matter here."""
    for name in CERTIFICATES:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "them")


@pytest.fixture
def safe_site(authority: Authority) -> Iterator[Site]:
    made = Site(authority.server(HOST))
    yield made
    made.close()


def verifier_of(url: str) -> Verifier:
    return Verifier(settings(jwt_jwks_url=url, jwt_audience="any", jwt_algorithms="RS256,ES256"))


def bearer(key: Any = RSA, kid: str | None = "one") -> str:
    return f"Bearer {signed(key, 'RS256', headers={} if kid is None else {'kid': kid})}"


@pytest.mark.parametrize(("published", "kid"), PUBLISHED.values(), ids=PUBLISHED)
def test_the_keys_of_each_provider_are_fetched_and_found(site: Site, published: Any, kid: str | None) -> None:
    site.answer = said(published, Content_Type="application/json")
    assert ask(verifier_of(site.url), bearer(kid=kid)).is_user(USER)


def for_us(to: BaseHTTPRequestHandler) -> None:
    """As a firewall that knows Python's own name, and wants to be told what is wanted."""
    refused = "urllib" in to.headers["User-Agent"].lower() or "json" not in to.headers.get("Accept", "")
    said("error code: 1010" if refused else {"keys": [jwk(RSA)]}, 403 if refused else 200)(to)


COMPRESSED = gzip.compress(json.dumps({"keys": [jwk(RSA)]}).encode())
GIVEN: dict[str, Answer] = {
    "a firewall": for_us,
    "one that always compresses": said(None, body=COMPRESSED, Content_Encoding="gzip"),
    "the same, by its old name": said(None, body=COMPRESSED, Content_Encoding="x-gzip"),
    "a byte order mark": said(None, body=b"\xef\xbb\xbf" + json.dumps({"keys": [jwk(RSA)]}).encode()),
    "another type": said({"keys": [jwk(RSA)]}, Content_Type="text/plain"),
    "blanks around it": said(None, body=b"\r\n " + json.dumps({"keys": [jwk(RSA)]}, indent=2).encode() + b"\n"),
}


@pytest.mark.parametrize("answer", GIVEN.values(), ids=GIVEN)
def test_what_stands_before_a_provider_does_not_matter(site: Site, answer: Answer) -> None:
    site.answer = answer
    assert ask(verifier_of(site.url), bearer()).is_user(USER)
    assert site.asked[0]["user-agent"] == "balance-sync"


NOT_GIVEN: dict[str, tuple[Answer, str]] = {
    "a firewall's no": (said("no", 403), "HTTP 403"),
    "too many requests": (said("no", 429, Retry_After="60"), "HTTP 429"),
    "out of order": (said("no", 503), "HTTP 503"),
    "a redirect": (said("", 302, Location="https://elsewhere.example"), "HTTP 302"),
    "a page": (said(None, body=b"<html>hunter2"), "JSONDecodeError"),
    "half a compressed reply": (said(None, body=COMPRESSED[:40], Content_Encoding="gzip"), "JSONDecodeError"),
    "what is not compressed": (said({"keys": []}, Content_Encoding="gzip"), "error"),
    "a bomb": (said(None, body=gzip.compress(b" " * (2 << 20)), Content_Encoding="gzip"), "ValueError"),
    "half a reply": (said(None, body=b'{"keys": [', Content_Length="90"), "JSONDecodeError"),
}


@pytest.mark.parametrize(("answer", "why"), NOT_GIVEN.values(), ids=NOT_GIVEN)
def test_why_there_are_no_keys_is_in_the_log_and_the_client_is_told_503(site: Site, answer: Answer, why: str) -> None:
    site.answer = answer
    with capture_logs() as logs, pytest.raises(Exception, match="cannot be checked now"):
        ask(verifier_of(site.url.replace("/keys", "/hunter2")), bearer())
    (line,) = (each for each in logs if each["event"] == "keys_not_fetched")
    assert (line["error"], line["log_level"]) == (why, "error")
    assert "hunter2" not in str(logs)


def test_a_provider_that_changes_its_key_is_asked_once_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(api_keys, "monotonic", lambda: clock[0])
    verifier = verifier_of(site.url)
    site.answer = said({"keys": [jwk(RSA, "old")]})
    assert ask(verifier, bearer(RSA, "old")).is_user(USER)
    site.answer = said({"keys": [jwk(RSA, "old"), jwk(OTHER_RSA, "new")]})
    clock[0] += api_keys.REST_SECONDS
    assert ask(verifier, bearer(OTHER_RSA, "new")).is_user(USER)
    assert ask(verifier, bearer(RSA, "old")).is_user(USER)
    assert len(site.asked) == 2


def dripping(site: Site, *, headers: bool) -> Answer:
    """A byte now and then, each in good time: of headers, or of a body that is white space and then good keys."""

    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        if not headers:
            to.end_headers()
        for _ in range(DRIPS):
            to.flush_headers()
            to.wfile.write(b"X-A: b\r\n" if headers else b" ")
            if site.over.wait(A_DRIP):
                return
        site.dripped_to_its_end = True
        if headers:
            to.wfile.write(b"\r\n")
        to.wfile.write(json.dumps({"keys": [jwk(RSA)]}).encode())

    return answer


@pytest.mark.parametrize("headers", [False, True], ids=["a body", "headers"])
@pytest.mark.parametrize("name", ["site", "safe_site"])
def test_a_provider_that_drips_is_left_when_the_time_is_over(
    name: str, request: pytest.FixtureRequest, authority: Authority, monkeypatch: pytest.MonkeyPatch, *, headers: bool
) -> None:
    site: Site = request.getfixturevalue(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setattr(key_fetching, "FETCH_SECONDS", 1.0)
    site.answer = dripping(site, headers=headers)
    with pytest.raises(TimeoutError):
        Provider(site.url).fetch_data()
    assert not site.dripped_to_its_end
    site.answer = said({"keys": []})
    monkeypatch.setattr(key_fetching, "FETCH_SECONDS", CAP)
    assert Provider(site.url).fetch_data() == {"keys": []}


@pytest.fixture
def full() -> Iterator[tuple[str, int]]:
    """An address that takes no more connections, and refuses none."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server((HOST, 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()


def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    site: Site, full: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = socket.getaddrinfo

    def of_two(host: Any, *args: Any, **options: Any) -> Any:
        places = [full, (HOST, urlsplit(site.url).port)] if host == "keys.example" else [(host, args[0])]
        return [each for at in places for each in asked(*at, *args[1:], **options)]

    monkeypatch.setattr(socket, "getaddrinfo", of_two)
    monkeypatch.setattr(key_fetching, "FETCH_SECONDS", 6.0)
    site.answer = said({"keys": []})
    assert Provider(site.url.replace(HOST, "keys.example")).fetch_data() == {"keys": []}


def test_one_that_dripped_does_not_keep_the_thread_from_the_next_fetch(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(api_keys, "monotonic", lambda: clock[0])
    for module in (key_fetching, api_keys):
        monkeypatch.setattr(module, "FETCH_SECONDS", 1.0)
    verifier = verifier_of(site.url)
    keys: Any = verifier._keys
    assert isinstance(keys, ProviderKeys)
    site.answer = dripping(site, headers=False)
    asyncio.run(keys._fetch())
    assert not keys._keys
    site.answer = said({"keys": [jwk(RSA)]})
    for module in (key_fetching, api_keys):
        monkeypatch.setattr(module, "FETCH_SECONDS", 8.0)  # less than what the first one would take to its end
    asyncio.run(keys._fetch())
    assert keys._keys


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_private_authority_is_believed_by_each_of_its_variables(
    safe_site: Site, authority: Authority, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    safe_site.answer = said({"keys": [jwk(RSA)]})
    with pytest.raises(URLError) as refused:
        Provider(safe_site.url).fetch_data()
    assert why_not(refused.value) == "SSLCertVerificationError"
    assert safe_site.asked == []
    monkeypatch.setenv(variable, str(authority.file))
    assert Provider(safe_site.url).fetch_data() == {"keys": [jwk(RSA)]}


def test_the_other_librarys_variable_takes_nobody_away(
    safe_site: Site, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    safe_site.answer = said({"keys": []})
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Authority(tmp_path, "another").file))
    assert Provider(safe_site.url).fetch_data() == {"keys": []}


def test_why_not_never_shows_the_address(site: Site) -> None:
    site.answer = said("no", 403)
    with pytest.raises(HTTPError) as refused:
        Provider(site.url + "?key=hunter2").fetch_data()
    assert why_not(refused.value) == "HTTP 403"
    assert why_not(URLError("hunter2")) == "URLError"
