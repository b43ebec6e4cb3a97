"""The trainer contract: a matrix and a label in, files that anybody can score out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tiffin.core.errors import Invalid, NotFound, nearest

__all__ = ["TRAINERS", "Artifact", "Contributions", "Trainer", "TrainerThatExplains", "check_matrix", "find_trainer"]

TRAINERS = "tiffin.trainers"


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a `fit` leaves behind.

    Args:
        files: bytes by file name; a text or otherwise inert format, never a pickle.
        params: every parameter that was given or fixed, for the model manifest.
        importance: total gain by input, when the algorithm has such a thing.
    """

    files: dict[str, bytes]
    params: dict[str, Any]
    importance: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class Trainer(Protocol):
    """A learning algorithm. `tiffin.testing.trainer` holds the kit that an implementation must pass.

    Equal arguments give equal files, byte for byte, whatever `threads` is. A prediction depends on
    its own row alone: not on the other rows of the call, and not on whether the files were reloaded.
    """

    def fit(
        self,
        matrix: np.ndarray,
        label: np.ndarray,
        *,
        inputs: Sequence[str],
        params: Mapping[str, Any],
        seed: int,
        threads: int = 1,
    ) -> Artifact:
        """Learn `label` from `matrix`.

        Args:
            matrix: `(rows, inputs)` float64, finite or NaN for null.
            label: `(rows,)` float64, finite.
            inputs: names of the columns of `matrix`, in order.
            params: the algorithm's own parameters; an unknown one is refused.
            seed: the only source of chance, 0 or more.
            threads: cores to use; no influence on the result.

        Raises:
            Invalid: a parameter is unknown or out of range, or the data break the rules above.
        """
        ...

    def predict(self, files: Mapping[str, bytes], matrix: np.ndarray) -> np.ndarray:
        """Score `(rows, inputs)` float64 with the files of a `fit`: `(rows,)` float64."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """What each input adds to a score; `base + by_input.sum(axis=1)` is `raw`, but for the rounding of sums.

    Args:
        by_input: `(rows, inputs)` float64.
        base: `(rows,)` float64: the score before any input is looked at.
        raw: `(rows,)` float64: the score before the link function, which makes a probability of it.
    """

    by_input: np.ndarray
    base: np.ndarray
    raw: np.ndarray


@runtime_checkable
class TrainerThatExplains(Trainer, Protocol):
    """A trainer whose scores are sums over inputs: what `tiffin predict --explain` needs."""

    def explain(self, files: Mapping[str, bytes], matrix: np.ndarray) -> Contributions:
        """Take the scores of `(rows, inputs)` float64 apart.

        Raises:
            Unsupported: this very model cannot be taken apart.
        """
        ...


def find_trainer(name: str) -> Trainer:
    """The trainer registered under `name` in the entry-point group `tiffin.trainers`.

    Raises:
        NotFound: with the nearest registered name.
        Invalid: what is registered is not a trainer.
    """
    known = {point.name: point for point in entry_points(group=TRAINERS)}
    if name not in known:
        hint = nearest(name, known)
        raise NotFound(f"no trainer {name!r} is installed", fix=f"{hint}, or install a package with an entry point in {TRAINERS!r}")
    found = f"trainer {name!r} ({known[name].value})"
    try:
        trainer = known[name].load()()
    except (ImportError, AttributeError) as err:
        raise Invalid(f"{found} cannot be imported: {err}", fix="install the packages that it needs, or correct the entry point") from err
    if not isinstance(trainer, Trainer):
        raise Invalid(f"{found} has no fit and predict", fix="implement tiffin.training.trainer.Trainer")
    return trainer


def check_matrix(matrix: np.ndarray, *, inputs: Sequence[str], label: np.ndarray | None = None) -> None:
    """Refuse what no trainer takes: another dtype or shape, an infinite cell, a label that is no number.

    Raises:
        Invalid: naming the first input and row at fault.
    """
    if matrix.dtype != np.float64 or matrix.ndim != 2 or matrix.shape[1] != len(inputs):
        found = f"{matrix.dtype} of shape {matrix.shape}"
        raise Invalid(f"the model's matrix is {found}", fix=f"give float64 of shape (rows, {len(inputs)}), one column per input")
    infinite = np.isinf(matrix)
    if infinite.any():
        row, column = (int(place[0]) for place in np.nonzero(infinite))
        found = f"input {inputs[column]!r} is {matrix[row, column]} in row {row}"
        raise Invalid(f"{found}; allowed are finite numbers, and NaN for null", fix="guard the division or logarithm that makes it")
    if label is None:
        return
    if label.dtype != np.float64 or label.shape != (len(matrix),):
        raise Invalid(f"the label is {label.dtype} of shape {label.shape}", fix=f"give float64 of shape ({len(matrix)},)")
    if not np.isfinite(label).all():
        row = int(np.flatnonzero(~np.isfinite(label))[0])
        raise Invalid(f"the label is {label[row]} in row {row}", fix="drop rows without a finite label")
