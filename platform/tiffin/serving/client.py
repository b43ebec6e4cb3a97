"""Ask a live endpoint: ids and request-time fields in, outputs out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tiffin.core.errors import Invalid, NotFound, nearest
from tiffin.serving.config_text import Tensor
from tiffin.serving.request import encode_request
from tiffin.serving.triton import Triton

__all__ = ["predict", "request_tensors"]


def predict(triton_grpc: str, name: str, rows: Mapping[str, Any], *, timeout_s: float = 30.0) -> dict[str, np.ndarray]:
    """One request to the endpoint `name`.

    Args:
        triton_grpc: `host:port`.
        rows: by field name, one value per row: text, numbers, bool, ISO instants; None is null.

    Returns:
        `(rows,)` float64 by output.

    Raises:
        NotFound: no such endpoint; with the nearest one. Invalid: a field or value is wrong.
        NotReady: nothing answers there, or the endpoint cannot answer now.
    """
    triton = Triton(triton_grpc, timeout_s=timeout_s)
    try:
        tensors, max_rows = request_tensors(triton, name)
        answer = triton.infer(name, encode_request(tensors, rows, of=f"endpoint {name!r}", max_rows=max_rows))
    finally:
        triton.close()
    return {output: array.reshape(-1) for output, array in answer.items()}


def request_tensors(triton: Triton, name: str) -> tuple[list[Tensor], int]:
    """What the endpoint takes, and how many rows at once. Raises NotFound with the nearest endpoint."""
    try:
        config = triton.config(name)
    except (NotFound, Invalid) as err:
        # a content-hashed edition or a step is not an endpoint
        public = [model for model in triton.answering() if "--" not in model]
        raise NotFound(f"no endpoint {name!r} is served at {triton.address}", fix=nearest(name, public)) from err
    tensors = [Tensor(field["name"], field["data_type"], int(field["dims"][-1])) for field in config["input"]]
    return tensors, int(config["max_batch_size"])
