"""Certificates and keys that DATABASE_URL names: libpq's forms of them pass, and what no process can use is told."""

from pathlib import Path

import pytest
from certificates import Authority
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from environments import QUEUE, loaded, refusal

from config.settings import Settings

NO_KEY = "DATABASE_URL: names a certificate in sslcert, and no key in sslkey: name both"


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A folder with somebody's certificate and key, `own` and `another`; it is the home of a user too."""
    authority = Authority(tmp_path, "ours")
    authority.vouches("own")
    authority.vouches("another")
    (tmp_path / ".postgresql").mkdir()
    return tmp_path


def env(folder: Path, query: str, host: str = "db") -> dict[str, str]:
    url = f"postgresql://u:hunter2@{host}/d?sslmode=require&{query.format(at=folder)}"
    return {**QUEUE, "DATABASE_URL": url, "HOME": str(folder)}


def takes(folder: Path, query: str, host: str = "db") -> None:
    loaded(Settings, env(folder, query, host))


def into_the_home(folder: Path, name: str, end: str) -> None:
    file = folder / ".postgresql" / f"postgresql.{end}"
    file.touch(0o600)
    file.write_bytes((folder / f"{name}.{end}").read_bytes())


def test_a_certificate_without_a_key_is_refused_where_no_key_is_in_the_users_home(ours: Path) -> None:
    assert NO_KEY in refusal(Settings, env(ours, "sslcert={at}/own.crt"))
    into_the_home(ours, "own", "key")
    takes(ours, "sslcert={at}/own.crt")


def test_a_key_of_the_users_home_that_does_not_belong_is_told_of(ours: Path) -> None:
    into_the_home(ours, "another", "key")
    assert "does not belong to the certificate" in refusal(Settings, env(ours, "sslcert={at}/own.crt"))


def test_a_key_alone_is_taken_and_left_unused(ours: Path) -> None:
    takes(ours, "sslkey={at}/own.key")


def test_nothing_is_asked_of_certificates_where_every_host_is_a_socket(ours: Path) -> None:
    takes(ours, "sslcert={at}/own.crt&host=/run/postgresql", host="")
    assert NO_KEY in refusal(Settings, env(ours, "sslcert={at}/own.crt&host=/run/postgresql,db", host=""))


def test_a_key_in_libpqs_other_form_is_taken(ours: Path) -> None:
    pem = serialization.load_pem_private_key((ours / "own.key").read_bytes(), None)
    plain = serialization.NoEncryption()
    der = pem.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, plain)
    (ours / "own.der").touch(0o600)
    (ours / "own.der").write_bytes(der)
    takes(ours, "sslcert={at}/own.crt&sslkey={at}/own.der")


def test_a_pass_phrase_that_is_missing_or_wrong_is_told_of(ours: Path) -> None:
    pem = serialization.load_pem_private_key((ours / "own.key").read_bytes(), None)
    closed = serialization.BestAvailableEncryption(b"hunter2")
    said = pem.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, closed)
    (ours / "own.key").write_bytes(said)
    query = "sslcert={at}/own.crt&sslkey={at}/own.key"
    sentence = "names a key in sslkey with a pass phrase, which sslpassword is not: correct that"
    assert sentence in refusal(Settings, env(ours, query))
    assert sentence in refusal(Settings, env(ours, f"{query}&sslpassword=another"))
    takes(ours, f"{query}&sslpassword=hunter2")


def test_a_certificate_that_is_too_weak_is_told_of(ours: Path) -> None:
    made = x509.load_pem_x509_certificate((ours / "own.crt").read_bytes())
    key = rsa.generate_private_key(65537, 1024)
    weak = x509.CertificateBuilder(made.issuer, made.subject, key.public_key(), made.serial_number)
    weak = weak.not_valid_before(made.not_valid_before_utc).not_valid_after(made.not_valid_after_utc)
    signed = weak.sign(key, made.signature_hash_algorithm)  # type: ignore[arg-type]  # SHA-256
    (ours / "own.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    said = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (ours / "own.key").write_bytes(said)
    told = refusal(Settings, env(ours, "sslcert={at}/own.crt&sslkey={at}/own.key"))
    assert "names a certificate in sslcert that is too weak for TLS" in told
