"""A deployment spec: what a team wants served under one public name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from tiffin.compute.spec import Compute
from tiffin.core.names import check_name
from tiffin.core.spec import Spec
from tiffin.training.model import Model

__all__ = ["Deployment", "Postprocess"]

Postprocess = Callable[[np.ndarray], Mapping[str, np.ndarray]]


class Deployment(Spec):
    """`Deployment("eta", model=eta, postprocess=clip)`: the endpoint `eta`.

    `postprocess` gets the model's `(rows,)` float64 scores and returns `{output: (rows,) float64}`;
    without it the endpoint has one output named like the label.
    """

    name: str
    model: Model
    postprocess: Postprocess | None = None
    max_rows: int = Field(default=5_000, ge=1, le=100_000, description="rows in one request")
    max_bytes: int = Field(default=4_000_000, ge=1_000, description="bytes of ids and fields in one request")
    golden_rows: int = Field(default=16, ge=1, le=256, description="rows asked before an edition turns ready")
    description: str = ""
    compute: Compute | None = Field(default=None, description="what the step that deploys asks of the cluster; None: the least")

    def __init__(self, name: Any = None, /, **fields: Any) -> None:
        # spelled out because type checkers derive a keyword-only one from the fields
        super().__init__(name, **fields)

    @field_validator("name")
    @classmethod
    def name_is_safe(cls, name: str) -> str:
        return check_name(name, what="deployment")
