"""The proxies and certificates that the environment has for requests over HTTP: found wanting before the first one.

requests and Python's own library read `HTTPS_PROXY` and `NO_PROXY` themselves. What they cannot use they tell of in
each request anew, in words that sound as if a node were out of order. Of the variables for certificates each of the two
reads others: here each trusts those of the other too, beside all whom it trusts by itself.
"""

import os
import ssl
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

from pydantic_settings import BaseSettings

from config.files import Environment

OF_REQUESTS = ("requests_ca_bundle", "curl_ca_bundle")
OF_PYTHON = ("ssl_cert_file",)
CERTIFICATES = (*OF_REQUESTS, *OF_PYTHON)
"""In small letters, as settings' sources have the names of variables. Of each library's the first that is set holds."""


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
        if (path := variables.get(name)) and (what := _of_certificates(path)):
            yield f"{name.upper()} names a file of certificates {what}"


def authorities(names: Iterable[str]) -> str | None:
    """The file or folder that the first of these variables names which is set. None: none is."""
    variables = Environment(BaseSettings).env_vars
    return next((path for name in names if (path := variables.get(name))), None)


def trust_also(context: ssl.SSLContext, path: str | None) -> ssl.SSLContext:
    """The same, which trusts those in a file or a folder too. Raises OSError."""
    if path:
        folder = os.path.isdir(path)  # noqa: PTH112
        context.load_verify_locations(cafile=None if folder else path, capath=path if folder else None)
    return context


def pythons_context() -> ssl.SSLContext:
    """How Python's own library checks certificates: as it does by itself, and by requests' variable. Raises OSError."""
    context = ssl.create_default_context()
    for names in (OF_PYTHON, OF_REQUESTS):
        trust_also(context, authorities(names))
    return context


def _of_certificates(path: str) -> str:
    if not os.access(path, os.R_OK):
        return "that this process cannot read: correct it, or mount it"
    try:
        trust_also(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), path)
    except OSError:
        return "that has none in it: write them as PEM, the authority's own first"
    return ""


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
