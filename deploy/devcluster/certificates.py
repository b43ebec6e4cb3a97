"""The cluster's certificates: two authorities and one short-named pair for each who must prove who it is."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["KUBELET_IP", "SERVICE_IP", "make_certificates", "write"]

LIFETIME = timedelta(days=3650)
# the first address of the service range: what the name `kubernetes` means inside a cluster
SERVICE_IP = "10.255.0.1"
# of a node with real containers, on a bridge without a way out
KUBELET_IP = "10.88.77.1"

Key = ec.EllipticCurvePrivateKey


def make_certificates(folder: Path) -> None:
    """Write every certificate and key that is not there yet: `<name>.crt`, `<name>.key`, readable by their owner only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (folder / "complete").exists():
        return
    here = ["localhost", "127.0.0.1"]
    cluster = authority(folder, "ca")
    signed(
        folder,
        "apiserver",
        cluster,
        "kube-apiserver",
        names=[*here, "kubernetes", "kubernetes.default", "kubernetes.default.svc", SERVICE_IP],
    )
    signed(folder, "node", cluster, "node", names=here)
    signed(folder, "kubelet", cluster, "system:node:kubelet-0", group="system:nodes", names=["kubelet-0", KUBELET_IP])
    signed(folder, "admin", cluster, "admin", group="system:masters")
    signed(folder, "kube-controller-manager", cluster, "system:kube-controller-manager")
    signed(folder, "kube-scheduler", cluster, "system:kube-scheduler")
    signed(folder, "apiserver-kubelet", cluster, "apiserver-kubelet", group="system:masters")
    # whoever this second authority vouches for may speak in another's name: Kueue's visibility API sees the real caller
    front = authority(folder, "front-proxy-ca")
    signed(folder, "front-proxy", front, "front-proxy-client")
    accounts = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    write(folder / "accounts.key", private_pem(accounts))
    public = accounts.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write(folder / "accounts.pub", public)
    write(folder / "complete", b"")


def authority(folder: Path, name: str) -> tuple[x509.Certificate, Key]:
    """A new certificate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = named(name)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        started(subject, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    keep(folder, name, made, key)
    return made, key


def signed(
    folder: Path, name: str, by: tuple[x509.Certificate, Key], common_name: str, *, group: str = "", names: Sequence[str] = ()
) -> None:
    """A pair for a server (with `names`) or a client (known as `common_name`, member of `group`)."""
    issuer, issuer_key = by
    key = ec.generate_private_key(ec.SECP256R1())
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if names else [])]
    made = (
        started(named(common_name, group), issuer.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    )
    if names:
        made = made.add_extension(x509.SubjectAlternativeName([alternative(text) for text in names]), critical=False)
    keep(folder, name, made.sign(issuer_key, hashes.SHA256()), key)


def started(subject: x509.Name, issuer: x509.Name, key: Key) -> x509.CertificateBuilder:
    """What all certificates share; valid from a minute ago, for clocks that differ a little."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + LIFETIME)
    )


def named(common_name: str, group: str = "") -> x509.Name:
    """A subject; Kubernetes reads the organisation as a group."""
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, group), *parts] if group else parts)


def alternative(text: str) -> x509.GeneralName:
    """A host name or an address."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def keep(folder: Path, name: str, made: x509.Certificate, key: Key) -> None:
    """Write a pair."""
    write(folder / f"{name}.crt", made.public_bytes(serialization.Encoding.PEM))
    write(folder / f"{name}.key", private_pem(key))


def private_pem(key: Key | rsa.RSAPrivateKey) -> bytes:
    """A private key as text."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def write(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
