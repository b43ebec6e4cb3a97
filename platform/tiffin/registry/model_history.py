"""The versions of a model, newest first, and how two of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiffin.core.errors import NotFound, PlatformError
from tiffin.manifests.records import ModelRecord
from tiffin.registry.models import load_record
from tiffin.registry.pointers import current
from tiffin.storage.objects import ObjectStore

__all__ = ["Comparison", "Version", "compare", "load_version", "model_versions", "passed"]


@dataclass(frozen=True, slots=True)
class Version:
    """A model version.

    Args:
        digest: of its record.
        trouble: why the record cannot be read; then `record` is None.
    """

    digest: str
    record: ModelRecord | None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two versions, `(of the first, of the second)` each; None where one lacks it.

    Args:
        metrics: every metric of either, equal ones too.
        params, features: only what differs; features by `team/view.column`, with the view's record.
        inputs: `(only in the first, only in the second)`.
        same: names of the parts that are equal: files, code, table, preprocess.
    """

    metrics: dict[str, tuple[float | None, float | None]]
    params: dict[str, tuple[Any, Any]]
    features: dict[str, tuple[str | None, str | None]]
    inputs: tuple[tuple[str, ...], tuple[str, ...]]
    same: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "metrics": {name: list(pair) for name, pair in self.metrics.items()},
            "params": {name: list(pair) for name, pair in self.params.items()},
            "features": {name: list(pair) for name, pair in self.features.items()},
            "inputs": [list(side) for side in self.inputs],
            "same": list(self.same),
        }


def model_versions(store: ObjectStore, team: str, name: str) -> list[Version]:
    """Every version that the pointer remembers, newest first; a damaged one says so and hides no other.

    Raises:
        NotFound: there is no such model.
    """
    pointer = current(store, "model", team, name)
    if pointer is None:
        raise NotFound(f"there is no version of model '{team}/{name}'", fix="materialise its asset, or list them with `tiffin models list`")
    found = []
    for digest in (pointer.manifest, *pointer.previous):
        try:
            found.append(Version(digest, load_version(store, digest)))
        except PlatformError as err:
            found.append(Version(digest, None, err.message))
    return found


def load_version(store: ObjectStore, digest: str) -> ModelRecord:
    """One version by its digest. Raises NotFound, Corrupt."""
    record = load_record(store, "model", digest)
    assert isinstance(record, ModelRecord)  # the manifest's kind is in its key
    return record


def passed(record: ModelRecord) -> bool:
    """Whether every gate passed."""
    return all(gate.get("passed") is True for gate in record.gates)


def compare(first: ModelRecord, second: ModelRecord) -> Comparison:
    """Two versions, side by side."""
    parts = {
        "files": (first.files, second.files),
        "code": (first.code.archive.digest, second.code.archive.digest),
        "table": (first.table.digest, second.table.digest),
        "preprocess": (first.preprocess, second.preprocess),
    }
    features = [{f"{one.view}.{one.column}": one.view_record for one in record.features} for record in (first, second)]
    return Comparison(
        metrics=both(first.metrics, second.metrics),
        params={name: pair for name, pair in both(first.params, second.params).items() if pair[0] != pair[1]},
        features={name: pair for name, pair in both(*features).items() if pair[0] != pair[1]},
        inputs=(
            tuple(name for name in first.inputs if name not in second.inputs),
            tuple(name for name in second.inputs if name not in first.inputs),
        ),
        same=tuple(name for name, (one, other) in parts.items() if one == other),
    )


def both(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Values by name, None where one side has none."""
    return {name: (first.get(name), second.get(name)) for name in dict.fromkeys([*first, *second])}
