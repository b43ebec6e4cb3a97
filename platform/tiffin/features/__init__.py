"""What a team declares about features: entities, types, sources, views."""

from tiffin.features.entity import Entity
from tiffin.features.expectations import Expect, GoldenRow
from tiffin.features.feature_types import (
    Bool,
    Category,
    Float16,
    Float32,
    Int8,
    Int16,
    Int32,
    Int64,
    IntList,
    String,
    Timestamp,
    Vector,
)
from tiffin.features.partitions import Window, daily, hourly, snapshot
from tiffin.features.view import Feature, FeatureView, Online, Source, feature_view

__all__ = [
    "Bool",
    "Category",
    "Entity",
    "Expect",
    "Feature",
    "FeatureView",
    "Float16",
    "Float32",
    "GoldenRow",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "IntList",
    "Online",
    "Source",
    "String",
    "Timestamp",
    "Vector",
    "Window",
    "daily",
    "feature_view",
    "hourly",
    "snapshot",
]
