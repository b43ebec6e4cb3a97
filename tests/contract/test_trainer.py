"""The trainer kit: our trainer passes, and broken ones do not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiffin.testing.trainer import RULES, Case, check_trainer, generated_cases, main
from tiffin.training.lightgbm import LightGBMTrainer
from tiffin.training.trainer import Artifact, check_matrix, find_trainer

SMALL = next(iter(generated_cases(0)))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", list(generated_cases(seed=11)), ids=lambda case: case.name)
def test_lightgbm_obeys(rule: str, case: Case) -> None:
    RULES[rule](find_trainer("lightgbm"), case, 11)


def test_a_case_from_a_folder_is_checked_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "infinite.npz", matrix=np.full((60, 2), np.inf), label=np.zeros(60))

    problems = check_trainer(LightGBMTrainer(), seed=1, cases=tmp_path)

    assert problems
    assert all(problem.startswith("infinite: ") for problem in problems)


def test_the_command_line_counts_the_broken_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "infinite.npz", matrix=np.full((60, 2), np.inf), label=np.zeros(60))

    assert main(["lightgbm", "--seed", "2", "--cases", str(tmp_path)]) == 1
    assert "infinite: scores are finite float64: " in capsys.readouterr().out


class Median:
    """Always the label's median; it conforms but for its parameters. Subclasses break one rule each."""

    def fit(self, matrix: np.ndarray, label: np.ndarray, *, inputs: Any, params: Any, seed: int, threads: int = 1) -> Artifact:
        check_matrix(matrix, inputs=inputs, label=label)
        return Artifact({"median.txt": repr(float(np.median(label))).encode()}, dict(params))

    def predict(self, files: Mapping[str, bytes], matrix: np.ndarray) -> np.ndarray:
        return np.full(len(matrix), float(files["median.txt"]))


class CountsCalls(Median):
    calls = 0

    def fit(self, *arguments: Any, **named: Any) -> Artifact:
        self.calls += 1
        return Artifact({**super().fit(*arguments, **named).files, "calls.txt": str(self.calls).encode()}, {})


class RecordsThreads(Median):
    def fit(self, *arguments: Any, threads: int = 1, **named: Any) -> Artifact:
        return Artifact({**super().fit(*arguments, **named).files, "threads.txt": str(threads).encode()}, {})


class Pickles(Median):
    def fit(self, *arguments: Any, **named: Any) -> Artifact:
        return Artifact({**super().fit(*arguments, **named).files, "model.bin": b"\x80\x04N."}, {})


class FillsNulls(Median):
    def predict(self, files: Mapping[str, bytes], matrix: np.ndarray) -> np.ndarray:
        matrix[np.isnan(matrix)] = 0
        return super().predict(files, matrix)


class Float32Scores(Median):
    def predict(self, files: Mapping[str, bytes], matrix: np.ndarray) -> np.ndarray:
        return super().predict(files, matrix).astype(np.float32)


class CentresTheBatch(Median):
    def predict(self, files: Mapping[str, bytes], matrix: np.ndarray) -> np.ndarray:
        return super().predict(files, matrix) + (np.nanmean(matrix) if len(matrix) else 0)


class AnswersNonsense(Median):
    def predict(self, files: Mapping[str, bytes], matrix: np.ndarray) -> np.ndarray:
        return np.full(len(matrix), 1e9)


class TakesAnything(Median):
    def fit(self, matrix: np.ndarray, label: np.ndarray, **named: Any) -> Artifact:
        return Artifact({"median.txt": b"0.0"}, {})


class IgnoresParameters(Median):
    """As `Median` does already."""


BROKEN: dict[str, type[Median]] = {
    "repeats byte for byte": CountsCalls,
    "does not depend on threads": RecordsThreads,
    "keeps nothing that runs": Pickles,
    "leaves its inputs alone": FillsNulls,
    "scores are finite float64": Float32Scores,
    "scores do not depend on the batch": CentresTheBatch,
    "learns something": AnswersNonsense,
    "refuses infinite cells and labels": TakesAnything,
    "refuses unknown parameters": IgnoresParameters,
}


@pytest.mark.parametrize("rule", RULES)
def test_the_kit_notices_a_trainer_that_breaks_one_rule(rule: str) -> None:
    with pytest.raises(AssertionError):
        RULES[rule](BROKEN[rule](), SMALL, 0)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "refuses unknown parameters"])
def test_the_kit_accepts_the_simplest_trainer_otherwise(rule: str) -> None:
    RULES[rule](Median(), SMALL, 0)
