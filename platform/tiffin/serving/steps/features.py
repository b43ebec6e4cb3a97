"""Step 1: ids in, features out. One generic program; `step.json` says which views and columns.

It reads packed rows from the online store by itself. Where the store is comes from `runtime.json`
at the root of the Triton repository, which the agent writes: never from the signed bundle.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tiffin.core.errors import Invalid
from tiffin.online.reader import FeatureReader
from tiffin.online.row_sources import open_rows
from tiffin.online.views import OnlineView
from tiffin.serving.steps.program import Answer, Arrays, read_step
from tiffin.serving.steps.tensors import FeatureColumn, RequestColumn, decode_request, encode_features, request_bytes
from tiffin.wire.batch import from_wire

__all__ = ["RUNTIME_FILE", "make_answer", "open_step"]

RUNTIME_FILE = "runtime.json"


def open_step(folder: Path) -> Answer:
    """Connect to the online store that `runtime.json` names."""
    config = read_step(folder)
    runtime = json.loads((folder.parents[1] / RUNTIME_FILE).read_bytes())
    views = [OnlineView.from_json(view) for view in config["views"]]
    as_of_us = runtime["as_of_us"]
    reader = FeatureReader(open_rows(runtime["online_url"]), views, now_us=lambda: wall_us() if as_of_us is None else as_of_us)
    return make_answer(config, reader.read)


def wall_us() -> int:
    """Now, in µs since 1970."""
    return time.time_ns() // 1000


def make_answer(config: dict[str, Any], read: Callable[[dict[str, Any]], Any]) -> Answer:
    """The step's function, over anything that reads rows by keys."""
    request = [RequestColumn.read(value) for value in config["request"]]
    features = [FeatureColumn.read(value) for value in config["features"]]
    keys = [column for column in request if column.role == "key"]
    max_bytes = config["max_bytes"]

    def answer(arrays: Arrays) -> dict[str, np.ndarray]:
        size = request_bytes(arrays)
        if size > max_bytes:
            raise Invalid(f"the request holds {size} bytes of ids and fields, allowed are {max_bytes}", fix="send fewer rows per request")
        found = read(decode_request(keys, arrays))
        columns = {column.name: found[column.view].columns[column.column] for column in features}
        return encode_features(features, from_wire(columns), len(arrays[keys[0].name]))

    return answer
