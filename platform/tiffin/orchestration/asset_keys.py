"""How the assets of a spec are called: one path per asset, distinct for every kind."""

from __future__ import annotations

from tiffin.core.names import split_ref

__all__ = ["AssetPath", "deployment_path", "model_path", "online_path", "source_path", "table_path", "view_path"]

AssetPath = tuple[str, ...]
"""The parts of a Dagster asset key."""


def source_path(name: str) -> AssetPath:
    """`raw/flights`: the raw table, whoever lands it."""
    return split_ref(name, what="source")


def view_path(ref: str) -> AssetPath:
    """`network/carrier_delays`: the view's offline partitions."""
    return split_ref(ref, what="feature view")


def online_path(ref: str) -> AssetPath:
    """`network/carrier_delays_online`: the view's current generation."""
    team, name = split_ref(ref, what="feature view")
    return team, f"{name}_online"


def table_path(team: str, name: str) -> AssetPath:
    """`eta/eta_table`: a training table."""
    return team, name


def model_path(team: str, name: str) -> AssetPath:
    """`eta/eta_model`: a model's versions. The bare name is left to the deployment, which is what people look for."""
    return team, f"{name}_model"


def deployment_path(team: str, name: str) -> AssetPath:
    """`eta/eta`: the endpoint."""
    return team, name
