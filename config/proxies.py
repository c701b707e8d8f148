"""The proxies and certificates that the environment has for requests over HTTP: found wanting before the first one.

requests and Python's own library read `HTTPS_PROXY`, `NO_PROXY` and `REQUESTS_CA_BUNDLE` themselves. What they cannot
use they tell of in each request anew, in words that sound as if a node were out of order.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

CERTIFICATES = ("requests_ca_bundle", "curl_ca_bundle", "ssl_cert_file")
"""In small letters, as settings' sources have the names of variables."""


def wrong(urls: Iterable[str], variables: Mapping[str, str | None], *, socks: bool | None = None) -> Iterator[str]:
    """A sentence for each variable that requests to these URLs could not use. Shows no value.

    `socks`: whether the caller's library can speak SOCKS; None: it can, once PySocks is installed.
    """
    # It takes a while to load, and whoever reads no node never needs it.
    from requests.utils import get_environ_proxies, select_proxy

    able = bool(find_spec("socks")) if socks is None else socks
    said = set()
    for url in urls:
        proxies = get_environ_proxies(url)
        proxy = select_proxy(url, proxies)
        if proxy:
            scheme = next(name for name in (urlsplit(url).scheme, "all") if proxies.get(name) == proxy)
            said.add(_of_proxy(f"{scheme.upper()}_PROXY", proxy, able=able))
    yield from sorted(said - {""})
    for name in CERTIFICATES:
        if (path := variables.get(name)) and not os.access(path, os.R_OK):
            yield f"{name.upper()} names a file of certificates that this process cannot read: correct it, or mount it"


def _of_proxy(name: str, proxy: str, *, able: bool) -> str:
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        return f"{name} names no host: http://proxy:3128"
    if parts.scheme.startswith("socks") and not able:
        return (
            f"{name} names a SOCKS proxy, which needs the package PySocks in this environment: use an HTTP proxy, or"
            " name the hosts that need none in NO_PROXY"
        )
    if parts.scheme not in {"http", "https"} and not parts.scheme.startswith("socks"):
        return f"{name} must be a URL that begins with http://"
    return ""
