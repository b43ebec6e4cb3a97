"""How good scores are on labels that were held out: errors for numbers, ranking and calibration for probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["BINS", "HeldOut", "auc", "calibration_curve", "measure_classifier", "measure_regressor"]

BINS = 10
# a probability of exactly 0 or 1 that is wrong would cost infinitely much
SMALLEST = 1e-15


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """The labels that no training saw, and the model's scores for them.

    Args:
        scores, label: `(rows,)` float64, in the order of the table's content.
    """

    scores: np.ndarray
    label: np.ndarray


def measure_regressor(scores: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Errors of `(rows,)` float64 scores, in the label's unit; `bias` is the mean of score - label."""
    error = scores - label
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt(np.square(error).mean())),
        "bias": float(error.mean()),
        "rows": float(len(error)),
    }


def measure_classifier(scores: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Of probabilities and `(rows,)` labels 0.0 or 1.0.

    Returns:
        `auc` (chance that a positive scores above a negative, ties half; left out when one of the two classes is
        missing), `logloss` (nats), `brier`, `calibration_error` (mean over `BINS` equally full bins of
        |mean score - share of positives|), `base_rate`, `bias`, `rows`.
    """
    clipped = np.clip(scores, SMALLEST, 1 - SMALLEST)
    mean, share, rows = calibration_curve(scores, label)
    ranked = auc(scores, label)
    return {
        **({} if ranked is None else {"auc": ranked}),
        "logloss": float(-(label * np.log(clipped) + (1 - label) * np.log1p(-clipped)).mean()),
        "brier": float(np.square(scores - label).mean()),
        "calibration_error": float((np.abs(mean - share) * rows).sum() / len(label)),
        "base_rate": float(label.mean()),
        "bias": float((scores - label).mean()),
        "rows": float(len(label)),
    }


def auc(scores: np.ndarray, label: np.ndarray) -> float | None:
    """Area under the ROC curve by ranks; None without both classes."""
    positives = int(label.sum())
    negatives = len(label) - positives
    if not positives or not negatives:
        return None
    _, where, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    rank = (ends - (counts - 1) / 2)[where]  # equal scores share the mean of their ranks
    return float((rank[label > 0.5].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def calibration_curve(scores: np.ndarray, label: np.ndarray, *, bins: int = BINS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean score, share of positives and rows of up to `bins` groups of about equal size, by rising score.

    Equal scores stay in one group, so there are fewer groups when many scores are equal.

    Returns:
        Three `(groups,)` float64 arrays.
    """
    order = np.argsort(scores, kind="stable")
    ordered, truth = scores[order], label[order]
    cuts = np.unique(np.searchsorted(ordered, ordered[np.linspace(0, len(ordered), bins, endpoint=False).astype(np.int64)]))
    rows = np.diff(np.append(cuts, len(ordered))).astype(np.float64)
    return np.add.reduceat(ordered, cuts) / rows, np.add.reduceat(truth, cuts) / rows, rows
