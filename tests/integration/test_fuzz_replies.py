"""Replies that nobody thought of, byte for byte on a real connection: a read fails by one of our errors, or is true."""

from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic, time
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from network import NETWORKS, SOLID_LAG, Net, facts_for
from proxy import Exchange, Fault, passed_on
from replies import BODIES, GOOD_LINES, HARMLESS, HEADERS, LINES, STATUS_LINES, STATUSES, Headers, head, packed
from structlog.testing import capture_logs

from config.networks import NetworkName
from devstack.servers import CAP
from devstack.stack import ETHEREUM_CHAIN_ID, TRON_CHAIN_ID
from worker.errors import ReadFailed
from worker.nodes.evm import EvmNode
from worker.nodes.http import MAX_REPLY
from worker.nodes.tron import TronNode
from worker.reading.contract import Balance
from worker.reading.reader import NodeReader
from worker.reading.request import Part
from worker.reading.shared import Shared

CHAIN_IDS = {"ethereum": ETHEREUM_CHAIN_ID, "tron": TRON_CHAIN_ID}
KEY = "a-key-of-ours"
WHOLE = -1
NEVER = b"Wed, 21 Oct %s 07:28:00 GMT" % (b"9" * 20)

fuzzed = partial(settings, max_examples=settings().max_examples // 2, suppress_health_check=[*HealthCheck])


# What a broken reply leaves open is closed when it is collected.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@dataclass(frozen=True)
class Read:
    """Wallets of a chain, what they truly hold, and a read of them through a node that a test spoils."""

    net: Net
    accounts: list[bytes]
    truth: tuple[Balance, ...]

    def through(self, fault: Fault) -> list[Part]:
        """A reader that knows nothing yet, so that it tries each way of its chain."""
        reader = self.reader(self.net.proxy.url)
        with self.net.proxy.faulty(fault), closing(reader.nodes[0].session):
            return reader.read(self.accounts, time(), monotonic() + CAP)

    def reader(self, *urls: str) -> NodeReader:
        network, token = self.net.network, self.net.token
        nodes: list[EvmNode] | list[TronNode]
        if network == "ethereum":
            nodes = [EvmNode(f"{url}/?key={KEY}", "latest", CAP) for url in urls]
        else:
            nodes = [TronNode(url, "solid", CAP, keys=[KEY], key_hosts=["127.0.0.1"]) for url in urls]
        facts = facts_for(network, CHAIN_IDS[network], token)
        return NodeReader(replace(facts, max_age=0), nodes, Shared("fuzz"), request_limit=CAP)


@pytest.fixture(params=NETWORKS)
def read(request: pytest.FixtureRequest, nets: dict[NetworkName, Net]) -> Read:
    net = nets[request.param]
    holders = net.new_holders()
    truth = tuple(Balance(10**12 + at, 10**15 + at) for at in range(len(holders)))
    net.chain.mint(net.token, [(holder, usdt) for holder, (usdt, _) in zip(holders, truth, strict=True)])
    net.chain.set_native([(holder, native) for holder, (_, native) in zip(holders, truth, strict=True)])
    for _ in range(SOLID_LAG):
        net.chain.ask("evm_mine")
    return Read(net, holders, truth)


def none_but_true(read: Read, parts: list[Part]) -> None:
    """Every wallet is in one part; a balance is what its wallet truly holds, and all else is a failure of ours."""
    assert sorted(place for part in parts for place in part.wallets) == list(range(len(read.accounts)))
    for part in parts:
        if part.snapshot is None:
            assert isinstance(part.failure, ReadFailed)
            assert KEY not in str(part.failure)
        else:
            held = [read.truth[place] for place in part.wallets]
            assert all(given in (None, true) for given, true in zip(part.snapshot.balances, held, strict=True))


def nothing_but_failures(read: Read, parts: list[Part]) -> None:
    """Every wallet is in one part, and each is a failure of ours."""
    assert sorted(place for part in parts for place in part.wallets) == list(range(len(read.accounts)))
    assert all(isinstance(part.failure, ReadFailed) for part in parts)
    assert all(part.snapshot is None for part in parts)
    assert not any(KEY in str(part.failure) for part in parts)


def test_a_true_reply_is_read_truly(read: Read) -> None:
    """The good twin of all that follow."""
    (part,) = read.through(passed_on)
    assert part.snapshot is not None
    assert part.snapshot.balances == read.truth


@given(status_line=STATUS_LINES, headers=HEADERS, lines=LINES, body=BODIES)
@fuzzed()
def test_whatever_comes_in_a_nodes_place_is_a_failed_read(
    read: Read, status_line: bytes, headers: Headers, lines: list[bytes], body: Any
) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.write(head(status_line, headers, lines) + packed(body, exchange))
        exchange.end()

    nothing_but_failures(read, read.through(answer))


@given(status=STATUSES, headers=HEADERS, body=BODIES)
@fuzzed()
def test_a_well_formed_reply_that_means_nothing_is_a_failed_read(
    read: Read, status: str, headers: Headers, body: Any
) -> None:
    """Further than a connection's end: its body is read, and looked at."""

    def answer(exchange: Exchange) -> None:
        raw = packed(body, exchange)
        others = [header for header in headers if header[0] not in {b"Content-Length", b"Transfer-Encoding"}]
        length = (b"Content-Length", str(len(raw)).encode())
        exchange.write(head(b"HTTP/1.1 %s -" % status.encode(), [length, *others], []) + raw)
        exchange.end()

    nothing_but_failures(read, read.through(answer))


@given(status_line=GOOD_LINES | STATUS_LINES, headers=HARMLESS | HEADERS, lines=st.just([]) | LINES)
@example(status_line=b"HTTP/1.1 200 OK", headers=[], lines=[])
@fuzzed()
def test_a_true_reply_behind_any_head_is_read_truly_or_not_at_all(
    read: Read, status_line: bytes, headers: Headers, lines: list[bytes]
) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.write(head(status_line, headers, lines) + exchange.upstream().content)
        exchange.end()

    none_but_true(read, read.through(answer))


@given(headers=HARMLESS | HEADERS, at=st.integers(0, 2000), length=st.booleans(), reset=st.booleans())
@example(headers=[], at=WHOLE, length=False, reset=False)
@example(headers=[], at=WHOLE, length=True, reset=True)
@fuzzed()
def test_a_true_reply_that_breaks_off_at_any_byte_is_read_truly_or_not_at_all(
    read: Read, headers: Headers, at: int, *, length: bool, reset: bool
) -> None:
    def answer(exchange: Exchange) -> None:
        raw = exchange.upstream().content
        lengths = [(b"Content-Length", str(len(raw)).encode())] if length else []
        whole = head(b"HTTP/1.1 200 OK", [*lengths, *headers], []) + raw
        exchange.write(whole if at == WHOLE else whole[: at % (len(whole) + 1)])
        (exchange.reset if reset else exchange.end)()

    none_but_true(read, read.through(answer))


@given(
    status_line=STATUS_LINES, headers=HEADERS, lines=LINES, body=BODIES, at=st.integers(0, 4000), reset=st.booleans()
)
@example(status_line=b"HTTP/1.1 429 -", headers=[(b"Retry-After", NEVER)], lines=[], body=b"", at=WHOLE, reset=False)
@example(
    status_line=b"HTTP/1.1 503 -", headers=[(b"Retry-After", b"-5")] * 2, lines=[], body=b"", at=WHOLE, reset=False
)
@fuzzed()
def test_whatever_the_first_endpoint_sends_it_rests_and_the_second_is_asked(  # noqa: PLR0917
    read: Read, status_line: bytes, headers: Headers, lines: list[bytes], body: Any, at: int, reset: bool
) -> None:
    def answer(exchange: Exchange) -> None:
        whole = head(status_line, headers, lines) + packed(body, exchange)
        exchange.write(whole if at == WHOLE else whole[:at])
        (exchange.reset if reset else exchange.end)()

    reader = read.reader(read.net.proxy.url, read.net.other.url)
    first, second = reader.nodes
    with capture_logs() as logs, read.net.proxy.faulty(answer), closing(first.session), closing(second.session):
        (part,) = reader.read(read.accounts, time(), monotonic() + CAP)
    assert part.snapshot is not None
    assert part.snapshot.balances == read.truth
    assert "endpoint_broken" not in {line["event"] for line in logs}, "it is translated where it comes from"
    assert KEY not in str(logs)
    names = [f"rest:{first.id}", *(f"key:{key.id}" for key in first.keys)]
    assert any(entry[1] for entry in reader.shared.get(names).values()), "it rests, or the key that it was asked with"


# What once ended a read, or got out


def test_a_retry_after_whose_date_cannot_be_is_a_failed_read(read: Read) -> None:
    nothing_but_failures(read, read.through(raw_reply(b"HTTP/1.1 429 -", [(b"Retry-After", NEVER)], b"")))


@pytest.mark.parametrize("read", ["ethereum"], indirect=True)
def test_a_back_off_that_no_float_holds_is_a_failed_read(read: Read) -> None:
    body = b'{"error": {"code": -32005, "data": {"backoff_seconds": %s}}}' % (b"9" * 400)
    nothing_but_failures(read, read.through(raw_reply(b"HTTP/1.1 200 OK", [], body)))


@pytest.mark.parametrize("read", ["ethereum"], indirect=True)
def test_headers_that_cannot_be_parsed_put_no_key_into_the_log(read: Read, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        read.through(raw_reply(b"HTTP/1.1 200 OK", [(b"X-Na\xefme", b"x")], b"{}"))
    assert caplog.records, "it is told of"
    assert KEY not in caplog.text


def test_a_redirects_body_is_bounded_as_any_other(read: Read) -> None:
    sent: list[int] = []

    def answer(exchange: Exchange) -> None:
        exchange.write(head(b"HTTP/1.1 302 Found", [(b"Location", b"/"), (b"Content-Length", b"%d" % 2**30)], []))
        with suppress(OSError):  # it goes away when it has had enough
            while sum(sent) < 4 * MAX_REPLY:
                exchange.write(bytes(2**20))
                sent.append(2**20)
        exchange.end()

    nothing_but_failures(read, read.through(answer))
    assert sum(sent) < 2 * MAX_REPLY


def raw_reply(status_line: bytes, headers: Headers, body: bytes) -> Fault:
    def answer(exchange: Exchange) -> None:
        exchange.write(head(status_line, [*headers, (b"Content-Length", b"%d" % len(body))], []) + body)
        exchange.end()

    return answer
