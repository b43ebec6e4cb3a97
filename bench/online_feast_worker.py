"""Feast's side, run by Feast's own Python: it measures inside itself and answers one JSON line for each line it gets.

    python online_feast_worker.py FOLDER PORT
    {"do": "write", "file": "rows.parquet"}   {"do": "read", "ids": [1, 2, ...]}   {"do": "warm", "ids": [...]}

Imports nothing of ours: this environment holds Feast alone.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Bool, Float32, Int64, String

BATCH = 20_000


def feature_type(name: str) -> Any:
    """By the first letter of the benchmark's column names."""
    return {"f": Float32, "i": Int64, "b": Bool, "s": String}[name[0]]


def open_store(folder: Path, port: int) -> FeatureStore:
    """A store of one view on the server that is measured."""
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "redis", "connection_string": f"127.0.0.1:{port}"},
        offline_store={"type": "file"},
        entity_key_serialization_version=3,
    )
    return FeatureStore(config=config)


def apply(store: FeatureStore, source: Path) -> list[str]:
    """Register entity and view; the names of the features."""
    names = [name for name in pd.read_parquet(source).columns if name not in ("entity", "event_time")]
    entity = Entity(name="entity", join_keys=["entity"], value_type=ValueType.INT32)
    view = FeatureView(
        name="mixed",
        entities=[entity],
        ttl=timedelta(days=0),
        schema=[Field(name=name, dtype=feature_type(name)) for name in names],
        source=FileSource(path=str(source), timestamp_field="event_time"),
    )
    store.apply([entity, view])
    return names


def write(store: FeatureStore, source: Path) -> None:
    """All rows, by `write_to_online_store`."""
    table = pd.read_parquet(source)
    for start in range(0, len(table), BATCH):
        store.write_to_online_store("mixed", df=table.iloc[start : start + BATCH])


def read(store: FeatureStore, names: list[str], ids: list[int]) -> list[np.ndarray]:
    """`get_online_features`, to numpy columns."""
    wanted = [f"mixed:{name}" for name in names]
    found = store.get_online_features(features=wanted, entity_rows=[{"entity": one} for one in ids]).to_dict()
    return [np.array(found[name], dtype=np.float32 if name[0] != "s" else object) for name in names]


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    store, names = open_store(folder, port), []
    for line in sys.stdin:
        order = json.loads(line)
        wall, cpu = time.perf_counter(), time.process_time()
        answer: dict[str, Any] = {}
        if order["do"] == "apply":
            names = apply(store, Path(order["file"]))
        elif order["do"] == "write":
            write(store, Path(order["file"]))
        else:
            columns = read(store, names, order["ids"])
            wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
            if order["do"] == "look":
                answer["columns"] = {
                    name: [None if one is None or one != one else str(one) if name[0] == "s" else float(one) for one in column]
                    for name, column in zip(names, columns, strict=True)
                }
            answer |= {"wall_s": wall_s, "cpu_s": cpu_s}
        answer = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu} | answer
        sys.stdout.write("@" + json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
