"""Certificates for tests: an authority, and what it has signed."""

import datetime
import ipaddress
from typing import NamedTuple

import pytest

x509 = pytest.importorskip("cryptography.x509")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

_YEAR = datetime.timedelta(days=365)


class Pair(NamedTuple):
    """A key and its certificate in PEM."""

    key: str
    cert: str


class Authority:
    """Signs certificates."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("authority")
        self.cert = _pem(self._signed(self._name, self._key.public_key(), ca=True))

    def pair(self, name: str) -> Pair:
        """For a server at 127.0.0.1, or a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return Pair(private.decode(), _pem(self._signed(_name(name), key.public_key(), ca=False)))

    def _signed(self, name, public_key, *, ca: bool):
        now = datetime.datetime.now(datetime.UTC)
        addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=name,
            public_key=public_key,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - _YEAR,
            not_valid_after=now + _YEAR,
        )
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _name(name: str):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _pem(cert) -> str:
    return cert.public_bytes(serialization.Encoding.PEM).decode()
