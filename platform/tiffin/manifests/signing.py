"""Signatures of promoted manifests: ed25519 over the kind and the digest, never over a bare hash."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import SecretStr, ValidationError

from tiffin.core.errors import Corrupt, Denied, Invalid, NotFound
from tiffin.core.spec import Record

__all__ = ["Signer", "Verifier", "generate_key", "read_key", "write_key"]

DOMAIN = b"tiffin-manifest-v1\0"
KEY_BYTES = 32


def message(kind: str, digest: str) -> bytes:
    """What is signed. The prefix keeps a signature from meaning anything elsewhere, the kind from meaning another record."""
    return DOMAIN + kind.encode() + b"\0" + digest.encode()


def raw_key(text: str, *, what: str, fix: str) -> bytes:
    """32 bytes from 64 hex digits. The text is not repeated in the error: it may be the private one."""
    try:
        raw = bytes.fromhex(text)
    except ValueError as err:
        raise Invalid(f"{what} is not hexadecimal", fix=fix) from err
    if len(raw) != KEY_BYTES:
        raise Invalid(f"{what} has {len(raw)} bytes, expected {KEY_BYTES}", fix=fix)
    return raw


class Signer:
    """Holds the private key; only the promoter's identity has one."""

    def __init__(self, private_hex: str) -> None:
        raw = raw_key(private_hex, what="the private signing key", fix="restore signing_key.json from its backup, or make a new key pair")
        self.private_hex = SecretStr(private_hex)
        self.key = Ed25519PrivateKey.from_private_bytes(raw)

    def __repr__(self) -> str:
        return f"Signer(public_hex={self.public_hex!r})"

    @property
    def public_hex(self) -> str:
        """What verifiers are configured with: `TIFFIN_SIGNING_PUBLIC_KEY`."""
        return self.key.public_key().public_bytes_raw().hex()

    def sign(self, kind: str, digest: str) -> bytes:
        """64 bytes; the same for the same manifest, so that signing twice changes nothing."""
        return self.key.sign(message(kind, digest))


class Verifier:
    """Checks manifests against the public key this environment trusts."""

    def __init__(self, public_hex: str) -> None:
        self.public_hex = public_hex
        what = "the public signing key (TIFFIN_SIGNING_PUBLIC_KEY)"
        self.key = Ed25519PublicKey.from_public_bytes(
            raw_key(public_hex, what=what, fix="copy it from the stack that signs: `tiffin doctor`")
        )

    def check(self, kind: str, digest: str, signature: bytes, *, name: str) -> None:
        """Accept the signature, or say whose manifest it does not sign.

        Raises:
            Corrupt: signed by another key, for another kind or digest, or the bytes changed.
        """
        try:
            self.key.verify(signature, message(kind, digest))
        except InvalidSignature as err:
            raise Corrupt(
                f"the signature of {name} does not match its manifest {digest} under public key {self.public_hex[:16]}",
                fix="promote it again; if that was done, check that TIFFIN_SIGNING_PUBLIC_KEY is the promoter's public key",
                context={"name": name, "kind": kind, "digest": digest},
            ) from err


class KeyFile(Record):
    """`signing_key.json`, mode 0600."""

    private_hex: str


def generate_key() -> Signer:
    """A new key pair from the system's randomness."""
    return Signer(Ed25519PrivateKey.generate().private_bytes_raw().hex())


def write_key(path: Path, signer: Signer) -> None:
    """Store the private key for its owner's eyes only; an existing file is never overwritten.

    Raises:
        Denied: a key is already there; losing it would make every signed manifest unverifiable.
    """
    body = KeyFile(private_hex=signer.private_hex.get_secret_value()).to_bytes()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as err:
        raise Denied(f"signing key file {str(path)!r} exists already", fix="use it, or move it away first") from err
    with os.fdopen(handle, "wb") as file:
        file.write(body)


def read_key(path: Path) -> Signer:
    """Load the private key; refuses a file that others can read.

    Raises:
        NotFound: no file. Denied: its mode is wider than 0600. Invalid: it is not a key.
    """
    try:
        mode = path.stat().st_mode & 0o777
        data = path.read_bytes()
    except FileNotFoundError as err:
        raise NotFound(f"signing key file {str(path)!r} does not exist", fix="start the stack with `tiffin up`, which makes one") from err
    except PermissionError as err:
        raise Denied(f"signing key file {str(path)!r} is not readable by this user", fix="run as the promoter's user") from err
    if mode & 0o077:
        raise Denied(f"signing key file {str(path)!r} has mode {mode:04o}, expected 0600", fix=f"chmod 600 {path}")
    try:
        return Signer(KeyFile.model_validate_json(data).private_hex)
    except ValidationError:
        # the cause would print the key
        raise Invalid(f"signing key file {str(path)!r} is not {{'private_hex': ...}}", fix="restore it from its backup") from None
