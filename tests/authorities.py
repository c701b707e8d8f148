"""Certificates for tests: an authority of our own, and what it vouches for."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devstack.servers import HOST

PEM = serialization.Encoding.PEM


class Authority:
    """An authority whose certificate is in `file`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder / name
        self._folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        made = self._builder(self._name, self._key.public_key())
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file = self._folder / "ca.pem"
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(PEM))

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now, day = datetime.now(UTC), timedelta(days=1)
        made = x509.CertificateBuilder(self._name, name, key, x509.random_serial_number())
        return made.not_valid_before(now - day).not_valid_after(now + day)

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for a host or an address, and its key, each in a file."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.IPAddress(ip_address(name)) if name == HOST else x509.DNSName(name)]
        made = self._builder(_named(name), key.public_key())
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate, private = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(PEM))
        private.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return certificate, private

    def closed(self, key: Path) -> Path:
        """A key as another file, which a pass phrase closes."""
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        closed = key.with_suffix(".closed")
        by = serialization.BestAvailableEncryption(b"hunter2")
        closed.write_bytes(private.private_bytes(PEM, serialization.PrivateFormat.PKCS8, by))
        return closed

    def server(self, name: str, *, of_clients: "Authority | None" = None) -> ssl.SSLContext:
        """TLS of a server of this name, which wants certificates of its clients where their authority is named."""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*self.issue(name))
        if of_clients:
            tls.verify_mode = ssl.CERT_REQUIRED
            tls.load_verify_locations(of_clients.file)
        return tls


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
