"""Gradient-boosted trees by LightGBM: one text file, the same bytes for the same input."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import lightgbm
import numpy as np

from tiffin.core.errors import Corrupt, Invalid, Unsupported
from tiffin.training.lightgbm_params import resolve_params
from tiffin.training.trainer import Artifact, Contributions, check_matrix

__all__ = ["MODEL_FILE", "LightGBMTrainer"]

MODEL_FILE = "model.txt"
MIN_ROWS = 2  # LightGBM makes a constant model of fewer


class LightGBMTrainer:
    """The entry point `lightgbm`.

    The artifact is LightGBM's own text format, which holds numbers and names and runs no code.
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
        """See `Trainer.fit`. `params` are LightGBM's; those that would cost reproducibility are refused."""
        resolved = resolve_params(params, inputs=inputs, seed=seed, threads=threads)
        check_matrix(matrix, inputs=inputs, label=label)
        if len(matrix) < MIN_ROWS:
            raise Invalid(f"there are {len(matrix)} rows to learn from", fix=f"give {MIN_ROWS} or more: widen the table's start and end")
        settings, categorical = resolved.settings, list(resolved.categorical)
        try:
            data = lightgbm.Dataset(matrix, label, feature_name=list(inputs), categorical_feature=categorical, params=settings)
            booster = lightgbm.train(settings, data, num_boost_round=resolved.rounds)
        except (lightgbm.basic.LightGBMError, TypeError, ValueError) as err:
            raise Invalid(f"LightGBM refused to train: {err}", fix="correct the model's params") from err
        gain = booster.feature_importance("gain")
        importance = {name: float(total) for name, total in zip(inputs, gain, strict=True)}
        return Artifact({MODEL_FILE: model_text(booster)}, resolved.recorded, importance)

    def predict(self, files: Mapping[str, bytes], matrix: np.ndarray) -> np.ndarray:
        """See `Trainer.predict`."""
        booster = read_booster(files)
        check_matrix(matrix, inputs=booster.feature_name())
        if not len(matrix):
            return np.empty(0, dtype=np.float64)
        return np.asarray(booster.predict(matrix, num_threads=1), dtype=np.float64)

    def explain(self, files: Mapping[str, bytes], matrix: np.ndarray) -> Contributions:
        """See `TrainerThatExplains.explain`: TreeSHAP, exact for trees."""
        booster = read_booster(files)
        check_matrix(matrix, inputs=booster.feature_name())
        inputs = len(booster.feature_name())
        if not len(matrix):
            return Contributions(np.empty((0, inputs)), np.empty(0), np.empty(0))
        try:
            parts = np.asarray(booster.predict(matrix, pred_contrib=True, num_threads=1), dtype=np.float64)
        except lightgbm.basic.LightGBMError as err:
            raise Unsupported(f"LightGBM cannot take this model apart: {err}", fix="train it without linear_tree") from err
        raw = np.asarray(booster.predict(matrix, raw_score=True, num_threads=1), dtype=np.float64)
        return Contributions(parts[:, :inputs], parts[:, inputs], raw)


def read_booster(files: Mapping[str, bytes]) -> lightgbm.Booster:
    """The model of a `fit`'s files."""
    if MODEL_FILE not in files:
        raise Invalid(f"the model's files are {sorted(files)}", fix=f"give {MODEL_FILE!r}, which fit returns")
    try:
        return lightgbm.Booster(model_str=files[MODEL_FILE].decode())
    except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as err:
        raise Corrupt(f"{MODEL_FILE!r} is not a LightGBM model: {err}", fix="fetch or promote the model version again") from err


def model_text(booster: lightgbm.Booster) -> bytes:
    """The model as text, all trees, without the thread count: equal models are equal bytes on any machine."""
    text = booster.model_to_string(num_iteration=-1)
    return re.sub(r"^\[num_threads: \d+\]$", "[num_threads: 1]", text, flags=re.MULTILINE).encode()
