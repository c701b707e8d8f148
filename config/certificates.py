"""Whether the certificates that a setting names can be loaded, before any connection needs them."""

import os
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple


class Names(NamedTuple):
    """By which names a setting writes its files. `pass_phrase` is empty where it takes none."""

    authorities: str
    certificate: str
    key: str
    pass_phrase: str = ""


REDIS = Names("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
POSTGRES = Names("sslrootcert", "sslcert", "sslkey", "sslpassword")

FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
TOO_WEAK = ("TOO_SMALL", "TOO_WEAK")
"""How OpenSSL's reasons end for a key that is too short, and a signature by SHA-1 or MD5."""


def check(tls: Mapping[str, Any]) -> None:
    """Load what REDIS_URL names as its clients would. Raises ValueError with a sentence that shows no value.

    Left to the clients, each connection would fail anew, in words of TLS; and a key with a pass phrase would have the
    process ask for it on a terminal, and wait.
    """
    for name in FILES:
        if name in tls and not os.access(tls[name], os.R_OK):
            raise ValueError(f"names a file in {name} that this process cannot read: correct {name}, or mount the file")
    certificate, key = tls.get("ssl_certfile"), tls.get("ssl_keyfile")
    why = wrong_authorities(tls["ssl_ca_certs"], REDIS) if tls.get("ssl_ca_certs") else ""
    if not why and key and not certificate:
        why = "names a key in ssl_keyfile, and no ssl_certfile: name both"
    if not why and certificate:
        why = wrong_pair(certificate, key, REDIS)
    if why:
        raise ValueError(why)


def wrong_authorities(file: str, names: Names) -> str:
    """Why nobody's certificate can be checked by this file; empty: it can."""
    if _has_certificates(file):
        return ""
    return f"names a file without certificates in {names.authorities}: write them as PEM"


def wrong_pair(certificate: str, key: str | None, names: Names, pass_phrase: str = "") -> str:
    """Why this certificate and its key cannot be shown to a server; empty: they can. No key: it is in the same file."""
    asked = []

    def ask() -> str:
        asked.append(True)
        return pass_phrase

    try:
        ssl.create_default_context().load_cert_chain(certificate, key, password=ask)
    except (OSError, ValueError) as error:  # of which the errors of TLS are
        return _why(error, certificate, key, names, closed=bool(asked))
    return ""


def _why(error: Exception, certificate: str, key: str | None, names: Names, *, closed: bool) -> str:
    reason = getattr(error, "reason", None) or ""
    if reason.endswith(TOO_WEAK):
        to_do = "make one of RSA with 2048 bits or of P-256, signed by SHA-256"
        return f"names a certificate in {names.certificate} that is too weak for TLS, by its key or signature: {to_do}"
    if reason == "KEY_VALUES_MISMATCH":
        return f"names a key in {names.key} that does not belong to the certificate of {names.certificate}"
    if closed and names.pass_phrase:
        return f"names a key in {names.key} with a pass phrase, which {names.pass_phrase} is not: correct that"
    if closed:
        to_do = "write it without one (openssl pkey), for this user alone"
        return f"names a key with a pass phrase in {names.key}: {to_do}"
    if not _has_certificates(certificate):
        return f"names no certificate in {names.certificate}: write it as PEM"
    return f"names no key {f'in {names.key}' if key else _in_the_same_file(names)}"


def _in_the_same_file(names: Names) -> str:
    return f"and the file of {names.certificate} has none: name it in {names.key}"


def _has_certificates(file: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except OSError:
        return False
    return True
