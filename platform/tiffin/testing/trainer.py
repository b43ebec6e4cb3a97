"""The conformance kit of `tiffin.training.trainer.Trainer`.

Run it over an installed trainer: `python -m tiffin.testing.trainer NAME [--seed N] [--cases DIR]`.
Every `*.npz` in DIR holds a case of its own: `matrix` `(rows, inputs)` and `label` `(rows,)`, float64.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiffin.core.errors import Invalid, PlatformError
from tiffin.training.trainer import Artifact, Trainer, find_trainer

__all__ = ["RULES", "Case", "check_trainer", "generated_cases", "read_cases"]

PICKLE_MAGIC = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


@dataclass(frozen=True, slots=True)
class Case:
    """One training problem."""

    name: str
    matrix: np.ndarray
    label: np.ndarray

    @property
    def inputs(self) -> tuple[str, ...]:
        """A name for each column."""
        return tuple(f"input_{column}" for column in range(self.matrix.shape[1]))


def generated_cases(seed: int) -> Iterator[Case]:
    """Problems with nulls, repeated values and a column that never changes."""
    random = np.random.default_rng(seed)
    for name, rows, inputs in (("small", 60, 2), ("wide", 200, 12), ("tall", 2_000, 4)):
        matrix = random.normal(size=(rows, inputs))
        label = matrix[:, 0] * 3 - np.abs(matrix[:, 1]) + random.normal(size=rows)
        matrix[:, 1] = np.round(matrix[:, 1], 1)
        matrix[random.random(matrix.shape) < 0.1] = np.nan
        matrix[:, -1] = 1.0
        yield Case(name, matrix, label)


def read_cases(folder: Path) -> Iterator[Case]:
    """The `*.npz` files of a folder, in order of their names."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as found:
            yield Case(path.stem, found["matrix"].astype(np.float64), found["label"].astype(np.float64))


def fit(trainer: Trainer, case: Case, *, seed: int, threads: int = 1) -> Artifact:
    """The call that every rule starts from."""
    return trainer.fit(case.matrix, case.label, inputs=case.inputs, params={}, seed=seed, threads=threads)


def repeats_byte_for_byte(trainer: Trainer, case: Case, seed: int) -> None:
    first = fit(trainer, case, seed=seed)
    assert fit(trainer, case, seed=seed) == first, "a second fit of the same data gives other files, params or importance"


def does_not_depend_on_threads(trainer: Trainer, case: Case, seed: int) -> None:
    assert fit(trainer, case, seed=seed, threads=3).files == fit(trainer, case, seed=seed).files, "files depend on the number of threads"


def keeps_nothing_that_runs(trainer: Trainer, case: Case, seed: int) -> None:
    files = fit(trainer, case, seed=seed).files
    assert files, "there is no file"
    for name, data in files.items():
        assert isinstance(data, bytes), f"file {name!r} is {type(data).__name__}, not bytes"
        assert not data.startswith(PICKLE_MAGIC), f"file {name!r} is a pickle"
        assert Path(name).name == name, f"file {name!r} is a path, not a name"


def leaves_its_inputs_alone(trainer: Trainer, case: Case, seed: int) -> None:
    matrix, label = case.matrix.copy(), case.label.copy()
    trainer.predict(fit(trainer, case, seed=seed).files, case.matrix)
    assert matrix.tobytes() == case.matrix.tobytes(), "matrix was changed in place"
    assert label.tobytes() == case.label.tobytes(), "label was changed in place"


def scores_are_finite_float64(trainer: Trainer, case: Case, seed: int) -> None:
    scores = trainer.predict(fit(trainer, case, seed=seed).files, case.matrix)
    assert scores.dtype == np.float64, f"scores are {scores.dtype}"
    assert scores.shape == (len(case.matrix),), f"scores have shape {scores.shape}"
    assert np.isfinite(scores).all(), "a score is not finite"


