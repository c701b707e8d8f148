"""What may come in place of a node's reply: hypothesis' strategies for heads and bodies, as bytes on the wire."""

import json
from pathlib import Path
from typing import Any

import vectors
from hypothesis import strategies as st
from proxy import Exchange

Headers = list[tuple[bytes, bytes]]

# What stands before a body

STATUSES = st.one_of(
    st.integers(100, 599).map(str),
    st.sampled_from([200, 200, 200, 204, 301, 302, 304, 307, 401, 403, 404, 413, 429, 500, 503]).map(str),
    st.sampled_from(["0", "-1", "99", "600", "1e3", "2OO", "", "9" * 40]),
)
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"HTTP/0.9", b"ICY", b""])
REASONS = st.one_of(st.sampled_from([b"OK", b"", b"Service Temporarily Unavailable"]), st.binary(max_size=20))
STATUS_LINES = st.one_of(
    st.tuples(VERSIONS, STATUSES, REASONS).map(lambda parts: b"%s %s %s" % (parts[0], parts[1].encode(), parts[2])),
    st.binary(max_size=40),
)
NUMBERS = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.integers(-(10**40), 10**40).map(str),
    st.floats().map(str),
    st.sampled_from(["0", "-0", "00", "+5", "1_000", "0x10", "5, 5", "5, 6", "5;", "٣", "²", "9" * 5000]),
).map(str.encode)
DATES = st.one_of(
    st.sampled_from(
        [
            b"Wed, 21 Oct 2015 07:28:00 GMT",
            b"Fri, 31 Dec 9999 23:59:59 GMT",
            b"Fri, 31 Dec 9999 23:59:59 -2359",
            b"Mon, 01 Jan 0001 00:00:00 +2359",
            b"Wed, 21 Oct 2035 25:61:61 GMT",
            b"Wed, 21 Oct 2035 07:28:00 +99999999",
            b"21 Oct 2035",
            b"Wed, 21 Oct %s 07:28:00 GMT" % (b"9" * 20),
            b"Wed, 21 Oct 2035 07:28:00 +%s" % (b"9" * 20),
        ]
    ),
    st.tuples(st.integers(0, 99), st.integers(0, 10**6), st.integers(0, 99), st.integers(-9999, 9999)).map(
        lambda parts: b"Wed, %02d Oct %d %02d:00:00 %+05d" % parts
    ),
)
URLS = st.sampled_from(
    [
        b"/",
        b"http://127.0.0.1:1/elsewhere",
        b"//",
        b"http://[",
        b"http://[::1",
        b"http://a:99999999/",
        b"http://a:b/",
        b"ftp://a/",
        b"file:///etc/passwd",
        b"http://\xff\xfe/",
        b"http://" + b"a" * 300 + b"/",
        b"http://xn--/",
        b"http://.a/",
        b"http:///",
        b"?",
        b"",
    ]
)
CODINGS = st.sampled_from(
    [b"gzip", b"deflate", b"br", b"zstd", b"identity", b"gzip, gzip", b"gzip, br, zstd", b"chunked", b"x", b",", b""]
)
COOKIES = st.sampled_from(
    [
        b"a=b",
        b"a=b; expires=Thu, 99 Foo 99999 99:99:99 GMT",
        b"a=b; max-age=99999999999999999999999999",
        b"a=b; max-age=x; path=\xff; domain=.",
        b'a=b; version=x; port="1,x"; domain=127.0.0.1',
        b"=; =; ;;",
        b"\xff=\xfe",
        b"a=" + b"b" * 5000,
    ]
)
CHALLENGES = st.sampled_from([b"Basic", b"Digest realm=", b'Digest nonce="x", qop=auth', b"Negotiate \xff", b""])
CONNECTIONS = st.sampled_from([b"close", b"keep-alive", b"upgrade", b"close, keep-alive", b"\xff", b""])
TYPES = st.sampled_from(
    [b"application/json", b"text/html; charset=utf-8", b"text/html; charset=\xff", b"x/y; charset=idna", b"/"]
)
VALUES: dict[bytes, st.SearchStrategy[bytes]] = {
    b"Content-Length": NUMBERS,
    b"Content-Type": TYPES,
    b"Content-Encoding": CODINGS,
    b"Transfer-Encoding": CODINGS,
    b"Retry-After": NUMBERS | DATES,
    b"Connection": CONNECTIONS,
    b"Keep-Alive": NUMBERS,
    b"Location": URLS,
    b"Set-Cookie": COOKIES,
    b"WWW-Authenticate": CHALLENGES,
    b"Proxy-Authenticate": CHALLENGES,
    b"Date": DATES,
    b"Trailer": CONNECTIONS,
    b"Upgrade": CONNECTIONS,
}
ANYTHING = st.binary(max_size=30).filter(lambda raw: not {0x0A, 0x0D} & set(raw))


def values_of(name: bytes) -> st.SearchStrategy[tuple[bytes, bytes]]:
    return st.tuples(st.just(name), VALUES[name] | ANYTHING)


HEADERS = st.lists(st.sampled_from(sorted(VALUES)).flatmap(values_of), max_size=5)
"""Some of the headers that we or our libraries read, more than once or not at all."""

FRAMING = {b"Content-Length", b"Transfer-Encoding", b"Content-Encoding"}
HARMLESS = HEADERS.map(lambda headers: [header for header in headers if header[0] not in FRAMING])
"""Headers that change nothing of where a body ends and what is in it."""

GOOD_LINES = st.just(b"HTTP/1.1 200 OK")

LINES = st.lists(ANYTHING, max_size=1)
"""What is no header at all."""


def head(status_line: bytes, headers: Headers, lines: list[bytes]) -> bytes:
    return b"\r\n".join([status_line, *(b"%s: %s" % header for header in headers), *lines, b"", b""])


# Bodies

NAMES = [
    "id",
    "jsonrpc",
    "result",
    "error",
    "code",
    "message",
    "data",
    "constant_result",
    "Error",
    "balance",
    "address",
]
VALUES_OF_JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just("0x")
JSON = st.recursive(
    VALUES_OF_JSON,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
RECORDED = [json.loads(path.read_text())["response"] for path in sorted(Path(vectors.__file__).parent.glob("*/*.json"))]


def mutated(value: Any, draw: st.DrawFn) -> Any:
    """The same with another value at some place."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: mutated(value[key], draw)}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        return [mutated(value[0], draw), *value[1:]]
    if isinstance(value, str) and value and draw(st.booleans()):
        cut = draw(st.integers(0, len(value)))
        return value[:cut] + draw(st.text(max_size=3)) + value[cut + 1 :]
    return draw(JSON)


@st.composite
def mutations(draw: st.DrawFn) -> Any:
    return mutated(draw(st.sampled_from(RECORDED)), draw)


BODIES: st.SearchStrategy[Any] = st.binary(max_size=100) | JSON | mutations()


def packed(body: Any, exchange: Exchange) -> bytes:
    """As it goes over the wire; an object answers the request that was made, where requests have ids."""
    if isinstance(body, bytes):
        return body
    asked = exchange.json.get("id") if isinstance(exchange.json, dict) else None
    if isinstance(body, dict) and "jsonrpc" in body:
        body = {**body, "id": asked}
    return json.dumps(body).encode("utf-8", "replace")
