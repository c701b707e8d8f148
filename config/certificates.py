"""Whether the certificates that a setting names can be loaded, before any connection needs them."""

import os
import ssl
from collections.abc import Mapping
from typing import Any

FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")


def check(tls: Mapping[str, Any]) -> None:
    """Load what REDIS_URL names as its clients would. Raises ValueError with a sentence that shows no value.

    Left to the clients, each connection would fail anew, in words of TLS; and a key with a pass phrase would have the
    process ask for it on a terminal, and wait.
    """
    for name in FILES:
        if name in tls and not os.access(tls[name], os.R_OK):
            raise ValueError(f"names a file in {name} that this process cannot read: correct {name}, or mount the file")
    context = ssl.create_default_context()
    try:
        if tls.get("ssl_ca_certs"):
            context.load_verify_locations(tls["ssl_ca_certs"])
    except OSError:
        raise ValueError("names a file without certificates in ssl_ca_certs: write them as PEM") from None
    certificate, key = tls.get("ssl_certfile"), tls.get("ssl_keyfile")
    if key and not certificate:
        raise ValueError("names a key in ssl_keyfile, and no ssl_certfile: name both")
    if certificate:
        _load(context, certificate, key)


class _Closed(Exception):
    """A key that cannot be read without a pass phrase."""


def _load(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    def ask() -> str:
        raise _Closed

    try:
        context.load_cert_chain(certificate, key, password=ask)
    except _Closed:
        said = "names a key with a pass phrase in ssl_keyfile: write it without one (openssl pkey), for this user alone"
        raise ValueError(said) from None
    except OSError as error:
        raise ValueError(_why(error, certificate, key)) from None


def _why(error: OSError, certificate: str, key: str | None) -> str:
    if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
        return "names a key in ssl_keyfile that does not belong to the certificate of ssl_certfile"
    try:
        ssl.create_default_context().load_verify_locations(certificate)
    except OSError:
        return "names no certificate in ssl_certfile: write it as PEM"
    where = "in ssl_keyfile" if key else "and the file of ssl_certfile has none: name it in ssl_keyfile"
    return f"names no key {where}"
