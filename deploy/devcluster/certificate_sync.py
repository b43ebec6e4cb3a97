"""Kueue's certificate, from its Secret to the folder where Kueue waits for it: what a mounted volume would do."""

from __future__ import annotations

import argparse
import base64
import binascii
import logging
import os
import tempfile
import time
from pathlib import Path

from deploy.devcluster.home import Home
from deploy.devcluster.node_api import Api, Refused

logger = logging.getLogger(__name__)

CERTIFICATE = "/api/v1/namespaces/kueue-system/secrets/kueue-webhook-server-cert"
FILES = ("ca.crt", "tls.crt", "tls.key")


def copy(api: Api, folder: Path) -> bool:
    """Bring the folder to what the Secret holds; False while the Secret is not filled."""
    try:
        held = api.get(CERTIFICATE).get("data") or {}
        found = {name: base64.b64decode(held[name]) for name in FILES}
    except (Refused, KeyError, binascii.Error):
        return False
    for name, content in found.items():
        path = folder / name
        if content and (not path.exists() or path.read_bytes() != content):
            handle, part = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(part).replace(path)
            logger.info("copied", extra={"file": name})
    return all(found.values())


def main() -> None:
    """Copy until stopped: soon while it is missing, now and then once it is there, for Kueue renews it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--home", type=Path, required=True)
    home = Home(options.parse_args().home)
    home.webhook_certificates.mkdir(mode=0o700, exist_ok=True)
    api = Api(home, home.read().ports["api"])
    while True:
        time.sleep(20 if copy(api, home.webhook_certificates) else 0.3)


if __name__ == "__main__":
    main()
