"""Which columns a result column comes from: of a parsed SELECT exactly, of a Python function by the names it uses."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tiffin.lineage.code import reached

__all__ = ["Column", "Relation", "columns_named", "columns_of_select"]

Column = tuple[str, str]
"""A table as the code calls it, and one of its columns."""
Relation = dict[str, frozenset[Column]]
"""Result columns, in order, each with what its values come from."""
NOTHING: frozenset[Column] = frozenset()


def columns_named(function: Callable[..., Any], candidates: Iterable[str]) -> frozenset[str] | None:
    """The columns that a function, or what it stands on in its module, names as text or attribute.

    Returns:
        Those of `candidates` that occur; None when its source cannot be read.
    """
    found = reached(function)
    if found is None:
        return None
    words = {text for node in found.values() for one in ast.walk(node) for text in words_of(one)}
    return frozenset(candidates) & words


def words_of(node: ast.AST) -> Sequence[str]:
    """What a node may call a column by."""
    match node:
        case ast.Constant(value=str() as text):
            return (text,)
        case ast.Attribute(attr=name):
            return (name,)
    return ()


def columns_of_select(tree: Mapping[str, Any], tables: Mapping[str, Sequence[str]]) -> Relation:
    """Result columns of one SELECT with the columns that their values come from.

    Filters, groups and the order of rows decide which rows there are; they are not part of it, except within an
    expression (`sum(x) filter (where y)`).

    Args:
        tree: the statement's node as DuckDB's `json_serialize_sql` gives it.
        tables: columns of what it reads, by name.
    """
    base = {name.lower(): {column: frozenset([(name, column)]) for column in columns} for name, columns in tables.items()}
    return relation_of(tree, base)


def relation_of(node: Mapping[str, Any], known: Mapping[str, Relation]) -> Relation:
    """A query node: SELECT, UNION and the like, or a recursive one."""
    known = dict(known)
    for one in (node.get("cte_map") or {}).get("map", []):
        query = one["value"].get("query_node") or one["value"]["query"]["node"]
        known[str(one["key"]).lower()] = relation_of(query, known)
    if node.get("type") != "SELECT_NODE":
        parts = node.get("children") or [node[side] for side in ("left", "right") if isinstance(node.get(side), dict)]
        return together([relation_of(part, known) for part in parts])
    scope = scope_of(node.get("from_table") or {}, known)
    found: Relation = {}
    for expression in node["select_list"]:
        if expression.get("class") == "STAR":
            found |= starred(expression, scope)
        else:
            found[name_of(expression)] = sources_of(expression, scope, known, found)
    return found


def together(relations: Sequence[Relation]) -> Relation:
    """Columns of a UNION: by position, under the names of the first."""
    if not relations:
        return {}
    return {
        name: frozenset().union(*(list(one.values())[place] for one in relations if place < len(one)))
        for place, name in enumerate(relations[0])
    }


Scope = list[tuple[str, Relation]]


def scope_of(source: Mapping[str, Any], known: Mapping[str, Relation]) -> Scope:
    """What FROM makes visible: relations by alias."""
    kind, alias = source.get("type"), str(source.get("alias") or "")
    if kind == "BASE_TABLE":
        name = str(source["table_name"])
        return [((alias or name).lower(), known.get(name.lower(), {}))]
    if kind == "SUBQUERY":
        return [(alias.lower(), relation_of(source["subquery"]["node"], known))]
    if kind == "JOIN":
        return [*scope_of(source["left"], known), *scope_of(source["right"], known)]
    inner = source.get("source") or source.get("child")
    return scope_of(inner, known) if isinstance(inner, dict) else []


def starred(expression: Mapping[str, Any], scope: Scope) -> Relation:
    """The columns of `*` or `t.*`, without those that EXCLUDE names."""
    wanted, left_out = str(expression.get("relation_name") or "").lower(), str(expression.get("exclude_list") or "")
    return {
        name: sources
        for alias, one in scope
        if not wanted or wanted == alias
        for name, sources in one.items()
        if repr(name) not in left_out
    }


def name_of(expression: Mapping[str, Any]) -> str:
    """What the result calls an expression."""
    if expression.get("alias"):
        return str(expression["alias"])
    if expression.get("class") == "COLUMN_REF":
        return str(expression["column_names"][-1])
    return str(expression.get("function_name") or expression.get("type"))


def sources_of(expression: Any, scope: Scope, known: Mapping[str, Relation], siblings: Relation) -> frozenset[Column]:
    """Every column that a value is computed from."""
    if isinstance(expression, list):
        return frozenset().union(*(sources_of(one, scope, known, siblings) for one in expression))
    if not isinstance(expression, dict):
        return NOTHING
    if expression.get("class") == "COLUMN_REF":
        return resolved([str(part) for part in expression["column_names"]], scope, siblings)
    if expression.get("class") == "STAR":
        return frozenset().union(*starred(expression, scope).values())
    if expression.get("class") == "SUBQUERY":
        inner = relation_of(expression["subquery"]["node"], known)
        outer = sources_of(expression.get("child") or expression.get("children"), scope, known, siblings)
        return outer.union(*inner.values())
    return frozenset().union(*(sources_of(one, scope, known, siblings) for one in expression.values()))


def resolved(names: Sequence[str], scope: Scope, siblings: Relation) -> frozenset[Column]:
    """A column by name, `table.column`, `column.field`; or an expression to its left in the same SELECT."""
    for alias, one in scope:
        lower = {name.lower(): sources for name, sources in one.items()}
        if len(names) > 1 and names[0].lower() == alias and names[1].lower() in lower:
            return lower[names[1].lower()]
    for _, one in scope:
        lower = {name.lower(): sources for name, sources in one.items()}
        if names[0].lower() in lower:
            return lower[names[0].lower()]
    return siblings.get(names[0], NOTHING)
