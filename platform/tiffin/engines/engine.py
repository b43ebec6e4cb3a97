"""The engine contract: run one transform over tables; and, for engines that can, many windows of it in few jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import pyarrow as pa

from tiffin.core.errors import Invalid, NotFound, nearest

__all__ = ["BUILT_IN", "Cut", "Engine", "Parameters", "RangeEngine", "TableFiles", "Tables", "find_engine"]

Tables = Mapping[str, pa.Table]
Parameters = Mapping[str, object]

Code = TypeVar("Code", contravariant=True)

ENGINES = "tiffin.engines"
BUILT_IN = {
    "arrow": "tiffin.engines.arrow:ArrowEngine",
    "duckdb": "tiffin.engines.duckdb:DuckEngine",
    "spark": "tiffin.engines.spark:SparkEngine",
}


class Engine(Protocol[Code]):
    """Runs code of one kind or more: SQL text (`DuckEngine`), a function over Arrow (`ArrowEngine`), either (`SparkEngine`).

    An engine is made once, without arguments, and used for many windows, one after the other. The same code over the
    same tables and parameters gives the same rows; their order means nothing.
    """

    def transform(self, code: Code, tables: Tables, parameters: Parameters, *, subject: str) -> pa.Table:
        """Run `code` over `tables`.

        Args:
            tables: what the code may read, by the name it uses.
            parameters: values by name; code need not use them all.
            subject: what errors call the code: `"view 'carrier_delays', partition 2013-01-05"`.

        Raises:
            Invalid: the code failed or is not allowed; names subject, what was found and the fix.
        """
        ...


@dataclass(frozen=True, slots=True)
class TableFiles:
    """A table at one version, as Parquet files that lie on this machine.

    Args:
        time: the timestamp column that says when a row became known; rows without one are seen by nobody.
    """

    paths: Sequence[Path]
    time: str


@dataclass(frozen=True, slots=True)
class Cut:
    """One window of a transform: what it may read, and what it is told.

    Args:
        bounds: by table, `[from, until)` of its time; None is from the beginning.
        parameters, subject: see `Engine.transform`.
    """

    bounds: Mapping[str, tuple[datetime | None, datetime]]
    parameters: Parameters
    subject: str


@runtime_checkable
class RangeEngine(Protocol):
    """An engine that reads a table's files by itself and runs many windows in few jobs."""

    def transform_range(self, code: Any, files: Mapping[str, TableFiles], cuts: Sequence[Cut]) -> Iterator[pa.Table]:
        """The result of each cut, in order: what `transform` gives for the rows within its bounds.

        Raises:
            Invalid: see `Engine.transform`; under the subject of the first cut that fails.
        """
        ...


def find_engine(name: str) -> Engine[Any]:
    """A new engine: one of ours, or a plug-in under `name` in the entry-point group `tiffin.engines`.

    Raises:
        NotFound: no such engine; with the nearest name.
        Invalid: it cannot be imported, or is no engine.
    """
    plugged = {point.name: point.value for point in entry_points(group=ENGINES)}
    known = {**plugged, **BUILT_IN}
    if name not in known:
        hint = nearest(name, known)
        raise NotFound(f"no engine {name!r} is installed", fix=f"{hint}, or install a package with an entry point in {ENGINES!r}")
    module, _, attribute = known[name].partition(":")
    try:
        # imported when it is asked for: pyspark takes 0.5 s and starts a JVM later
        made = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError) as err:
        raise Invalid(
            f"engine {name!r} ({known[name]}) cannot be imported: {err}", fix=f"install what it needs, e.g. 'tiffin[{name}]'"
        ) from err
    if not callable(getattr(made, "transform", None)):
        raise Invalid(f"engine {name!r} ({known[name]}) has no transform", fix="implement tiffin.engines.engine.Engine")
    engine: Engine[Any] = made
    return engine
