"""A Delta table's log: what it says about files, and how a file is named in it."""

from __future__ import annotations

import json

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction

from tiffin.storage.content import PARTITION, plain
from tiffin.storage.data_files import DataFile

__all__ = ["add_action", "arrow_schema", "difference", "files_by_partition", "lost_the_race", "paths_of", "rows_by_partition"]


def arrow_schema(table: DeltaTable) -> pa.Schema:
    """A table's columns in the types that `plain` gives, nullable all."""
    return plain(pa.schema(table.schema().to_arrow()).empty_table()).schema


def add_action(file: DataFile, *, now_ms: int) -> AddAction:
    """A file as the log names it. Row counts only: partitions are how readers skip files."""
    values: dict[str, str | None] = {PARTITION: file.partition} if file.partition else {}
    return AddAction(file.path, file.size_bytes, values, now_ms, True, json.dumps({"numRecords": file.rows}))


def paths_of(table: DeltaTable) -> tuple[list[str], list[str], list[int | None]]:
    """Partition, path and row count of every file."""
    actions = pa.table(table.get_add_actions(flatten=True))
    paths = actions["path"].to_pylist()
    column = f"partition.{PARTITION}"
    names = actions[column].to_pylist() if column in actions.column_names else [""] * len(paths)
    return names, paths, actions["num_records"].to_pylist() if "num_records" in actions.column_names else [None] * len(paths)


def files_by_partition(table: DeltaTable) -> dict[str, tuple[str, ...]]:
    """Sorted file paths by partition."""
    found: dict[str, list[str]] = {}
    for name, path in zip(*paths_of(table)[:2], strict=True):
        found.setdefault(name, []).append(path)
    return {name: tuple(sorted(paths)) for name, paths in found.items()}


def rows_by_partition(table: DeltaTable) -> dict[str, int]:
    """Row counts by partition, as the log has them."""
    found: dict[str, int] = {}
    for name, _, rows in zip(*paths_of(table), strict=True):
        found[name] = found.get(name, 0) + (rows or 0)
    return found


def lost_the_race(err: Exception) -> bool:
    """Whether a commit failed because the version, or the table, exists already."""
    return isinstance(err, CommitFailedError) or "already exists" in str(err)


def difference(old: pa.Schema, new: pa.Schema) -> str:
    """What a person would say changed; empty when columns and types are the same, in whatever order."""
    before, after = ({field.name: field.type for field in schema} for schema in (old, new))
    added = [f"{name}: {after[name]}" for name in after if name not in before]
    dropped = [name for name in before if name not in after]
    retyped = [f"{name} {before[name]} → {after[name]}" for name in after if name in before and before[name] != after[name]]
    return "; ".join(f"{word} {', '.join(names)}" for word, names in (("new", added), ("missing", dropped), ("changed", retyped)) if names)
