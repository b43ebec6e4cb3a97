"""What closes SeaweedFS' back doors: its servers trust only each other.

Access keys guard the S3 port alone. Behind it, filer, volume and master servers listen on ports of their
own, where by default whoever reaches them reads and writes every bucket without any key. Here they talk
over mutual TLS with a certificate that only the server has, and their HTTP wants tokens that only it signs.
"""

from __future__ import annotations

import datetime
import secrets
from pathlib import Path

from tiffin.embedded.secret_files import write_private

__all__ = ["SECURITY_FILE", "write_security"]

SECURITY_FILE = "security.toml"
SERVERS = ("master", "volume", "filer", "s3", "client")
TOKENS = ("signing", "signing.read", "filer_signing", "filer_signing.read")


def write_security(folder: Path) -> Path:
    """Make `security.toml` with its certificate, once; the server reads it from its working folder."""
    path, certificate, key = folder / SECURITY_FILE, folder / "weed.crt", folder / "weed.key"
    if not (path.exists() and certificate.exists() and key.exists()):
        crt, pem = self_signed(now=datetime.datetime.now(datetime.UTC))
        write_private(certificate, crt)
        write_private(key, pem)
        write_private(path, security_text(certificate, key))
    return path


def security_text(certificate: Path, key: Path) -> str:
    """The file's content, with fresh token keys."""
    tokens = [f'[jwt.{name}]\nkey = "{secrets.token_urlsafe(32)}"' for name in TOKENS]
    servers = [f'[grpc.{name}]\ncert = "{certificate}"\nkey = "{key}"' for name in SERVERS]
    return "\n".join([*tokens, f'[grpc]\nca = "{certificate}"', *servers, ""])


def self_signed(*, now: datetime.datetime) -> tuple[bytes, bytes]:
    """A certificate that is its own authority, and its key, as PEM."""
    from cryptography import x509  # 90 ms, once in the life of a stack
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=36_500))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), pem
