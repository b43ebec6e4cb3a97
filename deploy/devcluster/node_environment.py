"""What a container of a pod is run with: variables from values, fields, secrets and config maps, and its command line."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Missing", "Read", "command_line", "expand", "field", "keys_of", "variables"]

Object = Mapping[str, Any]
# (kind, name) -> the object of the pod's namespace; None when there is none
Read = Callable[[str, str], Object | None]
ADDRESS = "127.0.0.1"
UNITS = {"": 1, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


class Missing(Exception):
    """A secret, a config map or a key in it is not there (yet); the pod waits, as it would on any node."""


def variables(pod: Object, container: Object, read: Read, given: Mapping[str, str]) -> dict[str, str]:
    """The environment of a container, later lines over earlier ones.

    Args:
        given: what the node offers; the pod's own lines win.

    Raises:
        Missing: something named without `optional` is not there.
    """
    found = dict(given)
    for source in container.get("envFrom") or ():
        found.update((f"{source.get('prefix', '')}{key}", text) for key, text in whole(source, read).items())
    for line in container.get("env") or ():
        value = one_value(pod, container, line, read, found)
        if value is not None:
            found[line["name"]] = value
    return found


def whole(source: Object, read: Read) -> dict[str, str]:
    """All keys of the object that an `envFrom` line names."""
    kind = "Secret" if "secretRef" in source else "ConfigMap"
    reference = source.get("secretRef") or source["configMapRef"]
    found = read(kind, reference["name"])
    if found is None:
        if reference.get("optional"):
            return {}
        raise Missing(f'{kind.lower()} "{reference["name"]}" not found')
    return {key: value.decode() for key, value in keys_of(kind, found).items()}


def keys_of(kind: str, found: Object) -> dict[str, bytes]:
    """The keys of a secret or a config map."""
    if kind == "Secret":
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    plain = {key: value.encode() for key, value in (found.get("data") or {}).items()}
    return plain | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}


def one_value(pod: Object, container: Object, line: Object, read: Read, known: Mapping[str, str]) -> str | None:
    """What one `env` line says; None for an optional one that says nothing."""
    source = line.get("valueFrom")
    if not source:
        return expand(line.get("value") or "", known)
    if "fieldRef" in source:
        return field(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource(container, source["resourceFieldRef"])
    kind, reference = ("Secret", source["secretKeyRef"]) if "secretKeyRef" in source else ("ConfigMap", source["configMapKeyRef"])
    found = read(kind, reference["name"])
    values = {} if found is None else keys_of(kind, found)
    if reference["key"] in values:
        return values[reference["key"]].decode()
    if reference.get("optional"):
        return None
    raise Missing(f'{kind.lower()} "{reference["name"]}" has no key "{reference["key"]}"')


def field(pod: Object, path: str) -> str:
    """A field of the pod as the downward API gives it."""
    if path in ("status.podIP", "status.hostIP", "status.podIPs", "status.hostIPs"):
        return ADDRESS
    chosen = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if chosen:
        return str((pod["metadata"].get(chosen[1]) or {}).get(chosen[2], ""))
    found: Any = pod
    for part in path.split("."):
        found = (found or {}).get(part)
    return "" if found is None else str(found)


def resource(container: Object, reference: Object) -> str:
    """A request or limit of the container in units of the divisor, rounded up."""
    which, name = reference["resource"].split(".", 1)
    text = str(((container.get("resources") or {}).get(which) or {}).get(name, "0"))
    divisor = amount(str(reference.get("divisor") or "1")) or 1
    return str(-int(-amount(text) // divisor))


def amount(text: str) -> float:
    """A Kubernetes quantity as a number."""
    number, unit = re.fullmatch(r"([0-9.eE+-]+?)([A-Za-z]*)", text).groups()  # type: ignore[union-attr]  # the API server has checked it
    return float(number) * UNITS[unit]


def expand(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` with its value where it has one, `$$` as one `$`; as the kubelet reads command, args and values."""

    def put(found: re.Match[str]) -> str:
        return "$" if found[1] == "$" else known.get(found[2], found[0])

    return re.sub(r"\$(\$|\(([^)]*)\))", put, text)


def command_line(container: Object, known: Mapping[str, str]) -> list[str]:
    """What to run: command and args, as in an image without an entrypoint; empty when all is left to the image."""
    return [expand(part, known) for part in [*(container.get("command") or ()), *(container.get("args") or ())]]
