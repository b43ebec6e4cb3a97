"""A SELECT as a syntax tree, without running it."""

from __future__ import annotations

import json
from typing import Any

import duckdb

__all__ = ["select_tree"]


def select_tree(sql: str) -> dict[str, Any] | None:
    """The statement's node as DuckDB parses it; None when it does not, e.g. another dialect's SQL."""
    found = duckdb.connect(":memory:").execute("select json_serialize_sql(?)", [sql]).fetchone()
    content: dict[str, Any] = json.loads(found[0]) if found else {"error": True}
    if content.get("error") or len(content.get("statements", [])) != 1:
        return None
    node: dict[str, Any] = content["statements"][0]["node"]
    return node
