"""Etcd members other than the plain one of the rig: three that elect quickly, and one with client certificates."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mft.etcd.channel import TlsOptions
from tests.rig.etcd_cluster import Member, run_etcd_cluster
from tests.rig.waiting import free_port


@asynccontextmanager
async def run_cluster(folder: Path, size: int = 3) -> AsyncIterator[list[Member]]:
    """Run members as one cluster, with a quick election, for as long as the block lasts."""
    quick = (("--heartbeat-interval", "50"), ("--election-timeout", "500"))
    async with run_etcd_cluster(folder, size, quick) as cluster:
        yield cluster.members


@asynccontextmanager
async def run_tls_member(folder: Path, authority: Authority) -> AsyncIterator[Member]:
    """Run a member that demands client certificates of `authority`, for as long as the block lasts."""
    member = Member(folder)
    for name in ("--listen-client-urls", "--advertise-client-urls"):
        member.option(name, f"https://{member.endpoint}")
    certificate, key = authority.issue("server", "127.0.0.1")
    member.option("--cert-file", str(certificate))
    member.option("--key-file", str(key))
    member.option("--trusted-ca-file", str(authority.certificate))
    member.command.append("--client-cert-auth")
    # Readiness is asked at a second, plain port.
    member.port = free_port()
    member.option("--listen-metrics-urls", f"http://127.0.0.1:{member.port}")
    try:
        await member.start()
        yield member
    finally:
        member.kill()


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("test authority")
        self.certificate = folder / "ca.pem"
        signed = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, address: str | None = None) -> tuple[Path, Path]:
        """Make a certificate and key for a client, or for a server at an address; give their paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = _builder(_name(name), self._name, key).add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if address:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return paths

    def client(self, name: str) -> TlsOptions:
        """TLS options of a client with a certificate of that name."""
        certificate, key = self.issue(name)
        return TlsOptions(ca=self.certificate, certificate=certificate, key=key)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
    )
