"""The promoter's identity: the prod-write key and the signing key, read from the secrets folder."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from tiffin.core.errors import Denied, Invalid, NotFound
from tiffin.core.settings import Settings
from tiffin.manifests.signing import Signer, read_key
from tiffin.storage.objects import ObjectStore
from tiffin.storage.s3 import S3Store

__all__ = ["KEY_PAIR_FILE", "SIGNING_KEY_FILE", "identity"]

KEY_PAIR_FILE = "prod_write.json"
SIGNING_KEY_FILE = "signing_key.json"


class KeyPair(BaseModel):
    """`prod_write.json`."""

    model_config = ConfigDict(frozen=True)

    access_key: str
    secret_key: SecretStr


def read_key_pair(path: Path) -> KeyPair:
    """The prod-write key. The file's content is never part of an error."""
    try:
        return KeyPair.model_validate_json(path.read_bytes())
    except FileNotFoundError as err:
        raise NotFound(f"the prod-write key {str(path)!r} does not exist", fix="start the stack with `tiffin up`, which makes one") from err
    except PermissionError as err:
        raise Denied(f"the prod-write key {str(path)!r} is not readable by this user", fix="run as the promoter's user") from err
    except ValidationError:
        # the cause would print the key
        raise Invalid(f"{str(path)!r} is not {{'access_key', 'secret_key'}} in JSON", fix="run `tiffin doctor`") from None


def identity(settings: Settings, secrets_path: Path) -> tuple[ObjectStore, ObjectStore, Signer]:
    """Dev, prod and signer under the promoter's identity: what `tiffin promote` and the daemon share.

    Raises:
        NotFound, Denied, Invalid: a secret is missing, open to others, or not the one that agents trust.
    """
    signer = read_key(secrets_path / SIGNING_KEY_FILE)
    if settings.signing_public_key is not None and settings.signing_public_key != signer.public_hex:
        raise Invalid(
            f"the signing key's public half is {signer.public_hex}, but TIFFIN_SIGNING_PUBLIC_KEY is {settings.signing_public_key}: "
            "serving agents would refuse what it signs",
            fix="restore the signing key of this stack, or start the stack again with `tiffin down` and `tiffin up`",
        )
    keys = read_key_pair(secrets_path / KEY_PAIR_FILE)
    endpoint, secret = settings.need("s3_endpoint"), keys.secret_key.get_secret_value()
    dev = S3Store(settings.dev_bucket, endpoint, keys.access_key, secret, settings.s3_region)
    prod = S3Store(settings.prod_bucket, endpoint, keys.access_key, secret, settings.s3_region)
    return dev, prod, signer
