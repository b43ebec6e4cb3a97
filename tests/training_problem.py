"""A small training problem: one team, a spine of shops, two views, and a model over them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from tiffin.features.entity import Entity
from tiffin.features.feature_types import Float32, Int16, IntList, String, Vector
from tiffin.features.partitions import daily
from tiffin.features.view import Feature, FeatureView, Online, Source
from tiffin.manifests.records import ViewRecord
from tiffin.training.model import Model, model
from tiffin.training.table import Spine, TrainingTable

INSTANT = pa.timestamp("us", tz="UTC")
T0 = datetime(2020, 1, 1, tzinfo=UTC)
NOW = datetime(2021, 1, 1, tzinfo=UTC)

orders = Source("raw/orders", time="known")
shop = Entity("shop", key="shop: string")
shop_city = Entity("shop_city", key="shop: string, city: int16")


def empty(rows: pa.Table, window: Any) -> pa.Table:
    return rows


def make_view(name: str, entity: Entity, *features: Feature, ttl: str | None = None, **changes: Any) -> FeatureView:
    given = {"source": orders, "partitions": daily("2020-01-01"), "transform": empty, "online": Online(ttl=ttl), **changes}
    return FeatureView(name, entity=entity, features=features, **given)


load = make_view("load", shop, Feature("orders", Int16()), Feature("wait", Float32(step=0.5)), ttl="2d")
taste = make_view("taste", shop_city, Feature("vector", Vector(2)), Feature("dishes", IntList()), Feature("mood", String()))


def make_spine(**changes: Any) -> Spine:
    given = {
        "source": orders,
        "keys": "shop: string, city: int16",
        "time": "at",
        "label": Feature("minutes", Float32(step=0.25)),
        "fields": (Feature("distance", Float32(step=0.5)),),
    }
    return Spine("asked", **{**given, **changes})


def make_table(**changes: Any) -> TrainingTable:
    return TrainingTable("delivery", **{"spine": make_spine(), "features": (load, "other/taste"), **changes})


def records() -> dict[str, ViewRecord]:
    return {"own/load": load.record(team="own", owner="team:own"), "other/taste": taste.record(team="other", owner="team:other")}


def at(*hours: float) -> pa.Array:
    """Instants, in hours after the beginning of 2020."""
    return pa.array([T0 + timedelta(hours=hour) for hour in hours], INSTANT)


def order_rows(hours: list[float], **changes: Any) -> pa.Table:
    count = len(hours)
    columns = {
        "shop": pa.array(["a"] * count),
        "city": pa.array([1] * count, pa.int64()),
        "at": at(*hours),
        "known": at(*[hour + 1 for hour in hours]),
        "distance": pa.array([1.0] * count),
        "minutes": pa.array([10.0] * count),
        "note": pa.array(["not declared"] * count),
    }
    return pa.table({**columns, **changes})


def feature_rows(hours: list[float], **columns: Any) -> pa.Table:
    return pa.table({**columns, "event_time": at(*hours), "known_at": at(*hours), "written_at": at(*hours)})


def load_rows() -> pa.Table:
    """Shop a on two days, shop b on one."""
    return feature_rows(
        [24, 48, 24],
        shop=pa.array(["a", "a", "b"]),
        orders=pa.array([3, None, 9], pa.int16()),
        wait=pa.array([0.5, 2.5, 7.0], pa.float32()),
    )


def taste_rows() -> pa.Table:
    return feature_rows(
        [24],
        shop=pa.array(["a"]),
        city=pa.array([1], pa.int16()),
        vector=pa.array([[1.0, 2.0]], pa.list_(pa.float32())),
        dishes=pa.array([[7, 8]], pa.list_(pa.int64())),
        mood=pa.array(["calm"]),
    )


def stored_views(record: ViewRecord, **_: Any) -> pa.Table:
    """Stands for `features.offline.read_view`."""
    return {"load": load_rows, "taste": taste_rows}[record.name]()


def prepare(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        "distance": batch["distance"],
        "orders": batch["load__orders"],
        "calm": np.array([mood == "calm" for mood in batch["taste__mood"]], dtype=bool),
        "first": batch["taste__vector"][:, 0].astype(np.float64),
    }


def make_model(preprocess: Any = prepare, **changes: Any) -> Model:
    given = {"table": make_table(), "params": {"num_iterations": 5, "min_data_in_leaf": 5}, "holdout": timedelta(days=3), "name": "minutes"}
    return model(**{**given, **changes})(preprocess)


def training_rows(days: int = 20, per_day: int = 10, seed: int = 1) -> pa.Table:
    """A built training table: the label follows distance and orders."""
    random, count = np.random.default_rng(seed), days * per_day
    distance = np.round(random.uniform(0, 10, count) * 2) / 2
    numbers = random.integers(0, 20, count)
    minutes = np.round((3 * distance + numbers + random.normal(0, 0.5, count)) * 4) / 4
    return pa.table(
        {
            "shop": pa.array([f"shop {i % 7}" for i in range(count)]),
            "city": pa.array([i % 3 for i in range(count)], pa.int16()),
            "at": at(*[24 * (i // per_day) + i % per_day for i in range(count)]),
            "distance": pa.array(distance, pa.float32()),
            "minutes": pa.array(minutes, pa.float32()),
            "load__orders": pa.array([None if i % 9 == 0 else int(n) for i, n in enumerate(numbers)], pa.int16()),
            "load__wait": pa.array([None] * count, pa.float32()),
            "taste__vector": pa.array([None if i % 5 == 0 else [float(i % 4), 1.0] for i in range(count)], pa.list_(pa.float32())),
            "taste__dishes": pa.array([[i] for i in range(count)], pa.list_(pa.int64())),
            "taste__mood": pa.array(["calm" if i % 2 else None for i in range(count)]),
        }
    )
