"""Train a model on a training table, measure it on the newest labels, judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tiffin.asof.join import times_us
from tiffin.core.errors import Invalid
from tiffin.features.feature_types import Bool
from tiffin.manifests.records import ViewRecord
from tiffin.training.batch import check_row_wise, to_batch, to_matrix
from tiffin.training.columns import batch_columns
from tiffin.training.gates import GateResult
from tiffin.training.measure import HeldOut, measure_classifier, measure_regressor
from tiffin.training.model import Model
from tiffin.training.trainer import Trainer, find_trainer

__all__ = ["Trained", "is_classifier", "measure", "train"]

MIN_TRAINED, MIN_HELD_OUT = 20, 5
WIDEN = "widen the table's start and end"


@dataclass(frozen=True, slots=True)
class Trained:
    """A candidate: its files, what it was made from, how it did.

    Args:
        files: bytes by file name.
        inputs: the columns of its matrix, in order.
        metrics: on the holdout, see `tiffin.training.measure`: errors for a number, ranking and
            calibration for a yes or no; `rows` of the holdout and `rows_trained`.
        gates: one verdict per gate of the model, in order.
        importance: total gain per input.
        params: every parameter, the seed included.
        holdout_start_us: labels later than this were held out; µs UTC.
        held_out: the held-out labels and their scores, for plots; nothing of it is stored.
    """

    files: dict[str, bytes]
    inputs: tuple[str, ...]
    metrics: dict[str, float]
    gates: tuple[GateResult, ...]
    importance: dict[str, float]
    params: dict[str, Any]
    holdout_start_us: int
    held_out: HeldOut

    @property
    def passed(self) -> bool:
        """Whether every gate passed."""
        return all(gate.passed for gate in self.gates)


def train(
    model: Model,
    rows: pa.Table,
    *,
    views: Mapping[str, ViewRecord] | None = None,
    live_metrics: Mapping[str, float] | None = None,
    seed: int = 0,
    threads: int = 1,
    trainer: Trainer | None = None,
) -> Trained:
    """Fit on the older labels, measure on the newest, judge.

    The files are those of the model that was measured: it is not fitted again on all rows. The
    order of `rows` has no influence.

    Args:
        rows: the model's training table, as `build` wrote it.
        views: records by `"team/view"`; needed when the table names views of other teams.
        live_metrics: of the model that is live now, for gates that compare.
        threads: cores; no influence on the result.
        trainer: instead of the installed one that the model names.

    Raises:
        Invalid: too few rows, or preprocess, parameters or data break a rule.
        NotFound: no trainer of that name is installed.
    """
    trainer = find_trainer(model.trainer) if trainer is None else trainer
    spine = model.table.spine
    columns = batch_columns(model.table, views)
    rows = in_order(rows, first=(spine.time, *(column.name for column in columns)), label=spine.label.name)
    label = label_values(model, rows)
    held, start = holdout(model, times_us(rows, spine.time))

    batch = to_batch(rows, columns)
    check_row_wise(model.preprocess, batch, at=sorted({0, len(rows) // 2, len(rows) - 1}))
    inputs, matrix = to_matrix(model.preprocess, batch)
    artifact = trainer.fit(matrix[~held], label[~held], inputs=inputs, params=model.params, seed=seed, threads=threads)
    held_out = HeldOut(trainer.predict(artifact.files, matrix[held]), label[held])
    metrics = measure(model, held_out)
    metrics["rows_trained"] = float((~held).sum())
    return Trained(
        files=artifact.files,
        inputs=inputs,
        metrics=metrics,
        gates=tuple(gate.judge(metrics, live_metrics) for gate in model.gates),
        importance=artifact.importance,
        params=artifact.params,
        holdout_start_us=start,
        held_out=held_out,
    )


def is_classifier(model: Model) -> bool:
    """Whether the label is a yes or no, so that scores are probabilities."""
    return isinstance(model.table.spine.label.type, Bool)


def measure(model: Model, held_out: HeldOut) -> dict[str, float]:
    """The metrics of a model's kind.

    Raises:
        Invalid: the label is a yes or no and a score is no probability.
    """
    scores, label = held_out.scores, held_out.label
    if not is_classifier(model):
        return measure_regressor(scores, label)
    outside = (scores < 0) | (scores > 1)
    if outside.any():
        found = f"model {model.name!r}: its label is a yes or no, and it scores {scores[int(np.argmax(outside))]:g}"
        raise Invalid(
            f"{found}; expected probabilities, 0 to 1", fix="set params={'objective': 'binary', ...}, or declare a number as the label"
        )
    return measure_classifier(scores, label)


def in_order(rows: pa.Table, *, first: tuple[str, ...], label: str) -> pa.Table:
    """The rows in an order that depends on their content alone: sums of floats, and so trees, depend on it."""
    names = [name for name in (*first, label) if name in rows.column_names and not pa.types.is_nested(rows.schema.field(name).type)]
    return rows.take(pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in names])) if names else rows


def label_values(model: Model, rows: pa.Table) -> np.ndarray:
    """`(rows,)` float64. Raises Invalid for a label that is no number."""
    column = model.table.spine.label.column
    label = to_batch(rows, [column])[column.name]
    if label.dtype != np.float64 or label.ndim != 1:
        raise Invalid(f"model {model.name!r}: label {column.name!r} has encoding {column.encoding!r}", fix="use a number as the label")
    return label


def holdout(model: Model, times: np.ndarray) -> tuple[np.ndarray, int]:
    """The newest labels: later than the last one minus `model.holdout`.

    Labels of one instant stay on one side.

    Returns:
        `(rows,)` bool, and the instant after which labels are held out, µs.
    """
    if not len(times):
        raise Invalid(f"model {model.name!r}: its training table has no rows", fix=f"{WIDEN}, or land more of its source")
    start = int(times.max()) - model.holdout // timedelta(microseconds=1)
    held = times > start
    if (~held).sum() < MIN_TRAINED or held.sum() < MIN_HELD_OUT:
        found = f"{(~held).sum()} labels up to the last {model.holdout} and {held.sum()} within them"
        need = f"at least {MIN_TRAINED} to train and {MIN_HELD_OUT} to measure"
        raise Invalid(f"model {model.name!r}: there are {found}; needed are {need}", fix=f"change holdout=, or {WIDEN}")
    return held, start
