"""Before anything is timed: everybody gives back the same values."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.online_feast import Feast
from bench.online_layout import PublishedLayout
from bench.online_ours import Ours
from tiffin.wire.encodings import Ragged, Values, take, to_strings

__all__ = ["compare_feast", "compare_layout", "compare_ours", "cosine_min"]

SOME = 500


def listed(column: Values | Ragged) -> list[Any]:
    """A column as Python values; None is null."""
    if isinstance(column, Ragged):
        return list(to_strings(column))
    found = column.data.astype(np.float64).tolist()
    if column.valid is not None:
        for row in np.flatnonzero(~column.valid).tolist():
            found[row] = None
    return found


def demand(same: bool, what: str) -> None:
    """End the run unless the answers agree."""
    if not same:
        sys.exit(f"wrong: {what}")


def compare_ours(ours: Ours) -> None:
    """What we read is what was published, every cell of some rows."""
    some = np.arange(min(SOME, len(ours.rows)))
    found = ours.read(ours.rows.ids[some])
    demand(bool(found.found.all()), "a published entity is not found")
    for name, column in ours.rows.columns.items():
        demand(listed(found.columns[name]) == listed(take(column, some)), f"tiffin gives another {name!r} than was published")


def compare_layout(layout: PublishedLayout, ours: Ours) -> None:
    """Both clients of the published layout against us."""
    ids = ours.rows.ids[: min(SOME, len(ours.rows))]
    columns = [listed(column) for column in ours.read(ids).columns.values()]
    for found in (layout.read(ids), layout.read_prepared(layout.prepare(ids), len(ids))):
        numbers, *texts = found
        for place, name in enumerate(list(ours.rows.columns)[: layout.numbers]):
            expected = np.array([np.nan if one is None else one for one in columns[place]], dtype=np.float32)
            given = numbers[:, place].astype(np.float16) if name.startswith("f") else numbers[:, place]
            demand(np.array_equal(given, expected, equal_nan=True), f"the published layout gives another {name!r}")
        for place, text in zip(layout.text_columns, texts, strict=True):
            demand(
                [one.decode() for one in text.tolist()] == [one or "" for one in columns[place]], "the published layout gives other text"
            )


def compare_feast(feast: Feast, ours: Ours) -> None:
    """Feast against us."""
    ids = ours.rows.ids[: min(SOME, len(ours.rows))]
    found = feast.look(ids.tolist())
    for name, column in ours.read(ids).columns.items():
        demand(found[name] == listed(column), f"Feast gives another {name!r}")


def cosine_min(ours: Ours, exact: npt.NDArray[np.float32]) -> float:
    """The worst cosine between a vector and what is read back."""
    worst = 1.0
    for start in range(0, len(exact), 5000):
        piece = slice(start, start + 5000)
        column = ours.read(ours.rows.ids[piece]).columns["vector"]
        assert isinstance(column, Values)
        read, given = column.data.astype(np.float64), exact[piece].astype(np.float64)
        cosine = (read * given).sum(axis=1) / np.linalg.norm(read, axis=1) / np.linalg.norm(given, axis=1)
        worst = min(worst, float(cosine.min()))
    return worst
