"""What a reader decides: which generation it asks for, when rows must be thrown away, when a view is not ready.

Pure: `reading` yields what it wants to know and is sent what stood there. The reader, its asyncio sister and the
simulator drive this one code. It runs inside Triton.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from tiffin.core.errors import Corrupt, NotReady
from tiffin.online.source import Answer, Ask, KeyRows
from tiffin.online.views import LivePointer, OnlineView
from tiffin.wire.keys import pointer_key, schema_key
from tiffin.wire.schema import RowSchema

__all__ = ["MOVES", "Fetch", "Known", "Question", "Words", "reading"]

MOVES = 8


@dataclass(frozen=True, slots=True)
class Known:
    """What a reader remembers of a view between requests: the pointer and how to decode its rows."""

    raw: bytes
    pointer: LivePointer
    schema: RowSchema
    prefix: bytes


@dataclass(frozen=True, slots=True)
class Words:
    """The values of small words are wanted: `list[bytes | None]` is sent back."""

    names: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Rows are wanted, in one round trip: `list[Answer]` is sent back."""

    asks: Sequence[Ask]


Question: TypeAlias = Words | Fetch
Learning: TypeAlias = Generator[Question, Any, Known]
Reading: TypeAlias = Generator[Question, Any, dict[str, tuple[Known, Answer]]]


def reading(views: Sequence[OnlineView], keys: Mapping[str, KeyRows], memory: MutableMapping[str, Known]) -> Reading:
    """Rows of all views, each of one generation.

    An answer is judged by the pointer that it was asked under, not by what `memory` holds when it arrives: several
    threads may share a memory.

    Args:
        keys: entity keys of each view, by `"team/view"`.
        memory: what earlier requests learned; kept up to date.

    Returns:
        By `"team/view"`, in the order of `views`: how to decode the rows, and the rows.

    Raises:
        NotReady: a view has no generation, or lacks a column that the reader wants, or its generations change faster
            than they can be read.
        Corrupt: a pointer or a schema is not one of ours.
    """
    unknown = [view for view in views if view.ref not in memory]
    if unknown:
        raws = yield Words([pointer_key(view.team, view.name) for view in unknown])
        for view, raw in zip(unknown, raws, strict=True):
            memory[view.ref] = yield from learning(view, None, raw, memory)
    found: dict[str, tuple[Known, Answer]] = {}
    waiting = list(views)
    for _ in range(MOVES):
        used: list[Known] = []
        for view in waiting:
            held = memory.get(view.ref)
            used.append(held if held is not None else (yield from looking(view, memory)))
        answers: Sequence[Answer] = yield Fetch([ask_of(view, known, keys[view.ref]) for view, known in zip(waiting, used, strict=True)])
        moved: list[OnlineView] = []
        for view, known, answer in zip(waiting, used, answers, strict=True):
            now = yield from learning(view, known, answer.pointer, memory)
            memory[view.ref] = now
            if answer.steady and now.prefix == known.prefix and now.schema == known.schema:
                found[view.ref] = (now, answer)
            else:
                moved.append(view)
        if not moved:
            return {view.ref: found[view.ref] for view in views}
        waiting = moved
    names = ", ".join(view.ref for view in waiting)
    raise NotReady(f"reading {names}: a new generation went live {MOVES} times during one read", fix="ask again")


def ask_of(view: OnlineView, known: Known, keys: KeyRows) -> Ask:
    """The view's part of a request."""
    return Ask(view.ref, pointer_key(view.team, view.name), known.pointer, known.prefix, keys)


def looking(view: OnlineView, memory: MutableMapping[str, Known]) -> Learning:
    """The pointer alone: another thread forgot it meanwhile."""
    (raw,) = yield Words([pointer_key(view.team, view.name)])
    memory[view.ref] = known = yield from learning(view, None, raw, memory)
    return known


def learning(view: OnlineView, before: Known | None, raw: bytes | None, memory: MutableMapping[str, Known]) -> Learning:
    """What a pointer means; `before` is returned when it says nothing new."""
    if raw is None:
        memory.pop(view.ref, None)
        raise NotReady(
            f"view {view.ref} has no generation in the online store",
            fix="materialise its online asset; after a restart wait until the agent has refilled it from its segments",
            context={"view": view.ref},
        )
    if before is not None and before.raw == raw:
        return before
    pointer = LivePointer.from_bytes(raw, name=view.ref)
    if before is not None and (before.pointer.generation, before.pointer.schema) == (pointer.generation, pointer.schema):
        return replace(before, raw=raw, pointer=pointer)
    prefix = pointer.row_prefix(view.team, view.name)
    if pointer.schema == view.schema.digest:
        return Known(raw, pointer, view.schema, prefix)
    (data,) = yield Words([schema_key(view.team, view.name, pointer.schema)])
    return Known(raw, pointer, usable(view, pointer, data), prefix)


def usable(view: OnlineView, pointer: LivePointer, data: bytes | None) -> RowSchema:
    """The schema of the live rows, when it still has all columns that the reader wants."""
    try:
        schema = RowSchema.from_json(json.loads(data))  # type: ignore[arg-type]  # None and others are Corrupt
    except (ValueError, TypeError, KeyError) as err:
        raise Corrupt(
            f"view {view.ref}: schema {pointer.schema_number} in the online store is not readable", fix="publish it again"
        ) from err
    if schema.digest != pointer.schema:
        raise Corrupt(f"view {view.ref}: schema {pointer.schema_number} is not the one its pointer names", fix="publish it again")
    live = {column.name: column.encoding for column in schema.columns}
    for column in view.schema.columns:
        if live.get(column.name) != column.encoding:
            raise NotReady(
                f"view {view.ref} is live under schema {schema.number}, where column {column.name!r} is "
                f"{live.get(column.name, 'missing')}: this reader wants {column.encoding}",
                fix="deploy a model trained on the new schema, or roll the view back",
                context={"view": view.ref, "column": column.name},
            )
    return schema