def scores_do_not_depend_on_the_batch(trainer: Trainer, case: Case, seed: int) -> None:
    files = fit(trainer, case, seed=seed).files
    whole = trainer.predict(files, case.matrix)
    for size in (1, 7, 64):
        rows = case.matrix[:256]
        parts = [trainer.predict(files, rows[start : start + size]) for start in range(0, len(rows), size)]
        assert np.concatenate(parts).tobytes() == whole[:256].tobytes(), f"scores differ in batches of {size}"
    assert trainer.predict(files, case.matrix[::-1]).tobytes() == whole[::-1].tobytes(), "scores differ in another row order"
    assert trainer.predict(files, case.matrix[:0]).shape == (0,), "no rows do not give no scores"


def learns_something(trainer: Trainer, case: Case, seed: int) -> None:
    scores = trainer.predict(fit(trainer, case, seed=seed).files, case.matrix)
    error, spread = np.abs(scores - case.label).mean(), np.abs(case.label - np.median(case.label)).mean()
    assert error <= spread, f"mean error {error:.4g} is worse than always answering the median ({spread:.4g})"


def refuses_infinite_cells_and_labels(trainer: Trainer, case: Case, seed: int) -> None:
    for value in (np.inf, -np.inf):
        matrix, label = case.matrix.copy(), case.label.copy()
        matrix[1, 0] = label[1] = value
        must_refuse(trainer, Case(case.name, matrix, case.label), seed, what="an infinite cell")
        must_refuse(trainer, Case(case.name, case.matrix, label), seed, what="an infinite label")
    label = case.label.copy()
    label[0] = np.nan
    must_refuse(trainer, Case(case.name, case.matrix, label), seed, what="a label that is NaN")


def refuses_unknown_parameters(trainer: Trainer, case: Case, seed: int) -> None:
    refusal = ""
    try:
        trainer.fit(case.matrix, case.label, inputs=case.inputs, params={"no_such_parameter_zz": 1}, seed=seed)
    except Invalid as err:
        refusal = err.message
    assert refusal, "a parameter that does not exist was accepted"
    assert "no_such_parameter_zz" in refusal, f"the refusal does not name the parameter: {refusal}"


def must_refuse(trainer: Trainer, case: Case, seed: int, *, what: str) -> None:
    """A fit that has to raise Invalid."""
    try:
        fit(trainer, case, seed=seed)
    except Invalid:
        return
    raise AssertionError(f"{what} was accepted")


Rule = Callable[[Trainer, Case, int], None]
RULES: Mapping[str, Rule] = {
    rule.__name__.replace("_", " "): rule
    for rule in (
        repeats_byte_for_byte,
        does_not_depend_on_threads,
        keeps_nothing_that_runs,
        leaves_its_inputs_alone,
        scores_are_finite_float64,
        scores_do_not_depend_on_the_batch,
        learns_something,
        refuses_infinite_cells_and_labels,
        refuses_unknown_parameters,
    )
}


def check_trainer(trainer: Trainer, *, seed: int = 0, cases: Path | None = None) -> list[str]:
    """Every broken rule as `case: rule: what was found`; empty means that the trainer conforms."""
    problems = []
    for case in [*generated_cases(seed), *(read_cases(cases) if cases else ())]:
        for name, rule in RULES.items():
            try:
                rule(trainer, case, seed)
            except (AssertionError, PlatformError) as err:
                problems.append(f"{case.name}: {name}: {err}")
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 when the trainer conforms, 1 when it does not."""
    parser = argparse.ArgumentParser(prog="python -m tiffin.testing.trainer", description="Check a trainer against its contract.")
    parser.add_argument("trainer", help="name in the entry-point group tiffin.trainers")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generated cases")
    parser.add_argument("--cases", type=Path, default=None, help="folder of *.npz files with matrix and label")
    given = parser.parse_args(arguments)
    problems = check_trainer(find_trainer(given.trainer), seed=given.seed, cases=given.cases)
    sys.stdout.write("\n".join([*problems, f"{given.trainer}: {len(problems)} broken rules"]) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
