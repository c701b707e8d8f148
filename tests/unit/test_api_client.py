"""Whose request it is: the peer's, unless a proxy that is trusted says another's."""

from ipaddress import ip_network

import pytest

from api.client import Peers

PROXIES = [ip_network("10.0.0.0/8"), ip_network("192.0.2.7/32"), ip_network("fd00::/8")]
PROXY, CLIENT = "10.0.0.1", "198.51.100.9"


def client(peer: str | None, *forwarded: str, trusted: bool = True) -> str | None:
    headers = [(b"accept", b"*/*"), *((b"x-forwarded-for", each.encode("latin-1")) for each in forwarded)]
    return Peers(PROXIES if trusted else []).client_of(peer, headers)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        (CLIENT, [], CLIENT),
        (CLIENT, ["203.0.113.1"], CLIENT),
        (PROXY, [], PROXY),
        (PROXY, [CLIENT], CLIENT),
        (PROXY, [f"203.0.113.1, {CLIENT}"], CLIENT),
        (PROXY, [f"203.0.113.1,{CLIENT} , 192.0.2.7,10.9.9.9"], CLIENT),
        (PROXY, ["203.0.113.1", CLIENT], CLIENT),
        (PROXY, ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (PROXY, [f"{CLIENT}:4711"], CLIENT),
        (PROXY, ["2001:db8::1"], "2001:db8::1"),
        (PROXY, ["[2001:db8::1]:4711"], "2001:db8::1"),
        (PROXY, ["[2001:db8::1]"], "2001:db8::1"),
        (PROXY, [f"::ffff:{CLIENT}"], CLIENT),
        (f"::ffff:{PROXY}", [CLIENT], CLIENT),
        ("fd00::1", [CLIENT], CLIENT),
        (None, [CLIENT], None),
        # Garbage is nobody's address: whoever passed it on is the last who is known.
        (PROXY, [""], PROXY),
        (PROXY, [","], PROXY),
        (PROXY, ["unknown"], PROXY),
        (PROXY, ["\x1b[2J"], PROXY),
        (PROXY, ["fe80::1%\x1b[2J"], PROXY),
        (PROXY, ["[2001:db8::1"], PROXY),
        (PROXY, ["[2001:db8::1]x"], PROXY),
        (PROXY, ["1" * 5000], PROXY),
        (PROXY, [f"{CLIENT}, nonsense, 10.0.0.2"], "10.0.0.2"),
        (PROXY, [",".join([CLIENT] + ["10.0.0.2"] * 50)], "10.0.0.2"),
        ("not an address", [CLIENT], "not an address"),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(
    peer: str | None, forwarded: list[str], expected: str | None
) -> None:
    assert client(peer, *forwarded) == expected


def test_without_trusted_proxies_the_peer_is_the_client_whatever_it_says() -> None:
    assert client(PROXY, CLIENT, trusted=False) == PROXY
