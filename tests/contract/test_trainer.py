"""The trainer kit: our trainer passes, and broken ones do not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiffin.core.errors import NotFound
from tiffin.testing.trainer import RULES, Case, check_trainer, generated_cases, main
from tiffin.training.lightgbm import LightGBMTrainer
from tiffin.training.trainer import Artifact, check_matrix, find_trainer

SMALL = next(iter(generated_cases(0)))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", generated_cases(seed=11), ids=lambda case: case.name)
def test_lightgbm_obeys(rule: str, case: Case) -> None:
    RULES[rule](find_trainer("lightgbm"), case, 11)


def test_an_unknown_trainer_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(NotFound, match="'lightgmb'") as refusal:
        find_trainer("lightgmb")

    assert "did you mean 'lightgbm'?" in refusal.value.fix


def test_a_case_from_a_folder_is_checked_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "infinite.npz", matrix=np.full((60, 2), np.inf), label=np.zeros(60))

    problems = check_trainer(LightGBMTrainer(), seed=1, cases=tmp_path)

    assert problems
    assert all(problem.startswith("infinite: ") for problem in problems)


def test_the_command_line_counts_the_broken_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lightgbm", "--seed", "2"]) == 0
    assert "lightgbm: 0 broken rules" in capsys.readouterr().out


class Mean:
    """A trainer that conforms: the mean of the label. Subclasses break one rule each."""

    def fit(self, matrix: np.ndarray, label: np.ndarray, *, inputs: Any, params: Mapping[str, Any], seed: int, threads: int = 1) -> Artifact:
        check_matrix(matrix, inputs=inputs, label=label)
        return Artifact({"mean.txt": repr(float(np.median(label))).encode()}, dict(params))

    def predict(self, files: Mapping[str, bytes], matrix: np.ndarray) -> np.ndarray:
        return np.full(len(matrix), float(files["mean.txt"]))


class CountsCalls(Mean):
    calls = 0

    def fit(self, *arguments: Any, **named: Any) -> Artifact:
        self.calls += 1
        return Artifact({**super().fit(*arguments, **named).files, "calls.txt": str(self.calls).encode()}, {})


class RecordsThreads(Mean):
    def fit(self, *arguments: Any, threads: int = 1, **named: Any) -> Artifact:
        return Artifact({**super().fit(*arguments, **named).files, "threads.txt": str(threads).encode()}, {})


class Pickles(Mean):
    def fit(self, *arguments: Any, **named: Any) -> Artifact:
        return Artifact({**super().fit(*arguments, **named).files, "model.bin": b"\x80\x04N."}, {})


class FillsNulls(Mean):
    def predict(self, files: Mapping[str, bytes], matrix: np.ndarray) -> np.ndarray:
        matrix[np.isnan(matrix)] = 0
        return super().predict(files, matrix)


class Float32Scores(Mean):
    def predict(self, files: Mapping[str, bytes], matrix: np.ndarray) -> np.ndarray:
        return super().predict(files, matrix).astype(np.float32)


class CentresTheBatch(Mean):
    def predict(self, files: Mapping[str, bytes], matrix: np.ndarray) -> np.ndarray:
        return super().predict(files, matrix) + (np.nanmean(matrix) if len(matrix) else 0)


class AnswersNonsense(Mean):
    def predict(self, files: Mapping[str, bytes], matrix: np.ndarray) -> np.ndarray:
        return np.full(len(matrix), 1e9)


class TakesAnything(Mean):
    def fit(self, matrix: np.ndarray, label: np.ndarray, **named: Any) -> Artifact:
        return Artifact({"mean.txt": b"0.0"}, {})


class IgnoresParameters(Mean):
    pass


@pytest.mark.parametrize(
    ("trainer", "rule"),
    [
        pytest.param(CountsCalls, "repeats byte for byte", id="another file each time"),
        pytest.param(RecordsThreads, "does not depend on threads", id="threads in a file"),
        pytest.param(Pickles, "keeps nothing that runs", id="a pickle"),
        pytest.param(FillsNulls, "leaves its inputs alone", id="fills nulls in place"),
        pytest.param(Float32Scores, "scores are finite float64", id="float32 scores"),
        pytest.param(CentresTheBatch, "scores do not depend on the batch", id="looks across rows"),
        pytest.param(AnswersNonsense, "learns something", id="nonsense"),
        pytest.param(TakesAnything, "refuses infinite cells and labels", id="takes infinity"),
        pytest.param(IgnoresParameters, "refuses unknown parameters", id="ignores a misspelt parameter"),
    ],
)
def test_the_kit_notices(trainer: type[Mean], rule: str) -> None:
    with pytest.raises(AssertionError):
        RULES[rule](trainer(), SMALL, 0)


def test_the_kit_has_a_broken_trainer_for_every_rule() -> None:
    assert len(RULES) == 9
