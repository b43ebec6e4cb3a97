"""Trainers are found by entry point, so that a stranger's package can bring one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tiffin.core.errors import Invalid, NotFound
from tiffin.training.trainer import find_trainer

MODULE = """
from tiffin.training.trainer import Artifact

class Seven:
    def fit(self, matrix, label, **given):
        return Artifact({"seven.txt": b"7"}, {})

    def predict(self, files, matrix):
        return 7.0 + matrix[:, 0] * 0

class NoTrainer:
    pass
"""
POINTS = """[tiffin.trainers]
seven = foreign_trainer:Seven
no_trainer = foreign_trainer:NoTrainer
no_module = foreign_module_that_is_not_there:Trainer
"""


@pytest.fixture
def foreign_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution as pip would have installed it."""
    info = tmp_path / "foreign_trainer-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign-trainer\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    (tmp_path / "foreign_trainer.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("foreign_package")
def test_a_foreign_package_brings_a_trainer() -> None:
    trainer = find_trainer("seven")

    artifact = trainer.fit(np.zeros((2, 1)), np.zeros(2), inputs=["a"], params={}, seed=0)

    assert trainer.predict(artifact.files, np.zeros((2, 1))).tolist() == [7.0, 7.0]


@pytest.mark.usefixtures("foreign_package")
def test_what_is_registered_must_be_a_trainer() -> None:
    with pytest.raises(Invalid, match=r"'no_trainer' .* has no fit and predict"):
        find_trainer("no_trainer")


@pytest.mark.usefixtures("foreign_package")
def test_a_trainer_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(Invalid, match=r"'no_module' .* cannot be imported"):
        find_trainer("no_module")


def test_an_unknown_trainer_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(NotFound, match="'lightgmb'") as refusal:
        find_trainer("lightgmb")

    assert "did you mean 'lightgbm'?" in refusal.value.fix
