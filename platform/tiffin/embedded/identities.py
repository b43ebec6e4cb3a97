"""Who may do what in the local stack: makes the secrets once, and writes the settings that users get.

`home`/secrets (0700) holds all key pairs, the passwords of the online store, the prod-write key and the
signing key. `Settings` carry the dev key, the prod-read key and the publisher's URL: nothing in them
can write prod.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from tiffin.core.settings import Settings
from tiffin.embedded.seaweed import seaweed_keys
from tiffin.embedded.secret_files import make_private, write_private
from tiffin.embedded.valkey import valkey_passwords
from tiffin.manifests.signing import generate_key, read_key, write_key
from tiffin.registry.identity import KEY_PAIR_FILE, SIGNING_KEY_FILE

__all__ = ["make_secrets", "secrets_folder", "user_settings"]


def secrets_folder(home: Path) -> Path:
    """What steps must not see."""
    return home / "secrets"


def make_secrets(home: Path) -> Path:
    """Make what is missing; what is there stays, since data and signatures depend on it."""
    folder = make_private(secrets_folder(home))
    keys = seaweed_keys(folder)
    valkey_passwords(folder)
    pair = {"access_key": keys.prod_write.access_key, "secret_key": keys.prod_write.secret_key}
    # always: weed.json is the truth, and may have been made anew
    write_private(folder / KEY_PAIR_FILE, json.dumps(pair))
    if not (folder / SIGNING_KEY_FILE).exists():
        write_key(folder / SIGNING_KEY_FILE, generate_key())
    return folder


def user_settings(
    home: Path, ports: Mapping[str, Mapping[str, int]], *, cache: Path, as_of: str | None, isolation: str, cluster: str | None = None
) -> Settings:
    """The settings that reach this stack, under the identity of a step.

    Args:
        ports: per part, all of them; a stack that runs only some parts still has a place for the others.
        cluster: kubeconfig of the cluster where runs go; None: they are processes here.
    """
    folder = secrets_folder(home)
    keys = seaweed_keys(folder)
    passwords = valkey_passwords(folder)
    online = {
        user: SecretStr(f"redis://{user}:{passwords[user]}@127.0.0.1:{ports['valkey']['valkey']}/0") for user in ("publisher", "reader")
    }
    return Settings(
        home=home,
        cache=cache,
        as_of=as_of,
        isolation=isolation,
        cluster=cluster,
        s3_endpoint=f"http://127.0.0.1:{ports['seaweed']['s3']}",
        dev_access_key=keys.dev.access_key,
        dev_secret_key=SecretStr(keys.dev.secret_key),
        prod_read_access_key=keys.prod_read.access_key,
        prod_read_secret_key=SecretStr(keys.prod_read.secret_key),
        online_url=online["publisher"],
        online_reader_url=online["reader"],
        triton_grpc=f"127.0.0.1:{ports['triton']['grpc']}",
        agent_url=f"http://127.0.0.1:{ports['agent']['http']}",
        signing_public_key=read_key(folder / SIGNING_KEY_FILE).public_hex,
    )
