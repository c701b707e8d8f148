"""Whose request it is, by the address: the peer's, or what the proxies that are trusted say.

``X-Forwarded-For`` is whatever the client sent, with an address added by each proxy. So it is read from its end, and
only as long as whoever added an address is trusted (TRUSTED_PROXIES): the first that is not is the client.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

MAX_ENTRY: Final = 60
"""Characters of an entry: an IPv6 address in its longest form, in brackets and with a port."""
MAX_PROXIES: Final = 20
"""Entries that are looked at. No more proxies stand in a row."""


class Peers:
    """Knows which peers are proxies."""

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._trusted = tuple(trusted)
        self._is_trusted = lru_cache(1024)(self._in_a_network)

    def client_of(self, peer: str | None, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
        """The client's address, from the connection's peer and the request's headers.

        What cannot be read ends the way back: then it is whoever sent that. None: the peer has no address.
        """
        if peer is None or not self._trusted or not self._is_trusted(peer):
            return peer
        client = peer
        forwarded = [value for name, value in headers if name == b"x-forwarded-for"]
        for entry in reversed(b",".join(forwarded).rsplit(b",", MAX_PROXIES)[-MAX_PROXIES:]):
            address = _address(entry.strip().decode("latin-1"))
            if address is None:
                break
            client = str(address)
            if not self._is_trusted(client):
                break
        return client

    def _in_a_network(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._trusted)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, with or without brackets and a port, as some proxies add them. None: it is none."""
    if len(text) > MAX_ENTRY or "%" in text:  # a zone may be any text
        return None
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
