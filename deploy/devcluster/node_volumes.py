"""A pod's volumes as folders of its own, and a kubeconfig of its ServiceAccount.

A process sees the machine's own file tree, so a mount path cannot be honoured: the folders lie under
`$NODE_VOLUMES/<volume>`. In place of the token's mount the process gets `KUBECONFIG`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.devcluster.certificates import write
from deploy.devcluster.node_environment import Missing, Read, field, keys_of

__all__ = ["account_kubeconfig", "lay_out", "token_wanted"]

Object = Mapping[str, Any]


def lay_out(pod: Object, folder: Path, read: Read) -> None:
    """Write secret, config map, emptyDir and downward volumes; projected ones without their tokens.

    Raises:
        Missing: a secret or config map that is not optional is not there.
    """
    for volume in pod["spec"].get("volumes") or ():
        place = folder / volume["name"]
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        sources = volume["projected"].get("sources", ()) if "projected" in volume else [volume]
        for source in sources:
            for name, content in files(pod, source, read):
                path = place / name
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write(path, content)


def files(pod: Object, source: Object, read: Read) -> Iterable[tuple[str, bytes]]:
    """The files of one source."""
    for kind, key in (("Secret", "secret"), ("ConfigMap", "configMap")):
        if key in source:
            name = source[key].get("name") or source[key].get("secretName", "")
            found = read(kind, name)
            if found is None and not source[key].get("optional"):
                raise Missing(f'{kind.lower()} "{name}" not found')
            values = {} if found is None else keys_of(kind, found)
            items = source[key].get("items") or [{"key": one, "path": one} for one in values]
            yield from ((item["path"], values[item["key"]]) for item in items if item["key"] in values)
    for item in (source.get("downwardAPI") or {}).get("items", ()):
        if "fieldRef" in item:
            yield item["path"], field(pod, item["fieldRef"]["fieldPath"]).encode()


def token_wanted(pod: Object) -> bool:
    """Whether admission gave this pod a token of its ServiceAccount."""
    volumes = pod["spec"].get("volumes") or ()
    return any("serviceAccountToken" in source for volume in volumes for source in (volume.get("projected") or {}).get("sources", ()))


def account_kubeconfig(path: Path, *, server: str, authority: bytes, token: str, namespace: str) -> None:
    """A kubeconfig of the pod's ServiceAccount, in its namespace."""
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "devcluster", "cluster": cluster}],
        "users": [{"name": "account", "user": {"token": token}}],
        "contexts": [{"name": "pod", "context": {"cluster": "devcluster", "user": "account", "namespace": namespace}}],
        "current-context": "pod",
    }
    write(path, yaml.safe_dump(content, sort_keys=False).encode())
