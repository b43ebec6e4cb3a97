"""Box mode: the exact artifact of a deployment answers in this very process, without Triton.

The files are those that its signed record names. They run by the steps' own programs, and before the first
answer the golden rows must come out bit for bit: what a box answers is what the endpoint would, for the
same features. Where the features come from is the caller's choice (`box_rows`).
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tiffin.core.errors import Corrupt, NotFound
from tiffin.manifests.records import DeploymentRecord, FileRef
from tiffin.serving.config_text import request_tensor
from tiffin.serving.golden import Golden
from tiffin.serving.request import encode_request
from tiffin.serving.steps import features
from tiffin.serving.steps.program import INPUTS, SCORE, Answer, read_step

__all__ = ["Box", "ReadRows", "Trace", "open_box"]

LAUNCHED = re.compile(r"^from (tiffin\.serving\.steps\.[a-z_]+) import open_step\b", re.MULTILINE)

ReadRows = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Key columns in, `{"team/view": something with .columns}` out: `FeatureReader.read`, `OfflineRows.read`."""


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """An answer and what it was made from.

    Args:
        inputs: `(rows, inputs)` float64: the model's matrix.
        score: `(rows,)` float64: before postprocess.
        outputs: `(rows,)` float64 by output.
    """

    inputs: np.ndarray
    score: np.ndarray
    outputs: dict[str, np.ndarray]


class Box:
    """A deployment in this process; from `open_box`.

    Args:
        steps: of the repository, in order: features, preprocess, model, postprocess.
        golden: checked here, once.

    Raises:
        Corrupt: a golden row comes out otherwise than its record says.
    """

    def __init__(self, record: DeploymentRecord, steps: tuple[Answer, ...], golden: Golden) -> None:
        self.record = record
        self.of = f"deployment '{record.team}/{record.name}'"
        self.tensors = [request_tensor(field.name, field.encoding) for field in record.request]
        self.look_up, self.after = steps[0], steps[1:]
        golden.check(self.run(golden.inputs)[1], of=f"the box of {self.of}")

    def predict(self, rows: Mapping[str, Any]) -> Trace:
        """Answer `rows`: by field name, one value per row, as `serving.client.predict` takes them.

        Raises:
            Invalid: a field or value is wrong. NotReady, Corrupt: the features cannot be read.
        """
        request = encode_request(self.tensors, rows, of=self.of, max_rows=self.record.limits.max_rows)
        seen, outputs = self.run({**request, **self.look_up(request)})
        flat = {name: array.reshape(-1) for name, array in outputs.items()}
        return Trace(seen[INPUTS], seen[SCORE].reshape(-1), flat)

    def run(self, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Everything after the features step: all tensors on the way, and the outputs."""
        seen = dict(arrays)
        made: dict[str, np.ndarray] = {}
        for step in self.after:
            made = step(seen)
            seen.update(made)
        return seen, made


def open_box(record: DeploymentRecord, fetch: Callable[[FileRef], bytes], read: ReadRows, *, folder: Path) -> Box:
    """Write the deployment's files below `folder` and open its steps.

    Args:
        fetch: the bytes of a file of the record, checked against its digest.
        read: where features come from.

    Raises:
        Corrupt: the files are not those of a deployment, or the golden rows do not come out.
        NotFound: a file is gone.
    """
    of = f"deployment '{record.team}/{record.name}'"
    for file in record.files:
        # what the library was when it was deployed travels with every step; this process runs its own, and the golden rows judge it
        if "/tiffin/" not in file.path:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(fetch(file))
    places = [folder / step / "1" for step in record.steps]
    first = features.make_answer(read_step(places[0]), read)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # LightGBM says that it takes the parameters of the file, as it should
        rest = tuple(program_of(place, of).open_step(place) for place in places[1:])
    return Box(record, (first, *rest), Golden.from_bytes(fetch(record.golden), name=f"the golden rows of {of}"))


def program_of(place: Path, of: str) -> ModuleType:
    """The library's program that a step's launcher starts: one of ours, never another module."""
    try:
        launched = LAUNCHED.search((place / "model.py").read_text())
    except FileNotFoundError as err:
        raise NotFound(f"step {place.parent.name!r} of {of} has no model.py", fix="promote the deployment again") from err
    if launched is None:
        raise Corrupt(f"step {place.parent.name!r} of {of} starts no program of the library", fix="promote the deployment again")
    try:
        return importlib.import_module(launched[1])
    except ImportError as err:
        raise Corrupt(f"{of} was made by another version of the library: {err}", fix="install that version, or deploy again") from err
