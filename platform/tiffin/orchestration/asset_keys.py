"""How the assets of a spec are called: team and name; a view's online edition has a name of its own."""

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
    """`eta/eta_model`: a model's versions."""
    return team, name


def deployment_path(team: str, name: str) -> AssetPath:
    """`eta/eta`: the endpoint, under its public name."""
    return team, name
