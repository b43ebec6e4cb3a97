"""A model spec: a training table, the function that makes its inputs, a trainer and gates."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from tiffin.compute.spec import Compute
from tiffin.core.names import check_name
from tiffin.core.spec import Spec
from tiffin.features.view import Duration
from tiffin.training.gates import Gate
from tiffin.training.table import TrainingTable

__all__ = ["Batch", "Model", "Preprocess", "model"]

Batch = Mapping[str, np.ndarray]
"""`(rows,)` arrays by column: numbers as float64 with NaN for null, text as object, vectors `(rows, size)` float32."""

Preprocess = Callable[[Batch], Mapping[str, np.ndarray]]


class Model(Spec):
    """Made by `model`. `preprocess` runs in training and, the same source, inside Triton."""

    name: str
    table: TrainingTable
    preprocess: Preprocess
    trainer: str = Field(default="lightgbm", description="entry point in the group tiffin.trainers")
    params: dict[str, Any] = Field(default_factory=dict)
    holdout: Duration = Field(default=timedelta(days=30), description="newest labels, kept for metrics")
    gates: tuple[Gate, ...] = ()
    description: str = ""
    compute: Compute | None = Field(default=None, description="what training asks of the cluster; None: the least")

    def __init__(self, name: Any = None, /, **fields: Any) -> None:
        # spelled out because type checkers derive a keyword-only one from the fields
        super().__init__(name, **fields)

    @field_validator("name")
    @classmethod
    def name_is_safe(cls, name: str) -> str:
        return check_name(name, what="model")


def model(*, table: TrainingTable, name: str | None = None, **options: Any) -> Callable[[Preprocess], Model]:
    """Declare a model: a decorator over the function that turns a batch into model inputs.

    The function gets columns by name (ids, request-time fields, `view__feature`) and returns
    `{input: (rows,) array}`. It and its module import numpy and the standard library only: the
    module is what runs inside Triton.
    """

    def declare(fn: Preprocess) -> Model:
        given = {"table": table, "preprocess": fn, "description": inspect.getdoc(fn) or "", **options}
        return Model(name or inspect.unwrap(fn).__name__, **given)

    return declare
