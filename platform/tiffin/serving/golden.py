"""Golden rows: recorded tensors and the exact bits that they must answer before an edition turns ready."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiffin.core.digests import canonical_json
from tiffin.core.errors import Corrupt

__all__ = ["Golden"]

FORMAT = "tiffin.golden.v1"


@dataclass(frozen=True, slots=True)
class Golden:
    """Inputs and outputs of some rows, computed offline by the code of training.

    Args:
        request: ids and fields, as a client sends them: `(rows, width)`.
        features: what the features step would answer, as it would send it.
        expected: `(rows, 1)` float64 by output.
    """

    request: dict[str, np.ndarray]
    features: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]

    @property
    def rows(self) -> int:
        """How many."""
        return len(next(iter(self.expected.values())))

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """What the golden ensemble takes."""
        return {**self.request, **self.features}

    def first(self, rows: int) -> dict[str, np.ndarray]:
        """A small request for the whole ensemble, which looks the features up by itself."""
        return {name: array[:rows] for name, array in self.request.items()}

    def to_bytes(self) -> bytes:
        """Canonical JSON: bytes as hex, so that a NaN stays the NaN it was."""
        parts = {"request": self.request, "features": self.features, "expected": self.expected}
        body = {part: {name: tensor_json(array) for name, array in arrays.items()} for part, arrays in parts.items()}
        return canonical_json({"format": FORMAT, **body})

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str) -> Golden:
        """Read what `to_bytes` wrote. `name` is what the error calls it."""
        try:
            value = json.loads(data)
            if value["format"] != FORMAT:
                raise ValueError(f"format {value['format']!r}")
            parts = {
                part: {key: read_tensor(tensor) for key, tensor in value[part].items()} for part in ("request", "features", "expected")
            }
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise Corrupt(f"{name} is not readable: {err}", fix="materialise the deployment again, or upgrade the agent") from err
        return cls(**parts)

    def check(self, answers: Mapping[str, np.ndarray], *, of: str) -> None:
        """Compare bit for bit.

        Raises:
            Corrupt: names output and row, what was expected and what came.
        """
        for name, expected in self.expected.items():
            found = answers.get(name)
            if found is None or found.dtype != expected.dtype or found.shape != expected.shape:
                shown = "nothing" if found is None else f"{found.dtype} {found.shape}"
                wanted = f"{expected.dtype} {expected.shape}"
                raise Corrupt(
                    f"{of} answers its golden rows with {shown} for output {name!r}, expected {wanted}",
                    fix="materialise the deployment again",
                )
            differing = np.flatnonzero(found.view(np.uint64).ravel() != expected.view(np.uint64).ravel())
            if differing.size:
                row = int(differing[0])
                raise Corrupt(
                    f"{of} answers {differing.size} of its {self.rows} golden rows differently: output {name!r}, row {row}: "
                    f"expected {expected.ravel()[row]!r}, found {found.ravel()[row]!r}",
                    fix="the serving environment computes otherwise than training did: align numpy and the model runtime, "
                    "or avoid functions whose last bit differs between versions; then materialise the deployment again",
                )


def tensor_json(array: np.ndarray) -> dict[str, Any]:
    """Exact bytes of a tensor."""
    if array.dtype == np.object_:
        return {"dtype": "bytes", "shape": list(array.shape), "items": [bytes(item).hex() for item in array.ravel()]}
    little = array.astype(array.dtype.newbyteorder("<"))
    return {"dtype": little.dtype.str, "shape": list(array.shape), "hex": little.tobytes().hex()}


def read_tensor(value: Mapping[str, Any]) -> np.ndarray:
    """What `tensor_json` wrote; only dtypes that travel to Triton."""
    if value["dtype"] == "bytes":
        flat = np.empty(len(value["items"]), dtype=np.object_)
        flat[:] = [bytes.fromhex(item) for item in value["items"]]
        return flat.reshape(value["shape"])
    dtype = np.dtype(str(value["dtype"]))
    if dtype.kind not in "biuf":
        raise ValueError(f"dtype {dtype}")
    return np.frombuffer(bytes.fromhex(value["hex"]), dtype=dtype).astype(dtype.newbyteorder("=")).reshape(value["shape"])
